//! Where each parameter lies: matrices as panels, Hugging Face names. In `f32` all lie in one
//! arena; split weights ([`crate::weights`]) have the same panels of pairs.
//!
//! A matrix `[n, k]` is stored as panels `[n / PANEL][k][PANEL]`: the products run their lanes
//! over `n`, so one layout serves one row, a batch and both gradients. Lanes past `n` are zero
//! and stay zero, because their gradients are.

use crate::{
    adapter::Target,
    config::{Config, Family},
    kernel::{LANES, PANEL, pairs},
};

/// What a parameter is, which decides its storage and its weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `[rows, columns]` in panels.
    Matrix { rows: usize, columns: usize },
    /// One dimension: a norm or a bias.
    Vector { length: usize },
}

/// One parameter's place in the arena.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) offset: usize,
    /// Where the parameter lies in a split storage: a matrix among the pairs, a vector among the
    /// vectors.
    pub(crate) split_offset: usize,
}

impl Slot {
    /// Floats in the arena, padding included.
    pub(crate) fn stored(&self) -> usize {
        match self.kind {
            Kind::Matrix { rows, columns } => rows.div_ceil(PANEL) * PANEL * columns,
            Kind::Vector { length } => length.next_multiple_of(LANES),
        }
    }

    /// Values of the shape.
    pub(crate) fn count(&self) -> usize {
        match self.kind {
            Kind::Matrix { rows, columns } => rows * columns,
            Kind::Vector { length } => length,
        }
    }

    pub(crate) fn is_matrix(&self) -> bool {
        matches!(self.kind, Kind::Matrix { .. })
    }

    /// Values of one row; 1 of a vector.
    pub(crate) fn columns(&self) -> usize {
        match self.kind {
            Kind::Matrix { columns, .. } => columns,
            Kind::Vector { .. } => 1,
        }
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        match self.kind {
            Kind::Matrix { rows, columns } => vec![rows, columns],
            Kind::Vector { length } => vec![length],
        }
    }

    /// Floats of the arena of slots that lie one behind the other.
    pub(crate) fn stored_in(slots: &[Slot]) -> usize {
        slots.last().map_or(0, |last| last.range().end)
    }

    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.stored()
    }

    pub(crate) fn split_range(&self) -> std::ops::Range<usize> {
        let length = match self.kind {
            Kind::Matrix { rows, columns } => rows.div_ceil(PANEL) * PANEL * pairs(columns),
            Kind::Vector { .. } => self.stored(),
        };
        self.split_offset..self.split_offset + length
    }

    /// The row-major values of this parameter in `arena`.
    pub(crate) fn read(&self, arena: &[f32]) -> Vec<f32> {
        let stored = &arena[self.range()];
        match self.kind {
            Kind::Vector { length } => stored[..length].to_vec(),
            Kind::Matrix { rows, columns } => {
                let mut out = vec![0.0; rows * columns];
                for (row, values) in out.chunks_exact_mut(columns).enumerate() {
                    let panel = &stored[(row / PANEL) * PANEL * columns..];
                    for (column, value) in values.iter_mut().enumerate() {
                        *value = panel[column * PANEL + row % PANEL];
                    }
                }
                out
            }
        }
    }

    /// Writes row-major values (`count()` of them) to `arena`.
    pub(crate) fn write(&self, arena: &mut [f32], row_major: &[f32]) {
        assert_eq!(row_major.len(), self.count(), "values of {}", self.name);
        let stored = &mut arena[self.range()];
        match self.kind {
            Kind::Vector { length } => stored[..length].copy_from_slice(row_major),
            Kind::Matrix { columns, .. } => {
                for (row, values) in row_major.chunks_exact(columns).enumerate() {
                    let panel = &mut stored[(row / PANEL) * PANEL * columns..];
                    for (column, value) in values.iter().enumerate() {
                        panel[column * PANEL + row % PANEL] = *value;
                    }
                }
            }
        }
    }
}

/// Slot numbers of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerSlots {
    pub(crate) input_norm: usize,
    pub(crate) query: usize,
    pub(crate) key: usize,
    pub(crate) value: usize,
    /// Biases of query, key and value (Qwen2).
    pub(crate) bias: Option<[usize; 3]>,
    /// Per-head norms of query and key (Qwen3).
    pub(crate) head_norm: Option<[usize; 2]>,
    pub(crate) output: usize,
    pub(crate) ffn_norm: usize,
    pub(crate) gate: usize,
    pub(crate) up: usize,
    pub(crate) down: usize,
}

impl LayerSlots {
    /// The matrix of a projection.
    pub(crate) fn of(&self, target: Target) -> usize {
        match target {
            Target::Query => self.query,
            Target::Key => self.key,
            Target::Value => self.value,
            Target::Output => self.output,
            Target::Gate => self.gate,
            Target::Up => self.up,
            Target::Down => self.down,
        }
    }
}

