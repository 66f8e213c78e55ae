//! The batch of live rows.

use super::{
    Finished, Prefix, SampleRequest, StopCause,
    block::Block,
    guide::{Guide, own_logprob},
    prefix::Node,
    request::{Decide, Draw},
    row::{self, Growing, Machine, RowScratch},
    sample::draw as draw_token,
};
use crate::{
    kernel::{Buffer, normalise, temper},
    layer::Inputs,
    model::Model,
    rotary::Rotary,
    scores::{LOGIT_ROWS, effective, final_norm, logits as all_logits},
    team::Team,
};
use std::sync::Arc;

/// Decodes for one frozen version of the weights; start a new one when the weights move.
pub struct Decoder {
    team: Team,
    rotary: Rotary,
    live: Vec<Live>,
    rows: RowScratch,
    logits: LogitScratch,
}

/// Buffers of the rows that choose together.
#[derive(Default)]
struct LogitScratch {
    /// `[rows][hidden]`
    stream: Buffer,
    norm: Inputs,
    /// `[rows][vocabulary]`
    logits: Buffer,
    /// The same before a guide led them, where there is one.
    own: Vec<f32>,
    /// `[vocabulary]` of each thread.
    numerators: Vec<Buffer>,
}

/// A step that is being sampled.
struct Live {
    id: u64,
    parent: Prefix,
    growing: Growing,
    request: SampleRequest,
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    stop: Option<StopCause>,
}

impl Decoder {
    /// A decoder with its own threads; their number changes no bit of any result.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let team = Team::new(threads);
        let mut logits = LogitScratch::default();
        logits.numerators.resize_with(team.threads(), Buffer::default);
        let rows = RowScratch::default();
        Self { team, rotary: Rotary::new(), live: Vec::new(), rows, logits }
    }

    /// Runs known tokens behind `parent`.
    ///
    /// # Panics
    /// If there are no tokens, or the path would exceed the model's context.
    pub fn extend(&mut self, model: &Model, parent: Option<&Prefix>, tokens: &[u32]) -> Prefix {
        let steps = [(parent.cloned(), tokens.to_vec())];
        self.extend_many(model, &steps).remove(0)
    }

    /// Runs many steps of known tokens together, in few large products. A step without tokens
    /// below a parent is the parent.
    ///
    /// # Panics
    /// If a root has no tokens, or a path would exceed the model's context.
    pub fn extend_many(
        &mut self,
        model: &Model,
        steps: &[(Option<Prefix>, Vec<u32>)],
    ) -> Vec<Prefix> {
        let mut growing: Vec<Growing> =
            steps.iter().map(|(parent, _)| grow(model, parent.as_ref())).collect();
        let ends = growing.iter().zip(steps).map(|(row, (_, tokens))| row.above + tokens.len());
        self.cover(model, ends.max().unwrap_or(0));
        let tokens: Vec<&[u32]> = steps.iter().map(|(_, tokens)| tokens.as_slice()).collect();
        let mut rows: Vec<&mut Growing> = growing.iter_mut().collect();
        let machine = Machine { team: &self.team, model, rotary: &self.rotary };
        row::run(machine, &mut rows, &tokens, &mut self.rows);
        growing.into_iter().zip(steps).map(|(row, (parent, _))| freeze(row, parent)).collect()
    }

    /// Adds a live row that samples a child of `parent`.
    pub fn begin(&mut self, id: u64, parent: &Prefix, request: SampleRequest) {
        let node = &parent.0;
        let growing = Growing {
            path: parent.path(),
            above: node.total,
            block: node.block.empty_like(),
            stream: node.stream.clone(),
        };
        let (tokens, logprobs) = (Vec::new(), Vec::new());
        let parent = parent.clone();
        self.live.push(Live { id, parent, growing, request, tokens, logprobs, stop: None });
    }

    /// Rows that are being sampled.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Samples one token for every live row. `draw` gives the uniform number in [0, 1) for
    /// (row, position in the step); `decide` sees the tokens so far. Rows that ended are
    /// returned in the order they began.
    pub fn advance(&mut self, model: &Model, draw: Draw<'_>, decide: Decide<'_>) -> Vec<Finished> {
        self.advance_led(model, None, draw, decide)
    }

    /// [`Decoder::advance`], led by a guide where there is one. The log-probabilities that are told
    /// stay the policy's own, of its full distribution at the row's temperature: they are not
    /// those of the draw, and a ratio to them means what it says.
    pub fn advance_led(
        &mut self,
        model: &Model,
        guide: Option<&Guide<'_>>,
        draw: Draw<'_>,
        decide: Decide<'_>,
    ) -> Vec<Finished> {
        let ends = self.live.iter().map(|row| row.growing.above + row.tokens.len() + 1);
        self.cover(model, ends.max().unwrap_or(0).min(model.config().context));
        for part in self.live.chunks_mut(LOGIT_ROWS) {
            choose((&self.team, model, guide), part, &mut self.logits, draw, decide);
        }
        // A token that ended a step is run too: children read its keys and values.
        let grown = self.live.iter_mut().filter_map(|row| {
            let Live { growing, tokens, .. } = row;
            tokens.last_chunk::<1>().map(|token| (growing, &token[..]))
        });
        let (mut growing, tokens): (Vec<&mut Growing>, Vec<&[u32]>) = grown.unzip();
        let machine = Machine { team: &self.team, model, rotary: &self.rotary };
        row::run(machine, &mut growing, &tokens, &mut self.rows);
        self.live.extract_if(.., |row| row.stop.is_some()).map(finish).collect()
    }

    fn cover(&mut self, model: &Model, tokens: usize) {
        let context = model.config().context;
        assert!(tokens <= context, "a path of {tokens} tokens exceeds the context: {context}");
        self.rotary.cover(model.config(), tokens);
    }
}

