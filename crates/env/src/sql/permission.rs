//! What a query of the policy may do: an allow-list, checked by SQLite while it compiles.
//!
//! SQLite asks before every read, function and statement it compiles. What is not listed here is
//! refused, so a new feature of SQLite is refused until someone has thought about it.

use std::collections::BTreeSet;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::QueryError;
use super::lexer::{Kind, Token};

/// Functions without effect, whose value depends on their arguments and on nothing else. `printf`
/// and `format` are absent: past the length limit they give NULL without an error. `zeroblob` and
/// `randomblob` are absent: they make bytes from nothing. `random` and the clock are absent.
const FUNCTIONS: &[&str] = &[
    "abs",
    "acos",
    "asin",
    "atan",
    "atan2",
    "avg",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "count",
    "cume_dist",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "glob",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "iif",
    "instr",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pi",
    "pow",
    "power",
    "quote",
    "radians",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sin",
    "soundex",
    "sqrt",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "tan",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unicode",
    "upper",
];

/// The clock by name. SQLite asks for these also where a column has one as its default, so they
/// are refused by the query's own words.
const CLOCK: &[&str] = &["current_date", "current_time", "current_timestamp"];

/// Functions that read the clock where their argument is `now` or missing; see [`reads_clock`].
const CALENDAR: &[&str] = &["date", "datetime", "julianday", "strftime", "time", "unixepoch"];

/// Functions that cannot write the word `now` from parts, and so may stand beside [`CALENDAR`].
const BESIDE_CALENDAR: &[&str] = &[
    "abs",
    "avg",
    "cast",
    "coalesce",
    "count",
    "dense_rank",
    "glob",
    "if",
    "ifnull",
    "iif",
    "in",
    "length",
    "like",
    "max",
    "min",
    "nullif",
    "rank",
    "round",
    "row_number",
    "sum",
    "total",
    "values",
];

/// What SQLite asked for while it compiled one query.
#[derive(Default)]
pub(super) struct Asked {
    /// The first thing that was refused.
    pub(super) refused: Option<QueryError>,
    /// `table` and `table.column`, lower case: what the query itself names, not what views read.
    pub(super) read: BTreeSet<String>,
}

/// Answers one question of SQLite and notes it. `tables` are the names a query may read.
pub(super) fn answer(
    asked: &mut Asked,
    tables: &BTreeSet<String>,
    context: &AuthContext<'_>,
) -> Authorization {
    match permit(tables, context) {
        _ if stepwell_mutant::planted(22) => {}
        Ok(()) => {}
        Err(refusal) => {
            asked.refused.get_or_insert(refusal);
            return Authorization::Deny;
        }
    }
    if let (AuthAction::Read { table_name, column_name }, None) = (context.action, context.accessor)
        && tables.contains(&table_name.to_lowercase())
    {
        let table = table_name.to_lowercase();
        if !column_name.is_empty() {
            asked.read.insert(format!("{table}.{}", column_name.to_lowercase()));
        }
        asked.read.insert(table);
    }
    Authorization::Allow
}

fn permit(tables: &BTreeSet<String>, context: &AuthContext<'_>) -> Result<(), QueryError> {
    match context.action {
        AuthAction::Select | AuthAction::Recursive => Ok(()),
        AuthAction::Read { table_name, column_name } => {
            let name = table_name.to_lowercase();
            if name.starts_with("pragma_") {
                Err(QueryError::NotAllowed("PRAGMA".to_owned()))
            } else if column_name.is_empty() || tables.contains(&name) {
                // Without a column the name may be that of a WITH clause: nothing is read.
                Ok(())
            } else {
                Err(QueryError::NotAllowed(format!("table {table_name}")))
            }
        }
        AuthAction::Function { function_name } => {
            let name = function_name.to_lowercase();
            let listed = |list: &[&str]| list.contains(&name.as_str());
            if listed(FUNCTIONS) || listed(CALENDAR) || listed(CLOCK) && context.accessor.is_none()
            {
                Ok(())
            } else {
                Err(QueryError::FunctionNotAllowed(name))
            }
        }
        AuthAction::Pragma { .. } => Err(QueryError::NotAllowed("PRAGMA".to_owned())),
        AuthAction::Attach { .. } => Err(QueryError::NotAllowed("ATTACH".to_owned())),
        AuthAction::Detach { .. } => Err(QueryError::NotAllowed("DETACH".to_owned())),
        _ => Err(QueryError::OnlySelect),
    }
}

