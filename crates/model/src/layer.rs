//! The row-wise parts of one layer: the sampler and the trainer both run these (INV-6).
//!
//! Each part is a few regions of the team: norms and activations are split over rows, products
//! over columns of outputs, so that no two threads read the same weights.

use crate::{
    adapter::{DeltaScratch, Target, add_deltas},
    kernel::{
        Buffer, Numbers, Panels, add, columns, pair_columns, pairs, product_columns, rms_norm,
        rotate, swiglu,
    },
    model::Model,
    rotary::Rotary,
    team::Team,
};

/// Rows of one unit of row-wise work.
const ROWS: usize = 16;

/// Queries, keys and values of some rows, each `[rows][width]`.
pub(crate) struct Projected<'a> {
    pub(crate) query: &'a mut [f32],
    pub(crate) key: &'a mut [f32],
    pub(crate) value: &'a mut [f32],
    /// Query and key before their head norms; empty in families without.
    pub(crate) raw_query: &'a mut [f32],
    pub(crate) raw_key: &'a mut [f32],
}

/// What the feed-forward part leaves behind, each `[rows][width]`.
pub(crate) struct FeedForward<'a> {
    /// The residual stream after attention.
    pub(crate) middle: &'a mut [f32],
    pub(crate) gate: &'a mut [f32],
    pub(crate) up: &'a mut [f32],
    /// The residual stream after the layer, where it is wanted.
    pub(crate) output: Option<&'a mut [f32]>,
}

/// The input of a product: rows, and their pairs where products read pairs.
#[derive(Default)]
pub(crate) struct Inputs {
    rows: Buffer,
    words: Buffer<u32>,
    width: usize,
    paired: bool,
}

impl Inputs {
    pub(crate) fn resize(&mut self, rows: usize, width: usize, paired: bool) {
        self.rows.resize(rows * width);
        self.words.resize(if paired { rows * pairs(width) } else { 0 });
        (self.width, self.paired) = (width, paired);
    }

    pub(crate) fn numbers(&self) -> Numbers<'_> {
        if self.paired { Numbers::Pairs(&self.words) } else { Numbers::F32(&self.rows) }
    }

    /// The rows before they were packed.
    pub(crate) fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Some of the rows.
    pub(crate) fn range(&self, rows: std::ops::Range<usize>) -> Numbers<'_> {
        let own = |width: usize| rows.start * width..rows.end * width;
        match self.numbers() {
            Numbers::F32(all) => Numbers::F32(&all[own(self.width)]),
            Numbers::Pairs(all) => Numbers::Pairs(&all[own(pairs(self.width))]),
        }
    }

    /// Rows that lie elsewhere, as a product reads them.
    pub(crate) fn hold<'a>(
        &'a mut self,
        team: &Team,
        rows: &'a [f32],
        width: usize,
        paired: bool,
    ) -> Numbers<'a> {
        if !paired {
            return Numbers::F32(rows);
        }
        (self.width, self.paired) = (width, paired);
        self.words.resize(rows.len() / width * pairs(width));
        let words = self.words.chunks_mut(ROWS * pairs(width));
        team.run(rows.chunks(ROWS * width).zip(words), |(rows, words)| {
            pair_columns(rows, width, words);
        });
        Numbers::Pairs(&self.words)
    }

    /// Runs of `ROWS` rows; each is packed when it is filled.
    fn chunks_mut(&mut self) -> impl Iterator<Item = InputChunk<'_>> + Send {
        let width = self.width;
        let mut words = self.words.chunks_mut(ROWS * pairs(width));
        self.rows.chunks_mut(ROWS * width).map(move |rows| InputChunk {
            rows,
            words: words.next(),
            width,
        })
    }
}

struct InputChunk<'a> {
    rows: &'a mut [f32],
    words: Option<&'a mut [u32]>,
    width: usize,
}

impl InputChunk<'_> {
    fn pack(self) {
        if let Some(words) = self.words {
            pair_columns(self.rows, self.width, words);
        }
    }
}

