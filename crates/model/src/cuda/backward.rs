//! Every layer backwards, from the gradient of the last residual stream to the embedding's.

use super::{
    arithmetic::{Arithmetic, Operands, arguments},
    error::Done,
    forest::Groups,
    forward::Pass,
    layer::LayerPlaces,
    low_rank::Side,
    memory::{Buffer, Pointer},
    program::Grid,
    sums::Sums,
    weights::Weights,
};
use crate::adapter::Target;

/// Gradients that pass between the parts of a layer, each `[N][width]`.
#[derive(Default)]
pub(super) struct Flow {
    /// By the residual stream.
    pub(super) d_stream: Buffer<f32>,
    d_rounded: Operands,
    d_hidden: Buffer<f32>,
    pub(super) d_gates: Operands,
    /// `d_gates` before it was rounded, for an adapter.
    pub(super) d_gates_exact: Buffer<f32>,
    pub(super) d_normed: Buffer<f32>,
    pub(super) d_attended: Buffer<f32>,
    pub(super) d_heads: Buffer<f32>,
    pub(super) d_heads_rounded: Operands,
    /// By keys and values of each query head.
    pub(super) d_key: Buffer<f32>,
    pub(super) d_value: Buffer<f32>,
    /// `[query heads][N]`
    pub(super) mean: Buffer<f32>,
    /// `[rows][rank]`
    pub(super) d_inner: Buffer<f32>,
}

impl Flow {
    pub(super) fn reserve(&mut self, own: &Arithmetic, weights: &Weights, rows: usize) -> Done {
        let (config, device) = (&own.config, &own.device);
        let (hidden, query, ffn) = (config.hidden, config.query_width(), config.ffn);
        self.d_stream.reserve(device, rows * hidden)?;
        self.d_hidden.reserve(device, rows * ffn)?;
        self.d_gates.reserve(own, rows * 2 * ffn)?;
        self.d_normed.reserve(device, rows * hidden)?;
        for buffer in [&mut self.d_attended, &mut self.d_key, &mut self.d_value] {
            buffer.reserve(device, rows * query)?;
        }
        self.d_heads.reserve(device, rows * own.heads_width())?;
        self.mean.reserve(device, rows * config.heads)?;
        if own.paired {
            self.d_rounded.reserve(own, rows * hidden)?;
            self.d_heads_rounded.reserve(own, rows * own.heads_width())?;
        }
        if let Some(adapter) = &weights.adapter {
            self.d_inner.reserve(device, rows * adapter.rank)?;
            self.d_gates_exact.reserve(device, if own.paired { rows * 2 * ffn } else { 0 })?;
        }
        Ok(())
    }

    /// Where the stream's gradient lies as products read it, and where it is to be rounded to.
    fn stream(&self, own: &Arithmetic) -> (Pointer, Pointer) {
        match own.paired {
            true => (self.d_rounded.start(own), self.d_rounded.start(own)),
            false => (own.of(&self.d_stream), Pointer::NONE),
        }
    }
}

impl Arithmetic {
    /// A place among operands.
    pub(super) fn operand_after(&self, start: Pointer, count: usize) -> Pointer {
        if self.paired { start.after::<u16>(count) } else { start.after::<f32>(count) }
    }

    /// The final norm of `stream`, which leaves 1 / rms beside it.
    pub(super) fn final_norm(
        &self,
        weights: &Weights,
        [stream, inverse]: [Pointer; 2],
        normed: &Operands,
        rows: usize,
    ) -> Done {
        let hidden = self.config.hidden;
        let list = arguments![
            stream,
            Pointer::NONE,
            Pointer::NONE,
            weights.vector(&self.device, weights.layout.final_norm),
            self.config.norm_epsilon as f32,
            normed.start(self),
            Pointer::NONE,
            inverse,
            hidden as i32,
        ];
        self.launch("norm_rows", Grid::rows(rows, hidden), list)
    }

