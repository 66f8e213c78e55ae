//! What an update reads and moves beside the passes: gradients, weights and moments.

use super::{CudaError, Tensors, Trainer, optimizer::Moments};
use crate::{adamw::AdamWSettings, error::ModelError};

impl Trainer {
    /// Sets every gradient to zero.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn clear_gradients(&mut self) -> Result<(), CudaError> {
        self.gradients.clear(&self.arithmetic.device)
    }

    /// The Euclidean norm over all gradients, summed in `f64` in a fixed order.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn gradient_norm(&mut self) -> Result<f64, CudaError> {
        let count = self.weights.trained().places.total;
        let start = self.arithmetic.of(&self.gradients);
        self.moments.norm(&self.arithmetic, start, count)
    }

    /// Multiplies every gradient.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn scale_gradients(&mut self, factor: f32) -> Result<(), CudaError> {
        let count = self.weights.trained().places.total;
        let list = [self.arithmetic.of(&self.gradients).into(), factor.into()];
        self.arithmetic.over_all("scale_all", count, &list)
    }

    /// The name of the first parameter whose gradient holds a NaN or an infinity.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn non_finite_gradient(&self) -> Result<Option<String>, CudaError> {
        let places = &self.weights.trained().places;
        let values = self.gradients.read(&self.arithmetic.device, places.total)?;
        let broken = |slot: &usize| values[places.range(*slot)].iter().any(|x| !x.is_finite());
        let first = (0..places.slots.len()).find(broken);
        Ok(first.map(|slot| places.slots[slot].name.clone()))
    }

    /// One parameter's gradient in row-major order; `None` for an unknown name or a frozen one.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn gradient(&self, name: &str) -> Result<Option<Vec<f32>>, CudaError> {
        let places = &self.weights.trained().places;
        let Some(slot) = places.find(name) else { return Ok(None) };
        self.gradients.read_range(&self.arithmetic.device, places.range(slot)).map(Some)
    }

    /// One AdamW update of every weight that trains.
    ///
    /// # Errors
    /// Where the device fails; the weights on it are then of no use.
    pub fn step(&mut self, settings: &AdamWSettings) -> Result<(), CudaError> {
        let gradients = self.arithmetic.of(&self.gradients);
        self.moments.step(&self.arithmetic, self.weights.trained(), gradients, settings)
    }

    /// Starts again with moments of zero.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn reset_optimizer(&mut self) -> Result<(), CudaError> {
        let trained = self.weights.trained().places.total;
        self.moments = Moments::new(&self.arithmetic.device, trained)?;
        Ok(())
    }

    /// Updates made so far.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.moments.steps()
    }

    /// The moments as [`AdamW::tensors`](crate::AdamW::tensors) gives them.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn moments(&self) -> Result<Tensors, CudaError> {
        self.moments.tensors(&self.arithmetic.device, &self.weights.trained().places)
    }

    /// Takes back what [`Trainer::moments`] or the host's optimizer gave, bit for bit.
    ///
    /// # Errors
    /// If a tensor is missing or of the wrong size: the state is then unchanged.
    pub fn restore_moments(
        &mut self,
        step: u64,
        tensors: &[(String, Vec<usize>, Vec<f32>)],
    ) -> Result<Result<(), ModelError>, CudaError> {
        let places = &self.weights.trained().places;
        self.moments.restore(&self.arithmetic.device, places, step, tensors)
    }
}
