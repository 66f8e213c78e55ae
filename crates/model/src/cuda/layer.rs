//! The row-wise parts of one layer: the sampler and the trainer both run these (INV-6).

use super::{
    arithmetic::{Angles, Arithmetic, Operands, arguments},
    error::Done,
    memory::{Buffer, Pointer},
    product::{Form, Product},
    program::Grid,
    weights::Weights,
};
use crate::adapter::Target;

/// Where one layer's numbers lie, each `[rows][width]`; none where nobody asks.
#[derive(Clone, Copy, Default)]
pub(super) struct LayerPlaces {
    /// The residual stream before the layer.
    pub(super) input: Pointer,
    /// Queries, keys and values.
    pub(super) heads: Pointer,
    /// Queries, then keys, before their head norms, and 1 / rms of each head.
    pub(super) raw: Pointer,
    pub(super) head_inverse: Pointer,
    /// 1 / rms of the two norms of the stream.
    pub(super) inverse: [Pointer; 2],
    pub(super) attended: Pointer,
    /// The residual stream after attention.
    pub(super) middle: Pointer,
    /// Gate and up.
    pub(super) gates: Pointer,
}

/// Buffers of the parts of a layer, for any number of rows.
#[derive(Default)]
pub(super) struct LayerScratch {
    pub(super) normed: Operands,
    pub(super) attended: Operands,
    pub(super) hidden: Operands,
    /// `normed` and `hidden` before they were rounded, for an adapter.
    pub(super) normed_exact: Buffer<f32>,
    pub(super) hidden_exact: Buffer<f32>,
    /// What a part adds to the residual stream.
    pub(super) branch: Buffer<f32>,
    /// `[rows][rank]`
    pub(super) inner: Buffer<f32>,
}

impl LayerScratch {
    pub(super) fn reserve(
        &mut self,
        arithmetic: &Arithmetic,
        weights: &Weights,
        rows: usize,
    ) -> Done {
        let config = &arithmetic.config;
        self.normed.reserve(arithmetic, rows * config.hidden)?;
        self.hidden.reserve(arithmetic, rows * config.ffn)?;
        self.branch.reserve(&arithmetic.device, rows * config.hidden)?;
        if arithmetic.paired {
            self.attended.reserve(arithmetic, rows * config.query_width())?;
        }
        if let Some(adapter) = &weights.adapter {
            self.inner.reserve(&arithmetic.device, rows * adapter.rank)?;
            if arithmetic.paired {
                self.normed_exact.reserve(&arithmetic.device, rows * config.hidden)?;
                self.hidden_exact.reserve(&arithmetic.device, rows * config.ffn)?;
            }
        }
        Ok(())
    }

    /// The norm's output as an adapter reads it.
    pub(super) fn exact_normed(&self, arithmetic: &Arithmetic) -> Pointer {
        let exact = arithmetic.of(&self.normed_exact);
        if arithmetic.paired { exact } else { self.normed.start(arithmetic) }
    }

    /// The gated layer's output as an adapter reads it.
    pub(super) fn exact_hidden(&self, arithmetic: &Arithmetic) -> Pointer {
        let exact = arithmetic.of(&self.hidden_exact);
        if arithmetic.paired { exact } else { self.hidden.start(arithmetic) }
    }

    /// Where attention leaves operands; none where they are what it leaves anyway.
    pub(super) fn rounded_attended(&self, arithmetic: &Arithmetic) -> Pointer {
        if arithmetic.paired { self.attended.start(arithmetic) } else { Pointer::NONE }
    }
}

/// Where keys and values of rows go beside their own buffer.
#[derive(Clone, Copy, Default)]
pub(super) struct PoolPlaces {
    pub(super) key: Pointer,
    pub(super) value: Pointer,
    pub(super) slot: Pointer,
}

/// How far the feed-forward part runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// To what the layer adds to the stream.
    Layer,
    /// To the gates.
    Gates,
}

/// What the parts of one layer are computed with.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) arithmetic: &'a Arithmetic,
    pub(super) weights: &'a Weights,
    pub(super) scratch: &'a LayerScratch,
    pub(super) index: usize,
    pub(super) rows: usize,
    /// `[rows]`
    pub(super) position: Pointer,
}

