//! The three matrix products of a linear layer, all through the one tile kernel.

use super::{
    bf16::{pair_columns, pair_rows, pairs},
    buffer::{Buffer, Word},
    level::Level,
    rectangle::Rectangle,
    tile::{Operand, PANEL, Tile},
    transpose::Transpose,
};

/// Numbers in the precision in which products read them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numbers<'a> {
    F32(&'a [f32]),
    /// `bf16` pairs along the chain.
    Pairs(&'a [u32]),
}

/// A matrix `[rows, columns]` as panels `[rows / PANEL][columns][PANEL]`; of pairs, along the
/// columns: `[rows / PANEL][pairs(columns)][PANEL]`.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) data: Numbers<'a>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Panels<'_> {
    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// The rows in panels `first..last`.
    pub(crate) fn part(&self, first: usize, last: usize) -> Self {
        let of = |steps: usize| first * steps * PANEL..last * steps * PANEL;
        let data = match self.data {
            Numbers::F32(data) => Numbers::F32(&data[of(self.columns)]),
            Numbers::Pairs(data) => Numbers::Pairs(&data[of(pairs(self.columns))]),
        };
        Self { data, rows: (last * PANEL).min(self.rows) - first * PANEL, columns: self.columns }
    }

    /// Whether products with this matrix read pairs.
    pub(crate) fn paired(&self) -> bool {
        matches!(self.data, Numbers::Pairs(_))
    }
}

/// Rows of `width` as a product with `paired` operands reads them along a row; `words` holds the
/// pairs.
pub(crate) fn along_columns<'a>(
    paired: bool,
    rows: &'a [f32],
    width: usize,
    words: &'a mut Buffer<u32>,
) -> Numbers<'a> {
    if !paired {
        return Numbers::F32(rows);
    }
    let words = room(words, rows.len() / width * pairs(width));
    pair_columns(rows, width, words);
    Numbers::Pairs(words)
}

/// Rows of `width` as a chain over the rows reads them: pairs `[pairs(rows)][width]`.
pub(crate) fn along_rows<'a>(
    paired: bool,
    rows: &'a [f32],
    width: usize,
    words: &'a mut Buffer<u32>,
) -> Numbers<'a> {
    if !paired {
        return Numbers::F32(rows);
    }
    let words = room(words, pairs(rows.len() / width) * width);
    pair_rows(rows, width, words);
    Numbers::Pairs(words)
}

/// The first `length` words, which are made where they are not there.
fn room(words: &mut Buffer<u32>, length: usize) -> &mut [u32] {
    words.reserve(length);
    &mut words[..length]
}

/// Rows that one tile of any vector unit can hold.
const TILE_ROWS: usize = 12;
/// Rows that pass a panel while it lies in the near caches.
const ROW_BLOCK: usize = 192;

/// Some of the columns of all rows of an output, whole panels of them: parts of one output can be
/// written by several threads.
pub(crate) struct Columns<'a> {
    /// Panels before the part.
    first: usize,
    to: Rectangle<'a>,
}

/// Cuts `[rows][n]` into parts of at most `panels` panels of columns.
pub(crate) fn columns<'a>(
    y: &'a mut [f32],
    n: usize,
    panels: usize,
) -> impl Iterator<Item = Columns<'a>> + Send {
    let (panels, mut rest) = (panels.max(1), Rectangle::new(y, n));
    (0..n.div_ceil(PANEL)).step_by(panels).map(move |first| {
        let to = rest.take_columns((panels * PANEL).min(n - first * PANEL));
        Columns { first, to }
    })
}

/// `y[m][n] = Σₖ x[m][k] w[n][k]`; `x` is `[M, k]` along its columns, `y` is `[M, n]`.
pub(crate) fn product(x: Numbers, w: Panels, y: &mut [f32]) {
    for part in columns(y, w.rows, w.panels()) {
        product_columns(x, w, part);
    }
}

/// As [`product`] for some of the outputs of all rows.
pub(crate) fn product_columns(x: Numbers, w: Panels, y: Columns) {
    chains(x, w, &y, false);
}

/// As [`product_columns`], added to what is there: the chain of each output continues from it.
pub(crate) fn product_columns_add(x: Numbers, w: Panels, y: Columns) {
    chains(x, w, &y, true);
}

fn chains(x: Numbers, w: Panels, y: &Columns, accumulate: bool) {
    match (x, w.data) {
        (Numbers::F32(x), Numbers::F32(data)) => forward(x, (data, w.columns), y, accumulate),
        (Numbers::Pairs(x), Numbers::Pairs(data)) => {
            forward(x, (data, pairs(w.columns)), y, accumulate);
        }
        _ => panic!("an input and a matrix of two precisions"),
    }
}

fn forward<T: Operand>(x: &[T], (data, steps): (&[T], usize), y: &Columns, accumulate: bool) {
    assert_eq!(x.len(), y.to.rows * steps, "rows of input and output");
    let data = &data[y.first * steps * PANEL..];
    for (block, x) in x.chunks(ROW_BLOCK * steps).enumerate() {
        // SAFETY: the block's rows are rows of the part.
        let out = unsafe { y.to.first.add(block * ROW_BLOCK * y.to.stride) };
        forward_block(x, (data, steps), (y, out), accumulate);
    }
}

