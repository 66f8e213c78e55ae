//! Gradients of matrices: units of work are runs of panels, so no two threads share a weight.

use super::workspace::Worker;
use crate::{
    kernel::{PANEL, product_grad_weight},
    team::Team,
};

/// `dw += dyᵀ x` for the panels from `first` on that `dw` holds.
pub(super) struct WeightTask<'a> {
    /// `[N][n]` gradient of the product's output.
    pub(super) dy: &'a [f32],
    pub(super) n: usize,
    /// `[N][k]` input of the product.
    pub(super) x: &'a [f32],
    pub(super) k: usize,
    pub(super) first: usize,
    pub(super) dw: &'a mut [f32],
}

/// Runs all tasks, each cut in pieces for the team.
pub(super) fn run_weights(team: &Team, worker: &mut [Worker], tasks: Vec<WeightTask>) {
    let threads = team.threads();
    let mut pieces = Vec::new();
    for WeightTask { dy, n, x, k, first, dw } in tasks {
        let panels = dw.len() / (k * PANEL);
        let most = if threads == 1 { panels } else { panels.div_ceil(2 * threads) };
        for (index, dw) in dw.chunks_mut(most.max(1) * k * PANEL).enumerate() {
            pieces.push(WeightTask { dy, n, x, k, first: first + index * most, dw });
        }
    }
    team.each(pieces, worker, |worker, piece: WeightTask| {
        let WeightTask { dy, n, x, k, first, dw } = piece;
        product_grad_weight((dy, n), (x, k), first, dw, &mut worker.product);
    });
}
