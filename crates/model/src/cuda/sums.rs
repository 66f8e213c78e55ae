//! Gradients by what trains, and sums over rows: those of norms and biases.

use super::{
    arithmetic::{Arithmetic, arguments},
    error::Done,
    forward::Pass,
    memory::{Buffer, Pointer},
    program::Grid,
};

/// Rows that are summed together before their sums are.
const RUNS_MAX: usize = 64;

/// The gradients by what trains, and room for partial sums.
pub(super) struct Sums<'a> {
    pub(super) gradients: Pointer,
    pub(super) partial: &'a Buffer<f32>,
}

impl Sums<'_> {
    /// Partial sums that one call of [`Sums::columns`] leaves.
    pub(super) fn room(own: &Arithmetic) -> usize {
        RUNS_MAX * own.config.hidden.max(own.heads_width())
    }

    /// Where a base weight's gradient lies.
    pub(super) fn at(&self, pass: &Pass, slot: usize) -> Pointer {
        self.gradients.after::<f32>(pass.weights.base.places.offset(slot))
    }

    /// Adds the gradient of a norm's weight from x, 1 / rms and the gradient by its output; nothing
    /// where it is frozen.
    pub(super) fn norm(
        &self,
        pass: &Pass,
        slot: usize,
        (x, inverse, dy): (Pointer, Pointer, Pointer),
        rows: usize,
    ) -> Done {
        let hidden = pass.own.config.hidden;
        self.columns(pass, slot, (x, inverse, dy), [rows, hidden, 1, hidden, hidden])
    }

    /// Adds sums over rows; `sizes` are rows, width, rows that lie one behind the other, and the
    /// distance of such groups in x and dy.
    pub(super) fn columns(
        &self,
        pass: &Pass,
        slot: usize,
        (x, inverse, dy): (Pointer, Pointer, Pointer),
        [rows, width, inner, x_stride, dy_stride]: [usize; 5],
    ) -> Done {
        let own = pass.own;
        if pass.weights.frozen() || rows == 0 {
            return Ok(());
        }
        let run = rows.div_ceil(RUNS_MAX).max(8);
        let runs = rows.div_ceil(run);
        let partial = own.of(self.partial);
        let list = arguments![
            x,
            inverse,
            dy,
            partial,
            rows as i32,
            width as i32,
            inner as i32,
            x_stride as i32,
            dy_stride as i32,
            run as i32,
        ];
        let blocks = (width.div_ceil(32), runs);
        own.launch("column_sums", Grid { blocks, threads: (32, 8), shared_bytes: 0 }, list)?;
        let list = arguments![partial, self.at(pass, slot), width as i32, runs as i32];
        let grid = Grid { blocks: (width.div_ceil(64), 1), threads: (64, 1), shared_bytes: 0 };
        own.launch("add_runs", grid, list)
    }
}
