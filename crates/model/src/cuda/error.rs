//! Why a GPU cannot be used, or did not do what was asked.

/// What went wrong between the engine and the GPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// A library is not on this machine.
    #[error("no GPU can be used: {what} was not found; {next}")]
    Missing {
        /// The library.
        what: &'static str,
        /// What to install.
        next: &'static str,
    },
    /// The driver is there and has no device for us.
    #[error("no GPU can be used: {why}; `nvidia-smi` shows what the driver sees")]
    NoDevice {
        /// The driver's words.
        why: String,
    },
    /// A kernel's source was refused.
    #[error("the GPU's kernels cannot be compiled: {log}")]
    Compile {
        /// The compiler's words.
        log: String,
    },
    /// The model has a shape that the kernels do not cover.
    #[error("the GPU's kernels do not cover this model: {what}; set `device = \"cpu\"`")]
    Shape {
        /// Got and expected.
        what: String,
    },
    /// A call failed while the GPU was at work.
    #[error("the GPU failed: {doing}: {why}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The library's words.
        why: String,
    },
}

impl CudaError {
    /// A failure of a call, in the words of its library.
    pub(super) fn failed(doing: &'static str) -> impl Fn(&dyn std::fmt::Debug) -> CudaError {
        move |why| CudaError::Failed { doing, why: format!("{why:?}") }
    }
}

/// The result of a call that the GPU can refuse.
pub(super) type Done<T = ()> = Result<T, CudaError>;
