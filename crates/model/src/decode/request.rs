//! What is asked of the sampler, and what it gives back.

use super::Prefix;

/// How a token is chosen from the logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits. 0 takes the most probable token and reports its log-probability at
    /// temperature 1.
    pub temperature: f32,
    /// Keep only this many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of most probable tokens with at least this mass; 1 keeps all.
    pub top_p: f32,
}

/// One step to sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRequest {
    /// How each token is chosen.
    pub sampling: Sampling,
    /// The step's longest length in tokens, at least 1.
    pub max_tokens: usize,
    /// Tokens that end the step; the one sampled is kept.
    pub end_tokens: Vec<u32>,
}

/// Gives the uniform number in [0, 1) for (row, position in the step).
pub(crate) type Draw<'a> = &'a (dyn Fn(u64, u32) -> f64 + Sync);
/// Sees a row's tokens so far.
pub(crate) type Decide<'a> = &'a (dyn Fn(u64, &[u32]) -> Halt + Sync);

impl SampleRequest {
    /// Why the step of row `id` ends with the last of `tokens`, `above` tokens below the root;
    /// `None` if it goes on.
    pub(crate) fn stop_after(
        &self,
        (id, tokens): (u64, &[u32]),
        above: usize,
        context: usize,
        decide: Decide<'_>,
    ) -> Option<StopCause> {
        let last = tokens.last()?;
        if self.end_tokens.contains(last) {
            Some(StopCause::EndToken)
        } else if decide(id, tokens) == Halt::Stop {
            Some(StopCause::Halted)
        } else if above + tokens.len() == context {
            Some(StopCause::Context)
        } else if tokens.len() >= self.max_tokens {
            Some(StopCause::Length)
        } else {
            None
        }
    }
}

/// The answer of a caller who has seen the tokens so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Sample another token.
    Continue,
    /// The step is complete.
    Stop,
}

/// Why a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The caller's `decide` said so.
    Halted,
    /// One of the request's end tokens was sampled.
    EndToken,
    /// `max_tokens` were sampled.
    Length,
    /// The path fills the model's context.
    Context,
}

/// One sampled step; `P` is the device's kind of path.
#[derive(Clone)]
pub struct Finished<P = Prefix> {
    /// The caller's number of the row.
    pub id: u64,
    /// The sampled tokens, the ending one included; empty only if the context was full before.
    pub tokens: Vec<u32>,
    /// `[tokens]` log-probability of each in the distribution it was sampled from.
    pub logprobs: Vec<f32>,
    /// The path, this step included.
    pub prefix: P,
    /// Why it ended.
    pub stop: StopCause,
}
