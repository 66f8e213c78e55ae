//! A head of one's own on hidden states: values, scores of steps, Q of tokens.
//!
//! It is one linear layer, or two with a rectifier between them, in `f32` whatever the trunk's
//! products read; weights, gradient and optimizer are its own. It computes on the processor by the
//! kernels of the trunk, in the caller's thread: no sum depends on anything but its inputs.
//!
//! A head as wide as the vocabulary is asked a few states at a time ([`HeadShape::rows_at_once`]),
//! forward and backward, or for one output of each state ([`Head::taken`]).

mod body;
mod frozen;

use crate::{
    adamw::{AdamW, AdamWSettings},
    error::ModelError,
    gradients::Gradients,
    kernel::{Numbers, ProductScratch, add, product_grad_input, product_grad_weight},
};
use body::{Body, Layer};
pub use frozen::FrozenHead;

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

/// Outputs of a head that exist at the same time: a few megabytes (INV-7).
const OUTPUTS_AT_ONCE: usize = 1 << 20;

impl HeadShape {
    /// States whose outputs together take a few megabytes, at least one.
    #[must_use]
    pub fn rows_at_once(&self) -> usize {
        (OUTPUTS_AT_ONCE / self.outputs).max(1)
    }
}

/// Named row-major tensors: name, shape, values.
pub type NamedTensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Weights, gradient and moments of a head.
#[derive(Clone)]
pub struct Head {
    body: Body,
    gradients: Gradients,
    optimizer: AdamW,
    /// `[R][hidden]` the inner layer of the last forward, rectified.
    inner: Vec<f32>,
}

impl Head {
    /// A head whose output is 0 everywhere: the last layer starts at zero, an inner one at draws
    /// of deviation 1/√inputs that are a function of the seed.
    ///
    /// # Panics
    /// Where a width is 0.
    #[must_use]
    pub fn new(shape: HeadShape, seed: u64) -> Self {
        let body = Body::new(shape, seed);
        Self {
            gradients: Gradients::of(body.slots.clone()),
            optimizer: AdamW::of(body.slots.clone()),
            body,
            inner: Vec::new(),
        }
    }

    /// Its widths.
    #[must_use]
    pub fn shape(&self) -> HeadShape {
        self.body.shape
    }

    /// A copy that learns nothing of its own.
    #[must_use]
    pub fn frozen(&self) -> FrozenHead {
        FrozenHead { body: self.body.clone() }
    }

    /// `[R][outputs]` from states `[R][inputs]`; keeps what [`Head::backward`] needs.
    ///
    /// # Panics
    /// If `states` is not whole rows.
    pub fn forward(&mut self, states: &[f32]) -> Vec<f32> {
        let (inner, out) = self.body.forward(states);
        self.inner = inner;
        out
    }

    /// `[R]` of each state the one output that is asked for, with the bits of [`Head::forward`];
    /// the others are not computed.
    ///
    /// # Panics
    /// If there is not one output per state, or one is none of the head's.
    #[must_use]
    pub fn taken(&self, states: &[f32], output: &[u32]) -> Vec<f32> {
        self.body.taken(states, output)
    }

    /// Adds to the gradients of the weights from the derivatives `[R][outputs]` by the output of
    /// the last forward, which was of these states; returns the derivatives `[R][inputs]` by them.
    ///
    /// # Panics
    /// If the rows are not those of the last forward.
    pub fn backward(&mut self, states: &[f32], d_out: &[f32]) -> Vec<f32> {
        let HeadShape { inputs, outputs, .. } = self.body.shape;
        let rows = states.len() / inputs;
        assert_eq!(d_out.len(), rows * outputs, "one derivative per output");
        let [first, second] = self.body.layers();
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

    fn linear_grad(&mut self, layer: Layer, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut scratch = ProductScratch::default();
        let mut dx = vec![0.0; x.len()];
        product_grad_input(dy, self.body.matrix(layer), &mut dx, &mut scratch);
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
        self.optimizer.update(&mut self.body.weights, &self.gradients, settings, 1);
    }

    /// Forgets the moments.
    pub fn reset_optimizer(&mut self) {
        self.optimizer = AdamW::of(self.gradients.slots.clone());
    }

    /// The weights as named row-major tensors: name, shape, values.
    #[must_use]
    pub fn parameters(&self) -> NamedTensors {
        self.body.parameters()
    }

    /// Replaces one parameter by row-major values.
    ///
    /// # Errors
    /// If the name is unknown or the number of values is not that of the shape.
    pub fn set_parameter(&mut self, name: &str, row_major: &[f32]) -> Result<(), ModelError> {
        self.body.set_parameter(name, row_major)
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
