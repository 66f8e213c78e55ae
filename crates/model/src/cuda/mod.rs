//! The engine's second device: one NVIDIA GPU, through the driver, NVRTC and cuBLAS, all opened at
//! run time. The binary builds and starts where none of them is.
//!
//! It computes what the CPU does, with the same precision at every place: the residual stream,
//! norms, attention, gradients and the optimizer in `f32`; operands of products rounded to `bf16`
//! where the model's precision says so, with sums in `f32`. Sums are taken in another order than
//! on the CPU, so results agree to rounding and not bit for bit; on one card they repeat bit for
//! bit, because no sum depends on which thread came first.
//!
//! Everything runs on one stream in the order of the calls. Rows are `[rows][width]`, parameters
//! row-major. The kernels are CUDA C++ (`kernels/`), compiled for one model's shape when it comes
//! to the device.
#![expect(unsafe_code, reason = "kernels and libraries are called through raw pointers")]

mod arithmetic;
mod attention;
mod backward;
mod decoder;
mod device;
mod error;
mod forest;
mod forward;
mod layer;
mod low_rank;
mod memory;
mod optimizer;
mod places;
mod pool;
mod product;
mod program;
mod rows;
mod sample;
mod score;
mod state;
mod sums;
mod trainer;
mod weights;

pub use decoder::Decoder;
pub use device::Device;
pub use error::CudaError;
pub use optimizer::Tensors;
pub use pool::Prefix;
pub use trainer::Trainer;
