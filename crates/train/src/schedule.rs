//! The learning rate as a function of the step: linear warm-up, then a shape. No state.

/// How the rate moves after the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Stays at the peak.
    Constant,
    /// Falls in a straight line to the floor.
    Linear,
    /// Falls along half a cosine to the floor.
    Cosine,
}

/// A schedule over the optimizer steps of one stage.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LearningRate {
    /// Highest rate.
    pub peak: f64,
    /// Steps of linear warm-up; the first step already has `peak / warmup`.
    pub warmup: usize,
    /// Optimizer steps of the stage.
    pub total: usize,
    /// What follows the warm-up.
    pub shape: Shape,
    /// Rate at the last step as a share of the peak, in [0, 1].
    pub floor: f64,
}

impl LearningRate {
    /// The rate of a step, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        let step = step + usize::from(stepwell_mutant::planted(38));
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let left = (self.total.saturating_sub(1)).saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / left).min(1.0);
        let share = match self.shape {
            Shape::Constant => 1.0,
            Shape::Linear => 1.0 - done,
            Shape::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        match self.shape {
            Shape::Constant => self.peak,
            Shape::Linear | Shape::Cosine => self.peak * (self.floor + (1.0 - self.floor) * share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_peaks_and_ends_on_the_floor() {
        let rate =
            LearningRate { peak: 1.0, warmup: 4, total: 14, shape: Shape::Cosine, floor: 0.1 };
        assert_eq!(rate.at(0), 0.25);
        assert_eq!(rate.at(3), 1.0);
        assert_eq!(rate.at(4), 1.0);
        assert!((rate.at(13) - 0.1).abs() < 1e-12);
        assert!((rate.at(99) - 0.1).abs() < 1e-12);
        let linear = LearningRate { shape: Shape::Linear, floor: 0.0, ..rate };
        assert!((linear.at(13)).abs() < 1e-12);
        assert_eq!(LearningRate { shape: Shape::Constant, ..rate }.at(13), 1.0);
    }

    #[test]
    fn a_stage_of_one_step_has_a_rate() {
        let rate =
            LearningRate { peak: 1.0, warmup: 0, total: 1, shape: Shape::Cosine, floor: 0.0 };
        assert_eq!(rate.at(0), 1.0);
    }
}
