//! Log-probabilities at the scored positions and their gradient. Logits exist for a part of the
//! positions at a time, in a buffer of bounded size (INV-7).

use super::{
    arithmetic::{Arithmetic, Operands, arguments},
    backward::Flow,
    error::Done,
    forest::Groups,
    forward::Pass,
    memory::Buffer,
    program::Grid,
    sums::Sums,
};
use crate::{
    scores::effective,
    train::{Scored, TokenScores},
};

/// Logits that exist at the same time: 256 MiB of them, whatever the forest.
pub(super) const LOGITS_MAX: usize = 1 << 26;

/// Rows whose logits exist at the same time.
pub(super) fn logit_rows(vocabulary: usize) -> usize {
    (LOGITS_MAX / vocabulary).max(1)
}

/// What the scored positions need, `[S]` each where not said otherwise.
#[derive(Default)]
pub(super) struct ScoreBuffers {
    row: Buffer<u32>,
    target: Buffer<u32>,
    /// Positions by the row that predicts them.
    by_row: Groups,
    /// `[S][hidden]` residual streams of the positions.
    stream: Buffer<f32>,
    inverse: Buffer<f32>,
    normed: Operands,
    d_normed: Buffer<f32>,
    d_stream: Buffer<f32>,
    /// `[part][vocabulary]`
    logits: Buffer<f32>,
    d_logits: Buffer<u16>,
    logprob: Buffer<f32>,
    entropy: Buffer<f32>,
    /// `[S][4]` largest logit, logarithm and inverse of the sum, entropy.
    kept: Buffer<f32>,
    d_logprob: Buffer<f32>,
    d_entropy: Buffer<f32>,
    temperature: f32,
    count: usize,
}

/// Numbers kept of one position.
const KEPT: usize = 4;

impl ScoreBuffers {
    fn reserve(&mut self, own: &Arithmetic, scored: &Scored) -> Done {
        let (device, count) = (&own.device, scored.row.len());
        let (hidden, vocabulary) = (own.config.hidden, own.config.vocabulary);
        self.count = count;
        self.temperature = effective(scored.temperature);
        self.row.write(device, scored.row)?;
        self.target.write(device, scored.target)?;
        self.by_row.read(own, scored.row)?;
        self.normed.reserve(own, count * hidden)?;
        for buffer in [&mut self.stream, &mut self.d_normed, &mut self.d_stream] {
            buffer.reserve(device, count * hidden)?;
        }
        for buffer in [&mut self.inverse, &mut self.logprob, &mut self.entropy] {
            buffer.reserve(device, count)?;
        }
        self.kept.reserve(device, count * KEPT)?;
        let part = logit_rows(vocabulary).min(count) * vocabulary;
        self.logits.reserve(device, part)?;
        let rounded = if own.paired { part } else { 0 };
        self.d_logits.reserve(device, rounded)
    }

    /// Runs of positions whose logits exist together.
    fn parts(&self, vocabulary: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (most, count) = (logit_rows(vocabulary), self.count);
        (0..count).step_by(most).map(move |first| (first, most.min(count - first)))
    }
}

