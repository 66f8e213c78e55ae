//! # Entropy-adaptive upper clip (EAG-RL)
//!
//! Paper: EAG-RL, arXiv 2508.13579, stage 2; its formula from summaries of the paper.
//! Idea: Where the policy is unsure there is more to explore, so what helped there may be pushed up
//! further before the clip stops it.
//! Formula: h(τ) = mean entropy over the trained tokens of path τ at sampling, min-max normalised;
//! ε₂(τ) = ε_min + (ε_max − ε_min)·h(τ); then `clipped` with ε₁ fixed and each token's own ε₂
//! Reads: log-probabilities now and at sampling, credit; entropy at sampling, over the update.
//! Differs: the paper averages the entropy over the tokens that name features; there are none here,
//! so all trained tokens count. A step of a branched tree has the mean bound of the paths through
//! it, each by its share (DECISIONS 6). Normalised over the update; the paper does not say.
//! Degenerate: equal entropies give ε_min everywhere: GRPO with 0.2; ε_min = ε_max is `clipped`
//! with that bound; the bound is a number and has no gradient.
//! Control: `inverse = true`, which gives the sure paths the room.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepId, StepTree};

use super::kl::{Companions, Kl, by_token, clipped, outside};
use super::sequence::{Sequence, Unit, sequences};
use super::{Aggregation, Batch, Loss};

/// Column over tokens: entropy of the distribution each was drawn from, when it was.
pub const ENTROPY: &str = "behaviour_entropy";
/// Column over tokens: each one's upper clip.
pub const CLIP_HIGH: &str = "clip_high";

/// Over what entropies are normalised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All paths of the update.
    #[default]
    Update,
    /// The paths of each tree.
    Tree,
}

/// The clipped surrogate with an upper bound per path.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// ε₁: how far below 1 a ratio is pushed down; 0 to 1. Default 0.2, the paper's.
    pub clip_low: f64,
    /// ε_min: ε₂ of the surest path; 0 to 1e6. Default 0.2, the paper's.
    pub clip_high_min: f64,
    /// ε_max: ε₂ of the least sure path; at least ε_min, at most 1e6. Default 0.4, the paper's.
    pub clip_high_max: f64,
    /// True gives ε_max to the surest path: the control. Default false.
    pub inverse: bool,
    /// Over what entropies are normalised: `update` (default, ours) or `tree`.
    pub scope: Scope,
    /// The penalty for leaving the reference.
    pub kl: Kl,
    /// η: what a nat of entropy is worth, in units of credit; 0 to 100. Default 0.
    pub entropy_bonus: f64,
    /// Log-ratios beyond this count as this, in nats; above 0, at most 80. Default 20, verl's.
    pub log_ratio_max: f64,
    /// From tokens to the update. Default `token_mean`, ours.
    pub aggregation: Aggregation,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            clip_low: 0.2,
            clip_high_min: 0.2,
            clip_high_max: 0.4,
            inverse: false,
            scope: Scope::default(),
            kl: Kl::default(),
            entropy_bonus: 0.0,
            log_ratio_max: 20.0,
            aggregation: Aggregation::default(),
        }
    }
}

impl Config {
    fn companions(&self) -> Companions {
        let Config { kl, entropy_bonus, log_ratio_max, .. } = *self;
        Companions { kl, entropy_bonus, log_ratio_max }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let clips = [
            ("clip_low", self.clip_low, 0.0, 1.0),
            ("clip_high_min", self.clip_high_min, 0.0, 1e6),
            ("clip_high_max", self.clip_high_max, self.clip_high_min, 1e6),
        ];
        let all = [clips, self.companions().ranges()].concat();
        outside("adaptive_clip", &all).or_else(|| self.aggregation.problem())
    }
}

/// `[tree][T]` the upper clip of every trained token, ε_min elsewhere. Reads [`ENTROPY`].
pub fn bounds(forest: &[StepTree], credit: &[Credit], config: &Config) -> Vec<Vec<f32>> {
    assert_eq!(forest.len(), credit.len(), "trees in the forest and in the credits");
    let paths: Vec<_> = forest
        .iter()
        .zip(credit)
        .map(|(tree, credit)| sequences(tree, credit, Aggregation::TokenMean, Unit::Path))
        .collect();
    let of_tree =
        |(tree, paths): (&StepTree, &Vec<_>)| paths.iter().map(|p| mean(tree, p)).collect();
    let entropy: Vec<Vec<f64>> = forest.iter().zip(&paths).map(of_tree).collect();
    let whole = ends(entropy.iter().flatten());
    let mut bound = Vec::with_capacity(forest.len());
    for ((tree, paths), entropy) in forest.iter().zip(&paths).zip(&entropy) {
        let range = if config.scope == Scope::Update { whole } else { ends(entropy) };
        let mut step = vec![0.0; tree.len()];
        for (path, h) in paths.iter().zip(entropy) {
            let own = upper(*h, range, config);
            path.iter().for_each(|part| step[part.of.index()] += part.share * own);
        }
        let mut column = vec![config.clip_high_min as f32; tree.token.len()];
        for part in paths.iter().flatten() {
            let i = part.of.index();
            column[tree.span[i].range()].fill(step[i] as f32);
        }
        bound.push(column);
    }
    bound
}

