//! The next token of every live row.

use super::{
    arithmetic::{Arithmetic, Operands, arguments},
    decoder::{Decoder, Live},
    error::Done,
    memory::Buffer,
    program::Grid,
    score::logit_rows,
};
use crate::{
    decode::{Draw, Sampling, draw_token},
    kernel::{normalise, temper},
    scores::effective,
};

/// A drawn token and its log-probability under the distribution it was drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drawn {
    pub(super) token: u32,
    pub(super) logprob: f32,
}

/// Buffers of the rows that choose together.
#[derive(Default)]
pub(super) struct SampleBuffers {
    uniform: Buffer<f64>,
    temperature: Buffer<f32>,
    slot: Buffer<u32>,
    /// `[rows][hidden]`
    stream: Buffer<f32>,
    normed: Operands,
    inverse: Buffer<f32>,
    /// `[rows][vocabulary]`
    logits: Buffer<f32>,
    /// Tokens, then the bits of their log-probabilities.
    drawn: Buffer<u32>,
}

/// Tokens whose masses one sum of the kernel covers.
const RUN: usize = 1024;

impl SampleBuffers {
    fn reserve(&mut self, own: &Arithmetic, rows: usize) -> Done {
        let (device, hidden) = (&own.device, own.config.hidden);
        self.stream.reserve(device, rows * hidden)?;
        self.normed.reserve(own, rows * hidden)?;
        self.inverse.reserve(device, rows)?;
        self.logits.reserve(device, rows * own.config.vocabulary)?;
        self.drawn.reserve(device, 2 * rows)
    }
}

/// Whether the draw needs the whole row on the host.
fn truncated(sampling: &Sampling) -> bool {
    sampling.temperature != 0.0 && (sampling.top_k > 0 || sampling.top_p < 1.0)
}

impl Decoder<'_> {
    /// Draws a token for every live row that has not stopped, in their order.
    pub(super) fn draw_all(&mut self, draw: Draw<'_>) -> Done<Vec<Drawn>> {
        let Decoder { own, live, .. } = self;
        let most = logit_rows(own.config.vocabulary);
        let rows: Vec<usize> = (0..live.len()).filter(|row| live[*row].stop.is_none()).collect();
        let mut drawn = Vec::with_capacity(rows.len());
        for part in rows.chunks(most) {
            self.draw_part(part, draw, &mut drawn)?;
        }
        Ok(drawn)
    }

    fn draw_part(&mut self, part: &[usize], draw: Draw<'_>, to: &mut Vec<Drawn>) -> Done {
        let (own, rows) = (self.own, part.len());
        let each = || part.iter().map(|row| &self.live[*row]);
        let uniform: Vec<f64> = each().map(|row| draw(row.id, row.tokens.len() as u32)).collect();
        let temperature: Vec<f32> = each().map(|row| row.request.sampling.temperature).collect();
        let last = |row: &Live| *row.path.last().expect("a path has at least one token");
        let slot: Vec<u32> = each().map(last).collect();
        let buffers = &mut self.sample;
        buffers.uniform.write(&own.device, &uniform)?;
        buffers.temperature.write(&own.device, &temperature)?;
        buffers.slot.write(&own.device, &slot)?;
        buffers.reserve(own, rows)?;
        let buffers = &self.sample;
        self.logits(buffers, rows)?;
        let (token, vocabulary) = (own.of(&buffers.drawn), own.config.vocabulary);
        let list = arguments![
            own.of(&buffers.logits),
            own.of(&buffers.temperature),
            own.of(&buffers.uniform),
            vocabulary as i32,
            token,
            token.after::<u32>(rows),
        ];
        let shared_bytes = vocabulary.div_ceil(RUN) * size_of::<f64>();
        let grid = Grid { blocks: (rows, 1), threads: (1024, 1), shared_bytes };
        own.launch("draw_tokens", grid, list)?;
        let drawn = buffers.drawn.read(&own.device, 2 * rows)?;
        for (at, row) in part.iter().enumerate() {
            let sampling = &self.live[*row].request.sampling;
            to.push(match truncated(sampling) {
                true => self.draw_on_host(at, sampling, uniform[at])?,
                false => Drawn { token: drawn[at], logprob: f32::from_bits(drawn[rows + at]) },
            });
        }
        Ok(())
    }

    fn logits(&self, buffers: &SampleBuffers, rows: usize) -> Done {
        let (own, weights) = (self.own, self.weights);
        let (hidden, vocabulary) = (own.config.hidden, own.config.vocabulary);
        let (stream, inverse) = (own.of(&buffers.stream), own.of(&buffers.inverse));
        let list =
            arguments![own.of(&self.pool.stream), own.of(&buffers.slot), stream, hidden as i32,];
        own.launch("gather_rows", Grid::rows(rows, hidden), list)?;
        own.final_norm(weights, [stream, inverse], &buffers.normed, rows)?;
        let head = weights.matrix(own, weights.layout.head);
        let x = buffers.normed.start(own);
        own.forward((x, head, own.of(&buffers.logits)), [rows, hidden, vocabulary])
    }

    /// Top-k and top-p order all tokens: the row comes to the host, whose function draws.
    fn draw_on_host(&self, at: usize, sampling: &Sampling, uniform: f64) -> Done<Drawn> {
        let vocabulary = self.own.config.vocabulary;
        let range = at * vocabulary..(at + 1) * vocabulary;
        let mut logits = self.sample.logits.read_range(&self.own.device, range)?;
        let mut numerators = vec![0.0; vocabulary];
        temper(&mut logits, effective(sampling.temperature));
        let normaliser = normalise(&logits, &mut numerators);
        let drawn = draw_token(sampling, &logits, &numerators, &normaliser, uniform);
        Ok(Drawn { token: drawn.token, logprob: drawn.logprob })
    }
}
