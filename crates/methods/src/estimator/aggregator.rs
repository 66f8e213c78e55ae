//! From the scores of a path's steps to one score of the path, for ranking whole attempts.

use serde::{Deserialize, Serialize};

/// How the chances of steps make that of a path. It changes rankings, so it is always named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregator {
    /// The weakest step.
    Min,
    /// All steps right, as if they were independent; long paths score low.
    Product,
    /// The last step: what an estimator of outcomes says.
    #[default]
    Last,
    /// The mean step.
    Mean,
}

impl Aggregator {
    /// The path's score from those of its policy steps, first to last; `None` without a step.
    pub fn aggregate(self, score: &[f32]) -> Option<f64> {
        let each = || score.iter().map(|s| f64::from(*s));
        let last = each().next_back()?;
        Some(match self {
            Aggregator::Min => each().fold(last, f64::min),
            Aggregator::Product => each().product(),
            Aggregator::Last => last,
            Aggregator::Mean => each().sum::<f64>() / score.len() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ranks_in_its_own_way() {
        use Aggregator::{Last, Mean, Min, Product};
        let of = |score: &[f32]| [Min, Product, Last, Mean].map(|a| a.aggregate(score).unwrap());
        assert_eq!(of(&[0.5, 0.25, 0.75]), [0.25, 0.09375, 0.75, 0.5]);
        assert_eq!(of(&[0.5]), [0.5; 4]);
        // Three sure steps and one doubtful against one middling: every order of the two occurs.
        let (long, short) = (of(&[1.0, 1.0, 1.0, 0.5]), of(&[0.625]));
        assert!(long[0] < short[0] && long[1] < short[1] && long[2] < short[2]);
        assert!(long[3] > short[3]);
        assert!([Min, Product, Last, Mean].iter().all(|a| a.aggregate(&[]).is_none()));
    }
}
