//! AdamW (Loshchilov and Hutter 2019), elementwise over the weights that train.

use crate::{
    error::ModelError,
    gradients::Gradients,
    kernel::{Buffer, PANEL, adamw_update, adamw_update_split, pairs},
    model::Model,
    parameters::Slot,
    team::Team,
    weights::{Split, Weights},
};

/// The constants of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Step size, at least 0.
    pub learning_rate: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay of matrices, the embedding included; norms and biases never decay
    /// (the rule of Hugging Face's `Trainer`).
    pub weight_decay: f64,
}

/// First and second moments in the layout of the weights that train, and the updates made so far.
#[derive(Clone)]
pub struct AdamW {
    slots: Vec<Slot>,
    first: Buffer,
    second: Buffer,
    step: u64,
    /// The threads of the last update, and how many were asked for.
    team: Team,
    threads: usize,
}

/// Floats that one unit of work updates.
const CHUNK: usize = 1 << 15;

impl AdamW {
    /// Moments of zero.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        Self::of(model.trained_slots().to_vec())
    }

    /// Moments of zero in the layout of some slots that lie one behind the other.
    pub(crate) fn of(slots: Vec<Slot>) -> Self {
        let first = Buffer::zeros(Slot::stored_in(&slots));
        Self { second: first.clone(), first, slots, step: 0, team: Team::new(1), threads: 1 }
    }

    /// Numbers in memory, both moments and padding included.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// Updates made so far.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// One update of every weight that trains; `threads` changes no bit.
    ///
    /// # Panics
    /// If `model` or `gradients` are of another shape.
    pub fn step(
        &mut self,
        model: &mut Model,
        gradients: &Gradients,
        settings: &AdamWSettings,
        threads: usize,
    ) {
        let trained = Slot::stored_in(model.trained_slots());
        assert_eq!(trained, self.first.len(), "the moments are of another model");
        let weights = match &mut model.adapter {
            Some(adapter) => &mut adapter.weights,
            None => &mut model.weights,
        };
        self.update(weights, gradients, settings, threads);
    }

    /// One update of the weights that lie in the slots of the moments.
    pub(crate) fn update(
        &mut self,
        weights: &mut Weights,
        gradients: &Gradients,
        settings: &AdamWSettings,
        threads: usize,
    ) {
        assert_eq!(gradients.arena.len(), self.first.len(), "the gradients are of another model");
        self.step += 1;
        if self.threads != threads {
            (self.threads, self.team) = (threads, Team::new(threads));
        }
        for slot in &self.slots {
            let update = Update::new(settings, self.step, slot.is_matrix());
            let range = slot.range();
            let moments = (&mut self.first[range.clone()], &mut self.second[range.clone()]);
            let gradient = &gradients.arena[range];
            match &mut *weights {
                Weights::F32(arena) => {
                    let weight = &mut arena[slot.range()];
                    plain(&self.team, &update, (weight, moments, gradient));
                }
                Weights::Split(split) if slot.is_matrix() => {
                    paired(&self.team, &update, slot, (split, moments, gradient));
                }
                Weights::Split(split) => {
                    let weight = &mut split.vectors[slot.split_range()];
                    plain(&self.team, &update, (weight, moments, gradient));
                }
            }
        }
    }

    /// The moments as named row-major tensors, `m.<parameter>` then `v.<parameter>`.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let moments = [("m", &self.first), ("v", &self.second)];
        let tensor = |prefix: &str, arena: &Buffer| -> Vec<_> {
            let slots = self.slots.iter();
            slots
                .map(|slot| (format!("{prefix}.{}", slot.name), slot.shape(), slot.read(arena)))
                .collect()
        };
        moments.into_iter().flat_map(|(prefix, arena)| tensor(prefix, arena)).collect()
    }

    /// Takes back what [`AdamW::tensors`] gave, bit for bit.
    ///
    /// # Errors
    /// If a tensor is missing or of the wrong size; the state is then unchanged.
    pub fn restore(
        &mut self,
        step: u64,
        tensors: &[(String, Vec<usize>, Vec<f32>)],
    ) -> Result<(), ModelError> {
        let mut restored = [Buffer::zeros(self.first.len()), Buffer::zeros(self.first.len())];
        for (prefix, arena) in ["m", "v"].into_iter().zip(&mut restored) {
            for slot in &self.slots {
                let name = format!("{prefix}.{}", slot.name);
                let Some((_, _, values)) = tensors.iter().find(|(known, ..)| *known == name) else {
                    return Err(ModelError::MissingTensor { name });
                };
                if values.len() != slot.count() {
                    let (got, expected) = (values.len(), slot.count());
                    return Err(ModelError::WrongSize { name, got, expected });
                }
                slot.write(arena, values);
            }
        }
        [self.first, self.second] = restored;
        self.step = step;
        Ok(())
    }
}

type Moments<'a> = (&'a mut [f32], &'a mut [f32]);

