//! Gradients in the layout of the weights that train.

use std::ops::Range;

use crate::{
    kernel::{Buffer, square_sum},
    model::Model,
    parameters::Slot,
};

/// Numbers whose squares are summed together.
const RUN: usize = 1 << 14;

/// One number per weight that trains, accumulated in place. Frozen weights have none.
#[derive(Clone)]
pub struct Gradients {
    pub(crate) slots: Vec<Slot>,
    pub(crate) arena: Buffer,
}

impl Gradients {
    /// Zeros, one per weight of `model` that trains.
    #[must_use]
    pub fn zeros_like(model: &Model) -> Self {
        Self::of(model.trained_slots().to_vec())
    }

    /// Zeros in the layout of some slots that lie one behind the other.
    pub(crate) fn of(slots: Vec<Slot>) -> Self {
        Self { arena: Buffer::zeros(Slot::stored_in(&slots)), slots }
    }

    /// Sets every gradient to zero.
    pub fn clear(&mut self) {
        self.arena.fill(0.0);
    }

    /// The Euclidean norm over all parameters, summed in `f64` in a fixed order.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.arena.chunks(RUN).map(square_sum).sum::<f64>().sqrt()
    }

    /// Multiplies every gradient.
    pub fn scale(&mut self, factor: f32) {
        for value in self.arena.iter_mut() {
            *value *= factor;
        }
    }

    /// The name of the first parameter whose gradient holds a NaN or an infinity.
    #[must_use]
    pub fn non_finite(&self) -> Option<String> {
        let broken = |slot: &&Slot| self.arena[slot.range()].iter().any(|value| !value.is_finite());
        self.slots.iter().find(broken).map(|slot| slot.name.clone())
    }

    /// Numbers in memory, padding included.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.arena.len()
    }

    /// All of them as they lie, padding included: in the order of [`Model::trained`].
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.arena
    }

    /// One parameter's gradient in row-major order; `None` for an unknown name or a frozen one.
    #[must_use]
    pub fn to_row_major(&self, name: &str) -> Option<Vec<f32>> {
        self.slots.iter().find(|slot| slot.name == name).map(|slot| slot.read(&self.arena))
    }

    /// The stored values of some slots, all of them different.
    pub(crate) fn stored_mut<const SLOTS: usize>(
        &mut self,
        slots: [usize; SLOTS],
    ) -> [&mut [f32]; SLOTS] {
        self.ranges_mut(slots.map(|slot| self.slots[slot].range()))
    }

    /// The stored values in some ranges, whole slots each; empty ranges are empty.
    pub(crate) fn ranges_mut<const RANGES: usize>(
        &mut self,
        ranges: [Range<usize>; RANGES],
    ) -> [&mut [f32]; RANGES] {
        self.arena.get_disjoint_mut(ranges).expect("slots do not overlap")
    }

    /// The values of a norm or bias.
    pub(crate) fn vector_mut(&mut self, slot: usize) -> &mut [f32] {
        let slot = &self.slots[slot];
        &mut self.arena[slot.offset..slot.offset + slot.count()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Family, testing::tiny};

    #[test]
    fn norm_scale_and_clear() {
        let model = Model::random(tiny(Family::Llama), 1);
        let mut gradients = Gradients::zeros_like(&model);
        gradients.arena[0] = 3.0;
        gradients.arena[100] = -4.0;
        assert_eq!(gradients.norm(), 5.0);
        gradients.scale(2.0);
        assert_eq!(gradients.norm(), 10.0);
        gradients.arena[0] = f32::INFINITY;
        assert_eq!(gradients.non_finite().as_deref(), Some("model.embed_tokens.weight"));
        assert!(gradients.to_row_major("model.embed_tokens.weight").is_some());
        assert!(gradients.to_row_major("nothing").is_none());
        gradients.clear();
        assert_eq!(gradients.norm(), 0.0);
    }
}
