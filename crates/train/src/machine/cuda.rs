//! The GPU: what trains lives there, and the host's copy is brought up to date when it is read.

use std::sync::{Mutex, OnceLock, PoisonError};

use stepwell_model::{
    AdamWSettings, Config, Finished, Guide, Model, Packed, Precision, SampleRequest, Scored,
    TokenScores,
    cuda::{CudaError, Decoder, Device, Prefix, Trainer},
};

use super::sampler::{Decide, Draw};
use super::{
    Decodes, DeviceError, Machine, Numbered, OfRows, Restored, Sampler, Seal, Seeds, Tensors,
};
use crate::{LearnerState, Reference};

pub(crate) struct Cuda {
    trainer: Trainer,
    config: Config,
    precision: Precision,
    host: Host,
}

/// Sampler and trainer add in another order. In `f32` that is far below what a wrong mask does; in
/// `bf16` an operand near the middle of two rounds to the other one now and then, and deep models
/// carry it on.
const GAP_MAX_F32: f64 = 1e-3;
const GAP_MAX_BF16: f64 = 5e-2;

/// The host's copy of the weights: fresh, or to be brought up to date before anybody reads it.
#[derive(Default)]
struct Host {
    fresh: OnceLock<Model>,
    stale: Mutex<Option<Model>>,
}

impl Host {
    fn new(model: Model) -> Self {
        Host { fresh: OnceLock::from(model), stale: Mutex::default() }
    }

    /// The weights on the device have moved.
    fn outdate(&mut self) {
        if let Some(model) = self.fresh.take() {
            *self.stale.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(model);
        }
    }

    /// The weights, from the device where they have moved.
    fn read(&self, trainer: &Trainer) -> &Model {
        self.fresh.get_or_init(|| {
            let stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut model = stale.expect("a copy is fresh or stale");
            failing(trainer.download(&mut model));
            model
        })
    }

    /// The weights to be changed, wherever they are.
    fn write(&mut self) -> &mut Model {
        self.outdate();
        let stale = self.stale.get_mut().unwrap_or_else(PoisonError::into_inner);
        stale.as_mut().expect("a copy is fresh or stale")
    }

    /// The copy is what the device has.
    fn refresh(&mut self) {
        let stale = self.stale.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        self.fresh = stale.map(OnceLock::from).unwrap_or_default();
    }
}

