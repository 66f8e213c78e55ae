//! The weights of an adapter: one arena, in every layer a pair per target.

use super::{
    delta::Pair,
    settings::{LoraSettings, Target},
};
use crate::{
    config::Config,
    error::ModelError,
    initial,
    kernel::Buffer,
    model::{Model, ParameterView},
    parameters::{Kind, Slot},
    weights::Weights,
};

/// Low-rank matrices beside the projections of a model of one shape, all `f32`.
#[derive(Clone)]
pub struct Adapter {
    settings: LoraSettings,
    pub(crate) slots: Vec<Slot>,
    pub(crate) weights: Weights,
    /// `[layers][target]` the slot of `A`; that of `B` is the next.
    places: Vec<[Option<usize>; Target::ALL.len()]>,
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Weights in a log help nobody.
        formatter.debug_struct("Adapter").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Adapter {
    /// An adapter that says nothing yet: `B` is zero and `A` uniform in ±1/√in, as PEFT draws it
    /// (Kaiming with a = √5); a pure function of shape, settings and seed.
    ///
    /// # Panics
    /// If the settings are not [valid](LoraSettings::validate).
    #[must_use]
    pub fn new(config: &Config, settings: LoraSettings, seed: u64) -> Self {
        let mut adapter = Self::zeros(config, settings);
        let Adapter { slots, weights, .. } = &mut adapter;
        for (index, slot) in slots.iter().enumerate().step_by(2) {
            let Kind::Matrix { columns, .. } = slot.kind else { continue };
            let bound = 1.0 / (columns as f64).sqrt();
            let draw = |element: usize| {
                (bound * initial::symmetric(seed, index as u64, element as u64)) as f32
            };
            let values: Vec<f32> = (0..slot.count()).map(draw).collect();
            weights.write(slot, &values);
        }
        adapter
    }

    /// An adapter of zeros, to be filled by [`Adapter::set_parameter`].
    ///
    /// # Panics
    /// If the settings are not [valid](LoraSettings::validate).
    #[must_use]
    pub fn zeros(config: &Config, settings: LoraSettings) -> Self {
        if let Err(wrong) = settings.validate() {
            panic!("no adapter has these settings: {}", wrong.join("; "));
        }
        let mut slots: Vec<Slot> = Vec::new();
        let mut stored = 0;
        let mut places = vec![[None; Target::ALL.len()]; config.layers];
        for (layer, place) in places.iter_mut().enumerate() {
            for target in Target::ALL.into_iter().filter(|t| settings.targets.contains(t)) {
                place[target as usize] = Some(slots.len());
                let (rows, columns) = target.sides(config);
                let shapes = [("A", settings.rank, columns), ("B", rows, settings.rank)];
                for (side, rows, columns) in shapes {
                    let name = name(layer, target, side);
                    let kind = Kind::Matrix { rows, columns };
                    let slot = Slot { name, kind, offset: stored, split_offset: 0 };
                    stored += slot.stored();
                    slots.push(slot);
                }
            }
        }
        Self { settings, slots, weights: Weights::F32(Buffer::zeros(stored)), places }
    }

    /// Rank, alpha and targets.
    #[must_use]
    pub fn settings(&self) -> &LoraSettings {
        &self.settings
    }

    /// Every parameter, in a fixed order, under the names of PEFT's files:
    /// `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    #[must_use]
    pub fn parameters(&self) -> Vec<ParameterView<'_>> {
        self.slots.iter().map(|slot| ParameterView::new(slot, &self.weights)).collect()
    }

