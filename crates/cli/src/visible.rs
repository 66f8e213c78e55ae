//! Text that others wrote, made safe to show (P18): a control character, an escape or a
//! bidirectional override cannot move the cursor, change the title or reorder a line; it is seen.

/// One line: line ends are shown as `⏎`, every other control as its picture.
pub(crate) fn visible(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '⏎' } else { picture(c) }).collect()
}

/// Several lines: line ends and tabs stay.
pub(crate) fn visible_lines(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { picture(c) }).collect()
}

/// At most `width` characters of a text's one line; what is cut is told by `…`.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = visible(&words.join(" "));
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// At most `width` characters of a text's one line, with its beginning and its end: of a step, the
/// end is what was decided.
pub(crate) fn both_ends(text: &str, width: usize) -> String {
    let whole = shortened(text, usize::MAX);
    let n = whole.chars().count();
    if n <= width {
        return whole;
    }
    let kept = width.saturating_sub(3);
    let head: String = whole.chars().take(kept / 3).collect();
    let tail: String = whole.chars().skip(n - (kept - kept / 3)).collect();
    format!("{} … {}", head.trim_end(), tail.trim_start())
}

/// A text's words in lines of at most `width` characters, at most `lines` of them; a longer text
/// loses its middle.
pub(crate) fn wrapped(text: &str, width: usize, lines: usize) -> Vec<String> {
    let mut out = vec![String::new()];
    for word in both_ends(text, width * lines.saturating_sub(1)).split(' ') {
        let last = out.last_mut().expect("there is a line from the start");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            out.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    out
}

/// A picture of one control character.
fn picture(c: char) -> char {
    let code = c as u32;
    match code {
        0x00..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '␡',
        // C1 controls, among them the one-character forms of CSI, OSC and DCS.
        0x80..=0x9f => '␛',
        // Marks, overrides and isolates of direction; line and paragraph separators; the tags
        // and zero-width characters that hide text.
        0x061c
        | 0x200b..=0x200f
        | 0x2028..=0x202e
        | 0x2060..=0x206f
        | 0xfeff
        | 0xe0000..=0xe007f => '\u{fffd}',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_reaches_the_terminal() {
        let hostile = "a\u{1b}]52;c;AAAA\u{7}b\rc\u{9b}2Jd\u{202e}e\u{0}\u{7f}\u{2066}f\tg\nh";
        assert_eq!(visible(hostile), "a␛]52;c;AAAA␇b␍c␛2Jd\u{fffd}e␀␡\u{fffd}f␉g⏎h");
        let lines = visible_lines(hostile);
        assert!(lines.chars().all(|c| c >= ' ' || c == '\n' || c == '\t'), "{lines:?}");
        assert_eq!(visible_lines("grün 数\tx\n"), "grün 数\tx\n");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        assert_eq!(shortened("a  b\n c", 10), "a b c");
        assert_eq!(shortened("abcdefgh", 5), "abcd…");
        assert_eq!(shortened("abcde", 5), "abcde");
        assert_eq!(both_ends("abc def ghi jkl", 12), "abc … hi jkl");
        assert_eq!(both_ends("abc\ndef", 12), "abc def");
        assert_eq!(wrapped("ab cd ef", 5, 3), ["ab cd", "ef"]);
    }
}
