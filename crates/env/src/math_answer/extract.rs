//! Where an attempt's final answer stands.

use serde::Deserialize;

/// How a final answer is marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `\boxed{…}`: of the boxes that are complete, the one that opens last; so the last of
    /// several, and the inner one of two that are nested.
    #[default]
    Boxed,
    /// The rest of the last line that begins with `####`, as in GSM8K.
    Hashes,
    /// `<answer>…</answer>`: the pair that closes last.
    Tags,
}

const BOX: &str = "\\boxed{";
const HASHES: &str = "####";
const TAGS: [&str; 2] = ["<answer>", "</answer>"];

impl Form {
    /// What the policy is told.
    pub(super) fn instructions(self) -> &'static str {
        match self {
            Form::Boxed => "Think step by step, and put your final answer within \\boxed{}.",
            Form::Hashes => {
                "Think step by step, and end with a line that holds #### and your final answer."
            }
            Form::Tags => {
                "Think step by step, and write your final answer between <answer> and </answer>."
            }
        }
    }

    /// Texts that end an attempt.
    pub(super) fn stop(self) -> Option<&'static str> {
        (self == Form::Tags).then_some(TAGS[1])
    }

    /// The marks: words that a tokenizer for this form should know.
    pub fn marks(self) -> &'static [&'static str] {
        match self {
            Form::Boxed => &["\\boxed{", "\\", "boxed", "{", "}"],
            Form::Hashes => &[HASHES],
            Form::Tags => &TAGS,
        }
    }

    /// The final answer of a step as it is written; `None` where none is complete or it is blank.
    pub fn find(self, text: &str) -> Option<&str> {
        let found = match self {
            Form::Boxed => boxed(text),
            Form::Hashes => text.lines().rev().find_map(|line| line.trim().strip_prefix(HASHES)),
            Form::Tags => text.rfind(TAGS[1]).and_then(|end| {
                let begin = text[..end].rfind(TAGS[0])? + TAGS[0].len();
                Some(&text[begin..end])
            }),
        };
        found.map(str::trim).filter(|answer| !answer.is_empty())
    }
}

/// One pass over the braces, whatever they nest.
fn boxed(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    // Where the content of each open brace begins, and whether it is a box.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut found: Option<(usize, usize)> = None;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped = at > 0 && bytes[at - 1] == b'\\';
        match byte {
            b'{' if !escaped => open.push((at + 1, text[..=at].ends_with(BOX))),
            b'}' if !escaped => {
                let Some((begin, is_box)) = open.pop() else { continue };
                let first = stepwell_mutant::planted(25) && found.is_some();
                if is_box && !first && found.is_none_or(|(last, _)| begin > last) {
                    found = Some((begin, at));
                }
            }
            _ => {}
        }
    }
    found.map(|(begin, end)| &text[begin..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_that_opens_last_among_the_complete_ones() {
        for (text, expect) in [
            ("so \\boxed{5}", Some("5")),
            ("\\boxed{5}, no: \\boxed{6}.", Some("6")),
            ("\\boxed{\\boxed{5}}", Some("5")),
            ("\\boxed{x = \\boxed{5}}", Some("5")),
            ("\\boxed{5} and \\boxed{6", Some("5")),
            ("\\boxed{\\boxed{5}", Some("5")),
            ("\\boxed{\\frac{1}{2}}", Some("\\frac{1}{2}")),
            ("\\boxed{\\{1, 2\\}}", Some("\\{1, 2\\}")),
            ("```\n\\boxed{7}\n```", Some("7")),
            ("{ \\boxed{5} }}", Some("5")),
            ("put it within \\boxed{}.", None),
            ("\\boxed{ }", None),
            ("\\boxed 5", None),
            ("boxed{5}", None),
            ("\\boxed{5", None),
            ("", None),
            ("\\boxed{é}", Some("é")),
        ] {
            assert_eq!(Form::Boxed.find(text), expect, "{text}");
        }
    }

    #[test]
    fn the_other_forms() {
        for (text, expect) in
            [("a\n#### 5\n", Some("5")), ("#### 5\nor\n  ####6", Some("6")), ("### 5", None)]
        {
            assert_eq!(Form::Hashes.find(text), expect, "{text}");
        }
        for (text, expect) in [
            ("<answer>5</answer>", Some("5")),
            ("<answer>5</answer><answer>6</answer>", Some("6")),
            ("<answer>5", None),
            ("5</answer>", None),
            ("<answer>5<answer>6</answer>", Some("6")),
        ] {
            assert_eq!(Form::Tags.find(text), expect, "{text}");
        }
    }

    #[test]
    fn a_million_open_boxes_take_one_pass() {
        let text = BOX.repeat(1_000_000) + "5}";
        assert_eq!(Form::Boxed.find(&text), Some("5"));
    }
}
