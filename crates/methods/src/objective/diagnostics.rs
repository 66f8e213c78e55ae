//! What an objective reports beside its loss; sums, so that micro-batches merge.

use super::kl::Bound;

/// Sums over trained tokens, unweighted; merge with [`Diagnostics::merge`], read with the methods.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Diagnostics {
    /// Trained tokens seen.
    pub tokens: u64,
    /// Sum of ratios π/π_behaviour.
    pub ratio_sum: f64,
    /// Largest ratio; 0 where no token was seen.
    pub ratio_max: f64,
    /// Tokens whose gradient the lower bound removed (in `cispo`: held).
    pub clipped_low: u64,
    /// Tokens whose gradient the upper bound removed (in `cispo`: held).
    pub clipped_high: u64,
    /// Tokens whose gradient the dual clip removed.
    pub clipped_dual: u64,
    /// Tokens with a reference log-probability.
    pub reference_tokens: u64,
    /// Sum of k1 = log π − log π_reference.
    pub kl_k1_sum: f64,
    /// Sum of k2 = ½ (log π − log π_reference)².
    pub kl_k2_sum: f64,
    /// Sum of k3 = e^d − d − 1, d = log π_reference − log π.
    pub kl_k3_sum: f64,
    /// Sum of entropies where they were given.
    pub entropy_sum: f64,
    /// Sum of |log π − log π_behaviour|.
    pub drift_sum: f64,
}

impl Diagnostics {
    /// Adds those of another batch of the same update.
    pub fn merge(&mut self, other: &Diagnostics) {
        self.tokens += other.tokens;
        self.ratio_sum += other.ratio_sum;
        self.ratio_max = self.ratio_max.max(other.ratio_max);
        self.clipped_low += other.clipped_low;
        self.clipped_high += other.clipped_high;
        self.clipped_dual += other.clipped_dual;
        self.reference_tokens += other.reference_tokens;
        self.kl_k1_sum += other.kl_k1_sum;
        self.kl_k2_sum += other.kl_k2_sum;
        self.kl_k3_sum += other.kl_k3_sum;
        self.entropy_sum += other.entropy_sum;
        self.drift_sum += other.drift_sum;
    }

    /// Counts what a bound did to one token.
    pub(super) fn count(&mut self, bound: Bound) {
        match bound {
            Bound::Free => {}
            Bound::Low => self.clipped_low += 1,
            Bound::High => self.clipped_high += 1,
        }
    }

    /// Named numbers for a report, in a fixed order. KL is there only where there is a reference,
    /// and nothing at all where no token was trained.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        if self.tokens == 0 {
            return Vec::new();
        }
        let per_token = |sum: f64| sum / self.tokens as f64;
        let mut named = vec![
            ("tokens", self.tokens as f64),
            ("ratio_mean", per_token(self.ratio_sum)),
            ("ratio_max", self.ratio_max),
            ("clip_fraction_low", per_token(self.clipped_low as f64)),
            ("clip_fraction_high", per_token(self.clipped_high as f64)),
            ("clip_fraction_dual", per_token(self.clipped_dual as f64)),
            ("entropy", per_token(self.entropy_sum)),
            ("logprob_drift", per_token(self.drift_sum)),
        ];
        if self.reference_tokens > 0 {
            let per_token = |sum: f64| sum / self.reference_tokens as f64;
            named.push(("kl_k1", per_token(self.kl_k1_sum)));
            named.push(("kl_k2", per_token(self.kl_k2_sum)));
            named.push(("kl_k3", per_token(self.kl_k3_sum)));
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_means_weigh_by_tokens() {
        let mut a = Diagnostics { tokens: 1, ratio_sum: 1.0, ratio_max: 1.0, ..Default::default() };
        let b = Diagnostics { tokens: 3, ratio_sum: 6.0, ratio_max: 4.0, ..Default::default() };
        a.merge(&b);
        assert_eq!(a.metrics()[..3], [("tokens", 4.0), ("ratio_mean", 1.75), ("ratio_max", 4.0)]);
        assert!(Diagnostics::default().metrics().is_empty());
    }
}
