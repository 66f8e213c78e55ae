//! Decoding on the device: all live rows advance together, whatever trees they belong to.

use super::{
    CudaError,
    arithmetic::{Angles, Arithmetic},
    error::Done,
    pool::{Pool, Prefix},
    rows::{RowBuffers, RowColumns},
    sample::{Drawn, SampleBuffers},
    weights::Weights,
};
use crate::decode::{Decide, Draw, Finished, SampleRequest, StopCause};

/// Decodes for one frozen version of the weights; start a new one when the weights move.
pub struct Decoder<'a> {
    pub(super) own: &'a Arithmetic,
    pub(super) weights: &'a Weights,
    pub(super) angles: Angles,
    pub(super) pool: Pool,
    pub(super) rows: RowBuffers,
    pub(super) sample: SampleBuffers,
    pub(super) live: Vec<Live>,
}

/// A step that is being sampled.
pub(super) struct Live {
    pub(super) id: u64,
    parent: Prefix,
    /// Slots of the whole path, those of the step at the end.
    pub(super) path: Vec<u32>,
    above: usize,
    pub(super) request: SampleRequest,
    pub(super) tokens: Vec<u32>,
    logprobs: Vec<f32>,
    pub(super) stop: Option<StopCause>,
}

/// Rows that pass through the layers together when known tokens are run: bounds the scratch.
const BATCH: usize = 4096;

impl<'a> Decoder<'a> {
    pub(super) fn new(own: &'a Arithmetic, weights: &'a Weights) -> Self {
        Self {
            own,
            weights,
            angles: Angles::default(),
            pool: Pool::default(),
            rows: RowBuffers::default(),
            sample: SampleBuffers::default(),
            live: Vec::new(),
        }
    }

    /// Runs many steps of known tokens together. A step without tokens below a parent is the
    /// parent.
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// If a root has no tokens, or a path would exceed the model's context.
    pub fn extend_many(
        &mut self,
        steps: &[(Option<Prefix>, Vec<u32>)],
    ) -> Result<Vec<Prefix>, CudaError> {
        let mut made = Vec::new();
        let mut columns = RowColumns::default();
        for (parent, tokens) in steps {
            let prefix = match (parent, tokens.is_empty()) {
                (Some(parent), true) => parent.clone(),
                (None, true) => panic!("a path starts with at least one token"),
                (parent, false) => self.extend(parent.as_ref(), tokens, &mut columns)?,
            };
            made.push(prefix);
        }
        self.run(&mut columns)?;
        Ok(made)
    }

    /// Takes slots for a step of known tokens and puts its rows into the batch, which runs when it
    /// is full.
    fn extend(
        &mut self,
        parent: Option<&Prefix>,
        tokens: &[u32],
        columns: &mut RowColumns,
    ) -> Done<Prefix> {
        let above = parent.map_or(0, Prefix::len);
        self.cover(above + tokens.len())?;
        let slots = self.pool.take(self.own, tokens.len())?;
        let prefix = self.pool.step(parent.cloned(), slots);
        let (path, mut done) = (prefix.path(), 0);
        while done < tokens.len() {
            let now = (tokens.len() - done).min(BATCH - columns.rows());
            let range = above + done..above + done + now;
            columns.push(&path[..range.end], range.clone(), &tokens[done..done + now]);
            done += now;
            if columns.rows() == BATCH {
                self.run(columns)?;
            }
        }
        Ok(prefix)
    }

    fn run(&mut self, columns: &mut RowColumns) -> Done {
        let Decoder { own, weights, pool, rows, angles, .. } = self;
        rows.run(own, weights, (pool, angles), columns)?;
        columns.clear();
        Ok(())
    }

    /// Adds a live row that samples a child of `parent`.
    pub fn begin(&mut self, id: u64, parent: &Prefix, request: SampleRequest) {
        self.live.push(Live {
            id,
            path: parent.path(),
            above: parent.len(),
            parent: parent.clone(),
            request,
            tokens: Vec::new(),
            logprobs: Vec::new(),
            stop: None,
        });
    }

    /// Rows that are being sampled.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Tokens whose keys and values are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pool.held()
    }

    /// Samples one token for every live row, as [`Decoder::advance`](crate::Decoder::advance).
    ///
    /// # Errors
    /// Where the device fails.
    pub fn advance(
        &mut self,
        draw: Draw<'_>,
        decide: Decide<'_>,
    ) -> Result<Vec<Finished<Prefix>>, CudaError> {
        let context = self.own.config.context;
        for row in self.live.iter_mut().filter(|row| row.path.len() >= context) {
            row.stop = Some(StopCause::Context);
        }
        let drawn = self.draw_all(draw)?;
        let sampled = self.live.iter().filter(|row| row.stop.is_none()).count();
        let slots = self.pool.take(self.own, sampled)?;
        let mut columns = RowColumns::default();
        let rows = self.live.iter_mut().filter(|row| row.stop.is_none());
        for ((row, Drawn { token, logprob }), slot) in rows.zip(drawn).zip(slots) {
            row.tokens.push(token);
            row.logprobs.push(logprob);
            row.path.push(slot);
            let (seen, end) = ((row.id, &row.tokens[..]), row.path.len());
            row.stop = row.request.stop_after(seen, row.above, context, decide);
            // A token that ended a step is run too: children read its keys and values.
            columns.push(&row.path, end - 1..end, &[token]);
        }
        let longest = self.live.iter().map(|row| row.path.len()).max().unwrap_or(0);
        self.cover(longest)?;
        self.run(&mut columns)?;
        let pool = &self.pool;
        Ok(self.live.extract_if(.., |row| row.stop.is_some()).map(|row| row.finish(pool)).collect())
    }

    /// Makes the table of angles cover a path.
    fn cover(&mut self, tokens: usize) -> Done {
        let context = self.own.config.context;
        assert!(tokens <= context, "a path of {tokens} tokens exceeds the context: {context}");
        self.angles.cover(self.own, tokens)
    }
}

impl Live {
    fn finish(self, pool: &Pool) -> Finished<Prefix> {
        let Live { id, parent, path, above, tokens, logprobs, stop, .. } = self;
        let prefix = match path.len() == above {
            true => parent,
            false => pool.step(Some(parent), path[above..].to_vec()),
        };
        let stop = stop.expect("only rows that stopped are finished");
        Finished { id, tokens, logprobs, prefix, stop }
    }
}
