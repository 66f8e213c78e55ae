//! What a forward keeps for its backward.

use std::fmt;

use crate::{
    config::{Config, Family},
    kernel::Buffer,
};

/// Rows that one unit of row-wise work covers. Partial sums of the norms' gradients are taken
/// over these fixed runs, so the number of threads changes no bit.
pub(super) const CHUNK: usize = 128;

/// One layer's activations, each `[N][width]`.
#[derive(Default)]
pub(super) struct LayerActivations {
    /// The residual stream before the layer: always kept.
    pub(super) input: Buffer,
    /// What can be computed again from it.
    pub(super) inside: Inside,
}

#[derive(Default)]
pub(super) struct Inside {
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

impl Inside {
    pub(super) fn resize(&mut self, config: &Config, rows: usize) {
        let (query, kv) = (config.query_width(), config.kv_width());
        self.query.resize(rows * query);
        self.key.resize(rows * kv);
        self.value.resize(rows * kv);
        if config.family == Family::Qwen3 {
            self.raw_query.resize(rows * query);
            self.raw_key.resize(rows * kv);
        }
        self.attended.resize(rows * query);
        self.middle.resize(rows * config.hidden);
        self.gate.resize(rows * config.ffn);
        self.up.resize(rows * config.ffn);
    }

    /// Floats per row.
    fn width(config: &Config) -> usize {
        let (query, kv) = (config.query_width(), config.kv_width());
        let raw = if config.family == Family::Qwen3 { query + kv } else { 0 };
        2 * query + 2 * kv + raw + config.hidden + 2 * config.ffn
    }
}

/// How many layers keep their activations for the backward; the others compute them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActivationPlan {
    /// Layers that keep what their backward reads.
    pub kept: usize,
    /// Layers that keep their input only.
    pub recomputed: usize,
    /// Bytes of all activations that live from the forward to the backward.
    pub bytes: usize,
    /// Tokens of the forest.
    pub tokens: usize,
}

impl fmt::Display for ActivationPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kept, recomputed, bytes, tokens } = self;
        let (layers, mib) = (kept + recomputed, bytes.div_ceil(1 << 20));
        write!(
            f,
            "activations of {tokens} tokens: {kept} of {layers} layers kept, {recomputed} \
             computed again, {mib} MiB"
        )
    }
}

impl ActivationPlan {
    /// The plan for a forest of `rows` tokens under a budget in bytes; without one, every layer
    /// keeps its activations. A budget below what the inputs alone need keeps the inputs alone.
    #[must_use]
    pub fn new(config: &Config, rows: usize, budget: Option<usize>) -> Self {
        let float = size_of::<f32>();
        let inputs = rows * config.hidden * (config.layers + 1) * float;
        let layer = rows * Inside::width(config) * float;
        let bytes = inputs + layer * config.layers;
        let all = Self { kept: config.layers, recomputed: 0, bytes, tokens: rows };
        match budget {
            Some(budget) if all.bytes > budget => {
                // One set of buffers serves all layers that compute again.
                let room = budget.saturating_sub(inputs) / layer.max(1);
                let kept = room.saturating_sub(1);
                if kept + 1 >= config.layers {
                    // A set of buffers for a single layer would save nothing.
                    return all;
                }
                let bytes = inputs + layer * (kept + 1);
                Self { kept, recomputed: config.layers - kept, bytes, tokens: rows }
            }
            _ => all,
        }
    }

    /// Whether a layer computes its activations again. The last layers keep theirs: they are the
    /// first that the backward needs.
    pub(crate) fn recomputes(&self, layer: usize) -> bool {
        layer < self.recomputed
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny;

    #[test]
    fn a_budget_is_met_as_far_as_it_can_be() {
        let config = Config { layers: 10, ..tiny(Family::Llama) };
        let plan = |budget| ActivationPlan::new(&config, 100, budget);
        let all = plan(None);
        assert_eq!((all.kept, all.recomputed), (10, 0));
        assert_eq!(plan(Some(all.bytes)), all);
        let mut before = all;
        for share in (0..=10).rev() {
            let budget = all.bytes * share / 10;
            let plan = plan(Some(budget));
            assert_eq!(plan.kept + plan.recomputed, 10);
            assert!(plan.bytes <= budget.max(plan_floor(&config)) && plan.kept <= before.kept);
            before = plan;
        }
        assert_eq!((before.kept, before.recomputed), (0, 10));
    }

    fn plan_floor(config: &Config) -> usize {
        ActivationPlan::new(config, 100, Some(0)).bytes
    }
}
