//! Hidden states after the final norm, and their gradients: what heads of one's own read.

use super::workspace::Workspace;
use crate::{
    gradients::Gradients,
    kernel::{add, rms_norm_grad},
    layer::Inputs,
    model::Model,
    scores::final_norm,
};

/// Derivatives of a loss by hidden states after the final norm.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateSeeds<'a> {
    /// `[R]` rows of the forest; a row may come twice.
    pub row: &'a [u32],
    /// `[R][hidden]` one derivative per number of each state.
    pub d_state: &'a [f32],
}

/// `[R][hidden]` the states at some rows of the last forward.
pub(super) fn states(workspace: &Workspace, model: &Model, row: &[u32]) -> Vec<f32> {
    let mut normed = Inputs::default();
    final_norm(&workspace.team, model, &streams(workspace, model, row), &mut normed);
    normed.rows().to_vec()
}

/// Adds the gradient by the last residual stream to `workspace.d_stream` and, unless it is frozen,
/// that of the final norm to `gradients`.
pub(super) fn backward(
    workspace: &mut Workspace,
    model: &Model,
    seeds: StateSeeds<'_>,
    gradients: &mut Gradients,
) {
    let hidden = model.config().hidden;
    assert_eq!(seeds.d_state.len(), seeds.row.len() * hidden, "one derivative per number");
    if seeds.row.is_empty() {
        return;
    }
    let stream = streams(workspace, model, seeds.row);
    let mut d_stream = vec![0.0; stream.len()];
    // A frozen norm has no gradient: an empty one costs nothing.
    let frozen = model.adapter().is_some();
    let mut d_norm = vec![0.0; if frozen { 0 } else { hidden }];
    let weight = model.vector(model.layout.final_norm);
    let epsilon = model.config().norm_epsilon as f32;
    rms_norm_grad(&stream, weight, epsilon, seeds.d_state, &mut d_stream, &mut d_norm);
    for (row, from) in seeds.row.iter().zip(d_stream.chunks_exact(hidden)) {
        add(&mut workspace.d_stream[*row as usize * hidden..][..hidden], from);
    }
    if !frozen {
        add(gradients.vector_mut(model.layout.final_norm), &d_norm);
    }
}

/// `[R][hidden]` residual streams after the last layer.
fn streams(workspace: &Workspace, model: &Model, row: &[u32]) -> Vec<f32> {
    let hidden = model.config().hidden;
    let of = |row: &u32| &workspace.output[*row as usize * hidden..][..hidden];
    row.iter().flat_map(of).copied().collect()
}
