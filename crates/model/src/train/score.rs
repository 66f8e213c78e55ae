//! Log-probabilities at the scored positions and their gradient; no array of positions ×
//! vocabulary where it would be large (INV-7). The forward takes a few dozen positions over the
//! whole vocabulary, because the sampler does; the backward takes all positions over a part of the
//! vocabulary, so that each weight of the head is read and its gradient written once.

use super::{
    Scored, TokenScores,
    rows::{self, RowSeeds},
    weights::{WeightTask, run_weights},
    workspace::{Worker, Workspace},
};
use crate::{
    gradients::Gradients,
    kernel::{
        Buffer, Normaliser, Numbers, PANEL, ScoreSeed, add, along_rows, columns, entropy,
        normalise, pairs, product_grad_input_columns, rms_norm_grad, score_grad, temper,
    },
    layer::Inputs,
    model::Model,
    scores::{LOGIT_ROWS, effective, final_norm, logits},
};

/// Numbers of one part of the logits' gradient: a few megabytes.
const PART: usize = 1 << 21;
/// Positions whose sums for the final norm's gradient are taken together.
const NORM_ROWS: usize = 32;

/// What the scored positions need, `[S]` each where not said otherwise.
#[derive(Default)]
pub(super) struct ScoreBuffers {
    /// `[S][hidden]` residual streams of the positions.
    stream: Buffer,
    /// The same after the final norm.
    pub(super) normed: Inputs,
    /// `[S][hidden]` gradient by `normed`, then by the streams.
    pub(super) d_normed: Buffer,
    d_stream: Buffer,
    /// `[LOGIT_ROWS][vocabulary]`, or `[S][part of the vocabulary]`.
    logits: Buffer,
    /// The same as pairs.
    d_logits: Inputs,
    /// `[pairs(S)][hidden]` of `normed`.
    along_rows: Buffer<u32>,
    normaliser: Vec<Normaliser>,
    entropy: Vec<f32>,
    /// `[S / NORM_ROWS][hidden]` sums of the gradient of the final norm's weight.
    d_norm: Buffer,
}

/// Scores every position.
pub(super) fn forward(workspace: &mut Workspace, model: &Model, scored: &Scored) -> TokenScores {
    let count = scored.row.len();
    assert_eq!(scored.target.len(), count, "one target per scored row");
    let (hidden, vocabulary) = (model.config().hidden, model.config().vocabulary);
    let inside = |target: &u32| (*target as usize) < vocabulary;
    assert!(scored.target.iter().all(inside), "a target is outside the vocabulary");
    let mut scores = TokenScores { logprob: vec![0.0; count], entropy: vec![0.0; count] };
    let Workspace { team, score: buffers, output, worker, .. } = workspace;
    buffers.stream.resize(count * hidden);
    for (to, row) in buffers.stream.chunks_exact_mut(hidden).zip(scored.row) {
        to.copy_from_slice(&output[*row as usize * hidden..][..hidden]);
    }
    final_norm(team, model, &buffers.stream, &mut buffers.normed);
    buffers.normaliser.resize(count, Normaliser::default());
    buffers.logits.resize(LOGIT_ROWS.min(count) * vocabulary);
    let temperature = effective(scored.temperature);
    let head = model.matrix(model.layout.head);
    for first in (0..count).step_by(LOGIT_ROWS) {
        let range = first..(first + LOGIT_ROWS).min(count);
        let block = &mut buffers.logits[..range.len() * vocabulary];
        logits(team, buffers.normed.range(range.clone()), head, block);
        let outs = scores.logprob[range.clone()]
            .iter_mut()
            .zip(&mut scores.entropy[range.clone()])
            .zip(&mut buffers.normaliser[range.clone()]);
        let tasks = block.chunks_exact_mut(vocabulary).zip(&scored.target[range]).zip(outs);
        team.each(tasks, worker, |worker: &mut Worker, ((row, target), out)| {
            let ((logprob, disorder), kept) = out;
            temper(row, temperature);
            worker.numerators.resize(vocabulary);
            *kept = normalise(row, &mut worker.numerators);
            *logprob = kept.logprob(row[*target as usize]);
            *disorder = entropy(row, &worker.numerators, kept);
        });
    }
    buffers.entropy.clear();
    buffers.entropy.extend_from_slice(&scores.entropy);
    scores
}

