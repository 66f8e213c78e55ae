//! # On-policy distillation (reverse KL per token)
//!
//! Paper: MiniLLM, arXiv 2306.08543 (reverse KL by policy gradient); GKD, arXiv 2306.13649 (on the
//! student's own samples); the immediate form: Thinking Machines, "On-policy distillation", 2025.
//! Idea: Let the student write, and at each of its tokens ask the teacher how much likelier or
//! rarer it would have made it: dense credit without a judge.
//! Formula: cₜ = κ·(log π_teacher − log π_behaviour) of token t; its mean over t ~ π is −κ·KL(π ‖
//! π_teacher) in the state
//! Reads: `teacher_logprob` over tokens; which leaves are scored, not how.
//! Differs: MiniLLM also credits what follows a token; here a token answers for itself alone, so
//! that prefixes are taken as they come. No length normalisation, no mixing in of teacher samples.
//! Degenerate: teacher and student alike give 0. A step without a scored leaf below gets `None`;
//! equal rewards, or one attempt, change nothing. A policy step without tokens gets 0.
//! Control: `permuted` of this one; `distill` on the same samples, which reads whole distributions.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree, recursive_mean};

use super::gae::Mode;
use super::returns::by_token;
use super::{Rewards, assert_fits, token_column};

/// Column over tokens: log-probability under the teacher.
pub const TEACHER: &str = "teacher_logprob";

/// The teacher's opinion of each token.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// κ, credit per nat; 0 to 100. Default 1.
    pub coefficient: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { coefficient: 1.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=100.0).contains(&self.coefficient);
        let got = self.coefficient;
        (!fine).then(|| format!("`reverse_kl.coefficient` must be from 0 to 100, got: {got}"))
    }
}

/// By how much the teacher likes each token better than the student did.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(tree, leaf): (&StepTree, &Vec<Option<f64>>)| {
        let teacher = token_column(tree, TEACHER);
        let value = recursive_mean(tree, |s| leaf[s.index()]);
        let trains = |i: usize| value[i].is_some() && tree.origin[i].is_policy();
        let met: Vec<bool> = (0..tree.len()).map(trains).collect();
        let mut token = vec![0.0; tree.token.len()];
        for t in (0..tree.len()).filter(|&i| met[i]).flat_map(|i| tree.span[i].range()) {
            let apart = f64::from(teacher[t]) - f64::from(tree.logprob[t]);
            token[t] = config.coefficient * apart;
        }
        by_token(tree, &met, token, Mode::TokenCompact)
    };
    forest.iter().zip(&rewards.leaf).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    #[test]
    fn a_worked_tree() {
        // log π is -1. a a: 1/2 and -1/4, mean 1/8; b 3/4; c 0. κ = 2.
        let tree = "
            0 -  prompt q
            1 0  policy a a      r=0      | 0.25
            2 0  policy b                 | 1.5
            3 2  environment o
            4 3  policy c        r=1      | 0
            5 3  policy d        unscored=interrupted";
        let of = |f: &[StepTree], r: &Rewards| {
            let mut tree = f[0].clone();
            let teacher = vec![9.0, -0.5, -1.25, -0.25, 9.0, -1.0, -7.0];
            tree.token_column.insert(TEACHER.to_owned(), teacher);
            credit(&[tree], r, &Config { coefficient: 2.0 })
        };
        laws::table(tree, of);
        let forest = [stepwell_tree::parse(
            "0 - prompt q
             1 0 policy a a r=0
             2 0 policy b
             3 2 environment o r=1
             4 0 policy d unscored=interrupted",
        )];
        let mut filled = forest.clone();
        let teacher = vec![9.0, -0.5, -1.25, -0.25, 9.0, 9.0];
        filled[0].token_column.insert(TEACHER.to_owned(), teacher);
        let rewards = crate::reward::outcome::reward(&forest);
        let token = credit(&filled, &rewards, &Config::default()).remove(0).token;
        assert_eq!(token, Some(vec![0.0, 0.5, -0.25, 0.75, 0.0, 0.0]));
    }

    #[test]
    fn laws() {
        let claims = Claims { shift_invariant: true, scale: Scale::Invariant, ..Claims::NONE };
        laws::check(|f, r| credit(&laws::with_columns(f), r, &Config::default()), claims);
        assert!(Config { coefficient: -1.0 }.problem().is_some());
    }
}
