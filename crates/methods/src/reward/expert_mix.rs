//! # Score mixed with agreement (EAG-RL)
//!
//! Paper: EAG-RL, arXiv 2508.13579 (formulas secondary x3).
//! Idea: Beside the log score of the answer an attempt earns for naming what an expert looks at, so
//! that right answers for the wrong reasons earn less.
//! Formula: R = λ·R_cls + (1 − λ)·R_att; R_cls = log p + b·max(p − ½, 0), p the probability given
//! to the true class, within [clip, 1 − clip]; R_att = the agreement, from 0 to 1
//! Reads: outcomes of leaves, from 0 to 1, as p; one part of their verdicts as R_att.
//! Differs: p is the verdict's outcome: a judge that answers right or wrong gives the two ends of
//! the range. The agreement is a part that the environment measures, for SQL `entity` (with
//! `environment.entity = "jaccard"` the paper's overlap of two sets), for the calculator
//! `grounded`. `score = "brier"` is 1 − (1 − p)², which needs no clip and has no b.
//! Degenerate: a part the verdict does not name is 0 (no features named); without the clip one
//! confident error is −∞. Unscored leaves get `None`.
//! Control: `lambda = 1`, the score alone; for the part, the environment with shuffled references.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepTree, Verdict};

use crate::Rewards;

/// How a probability is scored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// log p, and b·(p − ½) where p is above ½.
    #[default]
    Log,
    /// 1 − (1 − p)².
    Brier,
}

/// The two parts and their shares.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// λ, the score's share, 0 to 1. Default 0.6, the paper's.
    pub lambda: f64,
    /// How the outcome is scored. Default `log`, the paper's.
    pub score: Score,
    /// b, the factor of the bonus for the right side of ½; 0 to 100. Default 1, ours.
    pub bonus: f64,
    /// The least distance of p from 0 and 1; above 0, at most 0.5. Default 0.01, ours.
    pub clip: f64,
    /// The part that is the agreement. Default `entity`, SQL's.
    pub agreement: String,
}

impl Default for Config {
    fn default() -> Self {
        let agreement = "entity".to_owned();
        Config { lambda: 0.6, score: Score::default(), bonus: 1.0, clip: 0.01, agreement }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { lambda, bonus, clip, .. } = *self;
        if !(0.0..=1.0).contains(&lambda) {
            return Some(format!("`expert_mix.lambda` must be from 0 to 1, got: {lambda}"));
        }
        if !(0.0..=100.0).contains(&bonus) {
            return Some(format!("`expert_mix.bonus` must be from 0 to 100, got: {bonus}"));
        }
        let fine = clip > 0.0 && clip <= 0.5;
        (!fine).then(|| format!("`expert_mix.clip` must be above 0, at most 0.5, got: {clip}"))
    }
}

/// The mix at every scored leaf, `None` at every other step.
pub fn reward(forest: &[StepTree], config: &Config) -> Rewards {
    let of = |tree: &StepTree| tree.verdict.iter().map(|v| mix(v, config)).collect();
    Rewards::of_leaves(forest.iter().map(of).collect())
}

fn mix(verdict: &Verdict, config: &Config) -> Option<f64> {
    let score = score(verdict.reward()?, config);
    let agreement = verdict.part(&config.agreement).unwrap_or(0.0);
    Some(config.lambda * score + (1.0 - config.lambda) * agreement)
}

fn score(p: f64, config: &Config) -> f64 {
    match config.score {
        Score::Log => {
            let p = p.clamp(config.clip, 1.0 - config.clip);
            p.ln() + config.bonus * f64::max(p - 0.5, 0.0)
        }
        Score::Brier => 1.0 - (1.0 - p.clamp(0.0, 1.0)).powi(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;
    use stepwell_tree::parse;

    #[test]
    fn a_worked_tree() {
        // ln 0.99 + 0.49 = 0.479950, ln 0.01 = -4.605170, ln 0.25 = -1.386294.
        let tree = parse(
            "0 -  prompt q
             1 0  policy a   r=1    part:entity=1
             2 0  policy b   r=1
             3 0  policy c   r=0    part:entity=0.5
             4 0  policy d   r=0.25 part:entity=0
             5 0  policy e   unscored=interrupted",
        );
        let got = reward(&[tree], &Config::default()).leaf.remove(0);
        let expected = [0.687970, 0.287970, -2.563102, -0.831777];
        for (got, expected) in got[1..5].iter().zip(expected) {
            assert!((got.unwrap() - expected).abs() < 1e-6, "{got:?}, {expected}");
        }
        assert_eq!((got[0], got[5]), (None, None));
    }

    #[test]
    fn the_score_rises_with_p_and_is_bounded_by_the_clip() {
        let config = Config::default();
        let of = |p: f64| score(p, &config);
        for k in 1..99 {
            assert!(of((k + 1) as f64 / 100.0) > of(k as f64 / 100.0), "{k}");
        }
        assert!((of(0.5 + 1e-9) - of(0.5)).abs() < 1e-8, "no jump at one half");
        assert!((of(0.0) + 4.605170).abs() < 1e-6 && (of(1.0) - 0.479950).abs() < 1e-6);
        let brier = Config { score: Score::Brier, ..config };
        assert_eq!([0.0, 0.5, 1.0].map(|p| score(p, &brier)), [0.0, 0.75, 1.0]);
    }

    #[test]
    fn shares_and_ranges() {
        let tree = parse("0 - prompt q\n1 0 policy a r=1 part:entity=0.25 part:grounded=1");
        let alone = Config { lambda: 0.0, ..Config::default() };
        assert_eq!(reward(std::slice::from_ref(&tree), &alone).leaf[0][1], Some(0.25));
        let other = Config { agreement: "grounded".to_owned(), ..alone };
        assert_eq!(reward(&[tree], &other).leaf[0][1], Some(1.0));
        for wrong in [
            Config { lambda: 1.5, ..Config::default() },
            Config { bonus: -1.0, ..Config::default() },
            Config { clip: 0.0, ..Config::default() },
        ] {
            assert!(wrong.problem().is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn laws() {
        laws::check_reward(&["entity"], |forest| reward(forest, &Config::default()));
    }
}