/// Adds the gradient by the last residual stream to `workspace.d_stream` and, unless they are
/// frozen, the gradients of the head and the final norm to `gradients`. `[S]` what a loss of whole
/// distributions says of every position, where there is one.
pub(super) fn backward(
    workspace: &mut Workspace,
    model: &Model,
    scored: &Scored,
    (seeds, rows): ((&[f32], &[f32]), Option<RowSeeds<'_>>),
    gradients: &mut Gradients,
) -> Vec<f64> {
    let count = scored.row.len();
    if count == 0 {
        return Vec::new();
    }
    let hidden = model.config().hidden;
    workspace.score.d_normed.resize(count * hidden);
    workspace.score.d_normed.fill(0.0);
    // Beside a loss of whole distributions there may be nothing else to take back.
    let mut others = seeds.0.iter().chain(seeds.1);
    let alone = rows.is_some() && others.all(|d| *d == 0.0);
    if !alone {
        parts_grad(workspace, model, scored, seeds, gradients);
    }
    let value = rows.map(|rows| rows::backward(workspace, model, &rows, gradients));
    norm_grad(workspace, model, gradients);
    // Several positions may be predicted by one row (siblings): added in their order.
    for (row, from) in scored.row.iter().zip(workspace.score.d_stream.chunks_exact(hidden)) {
        add(&mut workspace.d_stream[*row as usize * hidden..][..hidden], from);
    }
    value.unwrap_or_default()
}

/// The gradients of log-probabilities and entropies, one part of the vocabulary after the other.
fn parts_grad(
    workspace: &mut Workspace,
    model: &Model,
    scored: &Scored,
    seeds: (&[f32], &[f32]),
    gradients: &mut Gradients,
) {
    let (count, vocabulary) = (scored.row.len(), model.config().vocabulary);
    let hidden = model.config().hidden;
    let panels = (PART / (count * PANEL)).clamp(1, 256);
    let Workspace { score: buffers, .. } = &mut *workspace;
    // All parts read the same rows.
    along_rows(model.paired(), buffers.normed.rows(), hidden, &mut buffers.along_rows);
    for first in (0..vocabulary.div_ceil(PANEL)).step_by(panels) {
        let last = (first + panels).min(vocabulary.div_ceil(PANEL));
        part_grad(workspace, model, (first, last), scored, seeds, gradients);
    }
}

/// The part of the vocabulary in panels `first..last` of the head: its logits again, their
/// gradient, and from that the gradients by the streams and, unless frozen, by these weights.
fn part_grad(
    workspace: &mut Workspace,
    model: &Model,
    (first, last): (usize, usize),
    scored: &Scored,
    (d_logprob, d_entropy): (&[f32], &[f32]),
    gradients: &mut Gradients,
) {
    let Workspace { team, score: buffers, worker, .. } = workspace;
    let hidden = model.config().hidden;
    let head = model.matrix(model.layout.head).part(first, last);
    let (count, width) = (scored.row.len(), head.rows);
    buffers.logits.resize(count * width);
    logits(team, buffers.normed.numbers(), head, &mut buffers.logits);
    let temperature = effective(scored.temperature);
    let kept = buffers.normaliser.iter().zip(&buffers.entropy);
    let tasks = buffers.logits.chunks_exact_mut(width).zip(scored.target).zip(kept);
    let seeds = d_logprob.iter().zip(d_entropy);
    team.run(tasks.zip(seeds), |(((row, target), (kept, entropy)), (d_logprob, d_entropy))| {
        temper(row, temperature);
        let seed = ScoreSeed {
            target: (*target as usize).checked_sub(first * PANEL).filter(|at| *at < width),
            d_logprob: *d_logprob,
            d_entropy: *d_entropy,
            entropy: *entropy,
            temperature,
        };
        score_grad(row, kept, &seed);
    });
    let dy = buffers.d_logits.hold(team, &buffers.logits, width, model.paired());
    let parts = columns(&mut buffers.d_normed, hidden, 2);
    team.each(parts, worker, |worker: &mut Worker, part| {
        product_grad_input_columns(dy, head, part, &mut worker.product);
    });
    if model.adapter().is_some() {
        return;
    }
    let normed = match model.paired() {
        true => Numbers::Pairs(&buffers.along_rows[..pairs(count) * hidden]),
        false => Numbers::F32(buffers.normed.rows()),
    };
    let [dw] = gradients.stored_mut([model.layout.head]);
    let dw = &mut dw[first * PANEL * hidden..last * PANEL * hidden];
    let task = WeightTask::new((&buffers.logits, width), (normed, hidden), dw);
    run_weights(team, worker, [task]);
}

fn norm_grad(workspace: &mut Workspace, model: &Model, gradients: &mut Gradients) {
    let Workspace { team, score: buffers, .. } = workspace;
    let hidden = model.config().hidden;
    let ScoreBuffers { stream, d_normed, d_stream, d_norm, .. } = buffers;
    let chunk = NORM_ROWS * hidden;
    d_stream.resize(stream.len());
    d_stream.fill(0.0);
    // A frozen norm has no gradient: an empty one costs nothing.
    let frozen = model.adapter().is_some();
    d_norm.resize(if frozen { 0 } else { stream.len().div_ceil(chunk) * hidden });
    d_norm.fill(0.0);
    let weight = model.vector(model.layout.final_norm);
    let epsilon = model.config().norm_epsilon as f32;
    let rows = stream.chunks(chunk).zip(d_normed.chunks(chunk));
    let mut sums = d_norm.chunks_mut(hidden);
    let outs = d_stream.chunks_mut(chunk).map(|own| (own, sums.next().unwrap_or_default()));
    team.run(rows.zip(outs), |((stream, d_normed), (d_stream, d_norm))| {
        rms_norm_grad(stream, weight, epsilon, d_normed, d_stream, d_norm);
    });
    if frozen {
        return;
    }
    let total = gradients.vector_mut(model.layout.final_norm);
    for part in d_norm.chunks_exact(hidden) {
        add(total, part);
    }
}
