//! A head that learns nothing of its own and follows another: a target network.

use super::{Head, HeadShape, NamedTensors, body::Body};
use crate::error::ModelError;

/// The weights of a head alone, without gradient and moments.
#[derive(Clone)]
pub struct FrozenHead {
    pub(super) body: Body,
}

impl FrozenHead {
    /// A head of this shape whose weights are 0, to be filled.
    ///
    /// # Panics
    /// Where a width is 0.
    #[must_use]
    pub fn new(shape: HeadShape) -> Self {
        FrozenHead { body: Body::zeros(shape) }
    }

    /// Its widths.
    #[must_use]
    pub fn shape(&self) -> HeadShape {
        self.body.shape
    }

    /// `[R][outputs]` from states `[R][inputs]`.
    ///
    /// # Panics
    /// If `states` is not whole rows.
    #[must_use]
    pub fn forward(&self, states: &[f32]) -> Vec<f32> {
        self.body.forward(states).1
    }

    /// `[R]` of each state the one output that is asked for, as [`Head::taken`].
    ///
    /// # Panics
    /// If there is not one output per state, or one is none of the head's.
    #[must_use]
    pub fn taken(&self, states: &[f32], output: &[u32]) -> Vec<f32> {
        self.body.taken(states, output)
    }

    /// Polyak averaging: every weight becomes `rate` of the other's and the rest of its own;
    /// `rate` is from 0 to 1.
    ///
    /// # Panics
    /// Where the shapes differ.
    pub fn follow(&mut self, head: &Head, rate: f32) {
        assert_eq!(self.shape(), head.shape(), "a head follows one of its shape");
        let own = self.body.weights.f32_mut().expect("heads are in f32");
        let other = head.body.weights.f32().expect("heads are in f32");
        for (own, other) in own.iter_mut().zip(other) {
            *own = rate * other + (1.0 - rate) * *own;
        }
    }

    /// The weights as named row-major tensors.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    const SHAPES: [HeadShape; 2] = [
        HeadShape { inputs: 40, hidden: None, outputs: 37 },
        HeadShape { inputs: 24, hidden: Some(33), outputs: 50 },
    ];

    fn drawn(shape: HeadShape) -> Head {
        let mut head = Head::new(shape, 3);
        for (index, (name, _, values)) in head.parameters().into_iter().enumerate() {
            let draw = |i| 0.3 * noise(index as u64, i);
            let values: Vec<f32> = (0..values.len()).map(draw).collect();
            head.set_parameter(&name, &values).unwrap();
        }
        head
    }

    #[test]
    fn one_output_has_the_bits_of_all_of_them() {
        for shape in SHAPES {
            let mut head = drawn(shape);
            let states: Vec<f32> = (0..9 * shape.inputs).map(|i| noise(90, i)).collect();
            let output: Vec<u32> = (0..9).map(|i| (i * 17 % shape.outputs) as u32).collect();
            let all = head.forward(&states);
            let rows = all.chunks_exact(shape.outputs).zip(&output);
            let expected: Vec<f32> = rows.map(|(row, k)| row[*k as usize]).collect();
            assert_eq!(head.taken(&states, &output), expected);
            let frozen = head.frozen();
            assert_eq!((frozen.taken(&states, &output), frozen.forward(&states)), (expected, all));
        }
    }

    #[test]
    fn a_frozen_head_stands_still_until_it_follows() {
        let mut head = drawn(SHAPES[1]);
        let mut frozen = head.frozen();
        let before = frozen.parameters();
        for (name, _, values) in head.parameters() {
            let moved: Vec<f32> = values.iter().map(|x| x + 1.0).collect();
            head.set_parameter(&name, &moved).unwrap();
        }
        assert_eq!(frozen.parameters(), before);
        frozen.follow(&head, 0.25);
        for ((_, _, now), (_, _, then)) in frozen.parameters().iter().zip(&before) {
            assert!(now.iter().zip(then).all(|(now, then)| (now - then - 0.25).abs() < 1e-6));
        }
        frozen.follow(&head, 1.0);
        assert_eq!(frozen.parameters(), head.parameters());
        let mut copy = FrozenHead::new(SHAPES[1]);
        for (name, _, values) in frozen.parameters() {
            copy.set_parameter(&name, &values).unwrap();
        }
        assert_eq!(copy.parameters(), frozen.parameters());
        assert!(copy.set_parameter("nothing", &[]).is_err());
    }

    #[test]
    fn a_head_as_wide_as_a_vocabulary_is_asked_a_few_states_at_a_time() {
        let of = |outputs| HeadShape { inputs: 4, hidden: None, outputs }.rows_at_once();
        assert_eq!((of(1), of(49_152), of(151_936), of(1 << 30)), (1 << 20, 21, 6, 1));
    }
}
