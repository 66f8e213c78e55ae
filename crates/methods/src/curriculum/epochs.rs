//! # Epochs
//!
//! Paper: none; the order in which stochastic gradient descent is usually run.
//! Idea: Every task once, in a random order, before any comes twice.
//! Formula: item k of a stage is π_e(k mod n), e = ⌊k/n⌋, π_e a permutation under the key of e
//! Reads: nothing.
//! Differs: nothing to differ from.
//! Degenerate: a batch larger than the number of tasks holds some tasks again.
//! Control: it is one, of every other curriculum.

use serde::{Deserialize, Serialize};
use stepwell_tree::Key;

/// Nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The items of one batch out of `n`: a pure function of the key and the place, never a consumed
/// stream.
pub fn batch(key: Key, n: usize, size: usize, step: usize) -> Vec<usize> {
    assert!(n > 0, "nothing to draw from");
    let mut epoch = usize::MAX;
    let mut order = Vec::new();
    (step * size..(step + 1) * size)
        .map(|at| {
            if at / n != epoch {
                epoch = at / n;
                order = key.with(epoch as u64).permutation(n);
            }
            order[at % n]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Purpose;

    #[test]
    fn an_epoch_holds_each_item_once_wherever_batches_fall() {
        let key = Key::new(1, Purpose::TaskOrder);
        let mut seen: Vec<usize> = (0..5).flat_map(|step| batch(key, 10, 4, step)).collect();
        let second = seen.split_off(10);
        for mut epoch in [seen, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(batch(key, 3, 7, 0).len(), 7);
    }
}