/// Mean entropy of a path's tokens.
fn mean(tree: &StepTree, path: &Sequence<StepId>) -> f64 {
    let column = &tree.token_column[ENTROPY];
    let stretches = path.iter().map(|part| &column[tree.span[part.of.index()].range()]);
    let (sum, count) =
        stretches.flatten().fold((0.0, 0.0), |(sum, count), h| (sum + f64::from(*h), count + 1.0));
    sum / f64::max(count, 1.0)
}

/// Smallest and largest.
fn ends<'a>(numbers: impl IntoIterator<Item = &'a f64>) -> (f64, f64) {
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    numbers.into_iter().fold(start, |(low, high), x| (low.min(*x), high.max(*x)))
}

/// ε₂ of a path.
fn upper(entropy: f64, (low, high): (f64, f64), config: &Config) -> f64 {
    if high <= low {
        return config.clip_high_min;
    }
    let share = (entropy - low) / (high - low);
    let share = if config.inverse { 1.0 - share } else { share };
    config.clip_high_min + (config.clip_high_max - config.clip_high_min) * share
}

/// The surrogate's loss over a batch, and its gradient per log-probability and entropy. Reads the
/// stream [`CLIP_HIGH`].
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let high = batch.streams.get(CLIP_HIGH);
    batch.assert_column(CLIP_HIGH, high);
    by_token(batch, &config.companions(), |i, token, seen| {
        let (ratio, slope) = token.ratio(config.log_ratio_max, seen);
        let (value, derivative, bound) =
            clipped(token.credit, ratio, config.clip_low, f64::from(high[i]));
        seen.count(bound);
        (value, derivative * slope)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::Streams;
    use stepwell_tree::parse;

    /// Entropies 1, 1 of a; 2 of b; 5 of c and 8, 8 of d: paths have 1, 3.5 and 6.
    fn example() -> ([StepTree; 1], [Credit; 1]) {
        let mut tree = parse(
            "0 -  prompt q
             1 0  policy a a      r=1
             2 0  policy b
             3 2  environment o
             4 3  policy c        r=0
             5 3  policy d d      r=1",
        );
        let entropy = vec![0.0, 1.0, 1.0, 2.0, 0.0, 5.0, 8.0, 8.0];
        tree.token_column.insert(ENTROPY.to_owned(), entropy);
        let mut credit = Credit::none(6);
        for i in [1, 2, 4, 5] {
            credit.step[i] = Some(1.0);
        }
        ([tree], [credit])
    }

    #[test]
    fn a_worked_tree() {
        // Normalised: 0, 1/2 and 1; b stands in the last two with half each.
        let (forest, credit) = example();
        let of = |config: &Config| bounds(&forest, &credit, config).remove(0);
        let expected = [0.2, 0.2, 0.2, 0.35, 0.2, 0.3, 0.4, 0.4];
        for (got, expected) in of(&Config::default()).iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-7, "{got} {expected}");
        }
        let inverse = of(&Config { inverse: true, ..Config::default() });
        for (got, expected) in inverse.iter().zip([0.2, 0.4, 0.4, 0.25, 0.2, 0.3, 0.2, 0.2]) {
            assert!((f64::from(*got) - expected).abs() < 1e-7, "{got} {expected}");
        }
    }

    #[test]
    fn entropies_count_over_the_update_or_within_their_tree() {
        let (first, credit) = example();
        let mut sure = first[0].clone();
        sure.token_column.insert(ENTROPY.to_owned(), vec![0.0; 8]);
        let forest = [first[0].clone(), sure];
        let credit = [credit[0].clone(), credit[0].clone()];
        let of = |scope| bounds(&forest, &credit, &Config { scope, ..Config::default() });
        // Over the update the lowest entropy is 0, so that a, with 1, is above ε_min.
        assert!((of(Scope::Update)[0][1] - 0.2 - 0.2 / 6.0).abs() < 1e-6);
        assert_eq!(of(Scope::Tree)[0][1], 0.2);
        // Equal entropies have ε_min.
        assert!(of(Scope::Tree)[1].iter().all(|b| *b == 0.2));
    }

    #[test]
    fn a_worked_batch() {
        // Ratio 1.3 with credit 1: held by 0.2, free under 0.4; credit -1 does not care.
        let ratio = 1.3f32.ln();
        let batch = Batch {
            logprob: &[ratio; 3],
            behaviour: &[0.0; 3],
            credit: &[1.0, 1.0, -1.0],
            weight: &[1.0; 3],
            streams: Streams { column: [(CLIP_HIGH, &[0.2f32, 0.4, 0.2][..])].into() },
            ..Batch::default()
        };
        let loss = objective(&batch, &Config::default());
        for (got, expected) in loss.d_logprob.iter().zip([0.0, -1.3, 1.3]) {
            assert!((f64::from(*got) - expected).abs() < 1e-6, "{:?}", loss.d_logprob);
        }
        assert!((loss.value + 1.2).abs() < 1e-6, "{}", loss.value);
        assert_eq!(loss.diagnostics.clipped_high, 1);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { clip_high_max: 0.1, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`adaptive_clip.clip_high_max`")));
    }
}