/// Buffers of the parts of a layer, for any number of rows.
#[derive(Default)]
pub(crate) struct LayerScratch {
    /// Of the norms, and of the attention's output.
    narrow: Inputs,
    /// Of the gated layer.
    wide: Inputs,
    /// Of the adapter.
    delta: DeltaScratch,
}

/// `y = x Wᵀ` for each pair of matrix and output, the columns of all outputs shared by the team.
pub(crate) fn products<const OUTPUTS: usize>(
    team: &Team,
    x: Numbers,
    outputs: [(Panels, &mut [f32]); OUTPUTS],
) {
    let panels: usize = outputs.iter().map(|(matrix, _)| matrix.panels()).sum();
    // Several units of work per thread even out what another program takes; whole fours of
    // panels are what few rows run through at once.
    let each = panels.div_ceil(4 * team.threads()).next_multiple_of(4);
    let parts = outputs
        .into_iter()
        .flat_map(|(matrix, y)| columns(y, matrix.rows, each).map(move |part| (matrix, part)));
    team.run(parts, |(matrix, part)| product_columns(x, matrix, part));
}

/// Copies the embeddings of `token` to `[rows][hidden]`.
pub(crate) fn embed(model: &Model, token: &[u32], out: &mut [f32]) {
    let slot = &model.layout.slots[model.layout.embedding];
    let (rows, columns) = (model.config().vocabulary, model.config().hidden);
    for (token, out) in token.iter().zip(out.chunks_exact_mut(columns)) {
        let token = *token as usize;
        assert!(token < rows, "token {token} of a vocabulary of {rows}");
        model.weights.row(slot, token, out);
    }
}

/// The norm of every row of `input`.
pub(crate) fn norm_rows(
    team: &Team,
    model: &Model,
    norm: usize,
    input: &[f32],
    normed: &mut Inputs,
) {
    let (weight, epsilon) = (model.vector(norm), model.config().norm_epsilon as f32);
    team.run(input.chunks(ROWS * weight.len()).zip(normed.chunks_mut()), |(input, normed)| {
        rms_norm(input, weight, epsilon, normed.rows);
        normed.pack();
    });
}

/// Norm, projections, biases, head norms and rotation.
pub(crate) fn before_attention(
    team: &Team,
    model: &Model,
    layer: usize,
    rotary: &Rotary,
    (input, position): (&[f32], &[u32]),
    scratch: &mut LayerScratch,
    out: &mut Projected,
) {
    let config = model.config();
    let slots = model.layout.layers[layer];
    let hidden = config.hidden;
    let LayerScratch { narrow: normed, delta, .. } = scratch;
    let pair = |target| model.pair(layer, target);
    normed.resize(position.len(), hidden, model.paired());
    norm_rows(team, model, slots.input_norm, input, normed);
    let outputs = [
        (model.matrix(slots.query), &mut *out.query),
        (model.matrix(slots.key), &mut *out.key),
        (model.matrix(slots.value), &mut *out.value),
    ];
    products(team, normed.numbers(), outputs);
    let outputs = [
        (pair(Target::Query), &mut *out.query),
        (pair(Target::Key), &mut *out.key),
        (pair(Target::Value), &mut *out.value),
    ];
    add_deltas(team, normed.rows(), outputs, delta);
    let (query, kv) = (config.query_width(), config.kv_width());
    let mut raw = out.raw_query.chunks_mut(ROWS * query).zip(out.raw_key.chunks_mut(ROWS * kv));
    let tasks = position
        .chunks(ROWS)
        .zip(out.query.chunks_mut(ROWS * query))
        .zip(out.key.chunks_mut(ROWS * kv).zip(out.value.chunks_mut(ROWS * kv)))
        .map(|((position, query), (key, value))| (position, [query, key, value], raw.next()));
    team.run(tasks, |(position, rows, raw)| {
        finish_projections(model, layer, (rotary, position), rows, raw);
    });
}

