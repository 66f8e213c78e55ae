//! The layers over all rows of a packed forest.

use super::{
    arithmetic::{Angles, Arithmetic, arguments},
    error::Done,
    forest::Columns,
    layer::{Extent, Layer, LayerPlaces, LayerScratch, PoolPlaces},
    memory::{Buffer, Pointer},
    program::Grid,
    weights::Weights,
};
use crate::{config::Family, train::ActivationPlan};

/// What can be computed again from a layer's input, each `[N][width]`.
#[derive(Default)]
pub(super) struct Inside {
    heads: Buffer<f32>,
    raw: Buffer<f32>,
    head_inverse: Buffer<f32>,
    inverse: [Buffer<f32>; 2],
    attended: Buffer<f32>,
    middle: Buffer<f32>,
    gates: Buffer<f32>,
    /// `[query heads][N]` logarithms of the sums of exponentials.
    log_sum: Buffer<f32>,
}

impl Inside {
    fn reserve(&mut self, own: &Arithmetic, rows: usize) -> Done {
        let (config, device) = (&own.config, &own.device);
        self.heads.reserve(device, rows * own.heads_width())?;
        if config.family == Family::Qwen3 {
            let turned = config.heads + config.kv_heads;
            self.raw.reserve(device, rows * turned * config.head_dim)?;
            self.head_inverse.reserve(device, rows * turned)?;
        }
        for inverse in &mut self.inverse {
            inverse.reserve(device, rows)?;
        }
        self.attended.reserve(device, rows * config.query_width())?;
        self.middle.reserve(device, rows * config.hidden)?;
        self.gates.reserve(device, rows * 2 * config.ffn)?;
        self.log_sum.reserve(device, rows * config.heads)
    }

    fn places(&self, own: &Arithmetic, input: Pointer) -> LayerPlaces {
        LayerPlaces {
            input,
            heads: own.of(&self.heads),
            raw: own.of(&self.raw),
            head_inverse: own.of(&self.head_inverse),
            inverse: [own.of(&self.inverse[0]), own.of(&self.inverse[1])],
            attended: own.of(&self.attended),
            middle: own.of(&self.middle),
            gates: own.of(&self.gates),
        }
    }
}

/// Activations of one forest, kept from a forward to its backward as far as the plan says.
#[derive(Default)]
pub(super) struct Activations {
    pub(super) plan: ActivationPlan,
    input: Vec<Buffer<f32>>,
    /// The last ones' layers keep theirs; all others share the first.
    inside: Vec<Inside>,
    /// `[N][hidden]` the residual stream after the last layer.
    pub(super) output: Buffer<f32>,
}

impl Activations {
    /// Room for a forest; `budget` in bytes, or what the device has.
    pub(super) fn reserve(&mut self, own: &Arithmetic, rows: usize, budget: Option<usize>) -> Done {
        // Most of what is free and what is held already; the rest is for passing gradients.
        let room = (own.device.free_bytes()? + self.plan.bytes) / 10 * 7;
        let budget = budget.map_or(room, |budget| budget.min(room));
        let plan = ActivationPlan::new(&own.config, rows, Some(budget));
        let shared = usize::from(plan.recomputed > 0);
        self.inside.truncate(plan.kept + shared);
        self.inside.resize_with(plan.kept + shared, Inside::default);
        self.input.resize_with(own.config.layers, Buffer::default);
        for inside in &mut self.inside {
            inside.reserve(own, rows)?;
        }
        for input in &mut self.input {
            input.reserve(&own.device, rows * own.config.hidden)?;
        }
        self.output.reserve(&own.device, rows * own.config.hidden)?;
        self.plan = plan;
        Ok(())
    }

    pub(super) fn inside(&self, layer: usize) -> &Inside {
        match self.plan.recomputes(layer) {
            true => &self.inside[0],
            false => &self.inside[layer + self.inside.len() - self.input.len()],
        }
    }

    pub(super) fn places(&self, own: &Arithmetic, layer: usize) -> LayerPlaces {
        self.inside(layer).places(own, own.of(&self.input[layer]))
    }

    pub(super) fn log_sum(&self, own: &Arithmetic, layer: usize) -> Pointer {
        own.of(&self.inside(layer).log_sum)
    }
}

/// What a pass over a forest is computed with.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) own: &'a Arithmetic,
    pub(super) weights: &'a Weights,
    pub(super) columns: &'a Columns,
    pub(super) angles: &'a Angles,
    pub(super) scratch: &'a LayerScratch,
    pub(super) activations: &'a Activations,
    pub(super) rows: usize,
}

impl Pass<'_> {
    pub(super) fn layer(&self, index: usize) -> Layer<'_> {
        Layer {
            arithmetic: self.own,
            weights: self.weights,
            scratch: self.scratch,
            index,
            rows: self.rows,
            position: self.own.of(&self.columns.position),
        }
    }

    /// Runs every layer and leaves the last residual stream in the activations' output.
    pub(super) fn forward(&self) -> Done {
        let Pass { own, weights, activations, rows, .. } = *self;
        let hidden = own.config.hidden;
        let table = weights.matrix(own, weights.layout.embedding);
        let token = own.of(&self.columns.token);
        let first = activations.places(own, 0).input;
        let list = arguments![table, token, first, hidden as i32];
        own.launch("embed", Grid::rows(rows, hidden), list)?;
        let branch = own.of(&self.scratch.branch);
        for index in 0..own.config.layers {
            let places = activations.places(own, index);
            let above = index.checked_sub(1).map(|above| activations.places(own, above));
            let above = above.map(|above| [branch, above.middle]);
            self.run_layer(index, above, &places, Extent::Layer)?;
        }
        let last = activations.places(own, own.config.layers - 1);
        let list = arguments![branch, last.middle, own.of(&activations.output)];
        own.over_all("add_rows", rows * hidden, list)
    }

    /// Computes a layer's activations again, as far as the backward reads them.
    pub(super) fn again(&self, index: usize) -> Done {
        let places = self.activations.places(self.own, index);
        self.run_layer(index, None, &places, Extent::Gates)
    }

    fn run_layer(
        &self,
        index: usize,
        above: Option<[Pointer; 2]>,
        places: &LayerPlaces,
        extent: Extent,
    ) -> Done {
        let layer = self.layer(index);
        layer.before_attention(above, self.angles, places, &PoolPlaces::default())?;
        self.attend(index, places)?;
        layer.after_attention(places, extent)
    }

    fn attend(&self, index: usize, places: &LayerPlaces) -> Done {
        let Pass { own, columns, rows, .. } = *self;
        let (config, tile) = (&own.config, own.program.tile);
        let grid = Grid {
            blocks: (rows.div_ceil(tile.queries), config.heads),
            threads: (256, 1),
            shared_bytes: tile.attend_bytes(config.head_dim),
        };
        let list = arguments![
            places.heads,
            own.of(&columns.subtree_end),
            own.of(&columns.last_seen),
            places.attended,
            self.scratch.rounded_attended(own),
            self.activations.log_sum(own, index),
            rows as i32,
            config.kv_heads as i32,
            own.scale,
        ];
        own.launch("attend", grid, list)
    }
}
