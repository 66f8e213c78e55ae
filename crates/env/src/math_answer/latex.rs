//! LaTeX as plain text, as far as answers use it: `\dfrac12\text{ cm}` is `1/2 cm`.
//!
//! Fractions become quotients, text loses its command, spacing and sizes disappear, degrees are a
//! unit and vanish. A command that is not known stays as it is, so that equal texts stay equal.

/// Commands whose argument is text.
const TEXT: [&str; 9] =
    ["text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathit", "mbox", "operatorname"];
/// Commands that only change how things look.
const LOOKS: [&str; 13] = [
    "left",
    "right",
    "big",
    "Big",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "displaystyle",
    "limits",
    "circ",
    "degree",
    "degrees",
];

/// The plain text.
pub(super) fn plain(text: &str) -> String {
    let text = undelimited(text.trim());
    let plain = Reader { rest: text }.sequence(false);
    let words: Vec<&str> = plain.split_whitespace().collect();
    let joined = words.join(" ");
    let ended = joined.strip_suffix('.').unwrap_or(&joined);
    assigned(ended).trim().to_owned()
}

/// Without the signs of mathematics around it; a single `$` is a currency.
fn undelimited(text: &str) -> &str {
    for (begin, end) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        let inner = text.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
        if let Some(inner) = inner.filter(|inner| !inner.contains('$')) {
            return inner.trim();
        }
    }
    text
}

/// The right side of `x = 5`.
fn assigned(text: &str) -> &str {
    match text.split_once('=') {
        Some((left, right)) if !right.contains('=') => {
            let mut name = left.trim().chars();
            let letter = name.next().is_some_and(char::is_alphabetic);
            if letter && name.next().is_none() { right } else { text }
        }
        _ => text,
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    /// Up to the closing brace of the group, or to the end.
    fn sequence(&mut self, grouped: bool) -> String {
        let mut out = String::new();
        while let Some(letter) = self.next() {
            match letter {
                '}' if grouped => return out,
                '}' => {}
                '{' => out += &self.sequence(true),
                '\\' => self.command(&mut out),
                '^' => power(&mut out, &self.argument()),
                '~' => out.push(' '),
                other => out.push(other),
            }
        }
        out
    }

    /// A group, a command or a single character.
    fn argument(&mut self) -> String {
        self.rest = self.rest.trim_start();
        match self.next() {
            None => String::new(),
            Some('{') => self.sequence(true),
            Some('\\') => {
                let mut out = String::new();
                self.command(&mut out);
                out
            }
            Some(letter) => letter.to_string(),
        }
    }

    fn command(&mut self, out: &mut String) {
        let length = self.rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        match name {
            "" => match self.next() {
                Some(sign @ ('%' | '$' | '{' | '}' | '#' | '&' | '_')) => out.push(sign),
                Some(' ' | '\\') => out.push(' '),
                _ => {}
            },
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                let (top, bottom) = (self.argument(), self.argument());
                fraction(out, top.trim(), bottom.trim());
            }
            "sqrt" => {
                let under = self.argument();
                *out += &format!("sqrt({})", under.trim());
            }
            "cdot" | "times" => out.push('*'),
            "div" => out.push('/'),
            "quad" | "qquad" => out.push(' '),
            name if TEXT.contains(&name) => *out += &self.argument(),
            name if LOOKS.contains(&name) => {}
            name => *out += &format!("\\{name} "),
        }
    }
}

fn fraction(out: &mut String, top: &str, bottom: &str) {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let atom = |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | ','));
    let mixed = out.trim_end().ends_with(|letter: char| letter.is_ascii_digit());
    if mixed && digits(top) && digits(bottom) {
        out.push(' ');
    }
    if atom(top) && atom(bottom) {
        *out += &format!("{top}/{bottom}");
    } else {
        *out += &format!("({top})/({bottom})");
    }
}

/// Nothing where the exponent was a degree sign.
fn power(out: &mut String, exponent: &str) {
    match exponent.trim() {
        "" => {}
        one if one.chars().all(char::is_alphanumeric) => *out += &format!("^{one}"),
        more => *out += &format!("^({more})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_use() {
        for (text, expect) in [
            ("5", "5"),
            (" $5$ ", "5"),
            ("$5", "$5"),
            ("\\$5", "$5"),
            ("\\(x\\)", "x"),
            ("\\[ 7 \\]", "7"),
            ("\\frac{1}{2}", "1/2"),
            ("\\dfrac12", "1/2"),
            ("\\frac{\\sqrt{3}}{2}", "(sqrt(3))/(2)"),
            ("3\\frac{1}{2}", "3 1/2"),
            ("3 \\tfrac{1}{2}", "3 1/2"),
            ("5\\text{ cm}", "5 cm"),
            ("90^\\circ", "90"),
            ("90^{\\circ}", "90"),
            ("1{,}000", "1,000"),
            ("50\\%", "50%"),
            ("x = 5", "5"),
            ("x = y = 5", "x = y = 5"),
            ("\\left( 1, 2 \\right)", "( 1, 2 )"),
            ("3 \\times 10^{5}", "3 * 10^5"),
            ("10^{-3}", "10^(-3)"),
            ("2\\pi", "2\\pi"),
            ("2\\pi r", "2\\pi r"),
            ("5.", "5"),
            ("\\", ""),
            ("\\frac", "/"),
            ("}}{{", ""),
        ] {
            assert_eq!(plain(text), expect, "{text}");
        }
    }
}
