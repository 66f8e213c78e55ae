//! The seam between devices: everything of training and sampling that is not arithmetic is above
//! it and knows one trait, [`Machine`]. The CPU and the GPU are its two implementors.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod sampler;

use std::fmt;
use std::str::FromStr;

use stepwell_model::{
    AdamWSettings, Adapter, Config, Guide, Model, OfRow, Packed, Scored, StateSeeds, TokenScores,
};

use crate::{LearnerState, Reference};
pub(crate) use cpu::Cpu;
pub(crate) use sampler::{Decodes, Numbered, Sampler};

/// Where a model is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor; the judge of every other device.
    #[default]
    Cpu,
    /// The first NVIDIA GPU that the driver shows.
    Cuda,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Cpu => "cpu",
            Device::Cuda => "cuda",
        })
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda),
            other => Err(format!("unknown device `{other}`; known: cpu, cuda")),
        }
    }
}

impl Device {
    /// Looks whether the device can be used, and describes it.
    ///
    /// # Errors
    /// What is missing and what to install.
    pub fn probe(self) -> Result<String, DeviceError> {
        match self {
            Device::Cpu => Ok(format!("cpu, {}", stepwell_model::vector_unit())),
            Device::Cuda => gpu(),
        }
    }
}

#[cfg(feature = "cuda")]
fn gpu() -> Result<String, DeviceError> {
    Ok(stepwell_model::cuda::Device::open()?.described())
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> Result<String, DeviceError> {
    Err(DeviceError::left_out())
}

/// A device that cannot be used, or that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeviceError(String);

impl DeviceError {
    /// A recipe that needs a trust region in `bf16` is refused when it is read.
    fn not_f32() -> Self {
        Self("a trust region needs weights in f32; set precision = \"f32\"".to_owned())
    }

    /// A recipe has no way to name an adapter as a teacher.
    fn adapter_teaches() -> Self {
        Self("an adapter cannot teach whole distributions; take a model with all weights".into())
    }

    #[cfg(not(feature = "cuda"))]
    fn left_out() -> Self {
        Self("no GPU can be used: this build has no feature `cuda`; build with it".to_owned())
    }
}

#[cfg(feature = "cuda")]
impl DeviceError {
    /// A recipe that needs a trust region on a GPU is refused when it is read.
    fn no_weights() -> Self {
        let what = "a trust region moves weights on the processor only; set device = \"cpu\"";
        Self(what.to_owned())
    }

    /// A recipe that distils on a GPU is refused when it is read.
    fn no_rows() -> Self {
        let what = "a teacher's distributions are on the processor only; set device = \"cpu\"";
        Self(what.to_owned())
    }

    /// A recipe that needs heads on a GPU is refused when it is read.
    fn no_heads() -> Self {
        Self("heads are computed on the processor only; set device = \"cpu\"".to_owned())
    }
}

#[cfg(feature = "cuda")]
impl From<stepwell_model::cuda::CudaError> for DeviceError {
    fn from(error: stepwell_model::cuda::CudaError) -> Self {
        Self(error.to_string())
    }
}

/// Named row-major tensors: name, shape, values.
pub(crate) type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Derivatives of a loss by what a forward gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seeds<'a> {
    /// `[S]` by log-probability.
    pub(crate) d_logprob: &'a [f32],
    /// `[S]` by entropy.
    pub(crate) d_entropy: &'a [f32],
    /// By hidden states, where a head read some.
    pub(crate) states: StateSeeds<'a>,
}

/// A loss that compares whole distributions with those of a frozen model.
#[derive(Clone, Copy)]
pub(crate) struct OfRows<'a> {
    /// The loss of one position.
    pub(crate) of_row: &'a OfRow<'a>,
    /// Whose distributions.
    pub(crate) teacher: &'a Reference,
    /// `[S][hidden of the teacher]` from [`Machine::reference_states`].
    pub(crate) states: &'a [f32],
}

/// By what weights are known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// A sum over their bits.
    Sum(u64),
    /// One of them is no number.
    Broken,
    /// They are on a device from which they do not come for this.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the processor reads its own"))]
    Unread,
}

/// A model on a device: weights, gradients and optimizer.
pub(crate) trait Machine {
    /// The weights, up to date.
    fn model(&self) -> &Model;

    /// The shape.
    fn config(&self) -> &Config;

    /// A sum over the weights' bits by which they are known again.
    fn seal(&self) -> Seal;