    /// Values of all parameters together.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.slots.iter().map(Slot::count).sum()
    }

    /// Replaces one parameter by row-major values.
    ///
    /// # Errors
    /// If the name is unknown or the number of values is not that of the shape.
    pub fn set_parameter(&mut self, name: &str, row_major: &[f32]) -> Result<(), ModelError> {
        let slot = self.slots.iter().find(|slot| slot.name == name);
        let slot = slot.ok_or_else(|| ModelError::UnknownParameter { name: name.to_owned() })?;
        self.weights.replace(slot, row_major)
    }

    /// Refuses a model of another shape than the adapter was made for.
    ///
    /// # Errors
    /// Names the first parameter that does not fit, with both shapes.
    pub fn require_fit(&self, config: &Config) -> Result<(), ModelError> {
        let (got, expected) = (self.places.len(), config.layers);
        if got != expected {
            return Err(ModelError::AdapterLayers { got, expected });
        }
        for place in &self.places {
            for target in Target::ALL {
                let Some(first) = place[target as usize] else { continue };
                let (rows, columns) = target.sides(config);
                let rank = self.settings.rank;
                let expected = [vec![rank, columns], vec![rows, rank]];
                for (slot, expected) in self.slots[first..first + 2].iter().zip(expected) {
                    if slot.shape() != expected {
                        let (name, got) = (slot.name.clone(), slot.shape());
                        return Err(ModelError::AdapterShape { name, got, expected });
                    }
                }
            }
        }
        Ok(())
    }

    /// The pair on one projection; `None` where there is none.
    pub(crate) fn pair(&self, layer: usize, target: Target) -> Option<Pair<'_>> {
        let first = self.places.get(layer)?[target as usize]?;
        let panels = |slot: usize| self.weights.matrix(&self.slots[slot]);
        let (a, b) = (panels(first), panels(first + 1));
        let scale = if stepwell_mutant::planted(31) { 1.0 } else { self.settings.scale() };
        Some(Pair { a, b, scale })
    }

    /// The slot of `A` per target of a layer, that of `B` being the next; `None` past the last
    /// layer.
    #[cfg(feature = "cuda")]
    pub(crate) fn targets_of(&self, layer: usize) -> Option<[Option<usize>; Target::ALL.len()]> {
        self.places.get(layer).copied()
    }

    /// The slots of `A` and `B` on one projection; `None` where there is no pair.
    pub(crate) fn slots_of(&self, layer: usize, target: Target) -> Option<[usize; 2]> {
        self.places.get(layer)?[target as usize].map(|first| [first, first + 1])
    }

    /// Adds `scale B A` to the matrices of `model`, so that it computes alone what it computed
    /// with the adapter, to rounding.
    ///
    /// # Errors
    /// If the model is of another shape; it is then unchanged.
    pub fn merge_into(&self, model: &mut Model) -> Result<(), ModelError> {
        self.require_fit(model.config())?;
        for layer in 0..self.places.len() {
            for target in Target::ALL {
                let Some([a, b]) = self.slots_of(layer, target) else { continue };
                let name = format!("model.layers.{layer}.{}.weight", target.place());
                let view = model.parameters().into_iter().find(|view| view.name() == name);
                let Some(view) = view else { return Err(ModelError::UnknownParameter { name }) };
                let mut weight = view.to_row_major();
                self.add_product((a, b), &mut weight);
                model.set_parameter(&name, &weight)?;
            }
        }
        Ok(())
    }

    /// `weight += scale B A`, each element's sum in `f64` and rounded once.
    fn add_product(&self, (a, b): (usize, usize), weight: &mut [f32]) {
        let (rank, columns) = (self.settings.rank, self.slots[a].shape()[1]);
        let scale = f64::from(self.settings.scale());
        let read = |slot: usize| self.weights.read(&self.slots[slot]);
        let (a, b) = (read(a), read(b));
        let mut sum = vec![0.0; columns];
        for (row, factors) in weight.chunks_exact_mut(columns).zip(b.chunks_exact(rank)) {
            sum.fill(0.0);
            for (factor, from) in factors.iter().zip(a.chunks_exact(columns)) {
                for (sum, from) in sum.iter_mut().zip(from) {
                    *sum += f64::from(*factor) * f64::from(*from);
                }
            }
            for (weight, sum) in row.iter_mut().zip(&sum) {
                *weight = (f64::from(*weight) + scale * sum) as f32;
            }
        }
    }
}

