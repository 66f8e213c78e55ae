//! What an estimator reports beside its loss; sums, so that trees and micro-batches merge.

/// Sums over what was learned from, unweighted.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct EstimatorDiagnostics {
    /// Pairs of a better and a worse attempt.
    pub pairs: u64,
    /// Pairs of which the better attempt has the higher score.
    pub pairs_right: u64,
    /// Chances that were compared with labels.
    pub probabilities: u64,
    /// Chances on the side of one half where their label is.
    pub probabilities_right: u64,
    /// Sum of labels: by `probabilities` the balance of classes.
    pub label_sum: f64,
    /// Sum of (chance − label)², Brier's.
    pub brier_sum: f64,
    /// Sums that were compared with outcomes.
    pub sums: u64,
    /// Sum of (Σ contributions − outcome)².
    pub sum_square: f64,
    /// Scored attempts on whose path the policy wrote nothing, which teach nothing.
    pub empty: u64,
}

impl EstimatorDiagnostics {
    /// Adds those of another tree or batch of the same update.
    pub fn merge(&mut self, other: &EstimatorDiagnostics) {
        self.pairs += other.pairs;
        self.pairs_right += other.pairs_right;
        self.probabilities += other.probabilities;
        self.probabilities_right += other.probabilities_right;
        self.label_sum += other.label_sum;
        self.brier_sum += other.brier_sum;
        self.sums += other.sums;
        self.sum_square += other.sum_square;
        self.empty += other.empty;
    }

    pub(super) fn pair(&mut self, better: f64, worse: f64) {
        self.pairs += 1;
        self.pairs_right += u64::from(better > worse);
    }

    pub(super) fn probability(&mut self, chance: f64, label: f64) {
        self.probabilities += 1;
        self.probabilities_right += u64::from((chance >= 0.5) == (label >= 0.5));
        self.label_sum += label;
        self.brier_sum += (chance - label).powi(2);
    }

    pub(super) fn sum(&mut self, error: f64) {
        self.sums += 1;
        self.sum_square += error * error;
    }

    /// Named numbers for a report, in a fixed order; nothing where nothing was learned from.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let mut named = Vec::new();
        let mut each = |name: &'static str, sum: f64, count: u64| {
            if count > 0 {
                named.push((name, sum / count as f64));
            }
        };
        each("pair_accuracy", self.pairs_right as f64, self.pairs);
        each("accuracy", self.probabilities_right as f64, self.probabilities);
        each("positive_share", self.label_sum, self.probabilities);
        each("brier", self.brier_sum, self.probabilities);
        each("sum_square_error", self.sum_square, self.sums);
        if self.empty > 0 {
            named.push(("empty_attempts", self.empty as f64));
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_means_weigh_by_what_was_seen() {
        let mut a = EstimatorDiagnostics::default();
        a.pair(1.0, 0.5);
        a.probability(0.75, 1.0);
        let mut b = EstimatorDiagnostics::default();
        b.pair(0.0, 0.5);
        b.pair(0.5, 0.5);
        b.probability(0.75, 0.0);
        b.probability(0.25, 0.0);
        a.merge(&b);
        let expected = [
            ("pair_accuracy", 1.0 / 3.0),
            ("accuracy", 2.0 / 3.0),
            ("positive_share", 1.0 / 3.0),
            ("brier", (0.0625 + 0.5625 + 0.0625) / 3.0),
        ];
        assert_eq!(a.metrics(), expected);
        assert!(EstimatorDiagnostics::default().metrics().is_empty());
    }
}