impl Layer<'_> {
    /// Norm, projections, biases, head norms and rotation. `above` is what the layer before adds
    /// to its stream, and that stream; without it the input is there already.
    pub(super) fn before_attention(
        &self,
        above: Option<[Pointer; 2]>,
        angles: &Angles,
        places: &LayerPlaces,
        pool: &PoolPlaces,
    ) -> Done {
        let Layer { arithmetic: own, weights, scratch, rows, .. } = *self;
        let slots = weights.layout.layers[self.index];
        let stream = above.map_or([places.input, Pointer::NONE], |above| above);
        let sum = if above.is_some() { places.input } else { Pointer::NONE };
        self.norm(stream, sum, slots.input_norm, places.inverse[0])?;
        let sizes = [rows, own.config.hidden, own.heads_width()];
        let matrix = weights.matrix(own, slots.query);
        own.forward((scratch.normed.start(own), matrix, places.heads), sizes)?;
        let (query, kv) = (own.config.query_width(), own.config.kv_width());
        let x = (scratch.exact_normed(own), own.config.hidden);
        for (target, from, width) in
            [(Target::Query, 0, query), (Target::Key, query, kv), (Target::Value, query + kv, kv)]
        {
            let y = (places.heads.after::<f32>(from), own.heads_width());
            self.add_delta(target, x, (y.0, y.1, width))?;
        }
        self.finish_heads(angles, places, pool)
    }

    fn finish_heads(&self, angles: &Angles, places: &LayerPlaces, pool: &PoolPlaces) -> Done {
        let Layer { arithmetic: own, weights, rows, .. } = *self;
        let slots = weights.layout.layers[self.index];
        let vector = |slot: usize| weights.vector(&own.device, slot);
        let bias = slots.bias.map_or(Pointer::NONE, |[query, ..]| vector(query));
        let norms = slots.head_norm.map_or([Pointer::NONE; 2], |norms| norms.map(vector));
        let [cosine, sine] = angles.pointers(&own.device);
        let all = own.config.heads + 2 * own.config.kv_heads;
        let list = arguments![
            places.heads,
            bias,
            norms[0],
            norms[1],
            own.config.norm_epsilon as f32,
            places.raw,
            places.head_inverse,
            cosine,
            sine,
            self.position,
            rows as i32,
            own.config.kv_heads as i32,
            pool.key,
            pool.value,
            pool.slot,
        ];
        own.launch("finish_heads", Grid::warps(rows * all), list)
    }

    /// Output projection, residual, norm and the gated feed-forward layer; what the layer adds to
    /// its middle stream is left in the scratch.
    pub(super) fn after_attention(&self, places: &LayerPlaces, extent: Extent) -> Done {
        let Layer { arithmetic: own, weights, scratch, rows, .. } = *self;
        let slots = weights.layout.layers[self.index];
        let (hidden, query, ffn) = (own.config.hidden, own.config.query_width(), own.config.ffn);
        let branch = own.of(&scratch.branch);
        let attended = if own.paired { scratch.attended.start(own) } else { places.attended };
        let matrix = weights.matrix(own, slots.output);
        own.forward((attended, matrix, branch), [rows, query, hidden])?;
        self.add_delta(Target::Output, (places.attended, query), (branch, hidden, hidden))?;
        let stream = [branch, places.input];
        self.norm(stream, places.middle, slots.ffn_norm, places.inverse[1])?;
        let matrix = weights.matrix(own, slots.gate);
        own.forward((scratch.normed.start(own), matrix, places.gates), [rows, hidden, 2 * ffn])?;
        let x = (scratch.exact_normed(own), hidden);
        self.add_delta(Target::Gate, x, (places.gates, 2 * ffn, ffn))?;
        self.add_delta(Target::Up, x, (places.gates.after::<f32>(ffn), 2 * ffn, ffn))?;
        if extent == Extent::Gates {
            return Ok(());
        }
        let (out, exact) = (scratch.hidden.start(own), own.of(&scratch.hidden_exact));
        let list = arguments![places.gates, out, exact, ffn as i32];
        own.launch("swiglu", Grid::rows(rows, ffn), list)?;
        own.forward((out, weights.matrix(own, slots.down), branch), [rows, ffn, hidden])?;
        self.add_delta(Target::Down, (scratch.exact_hidden(own), ffn), (branch, hidden, hidden))
    }

    /// The norm of the sum of two streams, which is kept in `sum`.
    fn norm(&self, stream: [Pointer; 2], sum: Pointer, norm: usize, inverse: Pointer) -> Done {
        let Layer { arithmetic: own, weights, scratch, rows, .. } = *self;
        let hidden = own.config.hidden;
        let list = arguments![
            stream[0],
            stream[1],
            sum,
            weights.vector(&own.device, norm),
            own.config.norm_epsilon as f32,
            scratch.normed.start(own),
            own.of(&scratch.normed_exact),
            inverse,
            hidden as i32,
        ];
        own.launch("norm_rows", Grid::rows(rows, hidden), list)
    }

    /// `y += scale (x Aᵀ) Bᵀ` where the adapter has a pair; `y` has rows of a length, of which the
    /// first `width` numbers are the projection's.
    fn add_delta(
        &self,
        target: Target,
        x: (Pointer, usize),
        (y, length, width): (Pointer, usize, usize),
    ) -> Done {
        let Layer { arithmetic: own, weights, scratch, rows, .. } = *self;
        let Some(pair) = weights.pair(&own.device, self.index, target) else { return Ok(()) };
        let inner = (own.of(&scratch.inner), pair.rank);
        let first = Product {
            form: Form::Forward,
            paired: false,
            rows,
            inner: x.1,
            outer: pair.rank,
            x,
            w: pair.a,
            y: inner,
            scale: pair.scale,
            keep: 0.0,
        };
        first.run(&own.device)?;
        let (w, y) = (pair.b, (y, length));
        let second = Product {
            inner: pair.rank,
            outer: width,
            x: inner,
            w,
            y,
            scale: 1.0,
            keep: 1.0,
            ..first
        };
        second.run(&own.device)
    }
}