/// Updates `f32` weights.
fn plain(
    team: &Team,
    update: &Update,
    (weight, (first, second), gradient): (&mut [f32], Moments<'_>, &[f32]),
) {
    let moments = first.chunks_mut(CHUNK).zip(second.chunks_mut(CHUNK));
    let tasks = weight.chunks_mut(CHUNK).zip(moments).zip(gradient.chunks(CHUNK));
    team.run(tasks, |((weight, (first, second)), gradient)| {
        adamw_update(update, weight, first, second, gradient);
    });
}

/// Updates a split matrix, panel by panel.
fn paired(
    team: &Team,
    update: &Update,
    slot: &Slot,
    (split, (first, second), gradient): (&mut Split, Moments<'_>, &[f32]),
) {
    let columns = slot.columns();
    let (words, numbers) = (pairs(columns) * PANEL, columns * PANEL);
    let range = slot.split_range();
    let high = split.high[range.clone()].chunks_exact_mut(words);
    let tasks = high
        .zip(split.low[range].chunks_exact_mut(words))
        .zip(first.chunks_exact_mut(numbers).zip(second.chunks_exact_mut(numbers)))
        .zip(gradient.chunks_exact(numbers));
    team.run(tasks, |(((high, low), (first, second)), gradient)| {
        adamw_update_split(update, high, low, first, second, gradient);
    });
}

/// The scalars of one update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) epsilon: f32,
    /// `1 - learning_rate * weight_decay`.
    pub(crate) keep: f32,
    /// `learning_rate / (1 - beta1^t)`.
    pub(crate) rate: f32,
    /// `1 / (1 - beta2^t)`.
    pub(crate) second_correction: f32,
}

impl Update {
    pub(crate) fn new(settings: &AdamWSettings, step: u64, decays: bool) -> Self {
        let power = |beta: f64| 1.0 - beta.powf(step as f64);
        let decay = if decays { settings.learning_rate * settings.weight_decay } else { 0.0 };
        Self {
            beta1: settings.beta1 as f32,
            beta2: settings.beta2 as f32,
            epsilon: settings.epsilon as f32,
            keep: (1.0 - decay) as f32,
            rate: (settings.learning_rate / power(settings.beta1)) as f32,
            second_correction: (1.0 / power(settings.beta2)) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Family, testing::tiny};

    const SETTINGS: AdamWSettings = AdamWSettings {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.5,
    };

    #[test]
    fn the_first_step_moves_by_the_learning_rate_and_only_matrices_decay() {
        let mut model = Model::random(tiny(Family::Llama), 1);
        let mut gradients = Gradients::zeros_like(&model);
        let before = model.parameters()[0].to_row_major();
        gradients.arena[0] = 2.0; // element (0, 0) of the embedding
        let mut optimizer = AdamW::new(&model);
        optimizer.step(&mut model, &gradients, &SETTINGS, 2);
        let after = model.parameters()[0].to_row_major();
        // keep = 1 - 0.1 * 0.5 = 0.95; Adam's first step is the learning rate times the sign.
        assert!((after[0] - (before[0] * 0.95 - 0.1)).abs() < 1e-6);
        assert!((after[1] - before[1] * 0.95).abs() < 1e-7);
        let norm = &model.parameters()[1];
        assert!(norm.name().ends_with("layernorm.weight"));
        assert!(norm.to_row_major().iter().all(|value| *value == 1.0), "norms do not decay");
    }

    #[test]
    fn a_restored_optimizer_continues_bit_for_bit() {
        let odd = crate::Config { hidden: 39, ffn: 53, ..tiny(Family::Qwen2) };
        let mut model = Model::random(odd, 1);
        let mut gradients = Gradients::zeros_like(&model);
        for slot in &model.layout.slots {
            let values: Vec<f32> = (0..slot.count()).map(|i| (i % 13) as f32 - 6.0).collect();
            slot.write(&mut gradients.arena, &values);
        }
        let mut optimizer = AdamW::new(&model);
        optimizer.step(&mut model, &gradients, &SETTINGS, 1);
        let mut copy = AdamW::new(&model);
        copy.restore(optimizer.step_count(), &optimizer.tensors()).unwrap();
        let mut twin = model.clone();
        let mut split = model.clone();
        split.set_precision(crate::Precision::Bf16);
        let mut third = copy.clone();
        third.step(&mut split, &gradients, &SETTINGS, 2);
        optimizer.step(&mut model, &gradients, &SETTINGS, 1);
        copy.step(&mut twin, &gradients, &SETTINGS, 3);
        assert_eq!(model.checksum(), twin.checksum());
        assert_eq!(model.checksum(), split.checksum(), "split masters move like whole ones");
        let lacking = &optimizer.tensors()[1..];
        assert!(matches!(copy.restore(1, lacking), Err(ModelError::MissingTensor { .. })));
    }
}
