//! The `rl` stage: grow trees, judge, credit, train.

use stepwell_methods::{CreditConfig, Curriculum, Filter, Grow, Objective, RewardConfig, Schedule};

use super::critic::Critic;
use super::distill::Distill;
use super::macros::settings;
use super::methods::{
    default_credit, default_curriculum, default_grow, default_objective, default_plan,
};
use super::optimizer::Optimizer;
use super::setting::Limit;
use super::supervision::Supervision;
use super::trust_region::TrustRegion;

settings! {
    /// Reinforcement learning on trees of steps.
    pub struct Rl {
        /// Updates: each grows `tasks` trees and trains on them.
        steps: usize = 100, Limit::Whole(1, 10_000_000);
        /// Tasks, and so trees, per update.
        tasks: usize = 32, Limit::Whole(1, 65_536);
        /// Most further tasks of an update, drawn in place of those whose trees a filter dropped;
        /// their tokens count like any other. 0 draws none.
        refill: usize = 0, Limit::Whole(0, 65_536);
        /// Passes over an update's trees.
        epochs: usize = 1, Limit::Whole(1, 64);
        /// Optimizer steps per pass; trees are dealt out to them.
        minibatches: usize = 1, Limit::Whole(1, 4096);
        /// Most tokens the policy may write in one step.
        max_tokens: usize = 48, Limit::Whole(1, 1_048_576);
        /// Most tokens on a path, prompt and observations included. Default: the model's context.
        path_tokens: Option<usize> = None, Limit::Whole(2, 1_048_576);
        /// Divides the logits when sampling and when training; above 0.
        temperature: f64 = 1.0, Limit::Real(0.0, 100.0);
        /// Sample among the k likeliest tokens; `rl` stages need 0, all of them.
        top_k: usize = 0, Limit::Whole(0, 1_048_576);
        /// Sample among the likeliest tokens of this total probability; `rl` stages need 1.
        top_p: f64 = 1.0, Limit::Above(0.0, 1.0);
        /// Largest share of an update's attempts that may stay unjudged before the run stops.
        unscored_max: f64 = 0.2, Limit::Real(0.0, 1.0);
        /// End the stage when this many tokens were sampled. Default: no limit but `steps`.
        token_budget: Option<u64> = None, Limit::Whole(1, 1_000_000_000_000_000);
        /// The earlier `[stage.estimator]`, by its index from 0, that fills the column which
        /// `credit` or `reward` reads. Default: none.
        estimator: Option<usize> = None, Limit::Whole(0, 255);
        /// The model, a folder or a GGUF file with the policy's tokenizer, that fills the column
        /// `teacher_logprob` and whose distributions `distill` reads. Default: none.
        teacher: Option<String> = None, Limit::Any;
        /// Most tokens computed at once; bounds memory and changes nothing else. Default: as many
        /// as keep 1 GiB of activations, from 1,024 to 32,768.
        microbatch_tokens: Option<usize> = None, Limit::Whole(16, 16_777_216);
        /// Updates between evaluations on the development split; 0 is never.
        evaluate_every: usize = 0, Limit::Whole(0, 10_000_000);
        /// Questions of such an evaluation.
        evaluate_questions: usize = 100, Limit::Whole(1, 1_000_000);
        /// Updates between checkpoints; 0 is at the stage's end only.
        checkpoint_every: usize = 20, Limit::Whole(0, 10_000_000);
        with {
            /// How the weights move.
            optimizer: Optimizer = Optimizer::for_rl();
            /// Which tasks come when.
            curriculum: Curriculum = default_curriculum();
            /// Where trees branch.
            grow: Grow = default_grow();
            /// What a verdict is worth.
            reward: RewardConfig = RewardConfig::default();
            /// What may train.
            filter: Vec<Filter> = Vec::new();
            /// What each step is worth.
            credit: CreditConfig = default_credit();
            /// The loss.
            objective: Objective = default_objective();
            /// What an update is made of: which losses, by which weights.
            plan: Schedule = default_plan();
            /// Demonstrations, where the plan trains on some.
            supervision: Supervision = Supervision::default();
        }
        tables {
            /// What learns the values that `credit` reads.
            critic: Critic = Critic::default();
            /// A step of a trust region in place of the optimizer's.
            trust_region: TrustRegion = TrustRegion::default();
            /// A teacher's distributions at the tokens that train, beside `objective` or in place
            /// of it; of demonstrations too, where `plan` trains on some.
            distill: Distill = Distill::default();
        }
    }
}
