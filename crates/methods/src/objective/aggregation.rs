//! How the losses of tokens become the loss of an update. It changes results, so it is always
//! named.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

/// From tokens to the update.
///
/// The three formulas on flat rows, o a row and G rows of each of B tasks:
///
/// | name | factor of a token of row o |
/// |---|---|
/// | `token_mean` | 1 / (trained tokens of the update) |
/// | `sequence_mean_token_mean` | 1 / (B·G·len(o)) |
/// | `sequence_mean_token_sum_norm` | 1 / (B·G·L), L a constant |
///
/// On a branched tree a step stands in several rows and is computed once. Its weight is the sum
/// over those rows of theirs, a row's share of its tree being the product of 1/(alternatives)
/// along its path, as in the recursive mean that values use (DECISIONS 4, 6):
///
/// ```text
/// share(root) = 1/B     share(s) = share(parent) / (siblings of s that train, s included)
/// λ(s) = 1/len(path to s) at the end of a row, else the mean of λ over the children that train
/// token_mean                     1/T
/// sequence_mean_token_mean       share(s) · λ(s)
/// sequence_mean_token_sum_norm   share(s) / L
/// ```
///
/// With independent attempts share is 1/(B·G) and λ is 1/len: the flat formulas. A step trains
/// where it or a step below it has credit; others are in no mean (INV-11), so an unscored attempt
/// makes G smaller and a tree without credit makes B smaller. `len` counts the tokens of steps
/// with credit.
///
/// In a recipe: `aggregation = "token_mean"`, or
/// `aggregation = { sequence_mean_token_sum_norm = { length_constant = 512 } }`.
///
/// `share` is what makes the gradient that of the expected return on a branched tree
/// (tests/unbiased.rs). `token_mean` lacks it, weighs each token alike wherever it stands, and so
/// weighs a decision by how many tokens were sampled there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Aggregation {
    /// Mean over all trained tokens of the update; long answers weigh more. verl's default, DAPO.
    #[default]
    TokenMean,
    /// Mean over rows of the mean over their tokens: the GRPO paper.
    SequenceMeanTokenMean,
    /// Sum over a row's tokens by a constant, mean over rows: Dr. GRPO.
    SequenceMeanTokenSumNorm {
        /// L, in tokens, at least 1. Default none: the recipe's `max_tokens`.
        #[serde(default)]
        length_constant: Option<usize>,
    },
}

impl Aggregation {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            Aggregation::SequenceMeanTokenSumNorm { length_constant: Some(0) } => {
                Some("`length_constant` must be at least 1, got: 0".to_owned())
            }
            _ => None,
        }
    }
}

/// `[tree][T]` the factor of each token's loss, such that the sum over the update is the aggregated
/// loss; 0 on tokens that do not train. `max_tokens` is the recipe's, for the constant divisor.
///
/// Divisors are those of the whole update (DECISIONS 15): call this once, then split.
pub fn token_weights(
    forest: &[StepTree],
    credit: &[Credit],
    aggregation: Aggregation,
    max_tokens: usize,
) -> Vec<Vec<f64>> {
    assert_eq!(forest.len(), credit.len(), "trees in the forest and in the credits");
    let trained = |tree: &StepTree, credit: &Credit| -> usize {
        assert_eq!(tree.len(), credit.step.len(), "steps in the tree and in its credit");
        let own = tree.span.iter().zip(&credit.step);
        own.map(|(span, c)| if c.is_some() { span.len() } else { 0 }).sum()
    };
    let each = || forest.iter().zip(credit);
    let tokens: usize = each().map(|(tree, credit)| trained(tree, credit)).sum();
    let trees = credit.iter().filter(|c| c.trained_steps() > 0).count();
    let constant = match aggregation {
        Aggregation::SequenceMeanTokenSumNorm { length_constant } => {
            let constant = length_constant.unwrap_or(max_tokens);
            assert!(constant > 0, "the constant length must be at least 1");
            constant as f64
        }
        _ => 1.0,
    };
    let of = |(tree, credit): (&StepTree, &Credit)| {
        let shape = Shape::new(tree, credit);
        let mut weight = vec![0.0; tree.token.len()];
        for i in (0..tree.len()).filter(|&i| credit.step[i].is_some()) {
            let factor = match aggregation {
                Aggregation::TokenMean => 1.0 / tokens as f64,
                Aggregation::SequenceMeanTokenMean => {
                    shape.share[i] * shape.inverse_length[i] / trees as f64
                }
                Aggregation::SequenceMeanTokenSumNorm { .. } => {
                    shape.share[i] / (constant * trees as f64)
                }
            };
            weight[tree.span[i].range()].fill(factor);
        }
        weight
    };
    each().map(of).collect()
}

