//! # Conservatism of a Q head (CQL)
//!
//! Paper: CQL, Kumar et al., arXiv 2006.04779, equation 4 (its entropy form); on tokens: ILQL,
//! arXiv 2206.11871.
//! Idea: Nobody corrects the Q of what was never tried, and a maximum finds just those errors. Push
//! all actions down by how good they look, and the ones that were taken up.
//! Formula: α·(log Σ_a e^{Q(s,a)} − Q(s, a_taken))
//! Reads: Q of every token at the position, and the token that was taken.
//! Differs: with Q as logits this is cross-entropy, and is written as such; it stands beside
//! `double_q` or `ilql` as a term of its own.
//! Degenerate: Q moves without a bound for what is never taken; `coefficient = 0` is nothing. A row
//! of weight 0 is not read.
//! Control: `coefficient = 0`, which overestimates (tests/chain.rs).

use serde::{Deserialize, Serialize};

use super::log_softmax;
use crate::{Row, RowLoss};

/// How much it counts.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// α beside the Bellman error; 0 to 100. Default 0.1, trlX's for ILQL.
    pub coefficient: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { coefficient: 0.1 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=100.0).contains(&self.coefficient);
        let got = self.coefficient;
        (!fine).then(|| format!("`cql.coefficient` must be from 0 to 100, got: {got}"))
    }
}

/// The term at one position and its gradient by Q.
pub fn row(row: &Row<'_>, config: &Config) -> RowLoss {
    if row.weight == 0.0 {
        return RowLoss { value: 0.0, d_logit: vec![0.0; row.logit.len()] };
    }
    let factor = row.weight * config.coefficient;
    let log_p = log_softmax(row.logit, 1.0);
    let taken = row.token as usize;
    let hit = |k: usize| if k == taken { 1.0 } else { 0.0 };
    let d = |(k, lp): (usize, &f64)| (factor * (lp.exp() - hit(k))) as f32;
    RowLoss { value: -factor * log_p[taken], d_logit: log_p.iter().enumerate().map(d).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowObjective;

    #[test]
    fn a_worked_row() {
        // Q = 0, ln 2, 0: softmax 1/4, 1/2, 1/4; the first was taken; α = 1/2, weight 2.
        let q = [0.0, 2f32.ln(), 0.0];
        let config = Config { coefficient: 0.5 };
        let loss = row(&Row { logit: &q, target: &[], token: 0, weight: 2.0 }, &config);
        assert!((loss.value - 4f64.ln()).abs() < 1e-6, "{}", loss.value);
        for (got, expected) in loss.d_logit.iter().zip([-0.75, 0.5, 0.25]) {
            assert!((got - expected).abs() < 1e-6, "{:?}", loss.d_logit);
        }
    }

    #[test]
    fn gradients_and_ranges() {
        crate::row::tests::check(&RowObjective::Cql(Config { coefficient: 0.3 }));
        assert!(Config { coefficient: -1.0 }.problem().is_some_and(|p| p.starts_with("`cql.")));
    }
}
