//! Log-probabilities at the scored positions and their gradient; no array of positions ×
//! vocabulary (INV-7): a few dozen positions per thread at a time.

use super::{
    Scored, TokenScores,
    weights::{WeightTask, run_weights},
    workspace::{Worker, Workspace},
};
use crate::{
    gradients::Gradients,
    kernel::{
        Buffer, Normaliser, ScoreSeed, add, entropy, normalise, product_grad_input, rms_norm_grad,
        score_grad,
    },
    model::Model,
    scores::{LOGIT_ROWS, effective, tempered_logits},
};

/// Rows of one block of positions per thread.
#[derive(Default)]
pub(super) struct ScoreBuffers {
    /// `[threads][LOGIT_ROWS][hidden]` residual streams of the positions.
    stream: Buffer,
    /// The same after the final norm.
    normed: Buffer,
    /// Gradient of the streams.
    d_stream: Buffer,
    /// `[threads][LOGIT_ROWS][vocabulary]`
    logits: Buffer,
    /// `[threads][hidden]` gradient of the final norm's weight.
    d_norm: Buffer,
}

impl ScoreBuffers {
    /// Makes room and gathers the streams of `row`.
    fn gather(&mut self, model: &Model, output: &[f32], row: &[u32]) {
        let (hidden, vocabulary) = (model.config().hidden, model.config().vocabulary);
        for buffer in [&mut self.stream, &mut self.normed, &mut self.d_stream] {
            buffer.resize(row.len() * hidden);
        }
        self.logits.resize(row.len() * vocabulary);
        for (to, row) in self.stream.chunks_exact_mut(hidden).zip(row) {
            to.copy_from_slice(&output[*row as usize * hidden..][..hidden]);
        }
    }
}

/// Scores every position.
pub(super) fn forward(workspace: &mut Workspace, model: &Model, scored: &Scored) -> TokenScores {
    let count = scored.row.len();
    assert_eq!(scored.target.len(), count, "one target per scored row");
    let (hidden, vocabulary) = (model.config().hidden, model.config().vocabulary);
    let inside = |target: &u32| (*target as usize) < vocabulary;
    assert!(scored.target.iter().all(inside), "a target is outside the vocabulary");
    let mut scores = TokenScores { logprob: vec![0.0; count], entropy: vec![0.0; count] };
    let block = LOGIT_ROWS * workspace.team.threads();
    for first in (0..count).step_by(block) {
        let range = first..(first + block).min(count);
        let buffers = &mut workspace.score;
        buffers.gather(model, &workspace.output, &scored.row[range.clone()]);
        let outs = scores.logprob[range.clone()].chunks_mut(LOGIT_ROWS);
        let tasks = buffers
            .stream
            .chunks(LOGIT_ROWS * hidden)
            .zip(buffers.normed.chunks_mut(LOGIT_ROWS * hidden))
            .zip(buffers.logits.chunks_mut(LOGIT_ROWS * vocabulary))
            .zip(outs.zip(scores.entropy[range.clone()].chunks_mut(LOGIT_ROWS)))
            .zip(scored.target[range].chunks(LOGIT_ROWS))
            .collect();
        let work = |worker: &mut Worker,
                    ((((stream, normed), logits), out), targets): (_, &[u32])| {
            let (logprob, disorder): (&mut [f32], &mut [f32]) = out;
            let logits: &mut [f32] = logits;
            tempered_logits(model, stream, scored.temperature, normed, logits);
            worker.numerators.resize(vocabulary);
            for (index, tempered) in logits.chunks_exact(vocabulary).enumerate() {
                let normaliser = normalise(tempered, &mut worker.numerators);
                logprob[index] = normaliser.logprob(tempered[targets[index] as usize]);
                disorder[index] = entropy(tempered, &worker.numerators, &normaliser);
            }
        };
        workspace.team.each(tasks, &mut workspace.worker, work);
    }
    scores
}

/// One thread's positions of a block.
struct GradTask<'a> {
    /// Index of the first position.
    first: usize,
    stream: &'a [f32],
    normed: &'a mut [f32],
    d_stream: &'a mut [f32],
    logits: &'a mut [f32],
    d_norm: &'a mut [f32],
}

