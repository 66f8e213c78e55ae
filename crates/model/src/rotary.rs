//! Rotary position embedding: the table of angles.

use crate::config::{Config, RopeScaling};

/// Cosines and sines per position, grown on demand.
pub(crate) struct Rotary {
    config: Option<Config>,
    frequency: Vec<f32>,
    cosine: Vec<f32>,
    sine: Vec<f32>,
    positions: usize,
}

impl Rotary {
    pub(crate) fn new() -> Self {
        let (frequency, cosine, sine) = (Vec::new(), Vec::new(), Vec::new());
        Self { config: None, frequency, cosine, sine, positions: 0 }
    }

    /// Makes the table cover `positions` of a model of this shape.
    pub(crate) fn cover(&mut self, config: &Config, positions: usize) {
        if self.config.as_ref() != Some(config) {
            *self = Self::new();
            let all = frequencies(config, &config.rope_scaling);
            self.frequency = all.into_iter().map(|frequency| frequency as f32).collect();
            self.config = Some(config.clone());
        }
        if positions <= self.positions {
            return;
        }
        // Doubling keeps a growing path from extending the table token by token.
        let goal = positions.max(2 * self.positions).min(positions.max(config.context));
        for position in self.positions..goal {
            for frequency in &self.frequency {
                // Hugging Face multiplies in f32; the same rounding keeps parity at far positions.
                let angle = f64::from(position as f32 * frequency);
                self.cosine.push(angle.cos() as f32);
                self.sine.push(angle.sin() as f32);
            }
        }
        self.positions = goal;
    }

    /// Cosines and sines of one position, `[head_dim / 2]` each.
    pub(crate) fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let half = self.frequency.len();
        let from = position as usize * half;
        (&self.cosine[from..from + half], &self.sine[from..from + half])
    }
}

/// Radians per token of each pair of a head, stretched by this rule.
pub(crate) fn frequencies(config: &Config, scaling: &RopeScaling) -> Vec<f64> {
    let pair = |index: usize| {
        let exponent = 2.0 * index as f64 / config.head_dim as f64;
        let frequency = 1.0 / config.rope_base.powf(exponent);
        scaled(frequency, scaling)
    };
    (0..config.head_dim / 2).map(pair).collect()
}

fn scaled(frequency: f64, scaling: &RopeScaling) -> f64 {
    match *scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor: low,
            high_frequency_factor: high,
            original_context,
        } => {
            let turns = original_context as f64 * frequency / std::f64::consts::TAU;
            // 0 where fewer turns than `low` fit in the original context, 1 from `high` on.
            let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 - kept) * frequency / factor + kept * frequency
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Family, testing::tiny};

    #[test]
    fn position_zero_turns_nothing_and_the_first_pair_turns_by_one_radian() {
        let mut rotary = Rotary::new();
        rotary.cover(&tiny(Family::Llama), 4);
        let (cosine, sine) = rotary.at(0);
        assert!(cosine.iter().all(|value| *value == 1.0) && sine.iter().all(|value| *value == 0.0));
        let (cosine, sine) = rotary.at(3);
        assert_eq!((cosine[0], sine[0]), (3.0_f64.cos() as f32, 3.0_f64.sin() as f32));
    }

    #[test]
    fn llama3_divides_low_frequencies_and_keeps_high_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 8192,
        };
        assert_eq!(scaled(1.0, &scaling), 1.0);
        assert_eq!(scaled(1e-6, &scaling), 1e-6 / 8.0);
        let middle = 2.5 * std::f64::consts::TAU / 8192.0;
        assert!((scaled(middle, &scaling) / middle - (0.5 + 0.5 / 8.0)).abs() < 1e-12);
        assert_eq!(scaled(1.0, &RopeScaling::Linear { factor: 4.0 }), 0.25);
    }
}
