//! The layers over rows that each continue a path of their own.

use super::{
    arithmetic::{Angles, Arithmetic, arguments},
    error::Done,
    layer::{Extent, Layer, LayerPlaces, LayerScratch, PoolPlaces},
    memory::{Buffer, Pointer},
    pool::Pool,
    program::{Grid, path_bytes},
    weights::Weights,
};

/// A batch of rows: what each is, where it stands, and the path that it sees.
#[derive(Default)]
pub(super) struct RowColumns {
    token: Vec<u32>,
    position: Vec<u32>,
    slot: Vec<u32>,
    /// Where each row's path starts among `paths`.
    path: Vec<u32>,
    paths: Vec<u32>,
}

impl RowColumns {
    pub(super) fn rows(&self) -> usize {
        self.token.len()
    }

    pub(super) fn clear(&mut self) {
        let Self { token, position, slot, path, paths } = self;
        [token, position, slot, path, paths].into_iter().for_each(Vec::clear);
    }

    /// Adds rows for tokens at `positions` of a path, whose slots are given up to the last one's.
    pub(super) fn push(&mut self, path: &[u32], positions: std::ops::Range<usize>, tokens: &[u32]) {
        let start = self.paths.len() as u32;
        self.paths.extend_from_slice(path);
        self.token.extend_from_slice(tokens);
        self.position.extend(positions.clone().map(|position| position as u32));
        self.slot.extend_from_slice(&path[positions]);
        self.path.extend(tokens.iter().map(|_| start));
    }
}

/// Activations of a batch, each `[rows][width]`.
#[derive(Default)]
pub(super) struct RowBuffers {
    /// Token, position, slot and path of each row, then the paths.
    columns: Buffer<u32>,
    input: Buffer<f32>,
    heads: Buffer<f32>,
    attended: Buffer<f32>,
    middle: Buffer<f32>,
    gates: Buffer<f32>,
    scratch: LayerScratch,
}

impl RowBuffers {
    fn reserve(&mut self, own: &Arithmetic, weights: &Weights, rows: usize) -> Done {
        let config = &own.config;
        for (buffer, width) in [
            (&mut self.input, config.hidden),
            (&mut self.heads, own.heads_width()),
            (&mut self.attended, config.query_width()),
            (&mut self.middle, config.hidden),
            (&mut self.gates, 2 * config.ffn),
        ] {
            buffer.reserve(&own.device, rows * width)?;
        }
        self.scratch.reserve(own, weights, rows)
    }

    /// Runs the rows of a batch: keys, values and last streams go to their slots of the pool.
    pub(super) fn run(
        &mut self,
        own: &Arithmetic,
        weights: &Weights,
        (pool, angles): (&Pool, &Angles),
        columns: &RowColumns,
    ) -> Done {
        let (rows, hidden) = (columns.rows(), own.config.hidden);
        if rows == 0 {
            return Ok(());
        }
        self.reserve(own, weights, rows)?;
        let RowColumns { token, position, slot, path, paths } = columns;
        self.columns.write(&own.device, &[&token[..], position, slot, path, paths].concat())?;
        let start = own.of(&self.columns);
        let [position, slot] = [1, 2].map(|column| start.after::<u32>(column * rows));
        let table = weights.matrix(own, weights.layout.embedding);
        let list = arguments![table, start, own.of(&self.input), hidden as i32];
        own.launch("embed", Grid::rows(rows, hidden), list)?;
        let places = LayerPlaces {
            input: own.of(&self.input),
            heads: own.of(&self.heads),
            attended: own.of(&self.attended),
            middle: own.of(&self.middle),
            gates: own.of(&self.gates),
            ..LayerPlaces::default()
        };
        let branch = own.of(&self.scratch.branch);
        for index in 0..own.config.layers {
            let scratch = &self.scratch;
            let layer = Layer { arithmetic: own, weights, scratch, index, rows, position };
            let above = (index > 0).then_some([branch, places.middle]);
            let [key, value] = pool.layer(own, index);
            let at = PoolPlaces { key, value, slot };
            layer.before_attention(above, angles, &places, &at)?;
            self.attend(own, &places, &at, rows)?;
            layer.after_attention(&places, Extent::Layer)?;
        }
        let list = arguments![branch, places.middle, places.input];
        own.over_all("add_rows", rows * hidden, list)?;
        let list = arguments![places.input, slot, own.of(&pool.stream), hidden as i32];
        own.launch("scatter_rows", Grid::rows(rows, hidden), list)
    }

    fn attend(
        &self,
        own: &Arithmetic,
        places: &LayerPlaces,
        pool: &PoolPlaces,
        rows: usize,
    ) -> Done {
        let start: Pointer = own.of(&self.columns);
        let [position, path, paths] = [1, 3, 4].map(|column| start.after::<u32>(column * rows));
        let grid = Grid {
            blocks: (rows, own.config.kv_heads),
            threads: (256, 1),
            shared_bytes: path_bytes(&own.config),
        };
        let list = arguments![
            places.heads,
            pool.key,
            pool.value,
            paths,
            path,
            position,
            places.attended,
            self.scratch.rounded_attended(own),
            own.config.kv_heads as i32,
            own.scale,
        ];
        own.launch("attend_paths", grid, list)
    }
}
