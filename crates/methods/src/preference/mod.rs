//! From pairs of answers to a loss and its gradient per summed log-probability.
//!
//! A preference loss is `loss(&Pair, &Config) -> Term`: the loss of one pair, and its derivatives
//! with respect to the two summed log-probabilities. The loss of an update is the mean over its
//! pairs; whoever calls makes it. Where pairs come from is another question: [`siblings`] reads
//! them off a tree.

pub mod cdpo;
pub mod dpo;
pub mod ipo;
pub mod judged;
pub mod kto;
pub mod nca;
pub mod orpo;
pub mod robust_dpo;
pub mod siblings;
pub mod simpo;

/// One answer of a pair: its trained tokens, summed.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Answer {
    /// Σ log π over its tokens, in nats.
    pub logprob: f64,
    /// Σ log π_reference over its tokens; 0 where the loss reads no reference.
    pub reference: f64,
    /// Number of its tokens, at least 1.
    pub tokens: usize,
}

impl Answer {
    /// Δ = log π − log π_reference: the implicit reward, up to β and a constant of the prompt.
    pub fn delta(&self) -> f64 {
        self.logprob - self.reference
    }

    /// Mean log-probability of a token.
    pub fn mean(&self) -> f64 {
        self.logprob / self.tokens as f64
    }
}

/// Two answers to one prompt, the first the better.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Pair {
    /// The better answer.
    pub chosen: Answer,
    /// The worse answer.
    pub rejected: Answer,
}

impl Pair {
    /// Δ of the chosen answer less Δ of the rejected one.
    pub fn margin(&self) -> f64 {
        let margin = self.chosen.delta() - self.rejected.delta();
        if stepwell_mutant::planted(30) { -margin } else { margin }
    }
}

/// The loss of one pair.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Term {
    /// Its value.
    pub value: f64,
    /// Derivative with respect to the chosen answer's `logprob`.
    pub d_chosen: f64,
    /// Derivative with respect to the rejected answer's `logprob`.
    pub d_rejected: f64,
}

impl Term {
    /// A loss that reads the two only through `chosen − rejected`.
    fn of_difference(value: f64, slope: f64) -> Term {
        Term { value, d_chosen: slope, d_rejected: -slope }
    }
}

/// What a recipe must not hold as β.
fn beta_problem(kind: &str, beta: f64) -> Option<String> {
    let fine = beta > 0.0 && beta <= 100.0;
    (!fine).then(|| format!("`{kind}.beta` must be above 0 and at most 100, got: {beta}"))
}

/// What a recipe must not hold as the rate of wrong labels.
fn smoothing_problem(kind: &str, rate: f64, below: f64) -> Option<String> {
    let fine = (0.0..=below).contains(&rate);
    (!fine).then(|| format!("`{kind}.label_smoothing` must be from 0 to {below}, got: {rate}"))
}

/// log(1 + eˣ), at any x.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// 1 / (1 + e⁻ˣ), at any x.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// The pair of primitives.md, section 5: θ⁺ = −10, ref⁺ = −12, θ⁻ = −11, ref⁻ = −10.5, so that Δ
/// is 2 and −0.5.
#[cfg(test)]
pub(crate) const FIXTURE: Pair = Pair {
    chosen: Answer { logprob: -10.0, reference: -12.0, tokens: 4 },
    rejected: Answer { logprob: -11.0, reference: -10.5, tokens: 5 },
};
