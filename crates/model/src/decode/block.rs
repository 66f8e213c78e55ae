//! Keys and values of one step, grown token by token while the step is sampled.
//!
//! They lie in chunks that never move: a step that grows copies nothing, and a chunk is one
//! allocation for all layers and heads.

use crate::{
    attention::Heads,
    config::Config,
    kernel::{Buffer, PANEL},
};

/// A chunk is as long as the step before it, within these bounds and in whole panels: at most
/// half of a step's memory, and never more than this many tokens, wait to be filled.
const ROOM_MOST: usize = 256;

/// One step's keys and values in every layer.
pub(crate) struct Block {
    tokens: usize,
    /// `layers * kv_heads`
    heads: usize,
    chunks: Vec<Chunk>,
}

/// A run of the step's tokens.
struct Chunk {
    /// Index of the first token.
    first: usize,
    /// Tokens that fit, a multiple of `PANEL`.
    room: usize,
    /// `[layers * kv_heads]` times keys `[room / PANEL][head_dim][PANEL]`, values
    /// `[room][padded head_dim]`.
    data: Buffer,
}

/// One layer's and key head's part of a chunk.
pub(crate) struct Keys<'a> {
    /// Index of the first token in the step.
    pub(crate) first: usize,
    pub(crate) tokens: usize,
    /// `[tokens / PANEL][head_dim][PANEL]`, whole panels
    pub(crate) key: &'a [f32],
    /// `[tokens or more][padded head_dim]`
    pub(crate) value: &'a [f32],
}

impl Block {
    /// No tokens yet.
    pub(crate) fn new(config: &Config) -> Self {
        Self { tokens: 0, heads: config.layers * config.kv_heads, chunks: Vec::new() }
    }

    /// No tokens, for the same shape.
    pub(crate) fn empty_like(&self) -> Self {
        Self { tokens: 0, heads: self.heads, chunks: Vec::new() }
    }

    /// Tokens whose keys and values are here.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Makes room for `more` tokens; [`Block::write`] fills them.
    pub(crate) fn grow(&mut self, heads: &Heads, more: usize) {
        let first = self.chunks.last().map_or(0, |chunk| chunk.first + chunk.room);
        let goal = self.tokens + more;
        if goal > first {
            let ahead = self.tokens.min(ROOM_MOST);
            let room = (goal - first).max(ahead).next_multiple_of(PANEL);
            let data = Buffer::zeros(self.heads * room * (heads.dim + heads.padded()));
            self.chunks.push(Chunk { first, room, data });
        }
        self.tokens = goal;
    }

    /// Writes one token's keys and values (`[kv_heads * head_dim]` each) of one layer.
    ///
    /// # Panics
    /// If the block has not grown to this token.
    pub(crate) fn write(
        &mut self,
        heads: &Heads,
        layer: usize,
        token: usize,
        key: &[f32],
        value: &[f32],
    ) {
        assert!(token < self.tokens, "token {token} of {}", self.tokens);
        let last = self.chunks.iter_mut().rev().find(|chunk| chunk.first <= token);
        let Some(Chunk { first, room, data }) = last else { unreachable!("chunks start at 0") };
        let token = token - *first;
        let rows = key.chunks_exact(heads.dim).zip(value.chunks_exact(heads.dim));
        let own = data.chunks_exact_mut(*room * (heads.dim + heads.padded()));
        for (own, (key, value)) in own.skip(layer * heads.kv).zip(rows) {
            let (keys, values) = own.split_at_mut(*room * heads.dim);
            let lane = token / PANEL * PANEL * heads.dim + token % PANEL;
            for (to, from) in keys[lane..].iter_mut().step_by(PANEL).zip(key) {
                *to = *from;
            }
            values[token * heads.padded()..][..heads.dim].copy_from_slice(value);
        }
    }

    /// Keys and values of one layer and key head, in the order of their tokens.
    pub(crate) fn keys(
        &self,
        heads: &Heads,
        (layer, kv): (usize, usize),
    ) -> impl Iterator<Item = Keys<'_>> {
        let (dim, padded, at) = (heads.dim, heads.padded(), layer * heads.kv + kv);
        self.chunks.iter().map(move |Chunk { first, room, data }| {
            let size = room * (dim + padded);
            let (key, value) = data[at * size..(at + 1) * size].split_at(room * dim);
            Keys { first: *first, tokens: (self.tokens - first).min(*room), key, value }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Family, testing::tiny};

    #[test]
    fn a_step_grows_without_moving_and_wastes_little() {
        let config = tiny(Family::Llama);
        let heads = Heads::new(&config);
        let mut block = Block::new(&config);
        let mut tokens = 0;
        for more in [1, 30, 3, 40, 1, 1, 500, 1, 900] {
            let before: Vec<*const f32> =
                block.keys(&heads, (1, 1)).map(|keys| keys.key.as_ptr()).collect();
            block.grow(&heads, more);
            let width = heads.kv_width();
            for token in tokens..tokens + more {
                let value = |shift: usize| vec![(token + shift) as f32; width];
                block.write(&heads, 1, token, &value(0), &value(5));
            }
            tokens += more;
            assert_eq!(block.tokens(), tokens);
            let after = block.keys(&heads, (1, 1)).map(|keys| keys.key.as_ptr());
            assert!(after.take(before.len()).eq(before), "keys have moved");
            let room: usize = block.chunks.iter().map(|chunk| chunk.room).sum();
            assert!(room - tokens <= tokens.min(ROOM_MOST) + PANEL, "{room} for {tokens} tokens");
        }
        let mut token = 0;
        for keys in block.keys(&heads, (1, 1)) {
            assert_eq!(keys.first, token);
            for own in 0..keys.tokens {
                let lane = own / PANEL * PANEL * heads.dim + own % PANEL;
                assert_eq!(keys.key[lane + 3 * PANEL], token as f32);
                assert_eq!(keys.value[own * heads.padded() + 3], (token + 5) as f32);
                token += 1;
            }
        }
        assert_eq!(token, tokens);
        assert!(block.chunks.len() < 7, "{} chunks", block.chunks.len());
    }
}
