//! What writes steps: a local model, a service, or a fake in a test.

use crate::{Opening, PolicyVersion, Stop};

/// How the next token is drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set with at least this probability; 1 keeps all.
    pub top_p: f32,
}

impl Sampling {
    /// The full distribution at temperature 1: what `rl` stages train on.
    pub const FULL: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };
    /// The most likely token.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 };
}

/// Names tokens whose keys and values a policy holds; children of one prefix share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PrefixId(pub u64);

/// One step to be sampled below a prefix.
#[derive(Clone, PartialEq, Debug)]
pub struct SampleRequest {
    /// Chosen by the caller, returned with the completion.
    pub id: u64,
    /// Where the step hangs.
    pub parent: PrefixId,
    /// The place of the draw; the policy adds the position within the step.
    pub key: crate::Key,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// At most this many tokens.
    pub max_tokens: usize,
}

/// A sampled step.
#[derive(Clone, PartialEq, Debug)]
pub struct Completion {
    /// The request's id.
    pub id: u64,
    /// Token ids as sampled; never re-tokenised.
    pub token: Vec<u32>,
    /// Log-probability of each under the distribution it was drawn from.
    pub logprob: Vec<f32>,
    /// The step decoded, up to and including a stop string; what stands after it in the same
    /// token is not parsed (DECISIONS 13).
    pub text: String,
    /// Why it ended.
    pub stop: Stop,
    /// The path including this step, for children to hang on.
    pub prefix: PrefixId,
}

/// Writes steps under a numbered version. Requests of many trees decode together: `submit` them,
/// then `advance` until all are back; completions come in any order and carry their id.
pub trait Policy {
    /// The weights in use.
    fn version(&self) -> PolicyVersion;

    /// Most tokens a path may hold.
    fn context(&self) -> usize;

    /// The prompt as tokens, with the policy's own template.
    fn encode_opening(&self, opening: &Opening) -> Vec<u32>;

    /// Text that is not the policy's as tokens; no text can forge a control token.
    fn encode(&self, text: &str) -> Vec<u32>;

    /// Tokens as text.
    fn decode(&self, token: &[u32]) -> String;

    /// Appends known tokens below each parent (`None`: at the start of a path), in one batch.
    fn extend(&mut self, batch: &[(Option<PrefixId>, Vec<u32>)]) -> Vec<PrefixId>;

    /// Texts that end a step from now on.
    fn set_stop_strings(&mut self, stops: &[String]);

    /// Queues a step.
    fn submit(&mut self, request: SampleRequest);

    /// Draws one token for every live step and returns those that ended.
    fn advance(&mut self) -> Vec<Completion>;

    /// Tells that nothing more will hang on this prefix.
    fn release(&mut self, prefix: PrefixId);
}