fn grow(model: &Model, parent: Option<&Prefix>) -> Growing {
    Growing {
        path: parent.map(Prefix::path).unwrap_or_default(),
        above: parent.map_or(0, Prefix::len),
        block: Block::new(model.config()),
        stream: parent.map(|parent| parent.0.stream.clone()).unwrap_or_default(),
    }
}

fn freeze(row: Growing, parent: &Option<Prefix>) -> Prefix {
    match (row.block.tokens(), parent) {
        (0, Some(parent)) => parent.clone(),
        (0, None) => panic!("a path starts with at least one token"),
        (tokens, parent) => {
            let Growing { above, block, stream, .. } = row;
            let (parent, total) = (parent.clone(), above + tokens);
            Prefix(Arc::new(Node { parent, block, total, stream }))
        }
    }
}

/// Draws the next token of each row and tells whether it ends the step.
fn choose(
    (team, model, guide): (&Team, &Model, Option<&Guide<'_>>),
    rows: &mut [Live],
    scratch: &mut LogitScratch,
    draw: Draw<'_>,
    decide: Decide<'_>,
) {
    let config = model.config();
    let LogitScratch { stream, norm, logits, own, numerators } = scratch;
    stream.resize(rows.len() * config.hidden);
    logits.resize(rows.len() * config.vocabulary);
    for (row, to) in rows.iter().zip(stream.chunks_exact_mut(config.hidden)) {
        to.copy_from_slice(&row.growing.stream);
    }
    final_norm(team, model, stream, norm);
    all_logits(team, norm.numbers(), model.matrix(model.layout.head), logits);
    own.clear();
    if let Some(guide) = guide {
        own.extend_from_slice(logits);
        guide.lead(norm.rows(), logits);
    }
    let mut unled = own.chunks_exact_mut(config.vocabulary);
    let tasks = rows.iter_mut().zip(logits.chunks_exact_mut(config.vocabulary));
    let tasks = tasks.map(|task| (task, unled.next()));
    team.each(tasks, numerators, |numerators, ((row, logits), own)| {
        numerators.resize(config.vocabulary);
        row.choose(config.context, (logits, numerators, own), draw, decide);
    });
}

impl Live {
    fn choose(
        &mut self,
        context: usize,
        (logits, numerators, own): (&mut [f32], &mut [f32], Option<&mut [f32]>),
        draw: Draw<'_>,
        decide: Decide<'_>,
    ) {
        if self.growing.above + self.tokens.len() >= context {
            self.stop = Some(StopCause::Context);
            return;
        }
        let temperature = effective(self.request.sampling.temperature);
        temper(logits, temperature);
        let normaliser = normalise(logits, numerators);
        let uniform = draw(self.id, self.tokens.len() as u32);
        let drawn = draw_token(&self.request.sampling, logits, numerators, &normaliser, uniform);
        self.tokens.push(drawn.token);
        self.logprobs.push(match own {
            Some(own) => own_logprob(own, numerators, temperature, drawn.token),
            None => drawn.logprob,
        });
        let seen = (self.id, &self.tokens[..]);
        self.stop = self.request.stop_after(seen, self.growing.above, context, decide);
    }
}

fn finish(row: Live) -> Finished {
    let Live { id, parent, growing, tokens, logprobs, stop, .. } = row;
    let prefix = freeze(growing, &Some(parent));
    let stop = stop.expect("only rows that stopped are finished");
    Finished { id, tokens, logprobs, prefix, stop }
}
