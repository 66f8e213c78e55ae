//! Where parameters lie on the device: row-major, matrices first, so that the optimizer knows
//! them apart by one bound; what is one product together (queries, keys and values; gate and up)
//! lies together.

use std::collections::BTreeMap;

use crate::parameters::{Layout, Slot};

/// Numbers between starts, so that rows of any product start where memory is read whole.
const ALIGNED: usize = 64;

/// The places of some slots in one arena.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) slots: Vec<Slot>,
    /// First number of each slot.
    offset: Vec<usize>,
    /// Numbers before this one belong to matrices.
    pub(super) matrices: usize,
    /// Numbers of the whole arena, padding included.
    pub(super) total: usize,
}

impl Places {
    /// Of all parameters of a model.
    pub(super) fn of_layout(layout: &Layout) -> Places {
        let mut follows = BTreeMap::new();
        for own in &layout.layers {
            follows.extend([(own.key, own.query), (own.value, own.key), (own.up, own.gate)]);
            if let Some([query, key, value]) = own.bias {
                follows.extend([(key, query), (value, key)]);
            }
        }
        Places::new(&layout.slots, &follows)
    }

    /// Of an adapter's parameters.
    pub(super) fn of_slots(slots: &[Slot]) -> Places {
        Places::new(slots, &BTreeMap::new())
    }

    /// `follows[b] = a` puts `b` right behind `a`, which comes earlier.
    fn new(slots: &[Slot], follows: &BTreeMap<usize, usize>) -> Places {
        let mut offset = vec![0; slots.len()];
        let mut total = 0_usize;
        let mut matrices = 0;
        for kind in [true, false] {
            for first in (0..slots.len()).filter(|slot| slots[*slot].is_matrix() == kind) {
                if follows.contains_key(&first) {
                    continue;
                }
                total = total.next_multiple_of(ALIGNED);
                let mut slot = Some(first);
                while let Some(own) = slot {
                    offset[own] = total;
                    total += slots[own].count();
                    slot = follows.iter().find(|(_, before)| **before == own).map(|(b, _)| *b);
                }
            }
            total = total.next_multiple_of(ALIGNED);
            if kind {
                matrices = total;
            }
        }
        Places { slots: slots.to_vec(), offset, matrices, total }
    }

    /// First number of a slot.
    pub(super) fn offset(&self, slot: usize) -> usize {
        self.offset[slot]
    }

    /// The numbers of a slot.
    pub(super) fn range(&self, slot: usize) -> std::ops::Range<usize> {
        self.offset[slot]..self.offset[slot] + self.slots[slot].count()
    }

    /// The slot of that name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Family, testing::tiny};

    #[test]
    fn every_number_has_one_place_and_products_lie_together() {
        for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
            let config = tiny(family);
            let layout = Layout::new(&config);
            let places = Places::of_layout(&layout);
            let mut taken = vec![false; places.total];
            for slot in 0..places.slots.len() {
                let matrix = places.slots[slot].is_matrix();
                for at in places.range(slot) {
                    assert!(!std::mem::replace(&mut taken[at], true), "{at} twice");
                    assert_eq!(at < places.matrices, matrix);
                }
            }
            for own in &layout.layers {
                let end = |slot| places.range(slot).end;
                assert_eq!(end(own.query), places.offset(own.key));
                assert_eq!(end(own.key), places.offset(own.value));
                assert_eq!(end(own.gate), places.offset(own.up));
                assert_eq!(places.offset(own.query) % ALIGNED, 0);
                if let Some([query, key, value]) = own.bias {
                    assert_eq!((end(query), end(key)), (places.offset(key), places.offset(value)));
                }
            }
        }
    }
}
