//! What predicts value, progress or correctness: losses of one number per step end.
//!
//! An estimator is a head that reads the state at the end of a step and says a number, the *score*.
//! `reads(tree, leaf)` says at which step ends it is asked, `terms(tree, leaf)` how many terms its
//! loss has on a tree, and `loss(tree, leaf, score, divisor)` is the sum of these terms by
//! `divisor`, with its gradient. The divisor is the number of terms of the whole update, so that an
//! update split in micro-batches is a sum of theirs and splitting changes nothing. `column(score)`
//! is what later stages read, under the name of `fills`.
//!
//! `leaf` is one tree's rewards, `Some` on scored leaves: an unscored attempt teaches nothing.

mod aggregator;
pub mod bradley_terry;
mod diagnostics;
pub mod outcome;
pub mod plackett_luce;
pub mod prefix_value;
pub mod process;
pub mod progress;

pub use aggregator::Aggregator;
pub use diagnostics::EstimatorDiagnostics;

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree};

use crate::preference::{sigmoid, softplus};

/// The column over steps that chances and preferences fill.
pub const SCORE: &str = "score";
/// The column over steps that contributions fill.
pub const CONTRIBUTION: &str = "contribution";

/// The loss of one tree and its gradient.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TreeLoss {
    /// The tree's terms by the update's divisor; the sum over an update's trees is its loss.
    pub value: f64,
    /// `[N]` derivative with respect to the score at each step's end; 0 where it is not read.
    pub d_score: Vec<f32>,
    /// What reports show.
    pub diagnostics: EstimatorDiagnostics,
}

/// What a number from 0 to 1 is learned as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Right or wrong, by a threshold.
    #[default]
    Hard,
    /// The number itself.
    Soft,
}

impl Labels {
    /// The label of a reward, or of a value.
    fn of(self, number: f64, threshold: f64) -> f64 {
        match self {
            Labels::Hard => f64::from(u8::from(number >= threshold)),
            Labels::Soft => number.clamp(0.0, 1.0),
        }
    }
}

/// What a recipe must not hold as the reward from which an attempt is right.
fn threshold_problem(kind: &str, threshold: f64) -> Option<String> {
    let fine = threshold > 0.0 && threshold <= 1.0;
    (!fine).then(|| format!("`{kind}.threshold` must be above 0 and at most 1, got: {threshold}"))
}

/// One step end, what its chance should be, and how much it counts.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Target {
    step: StepId,
    label: f64,
    weight: f64,
}

/// Σ weight·BCE(σ(score), label) by the divisor.
fn cross_entropy(tree: &StepTree, target: &[Target], score: &[f32], divisor: f64) -> TreeLoss {
    let mut sum = Sum::new(tree, score, divisor);
    for Target { step, label, weight } in target {
        let s = sum.read(*step);
        let (value, slope) = (softplus(s) - label * s, sigmoid(s) - label);
        sum.add(weight * value);
        sum.push(*step, weight * slope);
        sum.diagnostics.probability(sigmoid(s), *label);
    }
    sum.loss()
}

/// A loss under way, in f64.
struct Sum<'a> {
    score: &'a [f32],
    divisor: f64,
    value: f64,
    d_score: Vec<f64>,
    diagnostics: EstimatorDiagnostics,
}

impl<'a> Sum<'a> {
    fn new(tree: &StepTree, score: &'a [f32], divisor: f64) -> Sum<'a> {
        assert_eq!(score.len(), tree.len(), "scores against the steps of the tree");
        assert!(divisor > 0.0, "the divisor of a loss must be above 0, got: {divisor}");
        let d_score = vec![0.0; tree.len()];
        Sum { score, divisor, value: 0.0, d_score, diagnostics: EstimatorDiagnostics::default() }
    }

    /// A score, which must be finite.
    fn read(&self, step: StepId) -> f64 {
        let score = f64::from(self.score[step.index()]);
        assert!(score.is_finite(), "the score of {step:?} is not finite: {score}");
        score
    }

    fn add(&mut self, value: f64) {
        self.value += value / self.divisor;
    }

    fn push(&mut self, step: StepId, slope: f64) {
        self.d_score[step.index()] += slope / self.divisor;
    }

    fn loss(self) -> TreeLoss {
        let d_score = self.d_score.iter().map(|d| *d as f32).collect();
        TreeLoss { value: self.value, d_score, diagnostics: self.diagnostics }
    }
}

/// Scored leaves with their rewards, in order of step.
fn scored(leaf: &[Option<f64>]) -> impl Iterator<Item = (StepId, f64)> + Clone + '_ {
    leaf.iter().enumerate().filter_map(|(i, reward)| reward.map(|r| (StepId(i as u32), r)))
}

#[cfg(test)]
pub(crate) mod laws {
    //! What every estimator must obey: one line a method.

    use stepwell_tree::{StepId, StepTree};

    use crate::EstimatorConfig;
    use crate::laws::{random_tree, without_unscored};
    use crate::reward::outcome::reward;

    fn scores(tree: &StepTree) -> Vec<f32> {
        (0..tree.len()).map(|i| 0.5 - 0.25 * ((i * i + 3 * i) % 7) as f32).collect()
    }

    pub(crate) fn check(method: &EstimatorConfig) {
        let mut seen = 0;
        for seed in 0..100 {
            let tree = random_tree(seed);
            let leaf = reward(std::slice::from_ref(&tree)).leaf.remove(0);
            let (reads, terms) = (method.reads(&tree, &leaf), method.terms(&tree, &leaf));
            seen += terms;
            let mut score = scores(&tree);
            let divisor = 3.0;
            let loss = method.loss(&tree, &leaf, &score, divisor);
            assert!(terms > 0 || (loss.value == 0.0 && reads.is_empty()), "seed {seed}");
            assert!(reads.is_sorted() && reads.windows(2).all(|w| w[0] != w[1]));
            for i in 0..tree.len() {
                let at = score[i];
                if !reads.contains(&StepId(i as u32)) {
                    assert_eq!(loss.d_score[i].to_bits(), 0, "step {i}, seed {seed}");
                    score[i] = f32::NAN;
                    let poisoned = method.loss(&tree, &leaf, &score, divisor);
                    assert_eq!(poisoned, loss, "step {i} is not read, seed {seed}");
                    score[i] = at;
                    continue;
                }
                let h = 1.0 / 1024.0;
                let mut shifted = |by: f32| {
                    score[i] = at + by;
                    let value = method.loss(&tree, &leaf, &score, divisor).value;
                    score[i] = at;
                    value
                };
                let expected = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
                let got = f64::from(loss.d_score[i]);
                assert!((got - expected).abs() < 1e-5, "step {i}, seed {seed}: {got} {expected}");
            }
            let twice = method.loss(&tree, &leaf, &score, 2.0 * divisor);
            assert!((2.0 * twice.value - loss.value).abs() < 1e-12, "seed {seed}");
            unscored_teaches_nothing(method, &tree, &loss.value, &score, seed);
        }
        assert!(seen > 100, "{}: the suite saw {seen} terms", method.name());
    }

    fn unscored_teaches_nothing(
        method: &EstimatorConfig,
        tree: &StepTree,
        expected: &f64,
        score: &[f32],
        seed: u64,
    ) {
        let (kept, from) = without_unscored(tree);
        let leaf = reward(std::slice::from_ref(&kept)).leaf.remove(0);
        let score: Vec<f32> = from.iter().map(|s| score[s.index()]).collect();
        let value = method.loss(&kept, &leaf, &score, 3.0).value;
        assert!((value - expected).abs() < 1e-12, "seed {seed}: {value} {expected}");
    }
}
