//! How weights lie in memory: `f32`, or `bf16` with the rest of each `f32` beside it.
//!
//! A split weight is the nearest `bf16` (`high`, what products read) and the difference of the
//! bits (`low`): together they are the `f32` master, bit for bit, in four bytes. So training in
//! `bf16` needs no second copy of the weights.

use crate::{
    error::ModelError,
    kernel::{Buffer, Numbers, PANEL, Panels, join, pairs, split, unpair},
    parameters::{Kind, Layout, Slot},
};

/// In which precision products read weights and inputs. Sums, norms, attention and the optimizer
/// are `f32` in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to the nearest `bf16`, embeddings too; the weights keep their `f32` masters.
    Bf16,
}

/// The storage of all weights.
#[derive(Clone)]
pub(crate) enum Weights {
    /// The arena of [`Layout`].
    F32(Buffer),
    Split(Split),
}

/// Matrices as pairs along their columns, `[rows / PANEL][pairs(columns)][PANEL]`.
#[derive(Clone)]
pub(crate) struct Split {
    pub(crate) high: Buffer<u32>,
    pub(crate) low: Buffer<u32>,
    /// Norms and biases.
    pub(crate) vectors: Buffer,
}

impl Weights {
    pub(crate) fn zeros(layout: &Layout, precision: Precision) -> Self {
        match precision {
            Precision::F32 => Weights::F32(Buffer::zeros(layout.stored)),
            Precision::Bf16 => Weights::Split(Split {
                high: Buffer::zeros(layout.split_pairs),
                low: Buffer::zeros(layout.split_pairs),
                vectors: Buffer::zeros(layout.split_vectors),
            }),
        }
    }

    /// All of them, where they are `f32`.
    pub(crate) fn f32(&self) -> Option<&[f32]> {
        match self {
            Weights::F32(arena) => Some(arena),
            Weights::Split(_) => None,
        }
    }

    pub(crate) fn f32_mut(&mut self) -> Option<&mut [f32]> {
        match self {
            Weights::F32(arena) => Some(arena),
            Weights::Split(_) => None,
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        match self {
            Weights::F32(_) => Precision::F32,
            Weights::Split(_) => Precision::Bf16,
        }
    }

    /// The matrix of a slot as products read it.
    pub(crate) fn matrix<'a>(&'a self, slot: &Slot) -> Panels<'a> {
        let Kind::Matrix { rows, columns } = slot.kind else {
            panic!("{} is not a matrix", slot.name)
        };
        let data = match self {
            Weights::F32(arena) => Numbers::F32(&arena[slot.range()]),
            Weights::Split(split) => Numbers::Pairs(&split.high[slot.split_range()]),
        };
        Panels { data, rows, columns }
    }

    /// The values of a norm or bias.
    pub(crate) fn vector<'a>(&'a self, slot: &Slot) -> &'a [f32] {
        match self {
            Weights::F32(arena) => &arena[slot.offset..slot.offset + slot.count()],
            Weights::Split(split) => {
                &split.vectors[slot.split_offset..slot.split_offset + slot.count()]
            }
        }
    }

    /// The row-major `f32` values of a slot.
    pub(crate) fn read(&self, slot: &Slot) -> Vec<f32> {
        match (self, slot.kind) {
            (Weights::F32(arena), _) => slot.read(arena),
            (Weights::Split(_), Kind::Vector { .. }) => self.vector(slot).to_vec(),
            (Weights::Split(split), Kind::Matrix { rows, columns }) => {
                let (high, low) = split.of(slot);
                let mut out = vec![0.0; rows * columns];
                for (row, values) in out.chunks_exact_mut(columns).enumerate() {
                    for (column, value) in values.iter_mut().enumerate() {
                        let word = word(row, column, columns);
                        *value = join(high[word], low[word])[column % 2];
                    }
                }
                out
            }
        }
    }

    /// Replaces the values of a slot by row-major ones (`count()` of them).
    pub(crate) fn write(&mut self, slot: &Slot, row_major: &[f32]) {
        assert_eq!(row_major.len(), slot.count(), "values of {}", slot.name);
        match (self, slot.kind) {
            (Weights::F32(arena), _) => slot.write(arena, row_major),
            (Weights::Split(split), Kind::Vector { length }) => {
                split.vectors[slot.split_offset..][..length].copy_from_slice(row_major);
            }
            (Weights::Split(stored), Kind::Matrix { columns, .. }) => {
                let range = slot.split_range();
                let (high, low) = (&mut stored.high[range.clone()], &mut stored.low[range]);
                for (row, values) in row_major.chunks_exact(columns).enumerate() {
                    for (pair, values) in values.chunks(2).enumerate() {
                        let word = word(row, 2 * pair, columns);
                        let second = values.get(1).copied().unwrap_or(0.0);
                        (high[word], low[word]) = split([values[0], second]);
                    }
                }
            }
        }
    }

    /// As [`Weights::write`], of values that somebody else counted.
    ///
    /// # Errors
    /// If the number of values is not that of the shape; nothing has then changed.
    pub(crate) fn replace(&mut self, slot: &Slot, row_major: &[f32]) -> Result<(), ModelError> {
        let (got, expected) = (row_major.len(), slot.count());
        if got != expected {
            return Err(ModelError::WrongSize { name: slot.name.clone(), got, expected });
        }
        self.write(slot, row_major);
        Ok(())
    }

    /// Calls `see` with every stored value of a slot in the order of the `f32` arena, padding
    /// included.
    pub(crate) fn each_stored(&self, slot: &Slot, mut see: impl FnMut(f32)) {
        match (self, slot.kind) {
            (Weights::F32(arena), _) => arena[slot.range()].iter().for_each(|value| see(*value)),
            (Weights::Split(split), Kind::Vector { .. }) => {
                split.vectors[slot.split_range()].iter().for_each(|value| see(*value));
            }
            (Weights::Split(split), Kind::Matrix { columns, .. }) => {
                let (high, low) = split.of(slot);
                let panel = pairs(columns) * PANEL;
                for (high, low) in high.chunks_exact(panel).zip(low.chunks_exact(panel)) {
                    for column in 0..columns {
                        let line = column / 2 * PANEL;
                        for lane in line..line + PANEL {
                            see(join(high[lane], low[lane])[column % 2]);
                        }
                    }
                }
            }
        }
    }

    /// Copies one row of a matrix in the precision in which products read it.
    pub(crate) fn row(&self, slot: &Slot, row: usize, out: &mut [f32]) {
        let columns = out.len();
        match self {
            Weights::F32(arena) => {
                let lane = row / PANEL * PANEL * columns + row % PANEL;
                let stored = &arena[slot.range()];
                for (value, from) in out.iter_mut().zip(stored[lane..].iter().step_by(PANEL)) {
                    *value = *from;
                }
            }
            Weights::Split(split) => {
                let (high, _) = split.of(slot);
                let words = high[word(row, 0, columns)..].iter().step_by(PANEL);
                for (two, word) in out.chunks_mut(2).zip(words) {
                    let (first, second) = unpair(*word);
                    two[0] = first;
                    if let Some(value) = two.get_mut(1) {
                        *value = second;
                    }
                }
            }
        }
    }
}

