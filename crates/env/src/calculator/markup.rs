//! What a step of the policy says: text with `<calc>expression</calc>` or
//! `<answer>number</answer>`, and the calculator's ` <result>value</result>`.

use crate::calls::CALC;

pub use crate::calls::{Action, Malformed};

/// Every tag, opening and closing: words that any tokenizer for this markup should know.
pub fn tags() -> impl Iterator<Item = String> {
    CALC.tags()
}

/// Texts that end a step.
pub(super) const STOPS: [&str; 2] = CALC.stops;

/// Reads one step: everything the policy wrote since the last observation.
///
/// # Errors
/// The first fault of form.
pub fn parse(step: &str) -> Result<Action, Malformed> {
    CALC.parse(step)
}

/// The observation that answers a call: the value, or what is wrong. Neither holds more of the
/// policy's text than one character or digits, so that no tag can come back through it.
pub(super) fn observation(result: &str) -> String {
    format!(" <result>{result}</result>\n")
}
