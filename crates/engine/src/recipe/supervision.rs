//! Where demonstrations come from: the keys that stages share which train on some.

use super::macros::settings;
use super::setting::Limit;
use super::sft::{Demonstrations, Sft, Turns};

settings! {
    /// Demonstrations beside trees. Its keys stand in the stage's own table.
    pub struct Supervision {
        /// Where demonstrations come from when not from `data`, where `plan` trains on some.
        demonstrations: Option<Demonstrations> = None, Limit::Any;
        /// A file of conversations, one JSON object per line with `messages` (chat format), or with
        /// `prompt` and `completion`.
        data: Option<String> = None, Limit::Any;
        /// How the turns of a conversation are written.
        turns: Turns = Turns::Inline, Limit::Any;
        /// Demonstrations per optimizer step that trains on some.
        batch: usize = 32, Limit::Whole(1, 65_536);
        /// Observations in demonstrations are read and not trained.
        mask_observations: bool = true, Limit::Any;
    }
}

impl Supervision {
    /// Those of an `sft` stage.
    pub(crate) fn of(sft: &Sft) -> Supervision {
        let Sft { demonstrations, turns, batch, mask_observations, .. } = *sft;
        Supervision { demonstrations, data: sft.data.clone(), turns, batch, mask_observations }
    }
}
