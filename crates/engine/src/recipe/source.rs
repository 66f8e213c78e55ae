//! The recipe's bytes: what is refused before anything is parsed (rows 9 and 10).

use std::path::Path;

use toml_parser::lexer::TokenKind;

use crate::bounded;

/// Largest recipe. The longest anyone wrote by hand is a thousandth of it.
pub(crate) const BYTES_MAX: u64 = 1 << 20;
/// Deepest nesting of arrays, tables and dotted keys.
pub(crate) const DEPTH_MAX: usize = 64;

/// Reads a recipe as text.
///
/// # Errors
/// A sentence for whatever is not a UTF-8 file of bearable size.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let cannot = |why: String| format!("cannot read recipe: {why}");
    bounded::read(path, BYTES_MAX).and_then(decode).map_err(cannot)
}

fn decode(bytes: Vec<u8>) -> Result<String, String> {
    let utf16_mark = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    // Latin text in UTF-16 without a mark: every other byte is zero.
    let (zeros, of) = (bytes.iter().take(64).filter(|b| **b == 0).count(), bytes.len().min(64));
    let utf16_like = zeros > 0 && zeros * 3 >= of && zeros * 3 <= of * 2;
    if utf16_mark || (utf16_like && std::str::from_utf8(&bytes).is_ok()) {
        return Err("found UTF-16; save as UTF-8".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        format!("byte {} is not UTF-8; save as UTF-8", e.utf8_error().valid_up_to())
    })?;
    refuse(&text).map_or(Ok(text), Err)
}

/// What is wrong with text that a parser would read differently from a person.
pub(super) fn refuse(text: &str) -> Option<String> {
    if text.starts_with('\u{feff}') {
        return Some("found a byte order mark; save as UTF-8 without one".to_owned());
    }
    if text.contains('\0') {
        return Some("it is a binary file (it holds a zero byte)".to_owned());
    }
    None
}

/// The byte at which nesting first exceeds [`DEPTH_MAX`]. Reads the parser's own tokens, and no
/// bracket closes but the one that is open, so that whatever the parser makes of a broken text, it
/// does not go deeper than this says.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    // What would close each bracket that is open, and how deep its outside is.
    let mut open: Vec<(TokenKind, usize)> = Vec::new();
    let (mut depth, mut dots) = (0, 0);
    for token in toml_parser::Source::new(text).lex() {
        let closing = match token.kind() {
            TokenKind::LeftSquareBracket => Some(TokenKind::RightSquareBracket),
            TokenKind::LeftCurlyBracket => Some(TokenKind::RightCurlyBracket),
            _ => None,
        };
        match (closing, token.kind(), open.last()) {
            (Some(closing), _, _) => {
                open.push((closing, depth));
                (depth, dots) = (depth + dots + 1, 0);
            }
            (None, kind, Some(&(closing, outside))) if kind == closing => {
                open.pop();
                (depth, dots) = (outside, 0);
            }
            (None, TokenKind::Dot, _) => dots += 1,
            (None, TokenKind::Comma | TokenKind::Newline, _) => dots = 0,
            _ => {}
        }
        if depth + dots > DEPTH_MAX {
            return Some(token.span().start());
        }
    }
    None
}

/// Line and column, from 1, of a byte.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let offset = offset.min(text.len());
    let before = &text.as_bytes()[..offset];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_and_dots_outside_of_text() {
        assert_eq!(too_deep("a = \"[[[[\" # [[[\n"), None);
        assert_eq!(too_deep(&format!("a = {}{}", "[".repeat(64), "]".repeat(64))), None);
        assert_eq!(too_deep(&format!("a = {}", "[".repeat(65))), Some(4 + 64));
        assert!(too_deep(&format!("[{}a]", "a.".repeat(64))).is_some());
        assert_eq!(too_deep(&"a.b = 1.5\n".repeat(1000)), None);
        assert_eq!(too_deep("# comment\n'''\n[[["), None);
        assert_eq!(too_deep("\"unclosed \\"), None);
        assert_eq!(too_deep("#"), None);
        // A quote within a word begins no text: the `#` is text, and what follows it is not.
        assert!(too_deep(&format!("a = {{b\" = \"c # \" = {}", "{d = ".repeat(65))).is_some());
        // A table does not end with `]`.
        assert!(too_deep(&format!("a = {}", "{b = ]".repeat(65))).is_some());
        // Keys of tables in tables add up.
        assert!(too_deep(&format!("a = {}", "{b.c.d = ".repeat(22))).is_some());
        assert_eq!(too_deep(&format!("a = {}", "{b.c.d = 1}, ".repeat(99))), None);
    }

    #[test]
    fn positions_count_characters_from_one() {
        assert_eq!(position("a\nbc", 0), (1, 1));
        assert_eq!(position("a\nbc", 3), (2, 2));
        assert_eq!(position("\u{e9}x", 2), (1, 2));
        assert_eq!(position("", 9), (1, 1));
    }
}