/// Rows `x` of a part; `out` is where the first of them begins in it.
fn forward_block<T: Operand>(
    x: &[T],
    (data, steps): (&[T], usize),
    (y, out): (&Columns, *mut f32),
    accumulate: bool,
) {
    let rows = x.len() / steps;
    let whole = y.to.width / PANEL;
    // Few rows run through several panels at once; many rows reuse one panel.
    let at_once = if rows <= 6 { whole.max(1) } else { 1 };
    let tile = Tile {
        rows,
        panels: at_once,
        inner: steps,
        outer: 1,
        left_row: steps,
        left_step: 1,
        left_outer: 0,
        right_step: PANEL,
        right_panel: steps * PANEL,
        out_row: y.to.stride,
        out_panel: PANEL,
        accumulate,
    };
    let mut panel = 0;
    while panel < whole {
        let tile = Tile { panels: at_once.min(whole - panel), ..tile };
        // SAFETY: these panels of these rows lie inside the part.
        unsafe {
            let out = out.add(panel * PANEL);
            tile.run_to(Level::best(), x, &data[panel * steps * PANEL..], out);
        }
        panel += tile.panels;
    }
    let edge = y.to.width - whole * PANEL;
    if edge > 0 {
        let tile = Tile { panels: 1, ..tile };
        // SAFETY: the last columns of these rows lie inside the part.
        unsafe {
            let out = out.add(whole * PANEL);
            edge_tile(tile, (x, &data[whole * steps * PANEL..]), edge, out);
        }
    }
}

/// The last panel where the output has fewer columns than a panel.
///
/// # Safety
/// `width` columns of the tile's rows from `out` on must be the caller's.
unsafe fn edge_tile<T: Operand>(
    tile: Tile,
    (left, right): (&[T], &[T]),
    width: usize,
    out: *mut f32,
) {
    let mut padded = [0.0; TILE_ROWS * PANEL];
    for first in (0..tile.rows).step_by(TILE_ROWS) {
        let rows = TILE_ROWS.min(tile.rows - first);
        let own = |at: usize| {
            // SAFETY: the caller's.
            unsafe { std::slice::from_raw_parts_mut(out.add((first + at) * tile.out_row), width) }
        };
        if tile.accumulate {
            for (at, lanes) in padded.chunks_exact_mut(PANEL).take(rows).enumerate() {
                lanes[..width].copy_from_slice(own(at));
            }
        }
        let tile = Tile { rows, out_row: PANEL, ..tile };
        tile.run(&left[first * tile.left_row..], right, &mut padded);
        for (at, lanes) in padded.chunks_exact(PANEL).take(rows).enumerate() {
            own(at).copy_from_slice(&lanes[..width]);
        }
    }
}

/// Buffers of the gradients' products; reusable.
#[derive(Default)]
pub(crate) struct ProductScratch {
    /// `[n][PANEL]` of a transposed panel, or `[rows of a block][PANEL]` of output gradients.
    lanes: Buffer,
    lane_pairs: Buffer<u32>,
    /// Pairs of the left operand.
    pub(crate) pairs: Buffer<u32>,
}

/// `dx[m][k] += Σₙ dy[m][n] w[n][k]`; the chain of each output continues from the value in `dx`.
pub(crate) fn product_grad_input(
    dy: &[f32],
    w: Panels,
    dx: &mut [f32],
    scratch: &mut ProductScratch,
) {
    let mut words = std::mem::take(&mut scratch.pairs);
    let dy = along_columns(w.paired(), dy, w.rows, &mut words);
    for part in columns(dx, w.columns, w.columns.div_ceil(PANEL)) {
        product_grad_input_columns(dy, w, part, scratch);
    }
    scratch.pairs = words;
}

/// As [`product_grad_input`] for some of the columns; `dy` is along its columns.
pub(crate) fn product_grad_input_columns(
    dy: Numbers,
    w: Panels,
    dx: Columns,
    scratch: &mut ProductScratch,
) {
    let ProductScratch { lanes, lane_pairs, .. } = scratch;
    match (dy, w.data) {
        (Numbers::F32(dy), Numbers::F32(data)) => {
            grad_input((dy, w.rows), (data, w.columns), &dx, lanes);
        }
        (Numbers::Pairs(dy), Numbers::Pairs(data)) => {
            grad_input((dy, pairs(w.rows)), (data, w.columns), &dx, lane_pairs);
        }
        _ => panic!("a gradient and a matrix of two precisions"),
    }
}

/// Panels of weights that are turned at a time: they fit in the second cache.
const TURNED: usize = 48;