/// Refuses by the first word what SQLite would run without asking (`EXPLAIN`, `VACUUM`), and any
/// text that is not one statement. A trailing `;` is layout; what follows it is not.
pub(super) fn one_select(tokens: &[Token]) -> Result<(), QueryError> {
    let body = match tokens {
        [body @ .., last] if last.is_symbol(";") => body,
        all => all,
    };
    let Some(first) = body.iter().find(|token| token.kind != Kind::Comment) else {
        return Err(QueryError::OneStatement);
    };
    if body.iter().any(|token| token.is_symbol(";")) {
        return Err(QueryError::OneStatement);
    }
    let word = first.text.to_uppercase();
    match word.as_str() {
        "SELECT" | "WITH" | "VALUES" if first.kind == Kind::Word => reads_clock(body),
        "ATTACH" | "DETACH" | "VACUUM" | "PRAGMA" => Err(QueryError::NotAllowed(word)),
        _ => Err(QueryError::OnlySelect),
    }
}

/// Refuses a query that could read the clock, because its result would differ from day to day.
/// The date functions do so for the text `now` (or `subsec` alone) and for a missing argument, so
/// beside them nothing may stand that writes such a text: no literal that holds it, no
/// concatenation, no function that makes text. A database that stores `now` itself still could.
fn reads_clock(tokens: &[Token]) -> Result<(), QueryError> {
    let clock = || Err(QueryError::ReadsClock);
    let named =
        |list: &[&str], at: usize| list.iter().any(|n| tokens[at].text.eq_ignore_ascii_case(n));
    let calls = |at: usize| {
        tokens.get(at + 1).is_some_and(|next| next.is_symbol("("))
            && matches!(tokens[at].kind, Kind::Word | Kind::Quoted)
    };
    if (0..tokens.len()).any(|at| named(CLOCK, at) && (tokens[at].kind == Kind::Word || calls(at)))
    {
        return clock();
    }
    let calendar: Vec<usize> =
        (0..tokens.len()).filter(|&at| calls(at) && named(CALENDAR, at)).collect();
    if calendar.is_empty() {
        return Ok(());
    }
    for (at, token) in tokens.iter().enumerate() {
        let text = token.text.to_lowercase();
        let literal = matches!(token.kind, Kind::Text | Kind::Quoted);
        let says_now = literal && (text.contains("now") || text.contains("subsec"));
        let writes_text = calls(at) && named(FUNCTIONS, at) && !named(BESIDE_CALENDAR, at);
        if says_now || writes_text || token.kind == Kind::Blob || token.is_symbol("||") {
            return clock();
        }
    }
    for at in calendar {
        let needed = if tokens[at].is_word("strftime") { 2 } else { 1 };
        if arguments(&tokens[at + 1..]) < needed {
            return clock();
        }
    }
    Ok(())
}

/// Number of arguments of the call whose opening parenthesis stands first.
fn arguments(tokens: &[Token]) -> usize {
    let mut depth = 0usize;
    let mut commas = 0;
    for (place, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" if token.kind == Kind::Symbol => depth += 1,
            ")" if token.kind == Kind::Symbol => depth = depth.saturating_sub(1),
            "," if token.kind == Kind::Symbol && depth == 1 => commas += 1,
            _ => {}
        }
        if depth == 0 {
            return if place == 1 { 0 } else { commas + 1 };
        }
    }
    commas + 1
}
