//! Weights that stand still while the policy moves away from them.

use stepwell_model::{Adapter, Model, ModelError, ParameterView};

/// What a policy is compared with. Beside an adapter the base stands still anyway, so that only
/// the adapter is kept.
#[derive(Clone, Debug)]
pub enum Reference {
    /// A whole model.
    Weights(Box<Model>),
    /// An adapter on the learner's own base.
    Adapter(Box<Adapter>),
}

impl Reference {
    /// The model as it is.
    pub fn of(model: &Model) -> Reference {
        match model.adapter() {
            Some(adapter) => Reference::Adapter(Box::new(adapter.clone())),
            None => Reference::Weights(Box::new(model.clone())),
        }
    }

    /// What is kept, in a fixed order.
    pub fn parameters(&self) -> Vec<ParameterView<'_>> {
        match self {
            Reference::Weights(model) => model.parameters(),
            Reference::Adapter(adapter) => adapter.parameters(),
        }
    }

    /// Replaces one parameter by row-major values.
    ///
    /// # Errors
    /// If the name is unknown or the number of values is not that of the shape.
    pub fn set_parameter(&mut self, name: &str, row_major: &[f32]) -> Result<(), ModelError> {
        match self {
            Reference::Weights(model) => model.set_parameter(name, row_major),
            Reference::Adapter(adapter) => adapter.set_parameter(name, row_major),
        }
    }
}
