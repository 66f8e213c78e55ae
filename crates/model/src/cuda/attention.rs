//! Tree attention backwards: from the gradient by its output to that by queries, keys, values.

use super::{
    arithmetic::arguments, backward::Flow, error::Done, forward::Pass, layer::LayerPlaces,
    memory::Pointer, program::Grid, sums::Sums,
};

impl Pass<'_> {
    /// Leaves the gradient by the projections' outputs, before head norms and rotation, in
    /// `flow.d_heads` and its operands.
    pub(super) fn attention_grad(
        &self,
        index: usize,
        places: &LayerPlaces,
        flow: &Flow,
        sums: &Sums,
    ) -> Done {
        let Pass { own, columns, rows, .. } = *self;
        let (config, tile) = (&own.config, own.program.tile);
        let (log_sum, mean) = (self.activations.log_sum(own, index), own.of(&flow.mean));
        let d_attended = own.of(&flow.d_attended);
        let list = arguments![places.attended, d_attended, mean, rows as i32, config.heads as i32];
        own.launch("attended_dot", Grid::warps(rows * config.heads), list)?;
        let grid = |rows_of_tile: usize, shared_bytes: usize| Grid {
            blocks: (rows.div_ceil(rows_of_tile), config.heads),
            threads: (256, 1),
            shared_bytes,
        };
        let (subtree_end, last_seen) = (own.of(&columns.subtree_end), own.of(&columns.last_seen));
        let (rows_arg, kv_heads) = (rows as i32, config.kv_heads as i32);
        let list = arguments![
            places.heads,
            d_attended,
            log_sum,
            mean,
            subtree_end,
            last_seen,
            own.of(&flow.d_heads),
            rows_arg,
            kv_heads,
            own.scale,
        ];
        let shared = tile.query_grad_bytes(config.head_dim);
        own.launch("query_grad", grid(tile.queries, shared), list)?;
        let list = arguments![
            places.heads,
            d_attended,
            log_sum,
            mean,
            subtree_end,
            last_seen,
            own.of(&flow.d_key),
            own.of(&flow.d_value),
            rows_arg,
            kv_heads,
            own.scale,
        ];
        let shared = tile.key_grad_bytes(config.head_dim);
        own.launch("key_grad", grid(tile.keys, shared), list)?;
        self.heads_grad(index, places, flow, sums)
    }

    /// Backwards through rotation and head norms.
    fn heads_grad(&self, index: usize, places: &LayerPlaces, flow: &Flow, sums: &Sums) -> Done {
        let Pass { own, weights, rows, .. } = *self;
        let config = &own.config;
        let slots = weights.layout.layers[index];
        let all = config.heads + 2 * config.kv_heads;
        let rounded = if own.paired { flow.d_heads_rounded.start(own) } else { Pointer::NONE };
        let [cosine, sine] = self.angles.pointers(&own.device);
        let d_heads = own.of(&flow.d_heads);
        let complete = slots.head_norm.is_none();
        let list = arguments![
            d_heads,
            own.of(&flow.d_key),
            own.of(&flow.d_value),
            if complete { rounded } else { Pointer::NONE },
            cosine,
            sine,
            own.of(&self.columns.position),
            rows as i32,
            config.kv_heads as i32,
        ];
        own.launch("turn_back", Grid::warps(rows * all), list)?;
        let Some([query, key]) = slots.head_norm else { return Ok(()) };
        let (dim, width) = (config.head_dim, own.heads_width());
        let mut from = 0;
        for (norm, heads) in [(query, config.heads), (key, config.kv_heads)] {
            let raw = places.raw.after::<f32>(rows * from * dim);
            let inverse = places.head_inverse.after::<f32>(rows * from);
            let dy = d_heads.after::<f32>(from * dim);
            let sizes = [rows * heads, dim, heads, heads * dim, width];
            sums.columns(self, norm, (raw, inverse, dy), sizes)?;
            from += heads;
        }
        let list = arguments![
            d_heads,
            places.raw,
            places.head_inverse,
            weights.vector(&own.device, query),
            weights.vector(&own.device, key),
            rounded,
            rows as i32,
            config.kv_heads as i32,
        ];
        own.launch("head_norm_grad", Grid::warps(rows * all), list)
    }
}
