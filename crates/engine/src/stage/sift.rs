//! What may train of an update's trees: filters in the recipe's order, and credit for what is left.

use std::collections::BTreeMap;

use stepwell_methods::filter::{Keep, difficulty};
use stepwell_methods::{CreditConfig, Filter, Rewards};
use stepwell_tree::{Credit, StepTree};

use crate::observe::Metrics;

/// What filters say of an update's trees.
pub(super) struct Sifted {
    /// `[tree]`
    keep: Vec<Keep>,
    /// Trees by the filter that dropped them, the first in the recipe's order.
    dropped: BTreeMap<&'static str, usize>,
}

/// Asks every filter about every tree.
pub(super) fn sift(filters: &[Filter], trees: &[StepTree], rewards: &Rewards) -> Sifted {
    let mut dropped: BTreeMap<&'static str, usize> =
        filters.iter().map(|filter| (filter.name(), 0)).collect();
    let mut one = |(tree, reward): (&StepTree, &Vec<Option<f64>>)| {
        let mut keep = Keep::All;
        for filter in filters {
            keep = match (keep, filter.keep(tree, reward)) {
                (_, Keep::Nothing) => {
                    *dropped.entry(filter.name()).or_default() += 1;
                    return Keep::Nothing;
                }
                (keep, Keep::All) => keep,
                (Keep::Steps(own), Keep::Steps(other)) => {
                    Keep::Steps(own.iter().zip(&other).map(|(a, b)| *a && *b).collect())
                }
                (_, Keep::Steps(other)) => Keep::Steps(other),
            };
        }
        keep
    };
    let keep = trees.iter().zip(&rewards.leaf).map(&mut one).collect();
    Sifted { keep, dropped }
}

impl Sifted {
    /// Trees that stay in the update.
    pub(super) fn kept(&self) -> usize {
        self.keep.iter().filter(|keep| **keep != Keep::Nothing).count()
    }

    /// One credit per tree. Those that were dropped have none and enter no mean of the method;
    /// steps that are masked have none, and count for the others.
    pub(super) fn credit(
        &self,
        method: &CreditConfig,
        trees: &[StepTree],
        rewards: &Rewards,
    ) -> Vec<Credit> {
        let of = |t: &usize| self.keep[*t] != Keep::Nothing;
        let kept: Vec<usize> = (0..trees.len()).filter(of).collect();
        let own: Vec<StepTree> = kept.iter().map(|t| trees[*t].clone()).collect();
        let leaf = kept.iter().map(|t| rewards.leaf[*t].clone()).collect();
        let at_steps = |step: &Vec<Vec<f64>>| kept.iter().map(|t| step[*t].clone()).collect();
        let step = rewards.step.as_ref().map(at_steps);
        let given = method.credit(&own, &Rewards { leaf, step });
        let mut credits: Vec<Credit> = trees.iter().map(|tree| Credit::none(tree.len())).collect();
        for (t, mut credit) in kept.into_iter().zip(given) {
            if let Keep::Steps(trains) = &self.keep[t] {
                for (step, trains) in credit.step.iter_mut().zip(trains) {
                    *step = step.filter(|_| *trains);
                }
            }
            credits[t] = credit;
        }
        credits
    }

    /// Counts for the record; nothing where there is no filter. `wanted` is the number of trees
    /// that the update was to hold.
    pub(super) fn metrics(&self, filters: &[Filter], trees: &[StepTree], wanted: usize) -> Metrics {
        let mut metrics = Metrics::new();
        if filters.is_empty() {
            return metrics;
        }
        let mut put = |name: String, value: usize| metrics.insert(name, value as f64);
        let (drawn, kept) = (trees.len(), self.kept());
        put("trees_drawn".to_owned(), drawn);
        put("trees_kept".to_owned(), kept);
        put("trees_missing".to_owned(), wanted.saturating_sub(kept));
        for (name, count) in &self.dropped {
            put(format!("dropped/{name}"), *count);
        }
        let masked = |keep: &Keep| match keep {
            Keep::Steps(trains) => trains.iter().filter(|trains| !**trains).count(),
            _ => 0,
        };
        put("steps_masked".to_owned(), self.keep.iter().map(masked).sum());
        for config in filters.iter().filter_map(|filter| match filter {
            Filter::Difficulty(config) => Some(config),
            _ => None,
        }) {
            for bucket in trees.iter().filter_map(|tree| difficulty::bucket(tree, config)) {
                *metrics.entry(format!("difficulty/{}", bucket.name())).or_default() += 1.0;
            }
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_methods::credit::{group_mean, reinforce};
    use stepwell_methods::filter::{drop_uniform, length};
    use stepwell_tree::parse;

    fn forest() -> (Vec<StepTree>, Rewards) {
        let trees: Vec<StepTree> = [
            "0 - prompt q\n1 0 policy a r=1\n2 0 policy b b b r=0",
            "0 - prompt q\n1 0 policy a r=1\n2 0 policy b b b r=1",
            "0 - prompt q\n1 0 policy a a a r=1\n2 0 policy b b b r=0",
        ]
        .map(parse)
        .into();
        let leaf = |tree: &StepTree| tree.verdict.iter().map(|v| v.reward()).collect();
        let leaf = trees.iter().map(leaf).collect();
        (trees, Rewards::of_leaves(leaf))
    }

    fn limits() -> [Filter; 2] {
        [
            Filter::Length(length::Config { tokens_max: Some(2), truncated: false }),
            Filter::DropUniform(drop_uniform::Config {}),
        ]
    }

    #[test]
    fn a_tree_is_dropped_by_the_first_that_drops_it_and_a_masked_step_still_counts() {
        let (trees, rewards) = forest();
        let filters = limits();
        let sifted = sift(&filters, &trees, &rewards);
        // The third is too long as a whole; the second is uniform, though half of it is too long.
        let metrics = sifted.metrics(&filters, &trees, 3);
        let get = |name: &str| metrics[name];
        assert_eq!((get("dropped/length"), get("dropped/drop_uniform")), (1.0, 1.0));
        let counts = ["trees_drawn", "trees_kept", "trees_missing", "steps_masked"].map(get);
        assert_eq!(counts, [3.0, 1.0, 2.0, 1.0]);
        let method = CreditConfig::GroupMean(group_mean::Config {
            std: group_mean::Deviation::None,
            ..Default::default()
        });
        let credit = sifted.credit(&method, &trees, &rewards);
        // The mean of the first tree is 0.5, the long attempt included.
        assert_eq!(credit[0].step, [None, Some(0.5), None]);
        assert!(credit[1..].iter().all(|credit| credit.trained_steps() == 0));
    }

    #[test]
    fn what_is_dropped_enters_no_mean_of_the_update() {
        let (trees, rewards) = forest();
        let uniform = [Filter::DropUniform(drop_uniform::Config {})];
        let mean = reinforce::Config { baseline: reinforce::Baseline::Mean };
        let method = CreditConfig::Reinforce(mean);
        let credit = sift(&uniform, &trees, &rewards).credit(&method, &trees, &rewards);
        // Trees worth 0.5, 1 and 0.5: without the second the mean is 0.5 and not 2/3.
        assert_eq!(credit[0].step, [None, Some(0.5), Some(-0.5)]);
        let all = sift(&[], &trees, &rewards);
        assert_eq!(all.credit(&method, &trees, &rewards), method.credit(&trees, &rewards));
        assert!(all.metrics(&[], &trees, 3).is_empty());
    }
}
