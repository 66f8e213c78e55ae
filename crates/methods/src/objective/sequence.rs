//! Ratios of whole sequences: what a sequence is on a tree, and a loss that looks at them.
//!
//! On flat rows an attempt is a sequence. On a branched tree a step stands in several attempts and
//! is computed once, so there are two readings:
//!
//! - `path`: every path from the prompt to an end is a sequence, as flat methods see a tree
//!   (DECISIONS 6). A shared step has one ratio per path through it, and its weight from
//!   [`token_weights`](super::token_weights) is dealt out to those paths as it was added up from
//!   them: the losses of all paths, each with its own weight, add up to the tree's.
//! - `step`: every step is a sequence of its own. A step has one credit and stands in one place,
//!   so nothing is shared.
//!
//! With single-step attempts both are the flat formula.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepId, StepTree, path_to};

use super::aggregation::Shape;
use super::kl::{Bound, Companions, Token, clamp};
use super::{Aggregation, Batch, Loss};

/// Which tokens share a ratio.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Those of a path from the prompt to an end: an attempt.
    #[default]
    Path,
    /// Those of one step.
    Step,
}

/// One step of a sequence, and its part in it.
#[derive(Clone, PartialEq, Debug)]
pub struct Part<S> {
    /// Which tokens: the step of a tree, or the rows of a batch.
    pub of: S,
    /// Share of the step's weight that this sequence has, in (0, 1]; over all sequences through
    /// the step shares add up to 1.
    pub share: f64,
}

/// Steps, or rows of a batch, that share a ratio; the first step first.
pub type Sequence<S> = Vec<Part<S>>;

/// A sequence of a batch: stretches of its rows.
pub type RowSequence = Sequence<Range<usize>>;

/// The sequences of a tree's trained steps. The shares are those of `aggregation`, whose weights
/// they deal out.
pub fn sequences(
    tree: &StepTree,
    credit: &Credit,
    aggregation: Aggregation,
    unit: Unit,
) -> Vec<Sequence<StepId>> {
    assert_eq!(tree.len(), credit.step.len(), "steps in the tree and in its credit");
    let all = (0..tree.len()).map(|i| StepId(i as u32));
    let trains = |s: &StepId| credit.step[s.index()].is_some() && !tree.span[s.index()].is_empty();
    if unit == Unit::Step {
        return all.filter(trains).map(|of| vec![Part { of, share: 1.0 }]).collect();
    }
    let shape = Shape::new(tree, credit);
    let path = |end: StepId| {
        let share = |s: StepId| match aggregation {
            Aggregation::SequenceMeanTokenMean => {
                let weight = |s: StepId| shape.share[s.index()] * shape.inverse_length[s.index()];
                weight(end) / weight(s)
            }
            _ => shape.share[end.index()] / shape.share[s.index()],
        };
        let own = path_to(tree, end).into_iter().filter(trains);
        own.map(|of| Part { of, share: share(of) }).collect::<Sequence<StepId>>()
    };
    all.filter(|s| shape.ends[s.index()]).map(path).filter(|own| !own.is_empty()).collect()
}

/// How the gradient of a sequence's loss reaches its tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Each token by its own credit, the ratio taken as a number (GSPO-token). The same as
    /// `sequence` where all tokens of a sequence have one credit and one weight.
    #[default]
    Token,
    /// Through the ratio, so that each token gets the mean over its sequence.
    Sequence,
}

/// What a loss over sequences is made of.
pub(super) struct Rule<L, S> {
    pub(super) level: Level,
    /// From credit and log-ratio of a token to its part in the mean, and the slope of that part.
    pub(super) log_ratio: L,
    /// From credit and the ratio of a sequence to the loss of a token, its derivative per
    /// logarithm of the ratio, and the bound that holds.
    pub(super) surrogate: S,
}

