//! A model: its shape and its weights.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    adapter::{Adapter, Pair, Target},
    config::Config,
    error::ModelError,
    initial,
    kernel::Panels,
    parameters::{Layout, Slot},
    weights::{Precision, Weights},
};

/// Configuration and parameters; each parameter is an `f32`, whatever precision products read.
///
/// With an adapter attached, its parameters train and all others are frozen.
#[derive(Clone)]
pub struct Model {
    config: Config,
    pub(crate) layout: Layout,
    pub(crate) weights: Weights,
    pub(crate) adapter: Option<Adapter>,
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
    weights: &'a Weights,
}

impl<'a> ParameterView<'a> {
    pub(crate) fn new(slot: &'a Slot, weights: &'a Weights) -> Self {
        Self { slot, weights }
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
        self.weights.read(self.slot)
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
        let weights = Weights::zeros(&layout, Precision::F32);
        Self { config, layout, weights, adapter: None }
    }

    /// The shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// In which precision products read the weights.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.weights.precision()
    }

    /// Changes how the weights are stored; no parameter changes. While it works, both forms of
    /// the weights are in memory.
    pub fn set_precision(&mut self, precision: Precision) {
        if self.precision() == precision {
            return;
        }
        let mut weights = Weights::zeros(&self.layout, precision);
        for slot in &self.layout.slots {
            weights.write(slot, &self.weights.read(slot));
        }
        self.weights = weights;
    }

    /// Freezes every weight and puts an adapter beside them, in place of one that was there.
    ///
    /// # Errors
    /// If the adapter is for a model of another shape; nothing has then changed.
    pub fn attach(&mut self, adapter: Adapter) -> Result<(), ModelError> {
        adapter.require_fit(&self.config)?;
        self.adapter = Some(adapter);
        Ok(())
    }

    /// Takes the adapter away: what is left computes what the model did before it was attached,
    /// and all of it trains.
    pub fn detach(&mut self) -> Option<Adapter> {
        self.adapter.take()
    }

    /// The adapter, if there is one.
    #[must_use]
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// A model without an adapter that computes the same, to rounding.
    #[must_use]
    pub fn merged(&self) -> Model {
        let mut merged = self.clone();
        if let Some(adapter) = merged.detach() {
            adapter.merge_into(&mut merged).expect("it fitted when it was attached");
        }
        merged
    }

    /// Every parameter, in a fixed order; those of an adapter come last.
    #[must_use]
    pub fn parameters(&self) -> Vec<ParameterView<'_>> {
        let mut views = self.base_parameters();
        views.extend(self.adapter.iter().flat_map(Adapter::parameters));
        views
    }

    /// Every parameter that is not an adapter's, in a fixed order.
    #[must_use]
    pub fn base_parameters(&self) -> Vec<ParameterView<'_>> {
        let view = |slot| ParameterView::new(slot, &self.weights);
        self.layout.slots.iter().map(view).collect()
    }

    /// The slots that train: an adapter's, or all.
    pub(crate) fn trained_slots(&self) -> &[Slot] {
        self.adapter.as_ref().map_or(&self.layout.slots, |adapter| &adapter.slots)
    }

    /// Where the gradients of one projection lie among those of all slots that train: of its
    /// matrix, or of its pair; empty where it has none.
    pub(crate) fn trained_range(&self, layer: usize, target: Target) -> Range<usize> {
        let slots = self.trained_slots();
        match &self.adapter {
            None => slots[self.layout.layers[layer].of(target)].range(),
            Some(adapter) => adapter
                .slots_of(layer, target)
                .map_or(0..0, |[a, b]| slots[a].range().start..slots[b].range().end),
        }
    }

    /// Replaces one parameter by row-major values.
    ///
    /// # Errors
    /// If the name is unknown or the number of values is not that of the shape.
    pub fn set_parameter(&mut self, name: &str, row_major: &[f32]) -> Result<(), ModelError> {
        let Some(slot) = self.layout.find(name) else {
            let unknown = || ModelError::UnknownParameter { name: name.to_owned() };
            return self.adapter.as_mut().ok_or_else(unknown)?.set_parameter(name, row_major);
        };
        self.weights.replace(slot, row_major)
    }

    /// Values of all parameters together, those of an adapter included; a tied head counts once.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let base: usize = self.layout.slots.iter().map(Slot::count).sum();
        base + self.adapter.as_ref().map_or(0, Adapter::parameter_count)
    }

    /// Values that train: those of the adapter, or all.
    #[must_use]
    pub fn trained_count(&self) -> usize {
        self.trained_slots().iter().map(Slot::count).sum()
    }

    /// The weights that train as they lie, padding included: in the order of
    /// [`Gradients::values`](crate::Gradients::values). `None` where they are not `f32`.
    #[must_use]
    pub fn trained(&self) -> Option<&[f32]> {
        let weights = self.adapter.as_ref().map_or(&self.weights, |own| &own.weights);
        weights.f32()
    }

    /// As [`Model::trained`], to be changed. What is padding must stay 0.
    #[must_use]
    pub fn trained_mut(&mut self) -> Option<&mut [f32]> {
        let weights = self.adapter.as_mut().map_or(&mut self.weights, |own| &mut own.weights);
        weights.f32_mut()
    }

    /// The name of the first parameter that holds a NaN or an infinity.
    #[must_use]
    pub fn non_finite(&self) -> Option<String> {
        let adapter = || self.adapter.as_ref().map(|own| (&own.slots[..], &own.weights));
        let (slots, weights) = (&self.layout.slots, &self.weights);
        first_non_finite(slots, weights)
            .or_else(|| adapter().and_then(|(slots, weights)| first_non_finite(slots, weights)))
    }

    /// A hash of every weight's bits in order, an adapter's included: equal weights, equal number,
    /// on every machine and in every precision.
    ///
    /// It notices accidents, not adversaries.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        let base = self.base_checksum();
        self.adapter.as_ref().map_or(base, |own| hashed(base, &own.slots, &own.weights))
    }

    /// What tells these weights from others as [`Model::checksum`] does, in a fraction of its time
    /// and by another number: every value is mixed with its place, and all are added up. A single
    /// value that differs always shows.
    #[must_use]
    pub fn fingerprint(&self, threads: usize) -> u64 {
        let own = self.adapter.as_ref().map(|own| (&own.slots[..], &own.weights));
        let parts = std::iter::once((&self.layout.slots[..], &self.weights)).chain(own);
        let slots: Vec<(&Slot, &Weights)> = parts
            .flat_map(|(slots, weights)| slots.iter().map(move |slot| (slot, weights)))
            .collect();
        let next = AtomicUsize::new(0);
        let sum = || {
            let mut sum = 0_u64;
            while let Some((slot, weights)) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                sum = sum.wrapping_add(summed(slot, weights));
            }
            sum
        };
        std::thread::scope(|scope| {
            let beside: Vec<_> = (1..threads).map(|_| scope.spawn(sum)).collect();
            let own = sum();
            let sums = beside.into_iter().map(|thread| thread.join().expect("a sum cannot fail"));
            sums.fold(own, u64::wrapping_add)
        })
    }

    /// As [`Model::checksum`], of the weights that are not an adapter's.
    #[must_use]
    pub fn base_checksum(&self) -> u64 {
        hashed(0xcbf2_9ce4_8422_2325, &self.layout.slots, &self.weights)
    }

    /// What the adapter has beside one projection.
    pub(crate) fn pair(&self, layer: usize, target: Target) -> Option<Pair<'_>> {
        self.adapter.as_ref()?.pair(layer, target)
    }

    pub(crate) fn matrix(&self, slot: usize) -> Panels<'_> {
        self.weights.matrix(&self.layout.slots[slot])
    }

    pub(crate) fn vector(&self, slot: usize) -> &[f32] {
        self.weights.vector(&self.layout.slots[slot])
    }

    /// Whether products read pairs of `bf16`.
    pub(crate) fn paired(&self) -> bool {
        self.precision() == Precision::Bf16
    }
}