impl Split {
    fn of(&self, slot: &Slot) -> (&[u32], &[u32]) {
        (&self.high[slot.split_range()], &self.low[slot.split_range()])
    }
}

/// The word of a matrix's pair that holds `(row, column)`.
fn word(row: usize, column: usize, columns: usize) -> usize {
    (row / PANEL * pairs(columns) + column / 2) * PANEL + row % PANEL
}

#[cfg(test)]
mod tests {
    use crate::{
        config::Family,
        model::Model,
        testing::{noise, tiny},
    };

    use super::*;

    #[test]
    fn a_split_keeps_every_bit_and_products_read_the_nearest() {
        for at in 0..20_000 {
            let value = f32::from_bits((noise(3, at) * 1e9) as i32 as u32 ^ (at as u32) << 15);
            let (high, low) = split([value, -value]);
            let joined = join(high, low).map(f32::to_bits);
            let same = joined == [value.to_bits(), (-value).to_bits()];
            assert!(same || value.is_nan(), "{value:e}");
            let near = (unpair(high).0 - value).abs() <= value.abs() / 256.0;
            assert!(near || !value.is_normal() || value.abs() > 3.3e38, "{value:e}");
        }
    }

    #[test]
    fn ends_of_the_range_survive_a_split() {
        let values = [0.0, -0.0, 1.0 + 1.0 / 256.0, f32::MAX, f32::MIN_POSITIVE, 1e-40];
        for value in values.into_iter().chain([f32::INFINITY, f32::NEG_INFINITY]) {
            let (high, low) = split([value, value]);
            assert_eq!(join(high, low).map(f32::to_bits), [value.to_bits(); 2], "{value:e}");
        }
        for payload in [0x7f80_0001, 0x7fff_ffff, 0xffc0_0000, 0xffff_8000] {
            let (high, low) = split([f32::from_bits(payload); 2]);
            assert!(join(high, low).iter().all(|value| value.is_nan()), "{payload:x}");
        }
    }

    #[test]
    fn precision_changes_no_master() {
        let config = crate::config::Config { hidden: 39, ..tiny(Family::Qwen2) };
        let source = Model::random(config, 7);
        let mut model = source.clone();
        model.set_precision(Precision::Bf16);
        assert_eq!(model.precision(), Precision::Bf16);
        assert_eq!(model.checksum(), source.checksum());
        for (a, b) in model.parameters().iter().zip(source.parameters()) {
            assert_eq!(a.to_row_major(), b.to_row_major(), "{}", a.name());
        }
        model.set_parameter("model.norm.weight", &[2.5; 39]).unwrap();
        model.set_precision(Precision::F32);
        let norm = model.parameters().pop().unwrap();
        assert_eq!(norm.to_row_major(), [2.5; 39]);
    }
}
