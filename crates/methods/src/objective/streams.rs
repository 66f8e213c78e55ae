//! What an objective may read and differentiate beyond log-probabilities (DECISIONS 3).
//!
//! Two shapes are enough. One number per row under a name: a value head, a score, the Q of the
//! token that was taken. And a whole distribution per row, which no array may hold for all rows at
//! once (INV-7): there the objective is a function of one [`Row`], and the trainer calls it tile
//! by tile.

use std::collections::BTreeMap;

/// Named columns over the rows of a batch, such as `value`, `value_behaviour`, `q1`.
#[derive(Clone, Debug, Default)]
pub struct Streams<'a> {
    /// `[R]` each.
    pub column: BTreeMap<&'static str, &'a [f32]>,
}

impl<'a> Streams<'a> {
    /// A declared column. Panics where it is missing: the engine fills what `Needs` declares.
    pub fn get(&self, name: &'static str) -> &'a [f32] {
        self.column.get(name).copied().unwrap_or_else(|| panic!("stream `{name}` was not filled"))
    }
}

/// One position with its whole distribution, V entries.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// `[V]` logits (or, for a Q head, its values) under the weights being trained.
    pub logit: &'a [f32],
    /// `[V]` logits of the teacher or of the frozen target; empty where the objective has none.
    pub target: &'a [f32],
    /// The token that stands there.
    pub token: u32,
    /// Factor of the row's loss, from [`token_weights`](super::token_weights).
    pub weight: f64,
}

/// The loss of one row and its gradient.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RowLoss {
    /// Weighted loss.
    pub value: f64,
    /// `[V]` derivative with respect to `Row::logit`.
    pub d_logit: Vec<f32>,
}
