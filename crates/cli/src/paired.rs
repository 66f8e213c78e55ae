//! What the difference of two sides is worth: a bootstrap over pairs.

use stepwell_tree::{Key, Purpose};

/// Resamples of a bootstrap.
const RESAMPLES: u64 = 10_000;
/// Fewer pairs are not worth an interval.
pub(crate) const PAIRS_MIN: usize = 10;

/// A mean with its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Interval {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) pairs: usize,
}

/// What an interval says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    Higher,
    Lower,
    /// The interval holds 0.
    None,
}

/// The mean of the differences and the percentile interval of 10,000 keyed resamples of the pairs
/// (Efron 1979): the same differences give the same interval. `None` below [`PAIRS_MIN`] pairs.
pub(crate) fn interval(differences: &[f64]) -> Option<Interval> {
    let n = differences.len();
    if n < PAIRS_MIN {
        return None;
    }
    let key = Key::new(0, Purpose::Bootstrap);
    let resample = |at: u64| {
        let key = key.with(at);
        (0..n).map(|i| differences[key.with(i as u64).below(n)]).sum::<f64>() / n as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(resample).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
    let mean = differences.iter().sum::<f64>() / n as f64;
    Some(Interval { mean, low: at(0.025), high: at(0.975), pairs: n })
}

impl Interval {
    pub(crate) fn finding(self) -> Finding {
        if self.low > 0.0 {
            Finding::Higher
        } else if self.high < 0.0 {
            Finding::Lower
        } else {
            Finding::None
        }
    }
}

/// The mean and its standard error; no error of a single value.
pub(crate) fn mean_and_error(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    Some((mean, (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_where_there_is_one_and_only_there() {
        let clear: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i % 5 == 0))).collect();
        let found = interval(&clear).unwrap();
        assert_eq!((found.mean, found.finding(), found.pairs), (0.2, Finding::Higher, 100));
        // The normal approximation: 0.2 ± 1.96 √(0.16 / 100).
        assert!((found.low - 0.1216).abs() < 0.015 && (found.high - 0.2784).abs() < 0.015);
        let lower: Vec<f64> = clear.iter().map(|d| -d).collect();
        assert_eq!(interval(&lower).unwrap().finding(), Finding::Lower);
        let balanced: Vec<f64> = (0..100).map(|i| [1.0, -1.0, 0.0, 0.0][i % 4]).collect();
        assert_eq!(interval(&balanced).unwrap().finding(), Finding::None);
        assert_eq!(interval(&[0.0; 40]).unwrap().finding(), Finding::None);
        assert_eq!(interval(&[1.0; 9]), None);
        assert_eq!(interval(&clear), interval(&clear));
    }

    #[test]
    fn the_interval_covers_the_truth_as_often_as_it_says() {
        // Differences of mean 0: at most 1 in 20 intervals should exclude it, and some do.
        let key = Key::new(5, Purpose::Control);
        let excluded = (0..200u64).filter(|trial| {
            let draw = |i: u64| key.with(*trial).with(i).normal();
            let sample: Vec<f64> = (0..30).map(draw).collect();
            interval(&sample).unwrap().finding() != Finding::None
        });
        let excluded = excluded.count();
        assert!((1..=26).contains(&excluded), "{excluded} of 200");
    }

    #[test]
    fn the_error_of_a_mean_by_hand() {
        assert_eq!(mean_and_error(&[]), None);
        assert_eq!(mean_and_error(&[0.5]), Some((0.5, None)));
        // Deviations -1, 0, 1: variance 1, error √(1/3).
        let (mean, error) = mean_and_error(&[1.0, 2.0, 3.0]).unwrap();
        assert!(mean == 2.0 && (error.unwrap() - (1.0f64 / 3.0).sqrt()).abs() < 1e-15);
    }
}
