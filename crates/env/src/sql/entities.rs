//! The names and literals of a query, and equality of two query texts.
//!
//! Tables and columns come from SQLite itself, which resolves them while compiling (see
//! [`super::permission`]): aliases, `*` and case cost nothing there. A query that does not compile
//! still names things; its words are then looked up among the database's names.

use std::collections::BTreeSet;

use sqlparser::ast::Statement;
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::Parser;

use super::answer::Answer;
use super::config::{Entity, Exact};
use super::lexer::{self, Kind, Token};

/// Deeper parentheses are not parsed: the parser's search over them doubles with every level.
const DEPTH_MAX: usize = 10;

/// Tables and columns that a query names, lower case: `table`, `table.column`.
pub(super) fn of(sql: &str, answer: &Answer, names: &BTreeSet<String>) -> BTreeSet<String> {
    if let Some(reads) = &answer.reads {
        return reads.clone();
    }
    let words: BTreeSet<String> = lexer::tokens(sql)
        .into_iter()
        .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
        .map(|token| token.text.to_lowercase())
        .collect();
    let named = |name: &str| words.contains(name);
    names
        .iter()
        .filter(|name| match name.split_once('.') {
            Some((table, column)) => named(table) && named(column),
            None => named(name),
        })
        .cloned()
        .collect()
}

/// Overlap of two sets of names, in [0, 1]; two empty sets agree.
pub(super) fn overlap(a: &BTreeSet<String>, b: &BTreeSet<String>, measure: Entity) -> f64 {
    let union = a.union(b).count();
    match measure {
        Entity::AllOrNothing => f64::from(u8::from(a == b)),
        Entity::Jaccard if union == 0 => 1.0,
        Entity::Jaccard => a.intersection(b).count() as f64 / union as f64,
    }
}

/// Texts and numbers that stand in a query as literals.
pub(super) fn literals(sql: &str) -> BTreeSet<String> {
    let literal = |token: &Token| matches!(token.kind, Kind::Text | Kind::Quoted | Kind::Number);
    lexer::tokens(sql).into_iter().filter(literal).map(|token| token.text.to_lowercase()).collect()
}

/// True where two texts say the same query.
pub(super) fn same_text(a: &str, b: &str, measure: Exact) -> bool {
    let (a, b) = (normal(a), normal(b));
    if a == b {
        return true;
    }
    match measure {
        Exact::String => false,
        Exact::Ast => match (syntax(&a), syntax(&b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

/// A query without layout: tokens between single spaces, names in lower case, literals as they
/// are, no comments, no `;` at the end.
pub(super) fn normal(sql: &str) -> String {
    let mut tokens = lexer::tokens(sql);
    tokens.retain(|token| token.kind != Kind::Comment);
    while tokens.last().is_some_and(|token| token.is_symbol(";")) {
        tokens.pop();
    }
    let words = tokens.iter().map(|token| match token.kind {
        Kind::Text => format!("'{}'", token.text.replace('\'', "''")),
        Kind::Blob => format!("x'{}'", token.text.to_lowercase()),
        // Case is kept: SQLite takes `"x"` for text where it finds no such name.
        Kind::Quoted => format!("\"{}\"", token.text.replace('"', "\"\"")),
        _ => token.text.to_lowercase(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn syntax(sql: &str) -> Option<Vec<Statement>> {
    let mut depth = 0usize;
    for letter in sql.bytes() {
        match letter {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return None;
        }
    }
    Parser::parse_sql(&SQLiteDialect {}, sql).ok()
}
