//! # Q-learning, single and double
//!
//! Paper: DQN, Mnih et al. 2015; double Q: van Hasselt et al., arXiv 1509.06461, equation 4.
//! Idea: A token is worth what it earns and the best that can follow. The maximum of noisy numbers
//! is too high on average; let one head choose and another say what the choice is worth.
//! Formula: L = Σᵢ wᵢ·(Q(s,a) − y)² + the term of `cql`; y = r + γ·v(s'), 0 for v beyond the end;
//! v = Q̄(s', argmax_a Q(s', a)), single: max_a Q̄(s', a)
//! Reads: the stream `q` of the tokens taken; y as credit, from `bellman` with v as `value`.
//! Differs: squares where DQN has Huber's loss. Actions are tokens.
//! Degenerate: what was never taken keeps the Q it was born with, and the maximum finds it:
//! overestimates without end (tests/chain.rs), and `conservatism` holds it down. A row of weight
//! 0 is not read.
//! Control: `conservatism = 0`, which overestimates; `next = "max"`; `ilql`, which takes no maximum
//! over what was not tried.

use serde::{Deserialize, Serialize};

use super::bellman_error;
use crate::row::cql;
use crate::{Batch, Loss, Row, RowLoss};

/// What a state is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The trained head chooses, the frozen one values.
    #[default]
    Double,
    /// The frozen head does both.
    Max,
}

/// Q-learning.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What a state is worth. Default `double`.
    pub next: Next,
    /// The factor of the conservative term, 0 to 100. Default 0.1, that of `cql`.
    pub conservatism: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { next: Next::default(), conservatism: cql::Config::default().coefficient }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let got = self.conservatism;
        let fine = (0.0..=100.0).contains(&got);
        (!fine).then(|| format!("`double_q.conservatism` must be from 0 to 100, got: {got}"))
    }
}

/// What the column `value` holds for a state: from Q of all tokens there under the trained head and
/// under the frozen one, `[V]` each. Ties go to the first.
pub fn state_value(online: &[f32], frozen: &[f32], config: &Config) -> f32 {
    assert_eq!(online.len(), frozen.len(), "tokens of the two heads");
    let by = if config.next == Next::Double { online } else { frozen };
    let best = (1..by.len()).fold(0, |best, k| if by[k] > by[best] { k } else { best });
    frozen[best]
}

/// The squared error of Q against the targets.
pub fn objective(batch: &Batch<'_>, _config: &Config) -> Loss {
    let mut loss = Loss::zero(batch.len());
    bellman_error(batch, "q", &mut loss);
    loss
}

/// The conservative term at one position.
pub fn row(row: &Row<'_>, config: &Config) -> RowLoss {
    cql::row(row, &cql::Config { coefficient: config.conservatism })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OfflineValue;
    use crate::offline::tests::{check, example, run};

    #[test]
    fn a_worked_batch() {
        // ½·(1/4 - 3/8)² + ¼·(-1/2 - 1)²
        let method = OfflineValue::DoubleQ(Config::default());
        let loss = run(&method, &example(), &[-1.0; 3]);
        assert!((loss.value - (0.5 * 0.015625 + 0.25 * 2.25)).abs() < 1e-12, "{}", loss.value);
        assert_eq!(loss.d_streams["q"], [-0.125, -0.75, 0.0]);
        check(&method, &["q"]);
    }

    #[test]
    fn one_head_chooses_and_the_other_values() {
        let (online, frozen) = ([0.0, 2.0, 1.0], [3.0, 0.5, 1.0]);
        let of = |next| Config { next, ..Config::default() };
        assert_eq!(state_value(&online, &frozen, &of(Next::Double)), 0.5);
        assert_eq!(state_value(&online, &frozen, &of(Next::Max)), 3.0);
        let wrong = Config { conservatism: -1.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`double_q.conservatism`")));
    }
}