/// The part of a tree that trains, as rows see it.
pub(super) struct Shape {
    /// `[N]` product of 1/(alternatives that train) along the path; the root has 1.
    pub(super) share: Vec<f64>,
    /// `[N]` recursive mean over the ends of rows of 1/(trained tokens on the path).
    pub(super) inverse_length: Vec<f64>,
    /// `[N]` true where a row ends: it trains and nothing below it does.
    pub(super) ends: Vec<bool>,
}

impl Shape {
    pub(super) fn new(tree: &StepTree, credit: &Credit) -> Shape {
        let n = tree.len();
        let mut trains: Vec<bool> = credit.step.iter().map(Option::is_some).collect();
        let mut children = vec![0u32; n];
        for i in (1..n).rev() {
            if trains[i] {
                trains[tree.parent[i].index()] = true;
                children[tree.parent[i].index()] += 1;
            }
        }
        let mut share = vec![1.0; n];
        let mut length = vec![0usize; n];
        for i in 0..n {
            let parent = tree.parent[i].index();
            if i > 0 {
                share[i] = share[parent] / f64::from(children[parent].max(1));
                length[i] = length[parent];
            }
            if credit.step[i].is_some() {
                length[i] += tree.span[i].len();
            }
        }
        let mut inverse_length = vec![0.0; n];
        for i in (0..n).rev().filter(|&i| trains[i]) {
            inverse_length[i] = match children[i] {
                // A path of no tokens has nothing to weigh; 1 keeps the number finite.
                0 => 1.0 / length[i].max(1) as f64,
                k => inverse_length[i] / f64::from(k),
            };
            if i > 0 {
                inverse_length[tree.parent[i].index()] += inverse_length[i];
            }
        }
        let ends = (0..n).map(|i| trains[i] && children[i] == 0).collect();
        Shape { share, inverse_length, ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::{StepId, leaves, parse, path_to};

    const BRANCHED: &str = "
        0 -  prompt q q
        1 0  policy a a       r=1
        2 0  policy b
        3 2  environment o o o
        4 3  policy c c c     r=0
        5 3  policy d         r=1
        6 3  policy e e       unscored=interrupted
        7 0  policy f         unscored=interrupted";

    fn all_scored(tree: &StepTree) -> Credit {
        let rewards = crate::reward::outcome::reward(std::slice::from_ref(tree));
        let uniform = crate::credit::uniform::Config::default();
        crate::credit::uniform::credit(std::slice::from_ref(tree), &rewards, &uniform).remove(0)
    }

    const ALL: [Aggregation; 3] = [
        Aggregation::TokenMean,
        Aggregation::SequenceMeanTokenMean,
        Aggregation::SequenceMeanTokenSumNorm { length_constant: None },
    ];

    #[test]
    fn a_worked_tree() {
        // Trains: a a | b c c c d = 7 tokens. Shares: a 1/2, b 1/2, c and d 1/4. Lengths: a 2,
        // b-c 4, b-d 2, so λ(b) = (1/4 + 1/2)/2 = 3/8.
        let forest = [parse(BRANCHED)];
        let (tree, credit) = (&forest[0], [all_scored(&forest[0])]);
        let expected = [
            [1.0 / 7.0, 1.0 / 7.0, 1.0 / 7.0, 1.0 / 7.0],
            [0.25, 3.0 / 16.0, 1.0 / 16.0, 1.0 / 8.0],
            [0.05, 0.05, 0.025, 0.025],
        ];
        for (aggregation, expected) in ALL.into_iter().zip(expected) {
            let weight = &token_weights(&forest, &credit, aggregation, 10)[0];
            for (step, expected) in [1, 2, 4, 5].into_iter().zip(expected) {
                for w in &weight[tree.span[step].range()] {
                    assert!((w - expected).abs() < 1e-15, "{aggregation:?} {step}: {w}");
                }
            }
            for step in [0, 3, 6, 7] {
                assert!(weight[tree.span[step].range()].iter().all(|w| *w == 0.0), "{step}");
            }
        }
    }

    #[test]
    fn a_branched_tree_is_the_sum_of_its_rows() {
        // Each scored row with its share, trained on its own: shared tokens add up.
        let forest = [parse(BRANCHED)];
        let (tree, credit) = (&forest[0], [all_scored(&forest[0])]);
        let [_, by_row, by_constant] =
            ALL.map(|aggregation| token_weights(&forest, &credit, aggregation, 10).remove(0));
        let mut sum_by_row = vec![0.0; tree.token.len()];
        let mut sum_by_constant = vec![0.0; tree.token.len()];
        for (leaf, share) in [(1, 0.5), (4, 0.25), (5, 0.25)] {
            let path = path_to(tree, StepId(leaf));
            let own: Vec<StepId> =
                path.into_iter().filter(|s| tree.origin[s.index()].is_policy()).collect();
            let length: usize = own.iter().map(|s| tree.tokens(*s).len()).sum();
            for t in own.iter().flat_map(|s| tree.span[s.index()].range()) {
                sum_by_row[t] += share / length as f64;
                sum_by_constant[t] += share / 10.0;
            }
        }
        for (got, expected) in by_row.iter().zip(&sum_by_row) {
            assert!((got - expected).abs() < 1e-15);
        }
        for (got, expected) in by_constant.iter().zip(&sum_by_constant) {
            assert!((got - expected).abs() < 1e-15);
        }
        assert!((by_row.iter().sum::<f64>() - 1.0).abs() < 1e-15, "rows have mean weight 1");
    }

    #[test]
    fn independent_attempts_give_the_flat_formulas() {
        let forest = [
            parse("0 - prompt q\n1 0 policy a a a r=1\n2 0 policy b r=0\n3 0 policy c c r=0"),
            parse("0 - prompt q\n1 0 policy a a\n2 1 environment o\n3 2 policy b b r=0"),
        ];
        assert_eq!(leaves(&forest[1]).len(), 1);
        let credit: Vec<Credit> = forest.iter().map(all_scored).collect();
        let flat = |aggregation| token_weights(&forest, &credit, aggregation, 5);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        // Ten trained tokens; rows of 3, 1, 2 in one tree and of 4 in the other; B = 2.
        close(flat(ALL[0])[1][1], 1.0 / 10.0);
        close(flat(ALL[1])[0][1], 1.0 / (2.0 * 3.0 * 3.0));
        close(flat(ALL[1])[0][4], 1.0 / (2.0 * 3.0));
        close(flat(ALL[1])[1][4], 1.0 / (2.0 * 4.0));
        close(flat(ALL[2])[0][1], 1.0 / (2.0 * 3.0 * 5.0));
        close(flat(ALL[2])[1][1], 1.0 / (2.0 * 5.0));
    }

    #[test]
    fn a_tree_without_credit_is_in_no_divisor() {
        let scored = parse("0 - prompt q\n1 0 policy a r=1\n2 0 policy b r=0");
        let empty = parse("0 - prompt q\n1 0 policy a unscored=interrupted");
        let forest = [scored.clone(), empty];
        let credit: Vec<Credit> = forest.iter().map(all_scored).collect();
        for aggregation in ALL {
            let both = token_weights(&forest, &credit, aggregation, 5);
            let alone = token_weights(&forest[..1], &credit[..1], aggregation, 5);
            assert_eq!(both[0], alone[0]);
            assert_eq!(both[1], [0.0, 0.0]);
        }
    }
}