    /// Adds rows of the hidden width to the places of their groups.
    pub(super) fn add_grouped(&self, groups: &Groups, from: Pointer, to: Pointer) -> Done {
        let [place, begin, order] = groups.pointers(self);
        let list = arguments![from, place, begin, order, to, self.config.hidden as i32];
        self.launch("add_grouped", Grid::rows(groups.count, self.config.hidden), list)
    }
}

impl Pass<'_> {
    /// Runs every layer backwards; `flow.d_stream` holds the gradient of the last stream.
    pub(super) fn backward(&self, flow: &Flow, sums: &Sums) -> Done {
        let Pass { own, weights, rows, .. } = *self;
        let (_, round) = flow.stream(own);
        own.rounded(own.of(&flow.d_stream), round, rows * own.config.hidden)?;
        for index in (0..own.config.layers).rev() {
            if self.activations.plan.recomputes(index) {
                self.again(index)?;
            }
            let places = self.activations.places(own, index);
            self.feed_forward_grad(index, &places, flow, sums)?;
            self.attention_grad(index, &places, flow, sums)?;
            self.projection_grad(index, &places, flow, sums)?;
        }
        if weights.frozen() {
            return Ok(());
        }
        let to = sums.at(self, weights.layout.embedding);
        own.add_grouped(&self.columns.by_token, own.of(&flow.d_stream), to)
    }

    /// From the layer's output to the attention's.
    fn feed_forward_grad(
        &self,
        index: usize,
        places: &LayerPlaces,
        flow: &Flow,
        sums: &Sums,
    ) -> Done {
        let Pass { own, weights, scratch, rows, .. } = *self;
        let slots = weights.layout.layers[index];
        let (hidden, query, ffn) = (own.config.hidden, own.config.query_width(), own.config.ffn);
        let (dy, _) = flow.stream(own);
        let (d_hidden, d_stream) = (own.of(&flow.d_hidden), own.of(&flow.d_stream));
        let down = Side::new(self, index, sums, flow);
        own.grad_input((d_hidden, weights.matrix(own, slots.down), dy), [rows, ffn, hidden])?;
        down.input(Target::Down, (d_stream, hidden), (d_hidden, ffn))?;
        let (d_gates, gated) = (flow.d_gates.start(own), scratch.hidden.start(own));
        let exact = own.of(&flow.d_gates_exact);
        let list = arguments![
            places.gates,
            d_hidden,
            d_gates,
            exact,
            gated,
            own.of(&scratch.hidden_exact),
            ffn as i32,
        ];
        own.launch("swiglu_grad", Grid::rows(rows, ffn), list)?;
        down.weight(Target::Down, (scratch.exact_hidden(own), ffn), (d_stream, hidden))?;
        self.weight_grad(sums, slots.down, (gated, dy), [rows, ffn, hidden])?;
        self.renorm(places.middle, slots.ffn_norm, places.inverse[1])?;
        let (normed, d_normed) = (scratch.normed.start(own), own.of(&flow.d_normed));
        let sizes = [rows, hidden, 2 * ffn];
        own.grad_input((d_normed, weights.matrix(own, slots.gate), d_gates), sizes)?;
        let exact = if own.paired { exact } else { d_gates };
        let x = (scratch.exact_normed(own), hidden);
        for (target, from) in [(Target::Gate, 0), (Target::Up, ffn)] {
            let dy = (exact.after::<f32>(from), 2 * ffn);
            down.input(target, dy, (d_normed, hidden))?;
            down.weight(target, x, dy)?;
        }
        self.weight_grad(sums, slots.gate, (normed, d_gates), sizes)?;
        self.norm_grad((places.middle, slots.ffn_norm, places.inverse[1]), flow, sums)?;
        // From here on the stream's gradient is that after attention.
        let d_attended = own.of(&flow.d_attended);
        let sizes = [rows, query, hidden];
        own.grad_input((d_attended, weights.matrix(own, slots.output), dy), sizes)?;
        down.input(Target::Output, (d_stream, hidden), (d_attended, query))?;
        down.weight(Target::Output, (places.attended, query), (d_stream, hidden))?;
        if weights.frozen() {
            return Ok(());
        }
        let to = scratch.attended.start(own);
        let attended = own.rounded(places.attended, to, rows * query)?;
        self.weight_grad(sums, slots.output, (attended, dy), sizes)
    }

    /// From queries, keys and values to the layer's input.
    fn projection_grad(
        &self,
        index: usize,
        places: &LayerPlaces,
        flow: &Flow,
        sums: &Sums,
    ) -> Done {
        let Pass { own, weights, scratch, rows, .. } = *self;
        let slots = weights.layout.layers[index];
        let (hidden, width) = (own.config.hidden, own.heads_width());
        let d_heads = own.of(&flow.d_heads);
        let dy = if own.paired { flow.d_heads_rounded.start(own) } else { d_heads };
        if let Some([query, ..]) = slots.bias {
            let none = Pointer::NONE;
            sums.columns(self, query, (none, none, d_heads), [rows, width, 1, 0, width])?;
        }
        self.renorm(places.input, slots.input_norm, places.inverse[0])?;
        let (normed, d_normed) = (scratch.normed.start(own), own.of(&flow.d_normed));
        let sizes = [rows, hidden, width];
        own.grad_input((d_normed, weights.matrix(own, slots.query), dy), sizes)?;
        let side = Side::new(self, index, sums, flow);
        let (query, kv) = (own.config.query_width(), own.config.kv_width());
        let x = (scratch.exact_normed(own), hidden);
        for (target, from) in
            [(Target::Query, 0), (Target::Key, query), (Target::Value, query + kv)]
        {
            let dy = (d_heads.after::<f32>(from), width);
            side.input(target, dy, (d_normed, hidden))?;
            side.weight(target, x, dy)?;
        }
        self.weight_grad(sums, slots.query, (normed, dy), sizes)?;
        self.norm_grad((places.input, slots.input_norm, places.inverse[0]), flow, sums)
    }

    /// Adds the gradient of a matrix, unless it is frozen.
    fn weight_grad(
        &self,
        sums: &Sums,
        slot: usize,
        (x, dy): (Pointer, Pointer),
        sizes: [usize; 3],
    ) -> Done {
        if self.weights.frozen() {
            return Ok(());
        }
        self.own.grad_weight((x, sums.at(self, slot), dy), sizes)
    }

    /// A norm's output again.
    fn renorm(&self, x: Pointer, norm: usize, inverse: Pointer) -> Done {
        let Pass { own, weights, scratch, rows, .. } = *self;
        let hidden = own.config.hidden;
        let list = arguments![
            x,
            weights.vector(&own.device, norm),
            inverse,
            scratch.normed.start(own),
            own.of(&scratch.normed_exact),
            hidden as i32,
        ];
        own.launch("renorm_rows", Grid::rows(rows, hidden), list)
    }

    /// Adds the gradient through a norm to that of the stream, and that of the norm's weight.
    fn norm_grad(
        &self,
        (x, norm, inverse): (Pointer, usize, Pointer),
        flow: &Flow,
        sums: &Sums,
    ) -> Done {
        let Pass { own, weights, rows, .. } = *self;
        let (hidden, d_normed) = (own.config.hidden, own.of(&flow.d_normed));
        sums.norm(self, norm, (x, inverse, d_normed), rows)?;
        let (_, rounded) = flow.stream(own);
        let list = arguments![
            x,
            weights.vector(&own.device, norm),
            inverse,
            d_normed,
            own.of(&flow.d_stream),
            rounded,
            hidden as i32,
        ];
        own.launch("norm_grad", Grid::rows(rows, hidden), list)
    }
}
