//! What a head computes with: its weights, forward.

use super::{HeadShape, NamedTensors};
use crate::{
    error::ModelError,
    initial,
    kernel::{Buffer, Numbers, Panels, add, product},
    parameters::{Kind, Slot},
    weights::Weights,
};

/// The weights of a head, one after the other in one arena.
#[derive(Clone)]
pub(super) struct Body {
    pub(super) shape: HeadShape,
    pub(super) slots: Vec<Slot>,
    pub(super) weights: Weights,
}

/// One layer: its matrix among the slots, whose bias comes next, and its widths.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) matrix: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Body {
    /// Every weight 0.
    pub(super) fn zeros(shape: HeadShape) -> Self {
        Self::of(shape, |_, _| ())
    }

    /// The output 0, the inner layer, where there is one, drawn by `seed`.
    pub(super) fn new(shape: HeadShape, seed: u64) -> Self {
        Self::of(shape, |inner, arena| {
            if shape.hidden.is_some() {
                let scale = 1.0 / (shape.inputs as f64).sqrt();
                let draw = |element| (scale * initial::normal(seed, 0, element as u64)) as f32;
                let values: Vec<f32> = (0..inner.count()).map(draw).collect();
                inner.write(arena, &values);
            }
        })
    }

    fn of(shape: HeadShape, fill: impl FnOnce(&Slot, &mut Buffer<f32>)) -> Self {
        let slots = slots(shape);
        let mut arena = Buffer::zeros(Slot::stored_in(&slots));
        fill(&slots[0], &mut arena);
        Self { shape, slots, weights: Weights::F32(arena) }
    }

    pub(super) fn layers(&self) -> [Option<Layer>; 2] {
        let HeadShape { inputs, hidden, outputs } = self.shape;
        match hidden {
            None => [Some(Layer { matrix: 0, inputs, outputs }), None],
            Some(width) => [
                Some(Layer { matrix: 0, inputs, outputs: width }),
                Some(Layer { matrix: 2, inputs: width, outputs }),
            ],
        }
    }

    pub(super) fn matrix(&self, layer: Layer) -> Panels<'_> {
        self.weights.matrix(&self.slots[layer.matrix])
    }

    fn bias(&self, layer: Layer) -> &[f32] {
        self.weights.vector(&self.slots[layer.matrix + 1])
    }

    fn linear(&self, layer: Layer, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / layer.inputs * layer.outputs];
        product(Numbers::F32(x), self.matrix(layer), &mut y);
        let bias = self.bias(layer);
        y.chunks_exact_mut(layer.outputs).for_each(|row| add(row, bias));
        y
    }

    /// The last layer, and what it reads of states `[R][inputs]` where that is not themselves.
    fn last(&self, states: &[f32]) -> (Layer, Option<Vec<f32>>) {
        assert!(states.len().is_multiple_of(self.shape.inputs), "whole states");
        let [first, second] = self.layers();
        let first = first.expect("a head has a layer");
        let Some(second) = second else { return (first, None) };
        let mut inner = self.linear(first, states);
        inner.iter_mut().for_each(|x| *x = x.max(0.0));
        (second, Some(inner))
    }

    /// `[R][hidden]` the inner layer, rectified (empty where there is none), and `[R][outputs]`.
    pub(super) fn forward(&self, states: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (layer, inner) = self.last(states);
        let out = self.linear(layer, inner.as_deref().unwrap_or(states));
        (inner.unwrap_or_default(), out)
    }

    /// `[R]` one output of each state, by the chain of additions of the whole product.
    pub(super) fn taken(&self, states: &[f32], output: &[u32]) -> Vec<f32> {
        let (layer, inner) = self.last(states);
        let read = inner.as_deref().unwrap_or(states);
        assert_eq!(read.len(), output.len() * layer.inputs, "one output per state");
        let bias = self.bias(layer);
        let mut weight = vec![0.0; layer.inputs];
        let one = |(x, &output): (&[f32], &u32)| {
            let slot = &self.slots[layer.matrix];
            assert!((output as usize) < layer.outputs, "output {output} of {}", layer.outputs);
            self.weights.row(slot, output as usize, &mut weight);
            let sum = x.iter().zip(&weight).fold(0.0_f32, |sum, (x, w)| x.mul_add(*w, sum));
            sum + bias[output as usize]
        };
        read.chunks_exact(layer.inputs).zip(output).map(one).collect()
    }

    pub(super) fn parameters(&self) -> NamedTensors {
        let slots = self.slots.iter();
        slots.map(|slot| (slot.name.clone(), slot.shape(), self.weights.read(slot))).collect()
    }

    pub(super) fn set_parameter(
        &mut self,
        name: &str,
        row_major: &[f32],
    ) -> Result<(), ModelError> {
        let slot = self.slots.iter().find(|slot| slot.name == name);
        let unknown = || ModelError::UnknownParameter { name: name.to_owned() };
        self.weights.replace(slot.ok_or_else(unknown)?, row_major)
    }
}

/// Parameters in order: each layer's matrix, then its bias.
fn slots(shape: HeadShape) -> Vec<Slot> {
    let HeadShape { inputs, hidden, outputs } = shape;
    assert!(inputs > 0 && outputs > 0 && hidden != Some(0), "no head has this shape: {shape:?}");
    let layer = |name: &str, rows, columns| {
        let matrix = (format!("{name}.weight"), Kind::Matrix { rows, columns });
        [matrix, (format!("{name}.bias"), Kind::Vector { length: rows })]
    };
    let inner = hidden.map(|width| layer("inner", width, inputs));
    let out = layer("out", outputs, hidden.unwrap_or(inputs));
    let mut slots: Vec<Slot> = Vec::new();
    for (name, kind) in inner.into_iter().flatten().chain(out) {
        let offset = Slot::stored_in(&slots);
        slots.push(Slot { name, kind, offset, split_offset: 0 });
    }
    slots
}