/// The slots of a model, in the order of their names' first use.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) slots: Vec<Slot>,
    pub(crate) layers: Vec<LayerSlots>,
    pub(crate) embedding: usize,
    pub(crate) final_norm: usize,
    /// The embedding's own slot where the head is tied.
    pub(crate) head: usize,
    /// Floats of the whole arena.
    pub(crate) stored: usize,
    /// Words of pairs and floats of vectors of a split storage.
    pub(crate) split_pairs: usize,
    pub(crate) split_vectors: usize,
}

impl Layout {
    pub(crate) fn new(config: &Config) -> Self {
        let mut builder = Builder::default();
        let embedding =
            builder.matrix("model.embed_tokens.weight", config.vocabulary, config.hidden);
        let layers = (0..config.layers).map(|layer| layer_slots(&mut builder, config, layer));
        let layers = layers.collect();
        let final_norm = builder.vector("model.norm.weight", config.hidden);
        let head = if config.tied {
            embedding
        } else {
            builder.matrix("lm_head.weight", config.vocabulary, config.hidden)
        };
        let Builder { slots, stored, split_pairs, split_vectors } = builder;
        Self { slots, layers, embedding, final_norm, head, stored, split_pairs, split_vectors }
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }
}

fn layer_slots(builder: &mut Builder, config: &Config, layer: usize) -> LayerSlots {
    let name = |tail: &str| format!("model.layers.{layer}.{tail}");
    let (hidden, query, kv) = (config.hidden, config.query_width(), config.kv_width());
    let input_norm = builder.vector(&name("input_layernorm.weight"), hidden);
    let query_slot = builder.matrix(&name("self_attn.q_proj.weight"), query, hidden);
    let key = builder.matrix(&name("self_attn.k_proj.weight"), kv, hidden);
    let value = builder.matrix(&name("self_attn.v_proj.weight"), kv, hidden);
    let bias = (config.family == Family::Qwen2).then(|| {
        [
            builder.vector(&name("self_attn.q_proj.bias"), query),
            builder.vector(&name("self_attn.k_proj.bias"), kv),
            builder.vector(&name("self_attn.v_proj.bias"), kv),
        ]
    });
    let head_norm = (config.family == Family::Qwen3).then(|| {
        [
            builder.vector(&name("self_attn.q_norm.weight"), config.head_dim),
            builder.vector(&name("self_attn.k_norm.weight"), config.head_dim),
        ]
    });
    LayerSlots {
        input_norm,
        query: query_slot,
        key,
        value,
        bias,
        head_norm,
        output: builder.matrix(&name("self_attn.o_proj.weight"), hidden, query),
        ffn_norm: builder.vector(&name("post_attention_layernorm.weight"), hidden),
        gate: builder.matrix(&name("mlp.gate_proj.weight"), config.ffn, hidden),
        up: builder.matrix(&name("mlp.up_proj.weight"), config.ffn, hidden),
        down: builder.matrix(&name("mlp.down_proj.weight"), hidden, config.ffn),
    }
}

#[derive(Default)]
struct Builder {
    slots: Vec<Slot>,
    stored: usize,
    split_pairs: usize,
    split_vectors: usize,
}

impl Builder {
    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> usize {
        self.push(name, Kind::Matrix { rows, columns })
    }

    fn vector(&mut self, name: &str, length: usize) -> usize {
        self.push(name, Kind::Vector { length })
    }

    fn push(&mut self, name: &str, kind: Kind) -> usize {
        let split = match kind {
            Kind::Matrix { .. } => &mut self.split_pairs,
            Kind::Vector { .. } => &mut self.split_vectors,
        };
        let slot = Slot { name: name.to_owned(), kind, offset: self.stored, split_offset: *split };
        *split = slot.split_range().end;
        self.stored += slot.stored();
        self.slots.push(slot);
        self.slots.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny;

    #[test]
    fn rows_survive_the_panels_and_padding_stays_zero() {
        let slot = Slot {
            name: "m".into(),
            kind: Kind::Matrix { rows: 35, columns: 3 },
            offset: 16,
            split_offset: 0,
        };
        let values: Vec<f32> = (0..105_u8).map(|value| f32::from(value) + 1.0).collect();
        let mut arena = vec![0.0; 16 + slot.stored()];
        slot.write(&mut arena, &values);
        assert_eq!(slot.read(&arena), values);
        let filled = arena.iter().filter(|value| **value != 0.0).count();
        assert_eq!(filled, 105, "nothing but the matrix was written");
        // Row 34 is lane 2 of the second panel.
        assert_eq!(arena[16 + 3 * PANEL + 2], values[34 * 3]);
    }

    #[test]
    fn families_differ_by_biases_and_head_norms_only() {
        let count = |family| Layout::new(&tiny(family)).slots.len();
        let layers = tiny(Family::Llama).layers;
        assert_eq!(count(Family::Llama), 2 + 9 * layers);
        assert_eq!(count(Family::Qwen2), 2 + 12 * layers);
        assert_eq!(count(Family::Qwen3), 2 + 11 * layers);
    }
}
