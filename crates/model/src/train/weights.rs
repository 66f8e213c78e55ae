//! Gradients of matrices: units of work are runs of panels, so no two threads share a weight.

use super::workspace::Worker;
use crate::{
    kernel::{Numbers, PANEL, product_grad_weight},
    team::Team,
};

/// `dw += dyᵀ x` for the panels from `first` on that `dw` holds.
pub(super) struct WeightTask<'a> {
    /// `[N][n]` gradient of the product's output.
    pub(super) dy: &'a [f32],
    pub(super) n: usize,
    /// `[N][k]` input of the product, along its rows.
    pub(super) x: Numbers<'a>,
    pub(super) k: usize,
    pub(super) first: usize,
    pub(super) dw: &'a mut [f32],
}

impl<'a> WeightTask<'a> {
    /// The whole matrix `[n, k]`.
    pub(super) fn new(
        (dy, n): (&'a [f32], usize),
        (x, k): (Numbers<'a>, usize),
        dw: &'a mut [f32],
    ) -> Self {
        Self { dy, n, x, k, first: 0, dw }
    }

    fn pieces(self, threads: usize) -> impl Iterator<Item = WeightTask<'a>> {
        let WeightTask { dy, n, x, k, first, dw } = self;
        let panels = dw.len() / (k * PANEL);
        let most = if threads == 1 { panels } else { panels.div_ceil(2 * threads) }.max(1);
        let pieces = dw.chunks_mut(most * k * PANEL).enumerate();
        pieces.map(move |(index, dw)| WeightTask { dy, n, x, k, first: first + index * most, dw })
    }
}

/// Runs all tasks, each cut in pieces for the team.
pub(super) fn run_weights<'a>(
    team: &Team,
    worker: &mut [Worker],
    tasks: impl IntoIterator<Item = WeightTask<'a>, IntoIter: Send>,
) {
    let threads = team.threads();
    let pieces = tasks.into_iter().flat_map(move |task| task.pieces(threads));
    team.each(pieces, worker, |worker, piece: WeightTask| {
        let WeightTask { dy, n, x, k, first, dw } = piece;
        product_grad_weight((dy, n), (x, k), first, dw, &mut worker.product);
    });
}
