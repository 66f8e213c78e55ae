//! The `rejection` stage: sample, keep what is right, train on it.

use stepwell_methods::selection::rejection;
use stepwell_methods::{Grow, RewardConfig, grow};

use super::macros::{choices, settings};
use super::optimizer::Optimizer;
use super::setting::Limit;

choices! {
    /// When two attempts at a task are the same, and one is kept.
    pub enum Dedupe {
        /// Never.
        None = "none",
        /// When the policy wrote the same.
        Text = "text",
        /// When they give the same answer.
        Answer = "answer",
    }
}

choices! {
    /// Which attempts come first where more are right than are kept.
    pub enum Prefer {
        /// A random choice.
        Random = "random",
        /// Those with fewer sampled tokens.
        Shortest = "shortest",
        /// Those with more reward; of equals a random choice.
        Best = "best",
    }
}

settings! {
    /// Rejection sampling: rounds of sampling, keeping what is right, and cross-entropy on it.
    pub struct Rejection {
        /// Rounds, each with fresh attempts: 1 is RFT, more are RAFT and expert iteration.
        rounds: usize = 1, Limit::Whole(1, 10_000);
        /// True trains every round from the weights as the stage found them (ReST-EM, STaR).
        restart: bool = false, Limit::Any;
        /// True gives tasks without a kept attempt a second try with the answer as a hint in the
        /// prompt; what is kept of it trains without the hint (STaR).
        hints: bool = false, Limit::Any;
        /// Tasks that a round samples. Default: all training tasks.
        tasks: Option<usize> = None, Limit::Whole(1, 10_000_000);
        /// Trees that grow at once; bounds memory and changes nothing else.
        tasks_at_once: usize = 64, Limit::Whole(1, 65_536);
        /// Least reward of an attempt that is kept.
        threshold: f64 = 1.0, Limit::Real(-1e6, 1e6);
        /// Most attempts of a task that are kept, per round.
        keep_max: usize = 4, Limit::Whole(1, 1_048_576);
        /// When two attempts at a task are the same, and one is kept.
        dedupe: Dedupe = Dedupe::Text, Limit::Any;
        /// Which attempts come first where more are right than are kept.
        prefer: Prefer = Prefer::Random, Limit::Any;
        /// Optimizer steps of a round; the learning rate's schedule is a round's.
        steps: usize = 100, Limit::Whole(1, 10_000_000);
        /// Kept attempts per optimizer step.
        batch: usize = 32, Limit::Whole(1, 65_536);
        /// Most tokens the policy may write in one step.
        max_tokens: usize = 48, Limit::Whole(1, 1_048_576);
        /// Most tokens on a path, prompt and observations included. Default: the model's context.
        path_tokens: Option<usize> = None, Limit::Whole(2, 1_048_576);
        /// Divides the logits when sampling; training is at 1.
        temperature: f64 = 1.0, Limit::Real(0.0, 100.0);
        /// Sample among the k likeliest tokens; 0 is all of them.
        top_k: usize = 0, Limit::Whole(0, 1_048_576);
        /// Sample among the likeliest tokens of this total probability; 1 is all.
        top_p: f64 = 1.0, Limit::Above(0.0, 1.0);
        /// Largest share of a round's attempts that may stay unjudged before the run stops.
        unscored_max: f64 = 0.2, Limit::Real(0.0, 1.0);
        /// Most tokens computed at once; bounds memory and changes nothing else. Default: as many
        /// as keep 1 GiB of activations, from 1,024 to 32,768.
        microbatch_tokens: Option<usize> = None, Limit::Whole(16, 16_777_216);
        /// Optimizer steps between evaluations on the development split; 0 is never.
        evaluate_every: usize = 0, Limit::Whole(0, 10_000_000);
        /// Questions of such an evaluation.
        evaluate_questions: usize = 100, Limit::Whole(1, 1_000_000);
        /// Optimizer steps between checkpoints; 0 is at the stage's end only.
        checkpoint_every: usize = 0, Limit::Whole(0, 10_000_000);
        with {
            /// How the weights move.
            optimizer: Optimizer = Optimizer::for_sft();
            /// Attempts per task.
            grow: Grow = Grow::Independent(grow::independent::Config { attempts: 8 });
            /// What a verdict is worth.
            reward: RewardConfig = RewardConfig::default();
        }
    }
}

impl Rejection {
    /// Which attempts are kept, as the method has it.
    pub(crate) fn selection(&self) -> rejection::Config {
        rejection::Config {
            threshold: self.threshold,
            keep_max: self.keep_max,
            dedupe: match self.dedupe {
                Dedupe::None => rejection::Dedupe::None,
                Dedupe::Text => rejection::Dedupe::Text,
                Dedupe::Answer => rejection::Dedupe::Answer,
            },
            prefer: match self.prefer {
                Prefer::Random => rejection::Prefer::Random,
                Prefer::Shortest => rejection::Prefer::Shortest,
                Prefer::Best => rejection::Prefer::Best,
            },
        }
    }
}
