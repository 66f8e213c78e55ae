//! What can be wrong with weights handed to a model.

/// Why a parameter or an optimizer state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The model has no parameter of that name.
    #[error("unknown parameter `{name}`: the model's layout does not have it")]
    UnknownParameter {
        /// The name that was asked for.
        name: String,
    },
    /// A parameter came with another number of values than its shape holds.
    #[error("wrong size of `{name}`: got {got} values, expected {expected}")]
    WrongSize {
        /// The parameter's name.
        name: String,
        /// Values handed in.
        got: usize,
        /// Values its shape holds.
        expected: usize,
    },
    /// A checkpoint lacks a tensor that the optimizer needs.
    #[error("missing tensor `{name}` in the optimizer state")]
    MissingTensor {
        /// The tensor's name.
        name: String,
    },
}
