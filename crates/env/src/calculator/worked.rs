//! Attempts worked by somebody who knows: what a warm-up imitates.

use stepwell_tree::{Demonstration, Environment as _, Segment, Task};

use super::expression::evaluate;
use super::tasks::Evaluation;
use super::{CalculatorEnvironment, answer, markup, tasks};

/// An attempt as it is written: calls, what the calculator answers, and the answer.
#[derive(Default)]
pub(super) struct Attempt {
    segments: Vec<Segment>,
}

impl Attempt {
    /// A call and its result, which is given back.
    pub(super) fn call(&mut self, expression: &str) -> String {
        let value = match evaluate(expression) {
            Ok(found) => found.value.to_string(),
            Err(fault) => format!("error: {fault}"),
        };
        self.act(format!("<calc>{expression}</calc>"));
        let text = markup::observation(&value);
        self.segments.push(Segment { text, train: false, observation: true });
        value
    }

    /// The answer, which ends it.
    pub(super) fn answer(mut self, answer: &str) -> Vec<Segment> {
        self.act(format!("<answer>{answer}</answer>"));
        self.segments
    }

    fn act(&mut self, text: String) {
        self.segments.push(Segment { text, train: true, observation: false });
    }
}

impl CalculatorEnvironment {
    /// The task's gold steps as calls, then its answer. `None` where it has no steps, where one
    /// does not hold, or where the last does not give the answer: such an attempt would teach a
    /// mistake. More steps than this environment grants calls are none either.
    pub fn worked(&self, task: &Task) -> Option<Demonstration> {
        let gold = answer::read(task.field("answer")?).ok()?;
        let steps = tasks::steps(task).ok()?;
        let (last, granted) = (steps.last()?, self.config().max_interactions as usize);
        let holds = |step: &tasks::Step| matches!(step.evaluate(), Evaluation::Holds(_));
        if steps.len() > granted || !steps.iter().all(holds) {
            return None;
        }
        if !evaluate(&last.expression).is_ok_and(|found| found.value.agrees(gold)) {
            return None;
        }
        let mut attempt = Attempt::default();
        for step in &steps {
            attempt.call(&step.expression);
        }
        let segments = attempt.answer(&gold.to_string());
        Some(Demonstration { opening: self.opening(task), segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calculator::Config;

    fn task(answer: &str, steps: &str) -> Task {
        let fields = [("answer", answer), ("steps", steps)];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Task { id: "t".to_owned(), question: "How many?".to_owned(), fields: fields.into() }
    }

    #[test]
    fn gold_steps_become_calls_and_what_teaches_a_mistake_is_left_out() {
        let config = Config { max_interactions: 2, ..Config::default() };
        let environment = CalculatorEnvironment::new(&[], config).unwrap();
        let first = r#"{"expression":"48/2","value":"24"}"#;
        let second = r#"{"expression":"48+24","value":"72"}"#;
        let worked = environment.worked(&task("72", &format!("[{first},{second}]"))).unwrap();
        let texts: Vec<&str> = worked.segments.iter().map(|own| own.text.as_str()).collect();
        let expected = [
            "<calc>48/2</calc>",
            " <result>24</result>\n",
            "<calc>48+24</calc>",
            " <result>72</result>\n",
            "<answer>72</answer>",
        ];
        assert_eq!(texts, expected);
        assert!(worked.segments.iter().all(|own| own.train != own.observation));
        for (answer, steps) in [
            ("72", "[]".to_owned()),
            ("73", format!("[{first},{second}]")),
            ("72", format!("[{second},{first}]")),
            ("72", format!("[{first},{first},{second}]")),
            ("25", r#"[{"expression":"48/2","value":"25"}]"#.to_owned()),
            ("24", r#"[{"expression":"24","value":"24"}]"#.to_owned()),
            ("many", format!("[{first}]")),
        ] {
            assert!(environment.worked(&task(answer, &steps)).is_none(), "{answer} {steps}");
        }
    }
}
