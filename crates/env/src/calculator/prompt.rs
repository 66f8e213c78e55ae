//! What the policy reads first.

use super::config::Config;
use super::expression::evaluate;
use super::markup;

/// What a model that was never trained on the markup has to be told.
const INSTRUCTIONS: &str = "\
Solve the problem step by step. To calculate, write an expression between <calc> and </calc>. Its \
value follows between <result> and </result>, which you never write yourself. When you know the \
answer, write it as a number between <answer> and </answer>.";

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

/// The text that is the same for every task; empty where neither instructions nor examples are
/// asked for.
pub(super) fn system(config: &Config) -> String {
    let rules = config.instructions.then(|| format!("{INSTRUCTIONS}\n"));
    let worked = EXAMPLES[..config.examples].iter().map(Example::text);
    rules.into_iter().chain(worked).collect::<Vec<String>>().join("\n")
}

/// A task as the policy reads it.
pub(super) fn user(question: &str) -> String {
    format!("Question: {question}\n")
}

impl Example {
    /// Byte for byte what the same attempt would leave behind.
    fn text(&self) -> String {
        let mut text = user(self.question);
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
        assert_eq!(system(&config(false, 0)), "");
        let one = "Question: A box holds 12 pens. How many pens do 5 boxes hold?\n\
                   <calc>12 * 5</calc> <result>60</result>\n<answer>60</answer>\n";
        assert_eq!(system(&config(false, 1)), one);
        assert_eq!(system(&config(true, 1)), format!("{INSTRUCTIONS}\n\n{one}"));
        let all = system(&config(true, 4));
        let values: Vec<&str> = all.split("<answer>").skip(2).map(|t| &t[..2]).collect();
        assert_eq!(values, ["60", "35", "13", "60"]);
        assert!(!all.contains("error"), "{all}");
    }
}