/// The values of one slot, each mixed with its place by steps that can be taken back, added up.
fn summed(slot: &Slot, weights: &Weights) -> u64 {
    let named = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut place = slot.name.bytes().fold(0xcbf2_9ce4_8422_2325, named) << 32;
    let mut sum = 0_u64;
    weights.each_stored(slot, |value| {
        let mixed = (place ^ u64::from(value.to_bits())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum = sum.wrapping_add((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9));
        place = place.wrapping_add(1 << 32);
    });
    sum
}

/// Takes the values of more slots into a hash.
fn hashed(mut hash: u64, slots: &[Slot], weights: &Weights) -> u64 {
    for slot in slots {
        weights.each_stored(slot, |value| {
            hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
            hash ^= hash >> 29;
        });
    }
    hash
}

fn first_non_finite(slots: &[Slot], weights: &Weights) -> Option<String> {
    let broken = |slot: &&Slot| {
        let mut found = false;
        weights.each_stored(slot, |value| found |= !value.is_finite());
        found
    };
    slots.iter().find(broken).map(|slot| slot.name.clone())
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

    #[test]
    fn a_fingerprint_knows_weights_by_every_bit_with_any_threads_in_any_precision() {
        let model = Model::random(tiny(Family::Qwen3), 3);
        let own = model.fingerprint(1);
        assert!((2..5).all(|threads| model.fingerprint(threads) == own));
        let mut split = model.clone();
        split.set_precision(Precision::Bf16);
        assert_eq!(split.fingerprint(2), own);
        let views = model.parameters();
        for (view, bit) in views.iter().zip((0..32).cycle()) {
            let mut values = view.to_row_major();
            let at = values.len() / 2;
            values[at] = f32::from_bits(values[at].to_bits() ^ (1 << bit));
            let mut other = model.clone();
            other.set_parameter(view.name(), &values).unwrap();
            assert_ne!(other.fingerprint(2), own, "bit {bit} of {}", view.name());
            // Two values that change places.
            let mut values = view.to_row_major();
            let last = values.len() - 1;
            values.swap(0, last);
            if view.to_row_major() != values {
                let mut other = model.clone();
                other.set_parameter(view.name(), &values).unwrap();
                assert_ne!(other.fingerprint(2), own, "a swap in {}", view.name());
            }
        }
    }
}
