//! What credit methods and a critic have to do with each other, and with rewards of steps.

use stepwell_tree::StepTree;

use super::{CreditConfig, Needs, ONE_ATTEMPT};
use crate::Rewards;
use crate::credit::{effective_reward, gae, n_step};
use crate::estimator::SCORE;

/// A critic's values, and the reference where tokens pay for leaving it.
pub(super) fn needs(kl: f64) -> Needs {
    let token_columns: &[&str] =
        if kl > 0.0 { &["value", "reference_logprob"] } else { &["value"] };
    Needs { token_columns, ..ONE_ATTEMPT }
}

/// Scores of prefixes where progress counts, a critic where it is the baseline.
pub(super) fn needs_score(config: &effective_reward::Config) -> Needs {
    let step_columns: &[&str] = if config.alpha > 0.0 { &[SCORE] } else { &[] };
    let token_columns: &[&str] = match config.baseline {
        effective_reward::Baseline::None => &[],
        effective_reward::Baseline::Value => &["value"],
    };
    Needs { step_columns, token_columns, ..ONE_ATTEMPT }
}

impl CreditConfig {
    /// True where a critic is read, so that one must be trained: [`CreditConfig::value_targets`]
    /// says on what.
    pub fn reads_values(&self) -> bool {
        self.needs().token_columns.contains(&"value")
    }

    /// `[tree][T]` what the critic should say in the state of every trained token; 0 where none is
    /// trained. `None` where no critic is read.
    pub fn value_targets(&self, forest: &[StepTree], rewards: &Rewards) -> Option<Vec<Vec<f64>>> {
        match self {
            CreditConfig::Gae(config) => Some(gae::value_targets(forest, rewards, config)),
            CreditConfig::NStep(config) => Some(n_step::value_targets(forest, rewards, config)),
            CreditConfig::EffectiveReward(config) => {
                effective_reward::value_targets(forest, rewards, config)
            }
            CreditConfig::Permuted(config) => config.of.value_targets(forest, rewards),
            _ => None,
        }
    }

    /// True where rewards of steps are read. To every other method an attempt has earned only what
    /// stands at its leaf.
    pub fn reads_step_rewards(&self) -> bool {
        match self {
            CreditConfig::Gae(_)
            | CreditConfig::NStep(_)
            | CreditConfig::EffectiveReward(_)
            | CreditConfig::Reinforce(_) => true,
            // These read no reward at all.
            CreditConfig::ReverseKl(_) | CreditConfig::Uniform(_) => true,
            CreditConfig::Permuted(config) => config.of.reads_step_rewards(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credit::permuted;
    use crate::laws;
    use crate::reward::outcome;
    use serde::de::value::{Error, MapDeserializer};

    fn all() -> impl Iterator<Item = CreditConfig> {
        let empty = || MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, f64)>());
        let baseline = effective_reward::Baseline::Value;
        let with_critic = effective_reward::Config { baseline, ..Default::default() };
        CreditConfig::NAMES
            .iter()
            .map(move |name| CreditConfig::from_type(name, empty()).unwrap().unwrap())
            .chain([CreditConfig::EffectiveReward(with_critic)])
    }

    #[test]
    fn whoever_reads_a_critic_says_what_it_should_say() {
        let forest: Vec<StepTree> = (0..20).map(laws::random_tree).collect();
        let (forest, rewards) = (laws::with_columns(&forest), outcome::reward(&forest));
        let mut read = 0;
        for method in all() {
            let dealt =
                CreditConfig::Permuted(permuted::Config { of: method.clone().into(), seed: 1 });
            let target = method.value_targets(&forest, &rewards);
            assert_eq!(target.is_some(), method.reads_values(), "{}", method.name());
            assert_eq!(target, dealt.value_targets(&forest, &rewards));
            for (tree, target) in forest.iter().zip(target.iter().flatten()) {
                read += 1;
                assert_eq!(tree.token.len(), target.len());
                assert!(target.iter().all(|x| x.is_finite()));
            }
        }
        assert!(read >= 40, "{read}");
    }

    #[test]
    fn rewards_of_steps_reach_those_that_say_they_read_them() {
        let forest: Vec<StepTree> = (0..20).map(laws::random_tree).collect();
        let (forest, rewards) = (laws::with_columns(&forest), outcome::reward(&forest));
        let own = |tree: &StepTree| -> Vec<f64> {
            let reward = |i: usize| if tree.origin[i].is_policy() { 0.25 * i as f64 } else { 0.0 };
            (0..tree.len()).map(reward).collect()
        };
        let step = Some(forest.iter().map(own).collect());
        let with = Rewards { step, ..rewards.clone() };
        for method in all() {
            let moved = method.credit(&forest, &rewards) != method.credit(&forest, &with);
            let blind = matches!(method, CreditConfig::Uniform(_) | CreditConfig::ReverseKl(_));
            assert_eq!(moved, method.reads_step_rewards() && !blind, "{}", method.name());
        }
    }
}
