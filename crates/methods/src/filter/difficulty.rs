//! # Buckets of difficulty
//!
//! Paper: none of its own; classes by success under the current policy as in Tool-Star, arXiv
//! 2505.16410, section 3, and the hard and easy ends that DAPO, arXiv 2503.14476, leaves out.
//! Idea: Say in words which tasks an update is made of: those of some buckets of difficulty, by how
//! often the policy that grew the tree solves them.
//! Formula: p̂ = recursive mean of [outcome ≥ solved_at]; `unsolved` p̂ = 0; `hard` 0 < p̂ <
//! hard_below; `medium` hard_below ≤ p̂ < easy_from; `easy` easy_from ≤ p̂ < 1; `solved` p̂ = 1
//! Reads: outcomes of leaves that are no companions.
//! Differs: Tool-Star classifies once, with and without tools; here every tree of every update is.
//! Degenerate: no judged attempt is in no bucket and is dropped; every tree is in one bucket.
//! Control: all five buckets kept, at an equal number of sampled tokens.

use serde::{Deserialize, Serialize};
use stepwell_tree::StepTree;

use super::{Keep, assert_fits, solved_problem};

/// How hard a task is for the policy that grew its tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// No attempt solves it.
    Unsolved,
    /// Some do, fewer than `hard_below`.
    Hard,
    /// From `hard_below` to `easy_from`.
    Medium,
    /// From `easy_from`, and not all.
    Easy,
    /// All do.
    Solved,
}

/// Which buckets train, and where they end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Buckets that train: some of `unsolved`, `hard`, `medium`, `easy`, `solved`. Default hard,
    /// medium and easy, DAPO's.
    pub keep: Vec<Bucket>,
    /// Where `hard` ends, above 0 and at most `easy_from`. Default one third, ours.
    pub hard_below: f64,
    /// Where `easy` begins, at most 1. Default two thirds, ours.
    pub easy_from: f64,
    /// An attempt with at least this outcome has solved its task. Default 1, ours.
    pub solved_at: f64,
}

impl Default for Config {
    fn default() -> Self {
        let keep = vec![Bucket::Hard, Bucket::Medium, Bucket::Easy];
        Config { keep, hard_below: 1.0 / 3.0, easy_from: 2.0 / 3.0, solved_at: 1.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { ref keep, hard_below, easy_from, solved_at } = *self;
        if keep.is_empty() {
            return Some("`difficulty.keep` must name a bucket, got none".to_owned());
        }
        if let Some(twice) = (1..keep.len()).find(|i| keep[..*i].contains(&keep[*i])) {
            let bucket = keep[twice].name();
            return Some(format!("`difficulty.keep` must name each once, got twice: `{bucket}`"));
        }
        if !(hard_below > 0.0 && hard_below <= easy_from) {
            return Some(format!(
                "`difficulty.hard_below` must be above 0 and at most `easy_from` ({easy_from}), \
                 got: {hard_below}"
            ));
        }
        if easy_from > 1.0 {
            return Some(format!("`difficulty.easy_from` must be at most 1, got: {easy_from}"));
        }
        solved_problem("difficulty", solved_at)
    }
}

impl Bucket {
    /// The word a recipe uses.
    pub fn name(self) -> &'static str {
        match self {
            Bucket::Unsolved => "unsolved",
            Bucket::Hard => "hard",
            Bucket::Medium => "medium",
            Bucket::Easy => "easy",
            Bucket::Solved => "solved",
        }
    }
}

/// The bucket of a tree; `None` where no attempt was judged.
pub fn bucket(tree: &StepTree, config: &Config) -> Option<Bucket> {
    let rate = super::success_rate(tree, config.solved_at)?;
    Some(match rate {
        rate if rate <= 0.0 => Bucket::Unsolved,
        rate if rate >= 1.0 => Bucket::Solved,
        rate if rate < config.hard_below => Bucket::Hard,
        rate if rate < config.easy_from => Bucket::Medium,
        _ => Bucket::Easy,
    })
}

/// Drops a tree of a bucket that does not train.
pub fn keep(tree: &StepTree, reward: &[Option<f64>], config: &Config) -> Keep {
    assert_fits(tree, reward);
    let fine = bucket(tree, config).is_some_and(|bucket| config.keep.contains(&bucket));
    if fine { Keep::All } else { Keep::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::COMPANION;
    use stepwell_tree::parse;

    fn tree(solved: usize, attempts: usize) -> StepTree {
        let row = |i: usize| format!("{} 0 policy a r={}\n", i + 1, usize::from(i < solved));
        parse(&format!("0 - prompt q\n{}", (0..attempts).map(row).collect::<String>()))
    }

    #[test]
    fn worked_trees() {
        use Bucket::{Easy, Hard, Medium, Solved, Unsolved};
        let config = Config::default();
        let of = |solved| bucket(&tree(solved, 6), &config).unwrap();
        // 0, 1/6 | 2/6, 3/6 | 4/6, 5/6 | 1: a bound belongs to the easier bucket.
        let expected = [Unsolved, Hard, Medium, Medium, Easy, Easy, Solved];
        assert_eq!((0..=6).map(of).collect::<Vec<_>>(), expected);
        let kept = |solved| keep(&tree(solved, 6), &[None; 7], &config) == Keep::All;
        assert_eq!((0..=6).filter(|k| kept(*k)).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let only = Config { keep: vec![Unsolved, Solved], ..config.clone() };
        let kept = |solved| keep(&tree(solved, 6), &[None; 7], &only) == Keep::All;
        assert_eq!((0..=6).filter(|k| kept(*k)).collect::<Vec<_>>(), [0, 6]);
        let unjudged = parse("0 - prompt q\n1 0 policy a unscored=x");
        assert_eq!(keep(&unjudged, &[None; 2], &only), Keep::Nothing);
    }

    #[test]
    fn a_companion_is_no_attempt() {
        let mut tree = tree(1, 2);
        assert_eq!(bucket(&tree, &Config::default()), Some(Bucket::Medium));
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 0.0, 1.0]);
        assert_eq!(bucket(&tree, &Config::default()), Some(Bucket::Solved));
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 1.0, 1.0]);
        assert_eq!(bucket(&tree, &Config::default()), None);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        let fine = Config::default();
        assert_eq!(fine.problem(), None);
        let bad = |config: Config, key: &str| {
            assert!(config.problem().is_some_and(|p| p.starts_with(key)), "{config:?}");
        };
        bad(Config { keep: Vec::new(), ..fine.clone() }, "`difficulty.keep`");
        bad(Config { keep: vec![Bucket::Easy; 2], ..fine.clone() }, "`difficulty.keep`");
        bad(Config { hard_below: 0.7, ..fine.clone() }, "`difficulty.hard_below`");
        bad(Config { easy_from: 1.1, ..fine.clone() }, "`difficulty.easy_from`");
        bad(Config { solved_at: f64::INFINITY, ..fine }, "`difficulty.solved_at`");
    }
}