    /// Mean |log-prob now - log-prob sampled| that says that sampler and trainer disagree.
    fn gap_max(&self) -> f64;

    fn set_activation_budget(&mut self, bytes: Option<usize>);

    /// Scores positions and keeps the activations for [`Machine::backward`].
    fn forward(&mut self, packed: &Packed, scored: &Scored) -> Result<TokenScores, DeviceError>;

    /// `[R][hidden]` hidden states after the final norm, at rows of the last forward.
    fn states(&mut self, row: &[u32]) -> Result<Vec<f32>, DeviceError>;

    /// Adds to the gradients from the derivatives of a loss.
    fn backward(
        &mut self,
        packed: &Packed,
        scored: &Scored,
        seeds: Seeds<'_>,
    ) -> Result<(), DeviceError>;

    /// As [`Machine::backward`], where the loss compares whole distributions too; `[S]` what that
    /// part of it is at every position.
    fn backward_rows(
        &mut self,
        packed: &Packed,
        scored: &Scored,
        seeds: Seeds<'_>,
        rows: OfRows<'_>,
    ) -> Result<Vec<f64>, DeviceError>;

    /// Scores positions with a frozen model, all of its weights; `[S][hidden of that model]` its
    /// states there after the final norm.
    fn reference_states(
        &mut self,
        reference: &Reference,
        packed: &Packed,
        scored: &Scored,
    ) -> Result<(TokenScores, Vec<f32>), DeviceError>;

    /// Makes a frozen model ready for [`Machine::score_reference`].
    fn take_reference(&mut self, reference: &Reference) -> Result<(), DeviceError>;

    /// Scores positions with a frozen model that was taken.
    fn score_reference(
        &mut self,
        reference: &Reference,
        packed: &Packed,
        scored: &Scored,
    ) -> Result<TokenScores, DeviceError>;

    /// The weights that train, in the order of [`Machine::gradient`]. Of `f32` weights only.
    fn trained(&self) -> Result<Vec<f32>, DeviceError>;

    /// Puts other numbers in place of the weights that train.
    fn set_trained(&mut self, weights: &[f32]) -> Result<(), DeviceError>;

    /// The gradients as they lie.
    fn gradient(&self) -> Result<Vec<f32>, DeviceError>;

    fn clear_gradients(&mut self) -> Result<(), DeviceError>;

    fn gradient_norm(&mut self) -> Result<f64, DeviceError>;

    fn scale_gradients(&mut self, factor: f32) -> Result<(), DeviceError>;

    /// The first parameter whose gradient is not finite.
    fn non_finite_gradient(&mut self) -> Result<Option<String>, DeviceError>;

    /// One update of every weight that trains.
    fn step(&mut self, settings: &AdamWSettings) -> Result<(), DeviceError>;

    fn reset_optimizer(&mut self) -> Result<(), DeviceError>;

    /// Updates made so far, and the moments as named tensors.
    fn optimizer(&self) -> (u64, Tensors);

    /// Puts weights of the same shape and an optimizer's state in place of its own.
    fn restore(&mut self, weights: Restored, state: &LearnerState) -> Result<(), String>;

    /// Lends the weights to a sampler, led by heads where a guide is given. A recipe that needs one
    /// on a GPU is refused when it is read.
    fn sampler<'m>(&'m self, guide: Option<Guide<'m>>) -> Box<dyn Sampler + 'm>;
}

/// Weights of a checkpoint.
pub(crate) enum Restored {
    /// All of them.
    Model(Box<Model>),
    /// An adapter on the base that is there.
    Adapter(Box<Adapter>),
}

impl Restored {
    /// Puts the weights into the host's model.
    fn into_model(self, model: &mut Model) -> Result<(), String> {
        match self {
            Restored::Model(weights) => {
                // A checkpoint holds the `f32` masters, whatever products read.
                let precision = model.precision();
                *model = *weights;
                model.set_precision(precision);
                Ok(())
            }
            Restored::Adapter(adapter) => model.attach(*adapter).map_err(|e| e.to_string()),
        }
    }
}

/// A machine of this device with a fresh optimizer.
pub(crate) fn open(
    device: Device,
    model: Model,
    threads: usize,
) -> Result<Box<dyn Machine>, DeviceError> {
    match device {
        Device::Cpu => Ok(Box::new(Cpu::new(model, threads))),
        #[cfg(feature = "cuda")]
        Device::Cuda => Ok(Box::new(cuda::Cuda::new(model)?)),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda => Err(DeviceError::left_out()),
    }
}