/// The name in PEFT's files; `side` is `A` or `B`.
pub(crate) fn name(layer: usize, target: Target, side: &str) -> String {
    format!("base_model.model.model.layers.{layer}.{}.lora_{side}.weight", target.place())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Family, testing::tiny};

    fn settings() -> LoraSettings {
        LoraSettings { rank: 3, alpha: 6.0, targets: vec![Target::Down, Target::Query] }
    }

    #[test]
    fn a_fresh_adapter_is_a_function_of_its_seed_and_says_nothing() {
        let config = tiny(Family::Llama);
        let adapter = Adapter::new(&config, settings(), 4);
        let same = Adapter::new(&config, settings(), 4);
        let other = Adapter::new(&config, settings(), 5);
        let all = |adapter: &Adapter| -> Vec<Vec<f32>> {
            adapter.parameters().iter().map(ParameterView::to_row_major).collect()
        };
        assert!(all(&adapter) == all(&same) && all(&adapter) != all(&other));
        let mut drawn = 0.0_f64;
        for view in adapter.parameters() {
            let values = view.to_row_major();
            if view.name().ends_with("lora_B.weight") {
                assert!(values.iter().all(|value| *value == 0.0), "{}", view.name());
            } else {
                let bound = 1.0 / (view.shape()[1] as f32).sqrt();
                let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                assert!(most <= bound && most > 0.9 * bound, "{}: {most} {bound}", view.name());
                drawn += values.iter().map(|value| f64::from(*value)).sum::<f64>();
            }
        }
        assert!(drawn.abs() < 5.0, "centred: {drawn}");
        assert_eq!(adapter.parameter_count(), settings().parameter_count(&config));
        assert_eq!(adapter.parameter_count(), 2 * 3 * (40 + 40 + 52 + 40));
    }

    #[test]
    fn pairs_lie_where_they_are_targeted_and_nowhere_else() {
        let config = tiny(Family::Llama);
        let adapter = Adapter::new(&config, settings(), 4);
        let pair = adapter.pair(1, Target::Down).unwrap();
        assert_eq!((pair.a.rows, pair.a.columns), (3, config.ffn));
        assert_eq!((pair.b.rows, pair.b.columns, pair.scale), (config.hidden, 3, 2.0));
        assert!(adapter.pair(1, Target::Up).is_none() && adapter.pair(2, Target::Down).is_none());
        let other = Config { ffn: 60, ..config.clone() };
        let wrong = adapter.require_fit(&other).unwrap_err().to_string();
        assert!(wrong.contains("down_proj.lora_A") && wrong.contains("[3, 60]"), "{wrong}");
        let other = Config { layers: 3, ..config };
        assert!(adapter.require_fit(&other).unwrap_err().to_string().contains("3 layers"));
    }

    #[test]
    fn merging_adds_the_product_to_the_targeted_matrices_only() {
        let config = tiny(Family::Llama);
        let mut adapter = Adapter::new(&config, settings(), 4);
        let b = name(0, Target::Query, "B");
        let values: Vec<f32> = (0..120).map(|i| crate::testing::noise(8, i)).collect();
        adapter.set_parameter(&b, &values).unwrap();
        let model = Model::random(config, 1);
        let mut merged = model.clone();
        adapter.merge_into(&mut merged).unwrap();
        let a = adapter.parameters()[0].to_row_major();
        for (before, after) in model.parameters().iter().zip(merged.parameters()) {
            let changed = before.name().ends_with("layers.0.self_attn.q_proj.weight");
            let (before, after) = (before.to_row_major(), after.to_row_major());
            assert_eq!(before != after, changed);
            if changed {
                // Row 7, column 9: 2 (B A).
                let sum: f32 = (0..3).map(|r| values[7 * 3 + r] * a[r * 40 + 9]).sum();
                assert!((after[7 * 40 + 9] - before[7 * 40 + 9] - 2.0 * sum).abs() < 1e-6);
            }
        }
    }
}
