//! # Generalised distillation (GKD)
//!
//! Paper: GKD, Agarwal et al., arXiv 2306.13649, equation 2 (generalised Jensen-Shannon).
//! Idea: Bring the student's distribution to the teacher's at every position of an answer, whoever
//! wrote it. Between covering all that the teacher would say and keeping to what it surely says
//! lies one number.
//! Formula: β·KL(p_T ‖ m) + (1 − β)·KL(p_S ‖ m), m = β·p_T + (1 − β)·p_S; β = 0: KL(p_T ‖ p_S); β =
//! 1: KL(p_S ‖ p_T)
//! Reads: the logits of student and teacher at the position; the teacher's are constants.
//! Differs: the formula is 0 at both ends of β; there the two KLs stand that it tends to, by β and
//! by 1 − β, as TRL has it. No factor of temperature².
//! Degenerate: equal distributions give 0 and no gradient. Both must have one vocabulary. A row of
//! weight 0 is not read.
//! Control: a teacher whose words are shuffled, to which a student comes as near without becoming
//! the one that it should (engine/tests/distillation.rs); `cross_entropy` on the same tokens, which
//! reads one entry of the teacher's row.
//!
//! A stage `sft` or `rl` reads it under `distill = { share = 1.0, beta = 0.5, temperature = 1.0 }`
//! beside `teacher = "folder"`. The loss is (1 − share) of the stage's own and share of this, token
//! by token under the same weights; in `rl` credit says which tokens train. With `plan = { type =
//! "shuffled", demonstrations = n }` the λ of the paper is 1 − n / `steps`: the share of updates on
//! what the student writes. With share below 1 in `rl` it is the paper's mix of reward and
//! distillation, share its α.

use serde::{Deserialize, Serialize};

use super::{log_softmax, through_softmax};
use crate::{Row, RowLoss};

/// Which divergence, at which temperature.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// β, 0 to 1: 0 covers the teacher (forward KL), 1 keeps to its peaks (reverse KL). Default
    /// 0.5, TRL's.
    pub beta: f64,
    /// What the logits of both are divided by; 0.01 to 100. Default 1, ours.
    pub temperature: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { beta: 0.5, temperature: 1.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.beta) {
            return Some(format!("`distill.beta` must be from 0 to 1, got: {}", self.beta));
        }
        let fine = (0.01..=100.0).contains(&self.temperature);
        let got = self.temperature;
        (!fine).then(|| format!("`distill.temperature` must be from 0.01 to 100, got: {got}"))
    }
}

/// The divergence at one position and its gradient by the student's logits.
pub fn row(row: &Row<'_>, config: &Config) -> RowLoss {
    assert_eq!(row.logit.len(), row.target.len(), "vocabularies of student and teacher");
    if row.weight == 0.0 {
        return RowLoss { value: 0.0, d_logit: vec![0.0; row.logit.len()] };
    }
    let student = log_softmax(row.logit, config.temperature);
    let teacher = log_softmax(row.target, config.temperature);
    let p: Vec<f64> = student.iter().map(|lp| lp.exp()).collect();
    let q: Vec<f64> = teacher.iter().map(|lp| lp.exp()).collect();
    let (value, slope) = match config.beta {
        0.0 => {
            let slope = p.iter().zip(&q).map(|(p, q)| p - q).collect();
            (divergence(&q, &teacher, &student), slope)
        }
        1.0 => {
            let h: Vec<f64> = student.iter().zip(&teacher).map(|(s, t)| s - t).collect();
            (divergence(&p, &student, &teacher), through_softmax(&p, &h))
        }
        b => {
            // In logarithms: a sum of what is hardly above 0 has none.
            let (log_b, log_rest) = (b.ln(), (1.0 - b).ln());
            let mean = |(s, t): (&f64, &f64)| log_sum(log_b + t, log_rest + s);
            let mean: Vec<f64> = student.iter().zip(&teacher).map(mean).collect();
            let h: Vec<f64> = student.iter().zip(&mean).map(|(s, m)| (1.0 - b) * (s - m)).collect();
            let value =
                b * divergence(&q, &teacher, &mean) + (1.0 - b) * divergence(&p, &student, &mean);
            (value, through_softmax(&p, &h))
        }
    };
    let factor = row.weight / config.temperature;
    RowLoss {
        value: row.weight * value,
        d_logit: slope.iter().map(|d: &f64| (factor * d) as f32).collect(),
    }
}