/// What follows the products of the projections: biases, head norms and rotation.
fn finish_projections(
    model: &Model,
    layer: usize,
    (rotary, position): (&Rotary, &[u32]),
    [query, key, value]: [&mut [f32]; 3],
    raw: Option<(&mut [f32], &mut [f32])>,
) {
    let config = model.config();
    let slots = model.layout.layers[layer];
    if let Some(biases) = slots.bias {
        for (rows, bias) in [&mut *query, &mut *key, value].into_iter().zip(biases) {
            let bias = model.vector(bias);
            rows.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
        }
    }
    if let Some([query_norm, key_norm]) = slots.head_norm {
        let (raw_query, raw_key) = raw.expect("rows before the norms where heads have norms");
        let epsilon = config.norm_epsilon as f32;
        raw_query.copy_from_slice(query);
        raw_key.copy_from_slice(key);
        rms_norm(raw_query, model.vector(query_norm), epsilon, query);
        rms_norm(raw_key, model.vector(key_norm), epsilon, key);
    }
    turn(rotary, position, query, config.query_width(), 1.0);
    turn(rotary, position, key, config.kv_width(), 1.0);
}

/// Rotates rows of `width` by their positions; `sign` -1 is the inverse and the gradient.
pub(crate) fn turn(rotary: &Rotary, position: &[u32], rows: &mut [f32], width: usize, sign: f32) {
    for (row, position) in rows.chunks_exact_mut(width).zip(position) {
        let (cosine, sine) = rotary.at(*position);
        rotate(row, cosine, sine, sign);
    }
}

/// Output projection, residual, norm and the gated feed-forward layer.
pub(crate) fn after_attention(
    team: &Team,
    model: &Model,
    layer: usize,
    (attended, input): (&[f32], &[f32]),
    scratch: &mut LayerScratch,
    out: &mut FeedForward,
) {
    let (config, paired) = (model.config(), model.paired());
    let slots = model.layout.layers[layer];
    let (hidden, query, ffn) = (config.hidden, config.query_width(), config.ffn);
    let rows = input.len() / hidden;
    let LayerScratch { narrow, wide, delta } = scratch;
    let pair = |target| model.pair(layer, target);
    let seen = narrow.hold(team, attended, query, paired);
    products(team, seen, [(model.matrix(slots.output), &mut *out.middle)]);
    add_deltas(team, attended, [(pair(Target::Output), &mut *out.middle)], delta);
    narrow.resize(rows, hidden, paired);
    let norm = (model.vector(slots.ffn_norm), config.norm_epsilon as f32);
    let tasks = out.middle.chunks_mut(ROWS * hidden).zip(input.chunks(ROWS * hidden));
    team.run(tasks.zip(narrow.chunks_mut()), |((middle, input), normed)| {
        add(middle, input);
        rms_norm(middle, norm.0, norm.1, normed.rows);
        normed.pack();
    });
    let gates =
        [(model.matrix(slots.gate), &mut *out.gate), (model.matrix(slots.up), &mut *out.up)];
    products(team, narrow.numbers(), gates);
    let gates = [(pair(Target::Gate), &mut *out.gate), (pair(Target::Up), &mut *out.up)];
    add_deltas(team, narrow.rows(), gates, delta);
    let Some(output) = out.output.as_deref_mut() else { return };
    wide.resize(rows, ffn, paired);
    let gates = out.gate.chunks(ROWS * ffn).zip(out.up.chunks(ROWS * ffn));
    team.run(gates.zip(wide.chunks_mut()), |((gate, up), to)| {
        swiglu(gate, up, to.rows);
        to.pack();
    });
    products(team, wide.numbers(), [(model.matrix(slots.down), &mut *output)]);
    add_deltas(team, wide.rows(), [(pair(Target::Down), &mut *output)], delta);
    let tasks = output.chunks_mut(ROWS * hidden).zip(out.middle.chunks(ROWS * hidden));
    team.run(tasks, |(output, middle)| add(output, middle));
}
