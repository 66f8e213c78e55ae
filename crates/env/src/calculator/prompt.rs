//! What the policy reads first.
//!
//! All of it stands in the user's message, and the question is followed by a cue. Of 16 generated
//! problems a chat model of 135M parameters (SmolLM2-135M-Instruct, four-bit weights, greedy) made
//! a call within 20 tokens for 10, and 3 of those calls gave the answer. It made none where
//! instructions and examples stood in the system's message, with this cue or without, none without
//! the cue, and 2 with a single example.

use super::config::Config;
use super::expression::evaluate;
use super::markup;

/// What a model that was never trained on the markup has to be told.
const INSTRUCTIONS: &str = "\
Solve the problem step by step. To calculate, write an expression between <calc> and </calc>. Its \
value follows between <result> and </result>, which you never write yourself. When you know the \
answer, write it as a number between <answer> and </answer>.";

/// What a model that was never trained on the markup needs to be told last.
const CUE: &str = "Answer in the same form, beginning with <calc>.";

/// A problem worked as an attempt would be.
pub(super) struct Example {
    question: &'static str,
    /// Expressions in order; the last one's value is the answer.
    calls: &'static [&'static str],
}

/// One step, two steps, a quotient, a share: in the order in which they help most.
pub(super) const EXAMPLES: [Example; 4] = [
    Example { question: "A box holds 12 pens. How many pens do 5 boxes hold?", calls: &["12 * 5"] },
    Example {
        question: "Mia had 40 stamps. She gave 14 to her brother and then bought 9 more. How many \
                   stamps does Mia have now?",
        calls: &["40 - 14", "26 + 9"],
    },
    Example {
        question: "Four friends share 52 dollars equally. How many dollars does each of them get?",
        calls: &["52 / 4"],
    },
    Example {
        question: "A coat costs 80 dollars and is sold at 25% off. What does it cost now?",
        calls: &["25% * 80", "80 - 20"],
    },
];

/// A task as the policy reads it. With neither instructions nor examples: the question alone, for
/// models that learn the markup from demonstrations.
pub(super) fn user(question: &str, config: &Config) -> String {
    let rules = config.instructions.then(|| format!("{INSTRUCTIONS}\n\n"));
    let worked = EXAMPLES[..config.examples].iter().map(|example| example.text() + "\n");
    let cue = if config.instructions || config.examples > 0 { CUE } else { "" };
    let asked = [asked(question), cue.to_owned()];
    rules.into_iter().chain(worked).chain(asked).collect()
}

/// A question as it stands in examples and tasks.
pub(super) fn asked(question: &str) -> String {
    format!("Question: {question}\n")
}

impl Example {
    /// Byte for byte what the same attempt would leave behind.
    fn text(&self) -> String {
        let mut text = asked(self.question);
        let mut last = String::new();
        for call in self.calls {
            last = match evaluate(call) {
                Ok(evaluated) => evaluated.value.to_string(),
                Err(fault) => format!("error: {fault}"),
            };
            text += &format!("<calc>{call}</calc>{}", markup::observation(&last));
        }
        text + &format!("<answer>{last}</answer>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_instructions_and_worked_examples() {
        let config =
            |instructions, examples| Config { instructions, examples, ..Config::default() };
        assert_eq!(user("q", &config(false, 0)), "Question: q\n");
        let one = "Question: A box holds 12 pens. How many pens do 5 boxes hold?\n\
                   <calc>12 * 5</calc> <result>60</result>\n<answer>60</answer>\n";
        let asked = "Question: q\nAnswer in the same form, beginning with <calc>.";
        assert_eq!(user("q", &config(false, 1)), format!("{one}\n{asked}"));
        assert_eq!(user("q", &config(true, 1)), format!("{INSTRUCTIONS}\n\n{one}\n{asked}"));
        let all = user("q", &config(true, 4));
        let values: Vec<&str> = all.split("<answer>").skip(2).map(|t| &t[..2]).collect();
        assert_eq!(values, ["60", "35", "13", "60"]);
        assert!(!all.contains("error"), "{all}");
    }
}