/// ln(eˣ + eʸ).
fn log_sum(x: f64, y: f64) -> f64 {
    x.max(y) + (-(x - y).abs()).exp().ln_1p()
}

/// KL(a ‖ b) from probabilities and logarithms of a and logarithms of b.
fn divergence(a: &[f64], log_a: &[f64], log_b: &[f64]) -> f64 {
    let term = |((a, la), lb): ((&f64, &f64), &f64)| if *a == 0.0 { 0.0 } else { a * (la - lb) };
    a.iter().zip(log_a).zip(log_b).map(term).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowObjective;

    fn at(beta: f64, temperature: f64, logit: &[f32], target: &[f32]) -> RowLoss {
        let config = Config { beta, temperature };
        row(&Row { logit, target, token: 0, weight: 1.0 }, &config)
    }

    #[test]
    fn a_worked_row() {
        // p_S = (1/2, 1/2), p_T = (3/4, 1/4).
        let (student, teacher) = ([0.0f32, 0.0], [3f32.ln(), 0.0]);
        let forward = at(0.0, 1.0, &student, &teacher);
        // 3/4·ln(3/2) + 1/4·ln(1/2)
        assert!((forward.value - 0.130812).abs() < 1e-6, "{}", forward.value);
        assert!(
            (forward.d_logit[0] + 0.25).abs() < 1e-6 && (forward.d_logit[1] - 0.25).abs() < 1e-6
        );
        // 1/2·ln(2/3) + 1/2·ln 2; slopes 1/2·(h − mean h), h = ln(2/3), ln 2.
        let reverse = at(1.0, 1.0, &student, &teacher);
        assert!((reverse.value - 0.143841).abs() < 1e-6, "{}", reverse.value);
        assert!((reverse.d_logit[0] + 0.274653).abs() < 1e-6, "{:?}", reverse.d_logit);
        // m = (5/8, 3/8): 1/2·(3/4·ln(6/5) + 1/4·ln(2/3)) + 1/2·(1/2·ln(4/5) + 1/2·ln(4/3)).
        let middle = at(0.5, 1.0, &student, &teacher);
        assert!((middle.value - 0.033822).abs() < 1e-6, "{}", middle.value);
    }

    #[test]
    fn the_ends_are_what_the_formula_tends_to() {
        let (student, teacher) = ([0.5f32, -0.25, 0.0, 0.75], [0.0f32, 0.5, -1.0, 0.25]);
        let b = 1e-5;
        let low = at(b, 1.0, &student, &teacher).value / b;
        assert!((low - at(0.0, 1.0, &student, &teacher).value).abs() < 1e-4, "{low}");
        let high = at(1.0 - b, 1.0, &student, &teacher).value / b;
        assert!((high - at(1.0, 1.0, &student, &teacher).value).abs() < 1e-4, "{high}");
    }

    #[test]
    fn equal_rows_are_at_rest_and_far_ones_stay_finite() {
        let same = [0.5f32, -0.25, 1.0];
        for beta in [0.0, 0.3, 1.0] {
            let loss = at(beta, 0.7, &same, &same);
            assert!(loss.value.abs() < 1e-12 && loss.d_logit.iter().all(|d| d.abs() < 1e-7));
            let far = at(beta, 1.0, &[5000.0, 0.0, -5000.0], &[-5000.0, 0.0, 5000.0]);
            assert!(far.value.is_finite() && far.d_logit.iter().all(|d| d.is_finite()), "{far:?}");
            // Entries whose probabilities are the smallest numbers above 0.
            let spread: Vec<f32> = (0..=760).map(|k| -(k as f32)).collect();
            let level = vec![-744.8f32; spread.len()];
            let one = [&[0.0f32][..], &level[1..]].concat();
            for (student, teacher) in [(&spread, &one), (&one, &spread)] {
                let far = at(beta, 1.0, student, teacher);
                assert!(far.value.is_finite() && far.value >= 0.0, "{beta}: {far:?}");
                assert!(far.d_logit.iter().all(|d| d.is_finite()), "{beta}");
            }
        }
    }

    #[test]
    fn gradients_and_ranges() {
        for (beta, temperature) in [(0.0, 1.0), (0.1, 1.0), (0.5, 2.0), (0.9, 0.5), (1.0, 2.0)] {
            crate::row::tests::check(&RowObjective::Distill(Config { beta, temperature }));
        }
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { beta: 1.5, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`distill.beta`")));
        assert!(Config { temperature: 0.0, ..Config::default() }.problem().is_some());
    }
}
