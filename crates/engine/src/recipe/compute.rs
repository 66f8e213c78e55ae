//! How the model is computed: device, precision, and memory against time.

use super::macros::{Settings, choices, settings};
use super::section::Section;
use super::setting::Limit;

choices! {
    /// In which precision products read weights and their inputs; sums, norms, attention and the
    /// optimizer are f32 in both.
    pub enum Precision {
        /// As they are.
        F32 = "f32",
        /// Rounded to the nearest bf16; weights keep their f32 masters. Twice as fast where the
        /// processor has products of bf16 pairs, and the same bits, slower, where it has not.
        Bf16 = "bf16",
    }
}

choices! {
    /// Where the model is computed.
    pub enum Device {
        /// The processor.
        Cpu = "cpu",
        /// The first NVIDIA GPU that the driver shows; `stepwell doctor` tells whether it can be
        /// used. Numbers agree with the processor's to rounding.
        Cuda = "cuda",
    }
}

settings! {
    /// How the model is computed.
    pub struct Compute {
        /// Where the model is computed.
        device: Device = Device::Cpu, Limit::Any;
        /// Precision of the products.
        precision: Precision = Precision::F32, Limit::Any;
        /// Memory for what a training step keeps from its forward to its backward, in MiB; layers
        /// that do not fit are computed again, which changes no result. Default: all are kept.
        activation_mib: Option<usize> = None, Limit::Whole(1, 16_777_216);
    }
}

impl Compute {
    /// The table `model.compute`, or its defaults.
    pub(super) fn read_from(top: &Section<'_>) -> Compute {
        let table = top.has("model").then(|| top.child("model")).flatten();
        let Some(table) = table.and_then(|model| model.child("compute")) else {
            return Compute::default();
        };
        let compute = Compute::read(&table, Compute::default());
        table.finish();
        compute
    }

    /// The budget in bytes.
    #[must_use]
    pub fn activation_bytes(&self) -> Option<usize> {
        self.activation_mib.map(|mib| mib << 20)
    }
}

impl Device {
    /// In the learner's words.
    #[must_use]
    pub fn of_train(self) -> stepwell_train::Device {
        match self {
            Device::Cpu => stepwell_train::Device::Cpu,
            Device::Cuda => stepwell_train::Device::Cuda,
        }
    }
}

impl Precision {
    /// In the model's words.
    #[must_use]
    pub fn of_model(self) -> stepwell_model::Precision {
        match self {
            Precision::F32 => stepwell_model::Precision::F32,
            Precision::Bf16 => stepwell_model::Precision::Bf16,
        }
    }
}
