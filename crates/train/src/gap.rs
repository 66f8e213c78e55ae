//! The distance between the log-probs that train and those that were sampled (P3).

use crate::machine::Machine;
use crate::{MicroBatch, TrainError};

/// How far the trainer's log-probs are from the sampler's.
#[derive(Default)]
pub(crate) struct Gap {
    sum: f64,
    count: usize,
    /// The first token that differs: on the processor, where none should, it tells the fault.
    first: Option<String>,
    /// The largest difference and its token: on a GPU, where rounding differs everywhere, it does.
    largest: Option<(f32, String)>,
}

impl Gap {
    /// Compares a micro-batch's log-probs with those that were sampled.
    pub(crate) fn add(&mut self, logprob: &[f32], batch: &MicroBatch) {
        self.compare(logprob, &batch.behaviour, |at| batch.named(at));
    }

    fn compare(&mut self, now: &[f32], then: &[f32], named: impl Fn(usize) -> String) {
        for (at, (now, then)) in now.iter().zip(then).enumerate() {
            let distance = (now - then).abs();
            self.sum += f64::from(distance);
            self.count += 1;
            if distance > self.largest.as_ref().map_or(0.0, |(most, _)| *most) {
                let place = format!("{}: sampled at {then}, now {now}", named(at));
                self.first.get_or_insert_with(|| place.clone());
                self.largest = Some((distance, place));
            }
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// Refuses a mean gap beyond what the device allows.
    pub(crate) fn within(self, machine: &dyn Machine) -> Result<(), TrainError> {
        let (mean, most) = (self.mean(), machine.gap_max());
        if mean <= most {
            return Ok(());
        }
        Err(TrainError::Gap { mean, most, place: self.place() })
    }

    fn place(self) -> String {
        let first = self.first.unwrap_or_default();
        match self.largest {
            Some((_, largest)) if largest != first => {
                format!("the first at {first}, the largest at {largest}")
            }
            _ => format!("the first at {first}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_largest_difference_are_named() {
        let named = |at: usize| format!("token {at}");
        let mut gap = Gap::default();
        gap.compare(&[-1.0, -1.25, -2.0], &[-1.0, -1.0, -2.0], named);
        gap.compare(&[-1.0, -3.0, -2.5], &[-1.125, -1.0, -2.0], |at| named(at + 3));
        assert_eq!(gap.mean(), 2.875 / 6.0);
        let first = "the first at token 1: sampled at -1, now -1.25";
        assert_eq!(gap.place(), format!("{first}, the largest at token 4: sampled at -1, now -3"));
        let mut gap = Gap::default();
        gap.compare(&[-1.25, -2.0], &[-1.0, -2.0], |_| "token 1".to_owned());
        assert_eq!(gap.place(), first);
        assert_eq!(Gap::default().mean(), 0.0);
    }
}
