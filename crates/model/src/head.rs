//! A head of one's own on hidden states: values, scores of steps, Q of tokens.
//!
//! It is one linear layer, or two with a rectifier between them, in `f32` whatever the trunk's
//! products read; weights, gradient and optimizer are its own. It computes on the processor by the
//! kernels of the trunk, in the caller's thread: no sum depends on anything but its inputs.

use crate::{
    adamw::{AdamW, AdamWSettings},
    error::ModelError,
    gradients::Gradients,
    initial,
    kernel::{
        Numbers, Panels, ProductScratch, add, product, product_grad_input, product_grad_weight,
    },
    parameters::{Kind, Slot},
    weights::Weights,
};

/// Widths of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Numbers of a hidden state, at least 1.
    pub inputs: usize,
    /// Width between the two layers; `None`: one linear layer.
    pub hidden: Option<usize>,
    /// Numbers per state, at least 1.
    pub outputs: usize,
}

/// Named row-major tensors: name, shape, values.
pub type NamedTensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Weights, gradient and moments of a head.
#[derive(Clone)]
pub struct Head {
    shape: HeadShape,
    weights: Weights,
    gradients: Gradients,
    optimizer: AdamW,
    /// `[R][hidden]` the inner layer of the last forward, rectified.
    inner: Vec<f32>,
}

/// One layer: its matrix and its bias among the slots.
#[derive(Clone, Copy)]
struct Layer {
    matrix: usize,
    inputs: usize,
    outputs: usize,
}

impl Head {
    /// A head whose output is 0 everywhere: the last layer starts at zero, an inner one at draws
    /// of deviation 1/√inputs that are a function of the seed.
    ///
    /// # Panics
    /// Where a width is 0.
    #[must_use]
    pub fn new(shape: HeadShape, seed: u64) -> Self {
        let slots = slots(shape);
        let mut arena = crate::kernel::Buffer::zeros(Slot::stored_in(&slots));
        if shape.hidden.is_some() {
            let scale = 1.0 / (shape.inputs as f64).sqrt();
            let draw = |element| (scale * initial::normal(seed, 0, element as u64)) as f32;
            let values: Vec<f32> = (0..slots[0].count()).map(draw).collect();
            slots[0].write(&mut arena, &values);
        }
        Self {
            shape,
            weights: Weights::F32(arena),
            gradients: Gradients::of(slots.clone()),
            optimizer: AdamW::of(slots),
            inner: Vec::new(),
        }
    }

    /// Its widths.
    #[must_use]
    pub fn shape(&self) -> HeadShape {
        self.shape
    }

    /// `[R][outputs]` from states `[R][inputs]`; keeps what [`Head::backward`] needs.
    ///
    /// # Panics
    /// If `states` is not whole rows.
    pub fn forward(&mut self, states: &[f32]) -> Vec<f32> {
        assert!(states.len().is_multiple_of(self.shape.inputs), "whole states");
        let [first, second] = self.layers();
        let Some(second) = second else {
            return self.linear(first.expect("a head has a layer"), states);
        };
        let mut inner = self.linear(first.expect("a head has a layer"), states);
        inner.iter_mut().for_each(|x| *x = x.max(0.0));
        let out = self.linear(second, &inner);
        self.inner = inner;
        out
    }

    /// Adds to the gradients of the weights from the derivatives `[R][outputs]` by the output of
    /// the last forward, which was of these states; returns the derivatives `[R][inputs]` by them.
    ///
    /// # Panics
    /// If the rows are not those of the last forward.
    pub fn backward(&mut self, states: &[f32], d_out: &[f32]) -> Vec<f32> {
        let rows = states.len() / self.shape.inputs;
        assert_eq!(d_out.len(), rows * self.shape.outputs, "one derivative per output");
        let [first, second] = self.layers();
        let first = first.expect("a head has a layer");
        let Some(second) = second else { return self.linear_grad(first, states, d_out) };
        assert_eq!(self.inner.len(), rows * second.inputs, "backward needs the forward's rows");
        let inner = std::mem::take(&mut self.inner);
        let mut d_inner = self.linear_grad(second, &inner, d_out);
        for (d, x) in d_inner.iter_mut().zip(&inner) {
            if *x <= 0.0 {
                *d = 0.0;
            }
        }
        self.linear_grad(first, states, &d_inner)
    }