impl Pass<'_> {
    /// Scores every position of the forward that has just run.
    pub(super) fn score(&self, buffers: &mut ScoreBuffers, scored: &Scored) -> Done<TokenScores> {
        let Pass { own, weights, activations, .. } = *self;
        buffers.reserve(own, scored)?;
        let (count, hidden) = (buffers.count, own.config.hidden);
        let stream = own.of(&buffers.stream);
        let list =
            arguments![own.of(&activations.output), own.of(&buffers.row), stream, hidden as i32];
        own.launch("gather_rows", Grid::rows(count, hidden), list)?;
        own.final_norm(weights, [stream, own.of(&buffers.inverse)], &buffers.normed, count)?;
        for (first, rows) in buffers.parts(own.config.vocabulary) {
            self.logits(buffers, first, rows)?;
            let list = arguments![
                own.of(&buffers.logits),
                own.of(&buffers.target).after::<u32>(first),
                buffers.temperature,
                own.config.vocabulary as i32,
                own.of(&buffers.logprob).after::<f32>(first),
                own.of(&buffers.entropy).after::<f32>(first),
                own.of(&buffers.kept).after::<f32>(first * KEPT),
            ];
            own.launch("score_rows", wide(rows), list)?;
        }
        let logprob = buffers.logprob.read(&own.device, count)?;
        let entropy = buffers.entropy.read(&own.device, count)?;
        Ok(TokenScores { logprob, entropy })
    }

    fn logits(&self, buffers: &ScoreBuffers, first: usize, rows: usize) -> Done {
        let Pass { own, weights, .. } = *self;
        let (hidden, vocabulary) = (own.config.hidden, own.config.vocabulary);
        let head = weights.matrix(own, weights.layout.head);
        let x = own.operand_after(buffers.normed.start(own), first * hidden);
        own.forward((x, head, own.of(&buffers.logits)), [rows, hidden, vocabulary])
    }

    /// Sets the gradient by the last residual stream and, unless they are frozen, adds those of
    /// the head and the final norm.
    pub(super) fn score_backward(
        &self,
        buffers: &mut ScoreBuffers,
        (d_logprob, d_entropy): (&[f32], &[f32]),
        flow: &mut Flow,
        sums: &Sums,
    ) -> Done {
        let Pass { own, weights, .. } = *self;
        flow.d_stream.clear(&own.device)?;
        if buffers.count == 0 {
            return Ok(());
        }
        buffers.d_logprob.write(&own.device, d_logprob)?;
        buffers.d_entropy.write(&own.device, d_entropy)?;
        let several = buffers.parts(own.config.vocabulary).count() > 1;
        for (first, rows) in buffers.parts(own.config.vocabulary) {
            if several {
                self.logits(buffers, first, rows)?;
            }
            self.part_grad(buffers, (first, rows), sums)?;
        }
        let (count, hidden) = (buffers.count, own.config.hidden);
        let (stream, inverse) = (own.of(&buffers.stream), own.of(&buffers.inverse));
        let (d_normed, d_stream) = (own.of(&buffers.d_normed), own.of(&buffers.d_stream));
        buffers.d_stream.clear(&own.device)?;
        let norm = weights.layout.final_norm;
        sums.norm(self, norm, (stream, inverse, d_normed), count)?;
        let weight = weights.vector(&own.device, norm);
        let none = super::memory::Pointer::NONE;
        let list = arguments![stream, weight, inverse, d_normed, d_stream, none, hidden as i32];
        own.launch("norm_grad", Grid::rows(count, hidden), list)?;
        // Several positions may be predicted by one row (siblings): added in their order.
        own.add_grouped(&buffers.by_row, d_stream, own.of(&flow.d_stream))
    }

    fn part_grad(
        &self,
        buffers: &ScoreBuffers,
        (first, rows): (usize, usize),
        sums: &Sums,
    ) -> Done {
        let Pass { own, weights, .. } = *self;
        let (hidden, vocabulary) = (own.config.hidden, own.config.vocabulary);
        let logits = own.of(&buffers.logits);
        let d_logits = if own.paired { own.of(&buffers.d_logits) } else { logits };
        let list = arguments![
            logits,
            own.of(&buffers.target).after::<u32>(first),
            buffers.temperature,
            vocabulary as i32,
            own.of(&buffers.kept).after::<f32>(first * KEPT),
            own.of(&buffers.d_logprob).after::<f32>(first),
            own.of(&buffers.d_entropy).after::<f32>(first),
            d_logits,
        ];
        own.launch("score_grad", wide(rows), list)?;
        let head = weights.matrix(own, weights.layout.head);
        let d_normed = own.of(&buffers.d_normed).after::<f32>(first * hidden);
        let sizes = [rows, hidden, vocabulary];
        own.grad_input((d_normed, head, d_logits), sizes)?;
        if weights.frozen() {
            return Ok(());
        }
        let normed = own.operand_after(buffers.normed.start(own), first * hidden);
        let d_head = sums.at(self, weights.layout.head);
        own.grad_weight((normed, d_head, d_logits), sizes)
    }
}

/// Blocks of many threads, one per row of logits.
pub(super) fn wide(rows: usize) -> Grid {
    Grid { blocks: (rows, 1), threads: (512, 1), shared_bytes: 0 }
}
