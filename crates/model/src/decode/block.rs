//! Keys and values of one step, grown token by token while the step is sampled.

use crate::{
    attention::Heads,
    config::Config,
    kernel::{Buffer, PANEL},
};

/// One step's keys and values in every layer.
pub(crate) struct Block {
    tokens: usize,
    /// `[layers * kv_heads]`
    heads: Vec<HeadBlock>,
}

/// One layer's keys and values of one key head.
#[derive(Default)]
struct HeadBlock {
    /// `[tokens / PANEL][head_dim][PANEL]`
    key: Buffer,
    /// `[tokens][padded head_dim]`
    value: Buffer,
}

impl Block {
    /// No tokens yet.
    pub(crate) fn new(config: &Config) -> Self {
        let mut heads = Vec::new();
        heads.resize_with(config.layers * config.kv_heads, HeadBlock::default);
        Self { tokens: 0, heads }
    }

    /// No tokens, for the same shape.
    pub(crate) fn empty_like(&self) -> Self {
        let mut heads = Vec::new();
        heads.resize_with(self.heads.len(), HeadBlock::default);
        Self { tokens: 0, heads }
    }

    /// Tokens whose keys and values are here.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Makes room for `more` tokens; [`Block::write`] fills them.
    pub(crate) fn grow(&mut self, heads: &Heads, more: usize) {
        self.tokens += more;
        for head in &mut self.heads {
            head.key.reserve(self.tokens.next_multiple_of(PANEL) * heads.dim);
            head.value.reserve(self.tokens * heads.padded());
        }
    }

    /// Writes one token's keys and values (`[kv_heads * head_dim]` each) of one layer.
    pub(crate) fn write(
        &mut self,
        heads: &Heads,
        layer: usize,
        token: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let own = &mut self.heads[layer * heads.kv..][..heads.kv];
        let rows = key.chunks_exact(heads.dim).zip(value.chunks_exact(heads.dim));
        for (head, (key, value)) in own.iter_mut().zip(rows) {
            let lane = token / PANEL * PANEL * heads.dim + token % PANEL;
            for (to, from) in head.key[lane..].iter_mut().step_by(PANEL).zip(key) {
                *to = *from;
            }
            head.value[token * heads.padded()..][..heads.dim].copy_from_slice(value);
        }
    }

    /// Key panels of one layer and key head.
    pub(crate) fn key(&self, heads: &Heads, layer: usize, kv: usize) -> &[f32] {
        &self.heads[layer * heads.kv + kv].key
    }

    /// Value rows of one layer and key head.
    pub(crate) fn value(&self, heads: &Heads, layer: usize, kv: usize) -> &[f32] {
        &self.heads[layer * heads.kv + kv].value
    }
}