    fn layers(&self) -> [Option<Layer>; 2] {
        let HeadShape { inputs, hidden, outputs } = self.shape;
        match hidden {
            None => [Some(Layer { matrix: 0, inputs, outputs }), None],
            Some(width) => [
                Some(Layer { matrix: 0, inputs, outputs: width }),
                Some(Layer { matrix: 2, inputs: width, outputs }),
            ],
        }
    }

    fn matrix(&self, layer: Layer) -> Panels<'_> {
        self.weights.matrix(&self.gradients.slots[layer.matrix])
    }

    fn linear(&self, layer: Layer, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / layer.inputs * layer.outputs];
        product(Numbers::F32(x), self.matrix(layer), &mut y);
        let bias = self.weights.vector(&self.gradients.slots[layer.matrix + 1]);
        y.chunks_exact_mut(layer.outputs).for_each(|row| add(row, bias));
        y
    }

    fn linear_grad(&mut self, layer: Layer, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut scratch = ProductScratch::default();
        let mut dx = vec![0.0; x.len()];
        product_grad_input(dy, self.matrix(layer), &mut dx, &mut scratch);
        let [dw] = self.gradients.stored_mut([layer.matrix]);
        let (dy_of, x_of) = ((dy, layer.outputs), (Numbers::F32(x), layer.inputs));
        product_grad_weight(dy_of, x_of, 0, dw, &mut scratch);
        let d_bias = self.gradients.vector_mut(layer.matrix + 1);
        dy.chunks_exact(layer.outputs).for_each(|row| add(d_bias, row));
        dx
    }

    /// Sets every gradient to zero.
    pub fn clear_gradients(&mut self) {
        self.gradients.clear();
    }

    /// The gradients of its weights.
    #[must_use]
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }

    /// Multiplies every gradient.
    pub fn scale_gradients(&mut self, factor: f32) {
        self.gradients.scale(factor);
    }

    /// One update of its weights.
    pub fn step(&mut self, settings: &AdamWSettings) {
        self.optimizer.update(&mut self.weights, &self.gradients, settings, 1);
    }

    /// Forgets the moments.
    pub fn reset_optimizer(&mut self) {
        self.optimizer = AdamW::of(self.gradients.slots.clone());
    }

    /// The weights as named row-major tensors: name, shape, values.
    #[must_use]
    pub fn parameters(&self) -> NamedTensors {
        let slots = self.gradients.slots.iter();
        slots.map(|slot| (slot.name.clone(), slot.shape(), self.weights.read(slot))).collect()
    }

    /// Replaces one parameter by row-major values.
    ///
    /// # Errors
    /// If the name is unknown or the number of values is not that of the shape.
    pub fn set_parameter(&mut self, name: &str, row_major: &[f32]) -> Result<(), ModelError> {
        let slot = self.gradients.slots.iter().find(|slot| slot.name == name);
        let unknown = || ModelError::UnknownParameter { name: name.to_owned() };
        self.weights.replace(slot.ok_or_else(unknown)?, row_major)
    }

    /// Updates made so far, and the moments as named tensors.
    #[must_use]
    pub fn optimizer(&self) -> (u64, NamedTensors) {
        (self.optimizer.step_count(), self.optimizer.tensors())
    }

    /// Takes back what [`Head::optimizer`] gave, bit for bit.
    ///
    /// # Errors
    /// If a tensor is missing or of the wrong size; the state is then unchanged.
    pub fn restore_optimizer(
        &mut self,
        step: u64,
        tensors: &[(String, Vec<usize>, Vec<f32>)],
    ) -> Result<(), ModelError> {
        self.optimizer.restore(step, tensors)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    const SHAPES: [HeadShape; 3] = [
        HeadShape { inputs: 7, hidden: None, outputs: 1 },
        HeadShape { inputs: 40, hidden: None, outputs: 37 },
        HeadShape { inputs: 40, hidden: Some(33), outputs: 3 },
    ];

    /// A head of draws, biases included.
    fn drawn(shape: HeadShape) -> Head {
        let mut head = Head::new(shape, 3);
        for (index, (name, _, values)) in head.parameters().into_iter().enumerate() {
            let draw = |i| 0.3 * noise(index as u64, i);
            let values: Vec<f32> = (0..values.len()).map(draw).collect();
            head.set_parameter(&name, &values).unwrap();
        }
        head
    }

    /// The head in `f64`.
    fn exact(head: &Head, weights: &[Vec<f64>], states: &[f64]) -> Vec<f64> {
        let linear = |layer: usize, x: &[f64], outputs: usize| -> Vec<f64> {
            let (matrix, bias) = (&weights[2 * layer], &weights[2 * layer + 1]);
            let of = |o: usize| {
                let row = &matrix[o * x.len()..][..x.len()];
                bias[o] + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()
            };
            (0..outputs).map(of).collect()
        };
        let shape = head.shape();
        let rows = states.chunks_exact(shape.inputs);
        rows.flat_map(|row| match shape.hidden {
            None => linear(0, row, shape.outputs),
            Some(width) => {
                let inner: Vec<f64> = linear(0, row, width).iter().map(|x| x.max(0.0)).collect();
                linear(1, &inner, shape.outputs)
            }
        })
        .collect()
    }

    #[test]
    fn forward_and_every_gradient_agree_with_differences_in_f64() {
        for shape in SHAPES {
            let mut head = drawn(shape);
            let states: Vec<f32> = (0..5 * shape.inputs).map(|i| noise(90, i)).collect();
            let d_out: Vec<f32> = (0..5 * shape.outputs).map(|i| noise(91, i)).collect();
            let out = head.forward(&states);
            let d_states = head.backward(&states, &d_out);
            let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
            let mut weights: Vec<Vec<f64>> =
                head.parameters().iter().map(|(_, _, values)| wide(values)).collect();
            let mut inputs = wide(&states);
            for (got, expected) in out.iter().zip(exact(&head, &weights, &inputs)) {
                assert!((f64::from(*got) - expected).abs() < 1e-5, "{shape:?}");
            }
            let loss = |weights: &[Vec<f64>], inputs: &[f64]| -> f64 {
                let out = exact(&head, weights, inputs);
                out.iter().zip(&d_out).map(|(y, d)| y * f64::from(*d)).sum()
            };
            let step = 1e-6;
            let near = |got: f32, more: f64, less: f64, what: &str| {
                let expected = (more - less) / (2.0 * step);
                assert!((f64::from(got) - expected).abs() < 1e-4, "{what} {got} {expected}");
            };
            for i in 0..inputs.len() {
                inputs[i] += step;
                let more = loss(&weights, &inputs);
                inputs[i] -= 2.0 * step;
                let less = loss(&weights, &inputs);
                inputs[i] += step;
                near(d_states[i], more, less, "state");
            }
            for slot in 0..weights.len() {
                let (name, _, _) = &head.parameters()[slot];
                let gradient = head.gradients().to_row_major(name).unwrap();
                for i in 0..weights[slot].len() {
                    weights[slot][i] += step;
                    let more = loss(&weights, &inputs);
                    weights[slot][i] -= 2.0 * step;
                    let less = loss(&weights, &inputs);
                    weights[slot][i] += step;
                    near(gradient[i], more, less, name);
                }
            }
        }
    }

    #[test]
    fn a_fresh_head_says_0_and_learns_a_constant() {
        for shape in SHAPES {
            let mut head = Head::new(shape, 1);
            let states: Vec<f32> = (0..4 * shape.inputs).map(|i| noise(7, i)).collect();
            assert!(head.forward(&states).iter().all(|y| *y == 0.0));
            let settings = AdamWSettings {
                learning_rate: 0.05,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.0,
            };
            for _ in 0..300 {
                head.clear_gradients();
                let d_out: Vec<f32> = head.forward(&states).iter().map(|y| y - 0.5).collect();
                head.backward(&states, &d_out);
                head.step(&settings);
            }
            assert!(head.forward(&states).iter().all(|y| (y - 0.5).abs() < 0.02), "{shape:?}");
        }
    }

    #[test]
    fn what_was_saved_goes_on_bit_for_bit() {
        let mut head = drawn(SHAPES[2]);
        let settings = AdamWSettings {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.1,
        };
        let states: Vec<f32> = (0..4 * 40).map(|i| noise(7, i)).collect();
        let train = |head: &mut Head| {
            head.clear_gradients();
            let out = head.forward(&states);
            head.backward(&states, &out);
            head.step(&settings);
        };
        train(&mut head);
        let mut copy = Head::new(SHAPES[2], 99);
        for (name, _, values) in head.parameters() {
            copy.set_parameter(&name, &values).unwrap();
        }
        let (step, moments) = head.optimizer();
        copy.restore_optimizer(step, &moments).unwrap();
        train(&mut head);
        train(&mut copy);
        assert_eq!(head.parameters(), copy.parameters());
        assert!(copy.restore_optimizer(1, &moments[1..]).is_err());
        let unknown = copy.set_parameter("nothing", &[0.0]).unwrap_err();
        assert!(unknown.to_string().contains("nothing"));
    }
}