/// Adds the gradient by the last residual stream to `workspace.d_stream` and, unless they are
/// frozen, the gradients of the head and the final norm to `gradients`.
pub(super) fn backward(
    workspace: &mut Workspace,
    model: &Model,
    scored: &Scored,
    seeds: (&[f32], &[f32]),
    gradients: &mut Gradients,
) {
    let count = scored.row.len();
    let (hidden, vocabulary) = (model.config().hidden, model.config().vocabulary);
    let threads = workspace.team.threads();
    let block = LOGIT_ROWS * threads;
    for first in (0..count).step_by(block) {
        let range = first..(first + block).min(count);
        let buffers = &mut workspace.score;
        buffers.gather(model, &workspace.output, &scored.row[range.clone()]);
        buffers.d_stream.fill(0.0);
        buffers.d_norm.resize(threads * hidden);
        buffers.d_norm.fill(0.0);
        let rows = buffers
            .normed
            .chunks_mut(LOGIT_ROWS * hidden)
            .zip(buffers.d_stream.chunks_mut(LOGIT_ROWS * hidden));
        let tasks: Vec<_> = buffers
            .stream
            .chunks(LOGIT_ROWS * hidden)
            .zip(rows)
            .zip(buffers.logits.chunks_mut(LOGIT_ROWS * vocabulary))
            .zip(buffers.d_norm.chunks_mut(hidden))
            .enumerate()
            .map(|(index, (((stream, (normed, d_stream)), logits), d_norm))| {
                let first = first + index * LOGIT_ROWS;
                GradTask { first, stream, normed, d_stream, logits, d_norm }
            })
            .collect();
        workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, task| {
            positions_grad(model, scored, seeds, worker, task);
        });
        scatter(workspace, &scored.row[range], hidden);
        if model.adapter.is_some() {
            continue;
        }
        let d_norm = gradients.vector_mut(model.layout.final_norm);
        for part in workspace.score.d_norm.chunks_exact(hidden) {
            add(d_norm, part);
        }
        let (dy, x) = (&workspace.score.logits[..], &workspace.score.normed[..]);
        let mut slots = gradients.slots_mut();
        let dw = std::mem::take(&mut slots[model.layout.head]);
        let task = WeightTask { dy, n: vocabulary, x, k: hidden, first: 0, dw };
        run_weights(&workspace.team, &mut workspace.worker, vec![task]);
    }
}

/// Several positions may be predicted by one row (siblings): added in their order.
fn scatter(workspace: &mut Workspace, rows: &[u32], hidden: usize) {
    for (row, from) in rows.iter().zip(workspace.score.d_stream.chunks_exact(hidden)) {
        add(&mut workspace.d_stream[*row as usize * hidden..][..hidden], from);
    }
}

fn positions_grad(
    model: &Model,
    scored: &Scored,
    (d_logprob, d_entropy): (&[f32], &[f32]),
    worker: &mut Worker,
    task: GradTask,
) {
    let config = model.config();
    let (hidden, vocabulary) = (config.hidden, config.vocabulary);
    let temperature = effective(scored.temperature);
    tempered_logits(model, task.stream, scored.temperature, task.normed, task.logits);
    worker.numerators.resize(vocabulary);
    for (index, tempered) in task.logits.chunks_exact_mut(vocabulary).enumerate() {
        let numerators = &mut worker.numerators;
        let normaliser: Normaliser = normalise(tempered, numerators);
        let at = task.first + index;
        let seed = ScoreSeed {
            target: scored.target[at] as usize,
            d_logprob: d_logprob[at],
            d_entropy: d_entropy[at],
            entropy: entropy(tempered, numerators, &normaliser),
            temperature,
        };
        score_grad(tempered, numerators, &normaliser, &seed);
    }
    let rows = task.stream.len() / hidden;
    worker.normed.reserve(rows * hidden);
    let d_normed = &mut worker.normed[..rows * hidden];
    d_normed.fill(0.0);
    let head = model.matrix(model.layout.head);
    product_grad_input(task.logits, head, d_normed, &mut worker.product);
    let weight = model.vector(model.layout.final_norm);
    let epsilon = config.norm_epsilon as f32;
    // A frozen norm has no gradient: an empty one costs nothing.
    let d_norm = if model.adapter.is_some() { &mut [][..] } else { task.d_norm };
    rms_norm_grad(task.stream, weight, epsilon, d_normed, task.d_stream, d_norm);
}
