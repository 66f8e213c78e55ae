//! Tags of an attempt that calls a tool and reads its results, whatever the tool.
//!
//! ```text
//! attempt = { call, observation from the environment }, answer
//! call    = text, "<NAME>", anything, "</NAME>"
//! answer  = text, "<answer>", anything, "</answer>"
//! ```
//!
//! A model may think in any words before a call or an answer, but for the tags. A step ends with
//! its first closing tag; what follows is not read. The parser is total and linear.

/// The tags of one tool: `<name>`, `<answer>` and the environment's own `<result>`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    /// The names, in the order of [`Tag`].
    names: [&'static str; 3],
    /// Texts that end a step.
    pub(crate) stops: [&'static str; 2],
}

/// `<calc>`.
pub(crate) const CALC: Calls =
    Calls { names: ["calc", "answer", "result"], stops: ["</calc>", "</answer>"] };
/// `<python>`.
pub(crate) const PYTHON: Calls =
    Calls { names: ["python", "answer", "result"], stops: ["</python>", "</answer>"] };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tag {
    Call,
    Answer,
    Result,
}

/// What a step asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Do this and go on.
    Call(String),
    /// This is the answer.
    Answer(String),
}

/// Why a step asks for nothing. It ends the attempt at the lowest reward, whatever else it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Neither a call nor an answer was closed.
    NoAction,
    /// A tag inside another, or a closing tag that closes nothing.
    BadNesting,
    /// The policy wrote the environment's own tag.
    ForgedResult,
}

impl Calls {
    /// Every tag, opening and closing: words that any tokenizer for this markup should know.
    pub(crate) fn tags(self) -> impl Iterator<Item = String> {
        self.names.into_iter().flat_map(|name| [format!("<{name}>"), format!("</{name}>")])
    }

    /// Reads one step: everything the policy wrote since the last observation.
    ///
    /// # Errors
    /// The first fault of form.
    pub(crate) fn parse(self, step: &str) -> Result<Action, Malformed> {
        let mut open: Option<(Tag, usize)> = None;
        for (at, _) in step.match_indices('<') {
            let Some((tag, closing, length)) = self.tag_at(&step[at..]) else { continue };
            match (tag, closing, open) {
                (Tag::Result, _, _) => return Err(Malformed::ForgedResult),
                (_, false, None) => open = Some((tag, at + length)),
                (Tag::Call, true, Some((Tag::Call, begin))) => {
                    return Ok(Action::Call(step[begin..at].trim().to_owned()));
                }
                (Tag::Answer, true, Some((Tag::Answer, begin))) => {
                    return Ok(Action::Answer(step[begin..at].trim().to_owned()));
                }
                _ => return Err(Malformed::BadNesting),
            }
        }
        Err(Malformed::NoAction)
    }

    /// The tag that a text begins with, whether it closes, and its length.
    fn tag_at(self, text: &str) -> Option<(Tag, bool, usize)> {
        let inner = text.strip_prefix('<')?;
        let (closing, inner) = match inner.strip_prefix('/') {
            Some(inner) => (true, inner),
            None => (false, inner),
        };
        let tags = [Tag::Call, Tag::Answer, Tag::Result];
        let (name, tag) = self.names.iter().zip(tags).find(|(name, _)| {
            inner.strip_prefix(**name).is_some_and(|rest| rest.starts_with('>'))
        })?;
        Some((tag, closing, name.len() + 2 + usize::from(closing)))
    }

    /// A text that cannot be taken for markup where the policy reads it back.
    pub(crate) fn neutral(self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, name| {
            let opened = text.replace(&format!("<{name}>"), &format!("< {name} >"));
            opened.replace(&format!("</{name}>"), &format!("< /{name} >"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_up_to_its_first_closing_tag() {
        let call = |text: &str| Ok(Action::Call(text.to_owned()));
        let answer = |text: &str| Ok(Action::Answer(text.to_owned()));
        for (step, expect) in [
            ("<calc>1 + 2</calc>", call("1 + 2")),
            ("First, <calc> 1 + 2 </calc>", call("1 + 2")),
            ("1 < 2 and 3 > 2 <answer>4</answer>", answer("4")),
            ("<answer></answer>", answer("")),
            // Only the first counts, and nothing after it is read.
            ("<answer>4</answer><answer>5</answer>", answer("4")),
            ("<calc>1</calc><result>9</result><answer>9</answer>", call("1")),
            ("<answer><b>4</b></answer>", answer("<b>4</b>")),
            ("<|im_end|><answer>4</answer>", answer("4")),
            ("", Err(Malformed::NoAction)),
            ("the answer is 4", Err(Malformed::NoAction)),
            ("<answer>4", Err(Malformed::NoAction)),
            ("<Answer>4</Answer>", Err(Malformed::NoAction)),
            ("< answer >4</ answer>", Err(Malformed::NoAction)),
            ("<answer><answer>4</answer>", Err(Malformed::BadNesting)),
            ("4</answer>", Err(Malformed::BadNesting)),
            ("<calc>4</answer>", Err(Malformed::BadNesting)),
            ("<answer><calc>1</calc>", Err(Malformed::BadNesting)),
            ("<result>4</result><answer>4</answer>", Err(Malformed::ForgedResult)),
            ("<calc>1 <result> </calc>", Err(Malformed::ForgedResult)),
            ("</result>", Err(Malformed::ForgedResult)),
        ] {
            assert_eq!(CALC.parse(step), expect, "{step}");
        }
    }

    #[test]
    fn every_tag_is_listed_and_stops_are_tags() {
        let tags: Vec<String> = CALC.tags().collect();
        assert_eq!(tags.len(), 6);
        assert!(tags.iter().all(|tag| CALC.tag_at(tag).is_some_and(|(_, _, n)| n == tag.len())));
        assert!(CALC.stops.iter().all(|stop| tags.iter().any(|tag| tag == stop)));
    }
}
