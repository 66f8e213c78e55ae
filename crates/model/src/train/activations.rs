//! What a forward keeps for its backward.

use crate::{config::Config, kernel::Buffer};

/// Rows that one unit of row-wise work covers. Partial sums of the norms' gradients are taken
/// over these fixed runs, so the number of threads changes no bit.
pub(super) const CHUNK: usize = 128;

/// One layer's activations, each `[N][width]`.
#[derive(Default)]
pub(super) struct LayerActivations {
    pub(super) input: Buffer,
    pub(super) query: Buffer,
    pub(super) key: Buffer,
    pub(super) value: Buffer,
    /// Before the head norms; empty in families without.
    pub(super) raw_query: Buffer,
    pub(super) raw_key: Buffer,
    pub(super) attended: Buffer,
    pub(super) middle: Buffer,
    pub(super) gate: Buffer,
    pub(super) up: Buffer,
}

impl LayerActivations {
    pub(super) fn resize(&mut self, config: &Config, rows: usize) {
        let (query, kv) = (config.query_width(), config.kv_width());
        self.input.resize(rows * config.hidden);
        self.query.resize(rows * query);
        self.key.resize(rows * kv);
        self.value.resize(rows * kv);
        if config.family == crate::config::Family::Qwen3 {
            self.raw_query.resize(rows * query);
            self.raw_key.resize(rows * kv);
        }
        self.attended.resize(rows * query);
        self.middle.resize(rows * config.hidden);
        self.gate.resize(rows * config.ffn);
        self.up.resize(rows * config.ffn);
    }
}

/// `[N][width]` cut into runs of `CHUNK` rows.
pub(super) fn chunks(rows: &[f32], width: usize) -> std::slice::Chunks<'_, f32> {
    rows.chunks(CHUNK * width)
}

/// As [`chunks`], for writing.
pub(super) fn chunks_mut(rows: &mut [f32], width: usize) -> std::slice::ChunksMut<'_, f32> {
    rows.chunks_mut(CHUNK * width)
}
