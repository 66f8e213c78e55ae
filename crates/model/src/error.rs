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
    /// An adapter was made for a model with another number of layers.
    #[error("the adapter is for another model: got {got} layers, the model has {expected} layers")]
    AdapterLayers {
        /// Layers of the adapter.
        got: usize,
        /// Layers of the model.
        expected: usize,
    },
    /// An adapter was made for a model with other widths.
    #[error(
        "the adapter is for another model: `{name}` has shape {got:?}, the model needs {expected:?}"
    )]
    AdapterShape {
        /// The parameter's name.
        name: String,
        /// The adapter's shape.
        got: Vec<usize>,
        /// The shape that fits the model.
        expected: Vec<usize>,
    },
}
