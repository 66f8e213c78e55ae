//! Settings of the `calculator` environment.

use super::environment::Source;
use super::macros::settings;
use super::prompt::PromptText;
use super::setting::Limit;

settings! {
    /// How often a scripted demonstration follows which script.
    pub struct CalculatorMix {
        /// Share of careful demonstrations of problems whose first step adds.
        careful_adding: f64 = 0.70, Limit::Real(0.0, 1.0);
        /// Share of careful demonstrations of all other problems.
        careful_otherwise: f64 = 0.25, Limit::Real(0.0, 1.0);
        /// Among the careless: answers at once. The three careless shares sum to 1.
        blind: f64 = 0.30, Limit::Real(0.0, 1.0);
        /// Among the careless: adds where a step does not, or subtracts where it adds.
        wrong_operation: f64 = 0.60, Limit::Real(0.0, 1.0);
        /// Among the careless: calculates as the careful script does, then answers something else.
        slip: f64 = 0.10, Limit::Real(0.0, 1.0);
    }
}

settings! {
    /// Generated word problems: nothing to download, and held-out problems have numbers that no
    /// training problem combines.
    pub struct CalculatorWorld {
        /// 1: one calculation. 2: two, the second with the result of the first.
        difficulty: usize = 1, Limit::Whole(1, 2);
        /// Problems to train on.
        train_problems: usize = 2000, Limit::Whole(1, 100_000);
        /// Problems never trained on, for decisions during development.
        development_problems: usize = 100, Limit::Whole(0, 100_000);
        /// Problems never trained on, for the final evaluation.
        held_out_problems: usize = 400, Limit::Whole(0, 100_000);
        /// Largest number of a question.
        number_max: usize = 99, Limit::Whole(20, 10_000);
        /// Seed of the world, apart from the run's, so that runs with other seeds share a world.
        seed: u64 = 1, Limit::Whole(0, u64::MAX);
        tables {
            /// How demonstrations are worked.
            mix: CalculatorMix = CalculatorMix::default();
        }
    }
}

settings! {
    /// The calculator environment.
    pub struct Calculator {
        /// Most calls that are calculated in an attempt, before the answer.
        max_interactions: usize = 3, Limit::Whole(0, 1000);
        /// What the policy reads: a text with `{question}` or `{own}`, what the environment itself
        /// would say, in braces. Default: what the environment itself says.
        prompt: Option<PromptText> = None, Limit::Any;
        /// The prompt explains the tags: for models that were not trained on them.
        instructions: bool = true, Limit::Any;
        /// Worked examples in the prompt: for models that follow examples rather than rules.
        examples: usize = 2, Limit::Whole(0, 4);
        with {
            /// Where tasks come from.
            source: Source<CalculatorWorld> = Source::default();
        }
    }
}