fn grad_input<T: Operand + Transpose>(
    (dy, steps): (&[T], usize),
    (data, k): (&[T], usize),
    dx: &Columns,
    lanes: &mut Buffer<T>,
) {
    assert_eq!(dy.len(), dx.to.rows * steps, "rows of both gradients");
    if dy.is_empty() {
        return;
    }
    let panels = steps.div_ceil(T::LINES);
    lanes.reserve(TURNED.min(panels) * T::LINES * PANEL);
    let lines = T::lines(k);
    for first in (0..panels).step_by(TURNED) {
        let last = (first + TURNED).min(panels);
        let begin = first * T::LINES;
        let tile = Tile {
            rows: dx.to.rows,
            panels: 1,
            inner: (last * T::LINES).min(steps) - begin,
            outer: 1,
            left_row: steps,
            left_step: 1,
            left_outer: 0,
            right_step: PANEL,
            right_panel: 0,
            out_row: dx.to.stride,
            out_panel: 0,
            accumulate: true,
        };
        for column in (0..dx.to.width).step_by(PANEL) {
            let block = dx.first + column / PANEL;
            let turned = lanes.chunks_exact_mut(T::LINES * PANEL);
            for (panel, to) in (first..last).zip(turned) {
                let from = panel * lines + block * T::LINES;
                let end = (from + T::LINES).min((panel + 1) * lines);
                T::transpose(&data[from * PANEL..end * PANEL], to);
            }
            let width = PANEL.min(dx.to.width - column);
            // SAFETY: these columns of every row are the part's.
            unsafe {
                let out = dx.to.first.add(column);
                if width == PANEL {
                    tile.run_to(Level::best(), &dy[begin..], lanes, out);
                } else {
                    edge_tile(tile, (&dy[begin..], lanes), width, out);
                }
            }
        }
    }
}

/// Rows of one pass of the gradient by the weights: its packed panel fills half of the first
/// cache. Even, so that pairs do not straddle a pass.
const CHAIN_BLOCK: usize = 192;

/// `dw[n][k] += Σₘ dy[m][n] x[m][k]` for the panels from `first` on that `dw` holds; `x` is along
/// its rows.
///
/// The chain of each weight runs over `m` ascending (pair by pair) and continues from the value in
/// `dw`.
pub(crate) fn product_grad_weight(
    (dy, n): (&[f32], usize),
    (x, k): (Numbers, usize),
    first: usize,
    dw: &mut [f32],
    scratch: &mut ProductScratch,
) {
    let rows = dy.len() / n;
    match x {
        Numbers::F32(x) => {
            assert_eq!(rows, x.len() / k, "rows of gradient and input");
            scratch.lanes.reserve(CHAIN_BLOCK * PANEL);
            grad_weight((dy, n), (x, k, CHAIN_BLOCK), first, dw, |dy, column, width, to| {
                copy_lanes((dy, n), (column, width), &mut scratch.lanes);
                to(&scratch.lanes);
            });
        }
        Numbers::Pairs(x) => {
            assert_eq!(pairs(rows), x.len() / k, "rows of gradient and input");
            let ProductScratch { lanes, lane_pairs, .. } = scratch;
            lanes.reserve(CHAIN_BLOCK * PANEL);
            lane_pairs.reserve(CHAIN_BLOCK / 2 * PANEL);
            grad_weight((dy, n), (x, k, CHAIN_BLOCK / 2), first, dw, |dy, column, width, to| {
                let rows = dy.len() / n;
                copy_lanes((dy, n), (column, width), lanes);
                pair_rows(&lanes[..rows * PANEL], PANEL, lane_pairs);
                to(lane_pairs);
            });
        }
    }
}

/// `pack(dy of the pass, column, width, then)` hands the lanes of a panel to `then`.
fn grad_weight<T: Operand>(
    (dy, n): (&[f32], usize),
    (x, k, steps): (&[T], usize, usize),
    first: usize,
    dw: &mut [f32],
    mut pack: impl FnMut(&[f32], usize, usize, &mut dyn FnMut(&[T])),
) {
    for (dy, x) in dy.chunks(CHAIN_BLOCK * n).zip(x.chunks(steps * k)) {
        for (index, dw) in dw.chunks_exact_mut(k * PANEL).enumerate() {
            let column = (first + index) * PANEL;
            let tile = Tile {
                rows: k,
                panels: 1,
                inner: x.len() / k,
                outer: 1,
                left_row: 1,
                left_step: k,
                left_outer: 0,
                right_step: PANEL,
                right_panel: 0,
                out_row: PANEL,
                out_panel: 0,
                accumulate: true,
            };
            pack(dy, column, PANEL.min(n - column), &mut |lanes| tile.run(x, lanes, dw));
        }
    }
}

/// Columns `column..column + width` of each row to whole panels; lanes past the width are zero.
fn copy_lanes<T: Word>(
    (rows, stride): (&[T], usize),
    (column, width): (usize, usize),
    to: &mut [T],
) {
    for (row, lanes) in rows.chunks_exact(stride).zip(to.chunks_exact_mut(PANEL)) {
        let from = &row[column..][..width];
        // A copy of known length is two moves; of unknown length it is a call.
        if let (Some(lanes), Some(from)) =
            (lanes.first_chunk_mut::<PANEL>(), from.first_chunk::<PANEL>())
        {
            *lanes = *from;
        } else {
            lanes[..width].copy_from_slice(from);
            lanes[width..].fill(T::default());
        }
    }
}
