//! The `evaluate` stage: a frozen policy on tasks it has not trained on.

use stepwell_methods::Grow;

use super::macros::{choices, settings};
use super::methods::default_grow;
use super::scorer::ScorerConfig;
use super::setting::Limit;

choices! {
    /// Which tasks.
    pub enum Split {
        /// Never trained on, never looked at before the end.
        HeldOut = "held_out",
        /// Never trained on, looked at during development.
        Development = "development",
        /// The tasks of `rl` and `sft` stages.
        Train = "train",
    }
}

choices! {
    /// How an answer is found.
    pub enum Decoding {
        /// One attempt, the likeliest token each time.
        Greedy = "greedy",
        /// `leaves` independent attempts; the accuracy is their mean.
        Sample = "sample",
        /// `leaves` independent attempts; the commonest result wins.
        LinearVote = "linear_vote",
        /// One tree of `leaves` leaves with shared prefixes; the commonest result wins.
        TreeVote = "tree_vote",
        /// `leaves` independent attempts; the one that `scorer` values most wins.
        BestOfN = "best_of_n",
        /// A tree grown by `grow`; the attempt that `scorer` values most wins.
        Search = "search",
    }
}

settings! {
    /// Judges a policy under a fixed budget.
    pub struct Evaluate {
        /// Which tasks.
        split: Split = Split::HeldOut, Limit::Any;
        /// Questions, in the split's order; all where the split has fewer.
        questions: usize = 400, Limit::Whole(1, 1_000_000);
        /// How an answer is found.
        decoding: Decoding = Decoding::Greedy, Limit::Any;
        /// Attempts per question, of all but `greedy` and `search`.
        leaves: usize = 8, Limit::Whole(1, 4096);
        /// Children of a step that branches, of `tree_vote`.
        branches: usize = 2, Limit::Whole(1, 64);
        /// Divides the logits; read by all but `greedy`.
        temperature: f64 = 0.8, Limit::Real(0.0, 100.0);
        /// Sample among the k likeliest tokens; 0 is all.
        top_k: usize = 0, Limit::Whole(0, 1_048_576);
        /// Sample among the likeliest tokens of this total probability; 1 is all.
        top_p: f64 = 1.0, Limit::Above(0.0, 1.0);
        /// Most tokens the policy may write in one step.
        max_tokens: usize = 48, Limit::Whole(1, 1_048_576);
        /// Most tokens on a path, prompt and observations included. Default: the model's context.
        path_tokens: Option<usize> = None, Limit::Whole(2, 1_048_576);
        /// Adds this much of Q, in log-probability per unit of reward, to what each token's choice
        /// reads: tokens by log pi + q_beta * min Q, as the `[stage.offline]` before taught them. 0
        /// is the policy alone.
        q_beta: f64 = 0.0, Limit::Real(0.0, 1000.0);
        /// Answer each action with the result of another task's; what is still right was guessed.
        shuffled_results: bool = false, Limit::Any;
        /// Resamples of the bootstrap interval of the accuracy, over questions; 0 is none.
        resamples: usize = 10_000, Limit::Whole(0, 10_000);
        with {
            /// Where the tree of `search` branches. Default: `branch`.
            grow: Option<Grow> = None;
            /// What picks an attempt, of `best_of_n` and `search`. Default: `continuations`.
            scorer: Option<ScorerConfig> = None;
        }
    }
}

impl Evaluate {
    /// Where the tree of `search` branches.
    pub fn search(&self) -> Grow {
        self.grow.clone().unwrap_or_else(default_grow)
    }

    /// What picks an attempt.
    pub fn picker(&self) -> ScorerConfig {
        self.scorer.unwrap_or_default()
    }
}
