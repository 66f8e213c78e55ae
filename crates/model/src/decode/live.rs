//! One row that is being sampled.

use super::{
    Finished, Halt, Prefix, SampleRequest, StopCause, block::Block, decoder::Worker, lanes::Lane,
    prefix::Open, sample::draw,
};
use crate::{
    kernel::temper,
    model::Model,
    scores::{LOGIT_ROWS, effective, tempered_logits},
};

/// A row and what it has sampled.
pub(super) struct Live {
    id: u64,
    /// The parent's path, the parent last.
    path: Vec<Prefix>,
    request: SampleRequest,
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    /// Keys and values of all tokens but the last.
    block: Block,
    /// `[hidden]` of the row that predicts the next token.
    stream: Vec<f32>,
    pub(super) stop: Option<StopCause>,
}

/// The caller's randomness and judgement.
pub(super) struct Callbacks<'a> {
    pub(super) draw: &'a (dyn Fn(u64, u32) -> f64 + Sync),
    pub(super) decide: &'a (dyn Fn(u64, &[u32]) -> Halt + Sync),
}

impl Live {
    pub(super) fn new(id: u64, parent: &Prefix, request: SampleRequest) -> Self {
        Self {
            id,
            path: parent.path(),
            request,
            tokens: Vec::new(),
            logprobs: Vec::new(),
            block: Block::default(),
            stream: Vec::new(),
            stop: None,
        }
    }

    fn parent(&self) -> &Prefix {
        self.path.last().expect("a path ends with the parent")
    }

    /// Tokens on the path, the sampled ones included.
    pub(super) fn len(&self) -> usize {
        self.parent().len() + self.tokens.len()
    }

    /// The parent, if it must be settled before this row can sample.
    pub(super) fn waits_for(&self) -> Option<&Prefix> {
        Some(self.parent()).filter(|parent| !parent.is_settled())
    }

    /// The last sampled token as a lane; a row that has sampled nothing reads its parent.
    pub(super) fn lane(&mut self) -> Option<Lane<'_>> {
        let Self { path, block, tokens, stream, .. } = self;
        if tokens.is_empty() {
            let parent = path.last().expect("a path ends with the parent");
            stream.clone_from(&parent.get().stream);
            return None;
        }
        let tokens = &tokens[tokens.len() - 1..];
        Some(Lane { path, block, tokens, stream })
    }

    fn take(&mut self, (token, logprob): (u32, f32), halt: impl FnOnce(u64, &[u32]) -> Halt) {
        self.tokens.push(token);
        self.logprobs.push(logprob);
        self.stop = if self.request.end_tokens.contains(&token) {
            Some(StopCause::EndToken)
        } else if halt(self.id, &self.tokens) == Halt::Stop {
            Some(StopCause::Halted)
        } else if self.tokens.len() >= self.request.max_tokens {
            Some(StopCause::Length)
        } else {
            None
        };
    }

    /// The finished step; its last token waits for a child to need its keys.
    pub(super) fn finish(self) -> Finished {
        let stop = self.stop.expect("only rows that stopped are finished");
        let parent = self.parent().clone();
        let prefix = match self.tokens.last() {
            Some(last) => Prefix::open(parent, Open { block: self.block, last: *last }),
            None => parent,
        };
        Finished { id: self.id, tokens: self.tokens, logprobs: self.logprobs, prefix, stop }
    }
}

/// One token for every row, from the streams that `Live::lane` has left.
pub(super) fn sample_rows(
    model: &Model,
    rows: &mut [Live],
    callbacks: &Callbacks,
    worker: &mut Worker,
) {
    let config = model.config();
    for rows in rows.chunks_mut(LOGIT_ROWS) {
        worker.stream.resize(rows.len() * config.hidden);
        worker.normed.resize(rows.len() * config.hidden);
        worker.logits.resize(rows.len() * config.vocabulary);
        worker.numerators.resize(config.vocabulary);
        for (row, to) in rows.iter().zip(worker.stream.chunks_exact_mut(config.hidden)) {
            to.copy_from_slice(&row.stream);
        }
        // Each row has its own temperature; dividing by 1 first changes no bit.
        tempered_logits(model, &worker.stream, 1.0, &mut worker.normed, &mut worker.logits);
        for (row, logits) in rows.iter_mut().zip(worker.logits.chunks_exact_mut(config.vocabulary))
        {
            if row.len() >= config.context {
                row.stop = Some(StopCause::Context);
                continue;
            }
            temper(logits, effective(row.request.sampling.temperature));
            let uniform = (callbacks.draw)(row.id, row.tokens.len() as u32);
            let drawn = draw(logits, &row.request.sampling, uniform, &mut worker.numerators);
            row.take((drawn.token, drawn.logprob), callbacks.decide);
            if row.stop.is_none() && row.len() >= config.context {
                row.stop = Some(StopCause::Context);
            }
        }
    }
}
