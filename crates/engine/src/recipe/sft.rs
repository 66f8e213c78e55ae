//! The `sft` stage: cross-entropy on demonstrations.

use super::distill::Distill;
use super::macros::{choices, settings};
use super::optimizer::Optimizer;
use super::setting::Limit;

choices! {
    /// Who writes demonstrations.
    pub enum Demonstrations {
        /// The world's own script, which knows each answer; needs `environment.world`.
        Scripted = "scripted",
        /// The gold steps of the training tasks, calculated one by one; needs `environment.files`
        /// of `calculator`. Tasks whose steps do not lead to their answer are left out.
        GoldSteps = "gold_steps",
    }
}

choices! {
    /// How a conversation of `data` becomes tokens.
    pub enum Turns {
        /// What follows the first user message is one turn of the policy, with observations in it,
        /// as an environment has it.
        Inline = "inline",
        /// Each message is a turn of its own, as the chat template writes it, and the token that
        /// ends the assistant's turn is trained with it.
        Template = "template",
    }
}

settings! {
    /// Supervised fine-tuning: cross-entropy on the steps that the data marks.
    pub struct Sft {
        /// Where demonstrations come from when not from `data`.
        demonstrations: Option<Demonstrations> = None, Limit::Any;
        /// A file of conversations, one JSON object per line: `messages`, or `prompt` and
        /// `completion`.
        data: Option<String> = None, Limit::Any;
        /// Conversations of `data`: one turn of the policy with observations in it, or the turns of
        /// the chat template.
        turns: Turns = Turns::Inline, Limit::Any;
        /// Optimizer steps.
        steps: usize = 300, Limit::Whole(1, 10_000_000);
        /// Demonstrations per optimizer step.
        batch: usize = 32, Limit::Whole(1, 65_536);
        /// Observations are read and not trained. Tool-Star's published setting is `false`.
        mask_observations: bool = true, Limit::Any;
        /// The model, a folder or a GGUF file with the policy's tokenizer, whose distributions
        /// `distill` reads. Default: none.
        teacher: Option<String> = None, Limit::Any;
        /// Most tokens computed at once; bounds memory and changes nothing else. Default: as many
        /// as keep 1 GiB of activations, from 1,024 to 32,768.
        microbatch_tokens: Option<usize> = None, Limit::Whole(16, 16_777_216);
        /// Optimizer steps between evaluations on the development split; 0 is never.
        evaluate_every: usize = 0, Limit::Whole(0, 10_000_000);
        /// Questions of such an evaluation.
        evaluate_questions: usize = 100, Limit::Whole(1, 1_000_000);
        /// Most tokens the policy may write in one step of such an evaluation.
        evaluate_max_tokens: usize = 48, Limit::Whole(1, 1_048_576);
        /// Optimizer steps between checkpoints; 0 is at the stage's end only.
        checkpoint_every: usize = 0, Limit::Whole(0, 10_000_000);
        with {
            /// How the weights move.
            optimizer: Optimizer = Optimizer::for_sft();
        }
        tables {
            /// The teacher's distributions beside the data, or in place of it.
            distill: Distill = Distill::default();
        }
    }
}
