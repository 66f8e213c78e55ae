//! SQLite's own lexical rules, so that no check sees other words than the database does.
//!
//! `sqlparser` has a tokenizer too, for the union of many dialects; it refuses texts that SQLite
//! takes and reads some of them differently, which a check of what may run cannot afford.
//! Total and linear: every text has tokens, each byte is looked at a constant number of times.

/// What a token is to SQLite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A bare word: keyword, name or function.
    Word,
    /// `"x"`, `` `x` `` or `[x]`: a name, or text where SQLite finds no such name.
    Quoted,
    /// `'x'`: text.
    Text,
    /// `x'6e'`: bytes.
    Blob,
    /// `12`, `1.5e3`, `0xff`.
    Number,
    /// An operator or separator.
    Symbol,
    /// `-- ...` or `/* ... */`.
    Comment,
}

/// One token. `text` is without quotes, doubled quotes inside resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl Token {
    /// True for a bare word, whatever its case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// True for this operator or separator.
    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }
}

/// The tokens of a text in order, spaces left out.
pub(crate) fn tokens(sql: &str) -> Vec<Token> {
    let byte = sql.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < byte.len() {
        let (kind, end) = match byte[at] {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => {
                at += 1;
                continue;
            }
            b'-' if byte.get(at + 1) == Some(&b'-') => (Kind::Comment, find(byte, at, b"\n")),
            b'/' if byte.get(at + 1) == Some(&b'*') => (Kind::Comment, find(byte, at + 2, b"*/")),
            b'\'' => (Kind::Text, quoted(byte, at, b'\'')),
            b'"' => (Kind::Quoted, quoted(byte, at, b'"')),
            b'`' => (Kind::Quoted, quoted(byte, at, b'`')),
            b'[' => (Kind::Quoted, find(byte, at, b"]")),
            b'x' | b'X' if byte.get(at + 1) == Some(&b'\'') => {
                (Kind::Blob, quoted(byte, at + 1, b'\''))
            }
            b'0'..=b'9' => (Kind::Number, number(byte, at)),
            b'.' if byte.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                (Kind::Number, number(byte, at))
            }
            first if is_word(first) => {
                (Kind::Word, at + byte[at..].iter().take_while(|b| is_word(**b)).count())
            }
            _ => (Kind::Symbol, at + symbol_length(&byte[at..])),
        };
        tokens.push(Token { kind, text: content(&sql[at..end], kind) });
        at = end;
    }
    tokens
}

/// Bytes of a name: letters, digits, `_`, `$` and everything beyond ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// One past the next `end` at or after `from`, or the text's end where it is never closed.
fn find(byte: &[u8], from: usize, end: &[u8]) -> usize {
    byte[from.min(byte.len())..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(byte.len(), |place| from + place + end.len())
}

/// One past the closing quote of the literal that opens at `open`; a doubled quote is a quote.
fn quoted(byte: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < byte.len() {
        if byte[at] != quote {
            at += 1;
        } else if byte.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    byte.len()
}

/// One past a number; a sign belongs to it only inside an exponent.
fn number(byte: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < byte.len() {
        let exponent = at > from && matches!(byte[at - 1], b'e' | b'E');
        let sign = exponent && matches!(byte[at], b'+' | b'-');
        let hexadecimal = byte[from..at].starts_with(b"0x") || byte[from..at].starts_with(b"0X");
        if !(is_word(byte[at]) || byte[at] == b'.' || sign && !hexadecimal) {
            break;
        }
        at += 1;
    }
    at
}

/// Operators of two bytes are one token, so that layout cannot change a comparison of tokens.
fn symbol_length(byte: &[u8]) -> usize {
    const PAIRS: [&[u8]; 9] = [b"||", b"<=", b">=", b"<>", b"!=", b"==", b"<<", b">>", b"->"];
    if PAIRS.iter().any(|pair| byte.starts_with(pair)) { 2 } else { 1 }
}

/// The token's text without its quotes.
fn content(raw: &str, kind: Kind) -> String {
    let inner = match kind {
        Kind::Text | Kind::Quoted => raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default(),
        Kind::Blob => raw.get(2..raw.len().saturating_sub(1)).unwrap_or_default(),
        _ => return raw.to_owned(),
    };
    match raw.as_bytes()[0] {
        b'\'' => inner.replace("''", "'"),
        b'"' => inner.replace("\"\"", "\""),
        b'`' => inner.replace("``", "`"),
        _ => inner.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_are_those_of_sqlite() {
        let show = |sql| {
            let list: Vec<String> =
                tokens(sql).iter().map(|t| format!("{:?}:{}", t.kind, t.text)).collect();
            list.join(" ")
        };
        for (sql, expect) in [
            ("SELECT a.b", "Word:SELECT Word:a Symbol:. Word:b"),
            ("'it''s' \"a\"\"b\" [c d] `e`", "Text:it's Quoted:a\"b Quoted:c d Quoted:e"),
            ("1.5e-3<>.5!=0xfe", "Number:1.5e-3 Symbol:<> Number:.5 Symbol:!= Number:0xfe"),
            (
                "x'6e6f' -- c\n/* d */ a||b",
                "Blob:6e6f Comment:-- c\n Comment:/* d */ Word:a Symbol:|| Word:b",
            ),
            ("'never closed", "Text:never close"),
            ("é = 'ü'", "Word:é Symbol:= Text:ü"),
            ("/*", "Comment:/*"),
            ("", ""),
        ] {
            assert_eq!(show(sql), expect, "tokens of `{sql}`");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn every_text_has_tokens(sql in "\\PC{0,60}") {
            tokens(&sql);
        }
    }
}
