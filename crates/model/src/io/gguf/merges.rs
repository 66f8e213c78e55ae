//! Merges of a vocabulary that has scores instead.
//!
//! SentencePiece joins, again and again, the neighbours whose whole has the best score. A list of
//! merges does the same if it holds every way to make each piece of two others, best piece first.

use std::collections::{BTreeMap, BTreeSet};

/// Pairs of ids; `whole` are the pieces that text may consist of.
pub(super) fn by_score(
    tokens: &[String],
    scores: &[f64],
    whole: &BTreeSet<usize>,
) -> Vec<(usize, usize)> {
    let ids: BTreeMap<&str, usize> = whole.iter().map(|id| (tokens[*id].as_str(), *id)).collect();
    let mut best: Vec<usize> = whole.iter().copied().collect();
    // Best first; of equals the one listed first.
    best.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut pairs = Vec::new();
    for id in best {
        let token = tokens[id].as_str();
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let mut ways: Vec<(usize, usize)> =
            cuts.filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?))).collect();
        ways.sort_unstable();
        pairs.extend(ways);
    }
    pairs
}
