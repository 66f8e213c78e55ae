//! A frozen model that is asked which of a few words comes next.

use stepwell_model::{Model, Packed, Scored, Workspace};
use stepwell_tree::Opening;

use crate::Codec;

/// A model with its own codec; it need not speak the policy's tokens.
pub struct Judge {
    model: Model,
    codec: Codec,
    workspace: Workspace,
}

impl Judge {
    /// A judge on the processor; the number of threads changes no bit of what it says.
    pub fn new(model: Model, codec: Codec, threads: usize) -> Judge {
        Judge { model, codec, workspace: Workspace::new(threads.max(1)) }
    }

    /// Its weights.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Text to its tokens and back.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// `[options]` log-probabilities of the options as the first token of an answer to a text, at
    /// temperature 1. The text is the user's message where the model has a chat template, and
    /// content in any case (INV-21). `None` where it is more than the model reads, or nothing.
    pub fn next(&mut self, text: &str, options: &[u32]) -> Option<Vec<f32>> {
        let opening = Opening { system: String::new(), user: text.to_owned() };
        let token = self.codec.encode_opening(&opening);
        let count = token.len() as u32;
        if token.is_empty() || token.len() > self.model.config().context {
            return None;
        }
        let position: Vec<u32> = (0..count).collect();
        let end = vec![count; token.len()];
        let packed = Packed {
            token: &token,
            position: &position,
            segment_begin: &[0, count],
            subtree_end: &end,
        };
        let row = vec![count - 1; options.len()];
        let scored = Scored { row: &row, target: options, temperature: 1.0 };
        Some(self.workspace.forward(&self.model, &packed, &scored).logprob)
    }
}
