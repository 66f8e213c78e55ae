//! Values learned from what was logged: heads that say what a token is worth, trained on samples of
//! any policy. A stage `[stage.offline]` runs [`double_q`] or [`ilql`], its `method`; [`bellman`]
//! makes their targets, with its `gamma`.
//!
//! Targets are numbers: [`bellman`] makes them from the column `value`, which holds what a frozen
//! head says a state is worth. They arrive as [`Batch::credit`](crate::Batch), heads as streams,
//! and gradients leave by the same names.

pub mod bellman;
pub mod double_q;
pub mod ilql;

use crate::{Batch, Loss};

/// Adds Σ w·(Q − target)² on a stream to the loss, and its gradient.
fn bellman_error(batch: &Batch<'_>, stream: &'static str, loss: &mut Loss) {
    let q = batch.streams.get(stream);
    assert_eq!(q.len(), batch.weight.len(), "stream `{stream}` of a batch against its weights");
    assert_eq!(batch.credit.len(), batch.weight.len(), "targets of a batch against its weights");
    let mut d_q = vec![0.0; q.len()];
    for i in (0..q.len()).filter(|&i| batch.weight[i] != 0.0) {
        let error = f64::from(q[i]) - f64::from(batch.credit[i]);
        assert!(error.is_finite(), "row {i} of `{stream}` is not finite: {error}");
        loss.value += batch.weight[i] * error * error;
        d_q[i] = (2.0 * batch.weight[i] * error) as f32;
    }
    loss.d_streams.insert(stream, d_q);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{Batch, Loss, OfflineValue, Streams};

    /// Three rows, the last of weight 0; no error on a kink.
    pub(super) fn example() -> BTreeMap<&'static str, Vec<f32>> {
        BTreeMap::from([
            ("q", vec![0.25, -0.5, 1.0]),
            ("q1", vec![0.5, 0.25, f32::NAN]),
            ("q2", vec![-0.5, 1.0, 0.0]),
            ("q1_target", vec![0.5, 0.25, 0.0]),
            ("q2_target", vec![1.0, 0.75, f32::NAN]),
            ("value", vec![0.0, 1.0, 0.0]),
        ])
    }

    pub(super) fn run(
        objective: &OfflineValue,
        streams: &BTreeMap<&'static str, Vec<f32>>,
        logprob: &[f32],
    ) -> Loss {
        let column = streams.iter().map(|(name, c)| (*name, c.as_slice())).collect();
        objective.objective(&Batch {
            logprob,
            credit: &[0.375, 1.0, f32::NAN],
            weight: &[0.5, 0.25, 0.0],
            streams: Streams { column },
            ..Batch::default()
        })
    }

    /// Gradients by the streams that are learned, against differences; detached ones have none.
    pub(super) fn check(objective: &OfflineValue, learned: &[&'static str]) {
        let streams = example();
        let logprob = [-1.0f32, -0.5, -1.0];
        let loss = run(objective, &streams, &logprob);
        let names: Vec<_> = loss.d_streams.keys().copied().collect();
        assert_eq!(names, learned, "{objective:?}");
        assert!(learned.iter().all(|name| objective.streams().contains(name)));
        let h = 1.0 / 4096.0;
        for name in learned {
            for i in 0..2 {
                let shifted = |by: f32| {
                    let mut moved = streams.clone();
                    moved.get_mut(name).unwrap()[i] += by;
                    run(objective, &moved, &logprob).value
                };
                let expected = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
                let got = f64::from(loss.d_streams[name][i]);
                assert!((got - expected).abs() < 1e-6, "{name} {i}: {got} {expected}");
            }
            assert_eq!(loss.d_streams[name][2].to_bits(), 0, "a row of weight 0 is not read");
        }
    }
}