/// A GPU that fails where nobody can be told leaves nothing to go on with.
fn failing<T>(result: Result<T, CudaError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

impl Cuda {
    pub(crate) fn new(model: Model) -> Result<Self, DeviceError> {
        let trainer = Trainer::new(&Device::open()?, &model)?;
        let (config, precision) = (model.config().clone(), model.precision());
        Ok(Cuda { trainer, config, precision, host: Host::new(model) })
    }
}

impl Machine for Cuda {
    fn model(&self) -> &Model {
        self.host.read(&self.trainer)
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn seal(&self) -> Seal {
        Seal::Unread
    }

    fn gap_max(&self) -> f64 {
        match self.precision {
            Precision::F32 => GAP_MAX_F32,
            Precision::Bf16 => GAP_MAX_BF16,
        }
    }

    fn set_activation_budget(&mut self, bytes: Option<usize>) {
        self.trainer.set_activation_budget(bytes);
    }

    fn forward(&mut self, packed: &Packed, scored: &Scored) -> Result<TokenScores, DeviceError> {
        Ok(self.trainer.forward(packed, scored)?)
    }

    fn states(&mut self, _: &[u32]) -> Result<Vec<f32>, DeviceError> {
        Err(DeviceError::no_heads())
    }

    fn backward(
        &mut self,
        packed: &Packed,
        scored: &Scored,
        seeds: Seeds<'_>,
    ) -> Result<(), DeviceError> {
        if !seeds.states.row.is_empty() {
            return Err(DeviceError::no_heads());
        }
        Ok(self.trainer.backward(packed, scored, seeds.d_logprob, seeds.d_entropy)?)
    }

    fn backward_rows(
        &mut self,
        _: &Packed,
        _: &Scored,
        _: Seeds<'_>,
        _: OfRows<'_>,
    ) -> Result<Vec<f64>, DeviceError> {
        Err(DeviceError::no_rows())
    }

    fn reference_states(
        &mut self,
        _: &Reference,
        _: &Packed,
        _: &Scored,
    ) -> Result<(TokenScores, Vec<f32>), DeviceError> {
        Err(DeviceError::no_rows())
    }

    fn take_reference(&mut self, reference: &Reference) -> Result<(), DeviceError> {
        match reference {
            Reference::Weights(model) => Ok(self.trainer.set_reference(model)?),
            Reference::Adapter(_) => Ok(()),
        }
    }

    fn score_reference(
        &mut self,
        reference: &Reference,
        packed: &Packed,
        scored: &Scored,
    ) -> Result<TokenScores, DeviceError> {
        match reference {
            Reference::Weights(_) => Ok(self.trainer.score_reference(packed, scored)?),
            Reference::Adapter(adapter) => {
                Ok(self.trainer.score_beside(adapter, packed, scored)?)
            }
        }
    }

    fn trained(&self) -> Result<Vec<f32>, DeviceError> {
        Err(DeviceError::no_weights())
    }

    fn set_trained(&mut self, _: &[f32]) -> Result<(), DeviceError> {
        Err(DeviceError::no_weights())
    }

    fn gradient(&self) -> Result<Vec<f32>, DeviceError> {
        Err(DeviceError::no_weights())
    }

    fn clear_gradients(&mut self) -> Result<(), DeviceError> {
        Ok(self.trainer.clear_gradients()?)
    }

    fn gradient_norm(&mut self) -> Result<f64, DeviceError> {
        Ok(self.trainer.gradient_norm()?)
    }

    fn scale_gradients(&mut self, factor: f32) -> Result<(), DeviceError> {
        Ok(self.trainer.scale_gradients(factor)?)
    }

    fn non_finite_gradient(&mut self) -> Result<Option<String>, DeviceError> {
        Ok(self.trainer.non_finite_gradient()?)
    }

    fn step(&mut self, settings: &AdamWSettings) -> Result<(), DeviceError> {
        self.host.outdate();
        Ok(self.trainer.step(settings)?)
    }

    fn reset_optimizer(&mut self) -> Result<(), DeviceError> {
        Ok(self.trainer.reset_optimizer()?)
    }

    fn optimizer(&self) -> (u64, Tensors) {
        (self.trainer.step_count(), failing(self.trainer.moments()))
    }

    fn restore(&mut self, weights: Restored, state: &LearnerState) -> Result<(), String> {
        let model = self.host.write();
        weights.into_model(model)?;
        self.trainer.upload(model).map_err(|e| e.to_string())?;
        self.host.refresh();
        let (step, moments) = (state.optimizer_step, &state.optimizer);
        let restored = self.trainer.restore_moments(step, moments).map_err(|e| e.to_string())?;
        restored.map_err(|e| e.to_string())
    }

    fn sampler<'m>(&'m self, guide: Option<Guide<'m>>) -> Box<dyn Sampler + 'm> {
        assert!(guide.is_none(), "a guide on a GPU is refused when the recipe is read");
        Box::new(Numbered::new(self.trainer.decoder()))
    }
}

impl Decodes for Decoder<'_> {
    type Prefix = Prefix;

    fn extend_many(&mut self, steps: &[(Option<Prefix>, Vec<u32>)]) -> Vec<Prefix> {
        failing(Decoder::extend_many(self, steps))
    }

    fn begin(&mut self, id: u64, parent: &Prefix, request: SampleRequest) {
        Decoder::begin(self, id, parent, request);
    }

    fn advance(&mut self, draw: Draw<'_>, decide: Decide<'_>) -> Vec<Finished<Prefix>> {
        failing(Decoder::advance(self, draw, decide))
    }
}
