//! A model: its shape and its weights.

use crate::{
    config::Config,
    error::ModelError,
    initial,
    kernel::{Buffer, Panels},
    parameters::{Kind, Layout, Slot},
};

/// Configuration and parameters, all `f32`.
#[derive(Clone)]
pub struct Model {
    config: Config,
    pub(crate) layout: Layout,
    pub(crate) arena: Buffer,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Weights in a log help nobody.
        formatter.debug_struct("Model").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One parameter as the field's tools see it.
pub struct ParameterView<'a> {
    slot: &'a Slot,
    arena: &'a [f32],
}

impl<'a> ParameterView<'a> {
    pub(crate) fn new(slot: &'a Slot, arena: &'a [f32]) -> Self {
        Self { slot, arena }
    }

    /// The Hugging Face name, such as `model.layers.0.self_attn.q_proj.weight`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.slot.name
    }

    /// The row-major shape: `[out, in]` of a matrix, `[n]` of a norm or bias.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        self.slot.shape()
    }

    /// The values in row-major order.
    #[must_use]
    pub fn to_row_major(&self) -> Vec<f32> {
        self.slot.read(self.arena)
    }
}

impl Model {
    /// A model with fresh weights, a pure function of the shape and the seed.
    ///
    /// # Panics
    /// If the shape is not [valid](Config::validate).
    #[must_use]
    pub fn random(config: Config, seed: u64) -> Self {
        let mut model = Self::zeros(config);
        initial::fill(&mut model, seed);
        model
    }

    /// A model of zeros, to be filled by [`Model::set_parameter`].
    ///
    /// # Panics
    /// If the shape is not [valid](Config::validate).
    #[must_use]
    pub fn zeros(config: Config) -> Self {
        if let Err(wrong) = config.validate() {
            panic!("no model has this shape: {}", wrong.join("; "));
        }
        let layout = Layout::new(&config);
        let arena = Buffer::zeros(layout.stored);
        Self { config, layout, arena }
    }

    /// The shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every parameter, in a fixed order.
    #[must_use]
    pub fn parameters(&self) -> Vec<ParameterView<'_>> {
        let view = |slot| ParameterView { slot, arena: &self.arena };
        self.layout.slots.iter().map(view).collect()
    }

    /// Replaces one parameter by row-major values.
    ///
    /// # Errors
    /// If the name is unknown or the number of values is not that of the shape.
    pub fn set_parameter(&mut self, name: &str, row_major: &[f32]) -> Result<(), ModelError> {
        let slot = self
            .layout
            .find(name)
            .ok_or_else(|| ModelError::UnknownParameter { name: name.to_owned() })?;
        if row_major.len() != slot.count() {
            return Err(ModelError::WrongSize {
                name: name.to_owned(),
                got: row_major.len(),
                expected: slot.count(),
            });
        }
        slot.write(&mut self.arena, row_major);
        Ok(())
    }

    /// Values of all parameters together; a tied head counts once.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.layout.slots.iter().map(Slot::count).sum()
    }

    /// The name of the first parameter that holds a NaN or an infinity.
    #[must_use]
    pub fn non_finite(&self) -> Option<String> {
        first_non_finite(&self.layout, &self.arena)
    }

    /// A hash of every weight's bits in order: equal weights, equal number, on every machine.
    ///
    /// It notices accidents, not adversaries.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for slot in &self.layout.slots {
            for value in &self.arena[slot.range()] {
                hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
                hash ^= hash >> 29;
            }
        }
        hash
    }

    pub(crate) fn matrix(&self, slot: usize) -> Panels<'_> {
        let slot = &self.layout.slots[slot];
        match slot.kind {
            Kind::Matrix { rows, columns } => {
                Panels { data: &self.arena[slot.range()], rows, columns }
            }
            Kind::Vector { .. } => panic!("{} is not a matrix", slot.name),
        }
    }

    pub(crate) fn vector(&self, slot: usize) -> &[f32] {
        let slot = &self.layout.slots[slot];
        &self.arena[slot.offset..slot.offset + slot.count()]
    }
}

pub(crate) fn first_non_finite(layout: &Layout, arena: &[f32]) -> Option<String> {
    let broken = |slot: &&Slot| arena[slot.range()].iter().any(|value| !value.is_finite());
    layout.slots.iter().find(broken).map(|slot| slot.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Family, testing::tiny};

    #[test]
    fn parameters_round_trip_by_name() {
        let source = Model::random(tiny(Family::Qwen2), 7);
        let mut copy = Model::zeros(tiny(Family::Qwen2));
        assert_ne!(copy.checksum(), source.checksum());
        for parameter in source.parameters() {
            assert_eq!(parameter.shape().iter().product::<usize>(), parameter.to_row_major().len());
            copy.set_parameter(parameter.name(), &parameter.to_row_major()).unwrap();
        }
        assert_eq!(copy.checksum(), source.checksum());
        let total: usize =
            source.parameters().iter().map(|parameter| parameter.to_row_major().len()).sum();
        assert_eq!(source.parameter_count(), total);
    }

    #[test]
    fn wrong_names_sizes_and_values_are_told() {
        let mut model = Model::random(tiny(Family::Llama), 1);
        assert!(matches!(
            model.set_parameter("model.nothing", &[]),
            Err(ModelError::UnknownParameter { .. })
        ));
        assert!(matches!(
            model.set_parameter("model.norm.weight", &[1.0]),
            Err(ModelError::WrongSize { got: 1, .. })
        ));
        assert_eq!(model.non_finite(), None);
        let mut norm = vec![1.0; model.config().hidden];
        norm[3] = f32::NAN;
        model.set_parameter("model.norm.weight", &norm).unwrap();
        assert_eq!(model.non_finite().as_deref(), Some("model.norm.weight"));
    }
}
