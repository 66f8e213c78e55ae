//! Which checkpoints stay in the run folder.

use super::combine::Checker;
use super::environment::Environment;
use super::macros::{Settings, choices, settings};
use super::nearest::{list, nearest};
use super::section::Section;
use super::setting::Limit;
use super::stage::Stage;

choices! {
    /// Which value of the metric is the best.
    pub enum Best {
        /// The largest.
        Highest = "highest",
        /// The smallest.
        Lowest = "lowest",
    }
}

settings! {
    /// Which checkpoints stay; the newest whole one always does.
    pub struct Checkpoints {
        /// The newest that stay.
        keep_last: usize = 2, Limit::Whole(1, 1_000_000);
        /// The best that stay beside them, by `metric` on the development split; 0 is none. Where
        /// two are equal the earlier is the better.
        keep_best: usize = 0, Limit::Whole(0, 1_000_000);
        /// What `keep_best` compares: `accuracy`, `policy_steps_per_leaf`,
        /// `sampled_tokens_per_question`, or a part of the verdict as `part/NAME`.
        metric: String = "accuracy".to_owned(), Limit::Any;
        /// Which value of `metric` is the best.
        best: Best = Best::Highest, Limit::Any;
    }
}

impl Checkpoints {
    /// The table `checkpoints`, or its defaults.
    pub(super) fn read_from(top: &Section<'_>) -> Checkpoints {
        let Some(table) = top.child("checkpoints") else { return Checkpoints::default() };
        let read = Checkpoints::read(&table, Checkpoints::default());
        table.finish();
        read
    }
}

/// Refuses to look for the best of what is never measured.
pub(super) fn check(
    own: &Checkpoints,
    environment: &Environment,
    stages: &[Option<Stage>],
    checker: &Checker<'_, '_>,
) {
    let parts = environment.parts().into_iter().map(|part| format!("part/{part}"));
    let fixed = ["accuracy", "policy_steps_per_leaf", "sampled_tokens_per_question"];
    let known: Vec<String> = fixed.map(str::to_owned).into_iter().chain(parts).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    if !known.contains(&own.metric.as_str()) {
        let near = nearest(&own.metric, &known).map(|near| format!("; nearest: `{near}`"));
        let message = format!(
            "must be a metric of evaluations, got: `{}`; known: {}{}",
            own.metric.escape_debug(),
            list(&known),
            near.unwrap_or_default()
        );
        checker.error("checkpoints.metric", &message);
    }
    let judged = stages.iter().flatten().filter_map(Stage::rhythm).any(|rhythm| rhythm.meets());
    if own.keep_best > 0 && !judged && checker.sound("stage") {
        let message = format!(
            "is {}, and no stage is evaluated at a step that has a checkpoint; set `evaluate_every` \
             of a stage to a divisor of its `checkpoint_every` or of its `steps`",
            own.keep_best
        );
        checker.error("checkpoints.keep_best", &message);
    }
}

/// At which steps a stage is evaluated and written, 0 for none, and how it is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    pub(crate) steps: usize,
    pub(crate) checkpoint_every: usize,
    pub(crate) evaluate_every: usize,
    pub(crate) evaluate_questions: usize,
    pub(crate) evaluate_max_tokens: usize,
}

impl Rhythm {
    /// True where some step has both.
    fn meets(self) -> bool {
        let Rhythm { steps, checkpoint_every, evaluate_every, .. } = self;
        let first = match (evaluate_every, checkpoint_every) {
            (0, _) => return false,
            (_, 0) => usize::MAX,
            (a, b) => a / divisor(a, b) * b,
        };
        first <= steps || steps.is_multiple_of(evaluate_every)
    }
}

/// The greatest common divisor (Euclid).
fn divisor(mut a: usize, mut b: usize) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_judged_where_both_rhythms_meet() {
        let meets = |steps, evaluate_every, checkpoint_every| {
            let (evaluate_questions, evaluate_max_tokens) = (1, 1);
            Rhythm {
                steps,
                checkpoint_every,
                evaluate_every,
                evaluate_questions,
                evaluate_max_tokens,
            }
            .meets()
        };
        assert!(!meets(20, 0, 5));
        assert!(meets(20, 5, 0), "the end of the stage is written");
        assert!(!meets(20, 3, 0));
        assert!(meets(20, 3, 5), "step 15");
        assert!(!meets(14, 3, 5));
        assert!(meets(14, 4, 6), "step 12");
    }
}