/// Σ over sequences q and their tokens i of wᵢ·share·surrogate(Aᵢ, exp(mean of log-ratios in q)).
pub(super) fn by_sequence<L, S>(batch: &Batch<'_>, with: &Companions, rule: &Rule<L, S>) -> Loss
where
    L: Fn(f64, f64) -> (f64, f64, Bound),
    S: Fn(f64, f64) -> (f64, f64, Bound),
{
    with.check(batch);
    let mut loss = Loss::zero(batch.len());
    let read = |i| (batch.weight[i] != 0.0).then(|| Token::read(batch, i));
    let token: Vec<Option<Token>> = (0..batch.len()).map(read).collect();
    let mut term = vec![Term::default(); batch.len()];
    for sequence in batch.sequence {
        let rows = sequence.iter().flat_map(|part| part.of.clone().map(|i| (i, part.share)));
        let rows = rows.filter_map(|(i, share)| token[i].map(|token| (i, share, token)));
        let ratio = one(&rows.collect::<Vec<_>>(), batch.weight, with, rule, &mut term);
        loss.diagnostics.ratio_max = loss.diagnostics.ratio_max.max(ratio);
    }
    for (i, token) in token.iter().enumerate() {
        let Some(token) = token else { continue };
        let own = &term[i];
        assert!((own.share - 1.0).abs() < 1e-9, "row {i}: its shares add up to {}", own.share);
        let seen = &mut loss.diagnostics;
        seen.tokens += 1;
        seen.ratio_sum += own.ratio;
        seen.drift_sum += token.drift().abs();
        if !own.open {
            seen.count(own.bound.unwrap_or(Bound::Free));
        }
        with.add(batch, i, token, (own.value, own.slope), &mut loss);
    }
    loss
}

/// What the sequences through a row add up to, per unit of the row's weight.
#[derive(Clone, Debug, Default)]
struct Term {
    share: f64,
    value: f64,
    slope: f64,
    ratio: f64,
    /// True where some sequence still moves the token.
    open: bool,
    bound: Option<Bound>,
}

/// Adds one sequence to its rows' terms and gives its ratio; 0 where no row of it is read.
fn one<L, S>(
    rows: &[(usize, f64, Token)],
    weight: &[f64],
    with: &Companions,
    rule: &Rule<L, S>,
    term: &mut [Term],
) -> f64
where
    L: Fn(f64, f64) -> (f64, f64, Bound),
    S: Fn(f64, f64) -> (f64, f64, Bound),
{
    let count = rows.len() as f64;
    if rows.is_empty() {
        return 0.0;
    }
    let part: Vec<(f64, f64, Bound)> =
        rows.iter().map(|(_, _, token)| (rule.log_ratio)(token.credit, token.drift())).collect();
    let mean = part.iter().map(|(log_ratio, ..)| log_ratio).sum::<f64>() / count;
    let (mean, inside) = clamp(mean, with.log_ratio_max);
    let ratio = mean.exp();
    let own: Vec<(f64, f64, Bound)> =
        rows.iter().map(|(_, _, token)| (rule.surrogate)(token.credit, ratio)).collect();
    let weighed = rows.iter().zip(&own).map(|((i, share, _), own)| weight[*i] * share * own.1);
    let through = weighed.sum::<f64>() / count;
    for (((i, share, _), own), part) in rows.iter().zip(&own).zip(&part) {
        let slope = match rule.level {
            Level::Token => share * own.1,
            Level::Sequence => through / weight[*i],
        };
        let bound = if part.2 == Bound::Free { own.2 } else { part.2 };
        let term = &mut term[*i];
        term.share += share;
        term.value += share * own.0;
        term.slope += slope * part.1 * inside;
        term.ratio += share * ratio;
        term.open |= bound == Bound::Free;
        term.bound = Some(bound);
    }
    ratio
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::token_weights;
    use stepwell_tree::parse;

    const BRANCHED: &str = "
        0 -  prompt q q
        1 0  policy a a       r=1
        2 0  policy b
        3 2  environment o o o
        4 3  policy c c c     r=0
        5 3  policy d         r=1
        6 3  policy e e       unscored=interrupted
        7 0  policy f         unscored=interrupted";

    fn credit() -> Credit {
        let mut credit = Credit::none(8);
        for i in [1, 2, 4, 5] {
            credit.step[i] = Some(1.0);
        }
        credit
    }

    #[test]
    fn a_worked_tree() {
        // Ends are a, c and d. b stands in two paths: by share half and half; by length 1/16 of
        // its weight comes from b-c (1/4 / 4) and 1/8 from b-d (1/4 / 2): a third and two thirds.
        let part = |of, share| Part { of: StepId(of), share };
        let (tree, credit) = (parse(BRANCHED), credit());
        let of = |aggregation, unit| sequences(&tree, &credit, aggregation, unit);
        let expected = [
            vec![part(1, 1.0)],
            vec![part(2, 0.5), part(4, 1.0)],
            vec![part(2, 0.5), part(5, 1.0)],
        ];
        assert_eq!(of(Aggregation::TokenMean, Unit::Path), expected);
        let by_length = of(Aggregation::SequenceMeanTokenMean, Unit::Path);
        assert!((by_length[1][0].share - 1.0 / 3.0).abs() < 1e-15);
        assert!((by_length[2][0].share - 2.0 / 3.0).abs() < 1e-15);
        let single = [1, 2, 4, 5].map(|i| vec![part(i, 1.0)]);
        assert_eq!(of(Aggregation::TokenMean, Unit::Step), single);
    }

    #[test]
    fn shares_deal_out_the_weights_of_rows() {
        // A path's own weight per token, from the flat formula, is weight · share.
        let forest = [parse(BRANCHED)];
        let credit = [credit()];
        let aggregation = Aggregation::SequenceMeanTokenMean;
        let weight = &token_weights(&forest, &credit, aggregation, 10)[0];
        let flat = [0.5 / 2.0, 0.25 / 4.0, 0.25 / 2.0];
        for (path, expected) in
            sequences(&forest[0], &credit[0], aggregation, Unit::Path).iter().zip(flat)
        {
            for part in path {
                let own = weight[forest[0].span[part.of.index()].range().start] * part.share;
                assert!((own - expected).abs() < 1e-15, "{path:?}: {own}");
            }
        }
    }
}
