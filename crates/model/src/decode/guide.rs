//! Sampling led by heads that say what each token is worth.

use crate::{
    head::FrozenHead,
    kernel::{Normaliser, normalise, temper},
};

/// Q heads and how much they count: tokens are drawn from the softmax of log π + β·min Q.
///
/// What a state as a whole is worth is the same for all of its tokens and changes no choice, so
/// that it is not subtracted.
#[derive(Clone)]
pub struct Guide<'h> {
    head: Vec<&'h FrozenHead>,
    beta: f32,
}

impl<'h> Guide<'h> {
    /// Led by the least of what these heads say, each as wide as the vocabulary; `beta` in units
    /// of log-probability per unit of reward, at least 0.
    ///
    /// # Panics
    /// Where there is no head, or `beta` is negative or not finite.
    #[must_use]
    pub fn new(head: Vec<&'h FrozenHead>, beta: f32) -> Self {
        assert!(!head.is_empty(), "nothing to be led by");
        assert!(beta >= 0.0 && beta.is_finite(), "beta {beta}");
        Guide { head, beta }
    }

    /// Adds β·min Q of states `[R][hidden]` after the final norm to their logits
    /// `[R][vocabulary]`.
    pub(super) fn lead(&self, states: &[f32], logits: &mut [f32]) {
        let (first, rest) = self.head.split_first().expect("there is a head");
        let mut least = first.forward(states);
        for head in rest {
            let said = head.forward(states);
            least.iter_mut().zip(said).for_each(|(least, q)| *least = least.min(q));
        }
        assert_eq!(least.len(), logits.len(), "a head speaks of every token of the vocabulary");
        logits.iter_mut().zip(least).for_each(|(logit, q)| *logit += self.beta * q);
    }
}

/// The policy's own log-probability of a token, from logits that nobody led.
pub(super) fn own_logprob(
    logits: &mut [f32],
    numerators: &mut [f32],
    temperature: f32,
    token: u32,
) -> f32 {
    temper(logits, temperature);
    let normaliser: Normaliser = normalise(logits, numerators);
    normaliser.logprob(logits[token as usize])
}
