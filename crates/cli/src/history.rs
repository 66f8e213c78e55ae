//! What a record says of a run, in order: for summaries and curves.

use std::path::Path;

use stepwell_store::{Kind, Metrics, RunReader};

/// One optimizer step.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// Index of the stage.
    pub(crate) stage: usize,
    /// What was measured.
    pub(crate) metrics: Metrics,
}

/// One evaluation.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Index of the stage.
    pub(crate) stage: usize,
    /// Optimizer steps of the whole run before it.
    pub(crate) at: usize,
    /// What was measured.
    pub(crate) metrics: Metrics,
}

/// A run so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Optimizer steps in order.
    pub(crate) updates: Vec<Update>,
    /// Evaluations in order.
    pub(crate) judged: Vec<Judged>,
    /// Seconds spent per stage.
    pub(crate) seconds: Vec<f64>,
    /// Tokens sampled for training per stage.
    pub(crate) sampled_tokens: Vec<f64>,
}

impl History {
    /// Reads a run's record.
    pub(crate) fn read(run: &Path) -> anyhow::Result<History> {
        let reader = RunReader::open(run)?;
        let mut history = History::default();
        for commit in reader.commits()? {
            let (number, stage) = (commit.head.number, commit.key.stage as usize);
            if !matches!(commit.key.kind, Kind::Updated | Kind::Evaluated) {
                continue;
            }
            let metrics = reader.metrics(number)?;
            let stages = history.seconds.len().max(stage + 1);
            history.seconds.resize(stages, 0.0);
            history.sampled_tokens.resize(stages, 0.0);
            history.seconds[stage] += reader.timing(number)?.values().sum::<f64>();
            history.sampled_tokens[stage] += metrics.get("sampled_tokens").unwrap_or(&0.0);
            match commit.key.kind {
                Kind::Updated => history.updates.push(Update { stage, metrics }),
                _ => {
                    let at = history.updates.len();
                    history.judged.push(Judged { stage, at, metrics });
                }
            }
        }
        Ok(history)
    }

    /// A metric over optimizer steps: `(steps before it, value)`.
    pub(crate) fn series(&self, metric: &str) -> Vec<(f64, f64)> {
        let points = self.updates.iter().enumerate();
        points.filter_map(|(at, update)| Some((at as f64, *update.metrics.get(metric)?))).collect()
    }

    /// Accuracies over optimizer steps, of the stages that count.
    pub(crate) fn accuracies(&self, counts: impl Fn(usize) -> bool) -> Vec<(f64, f64)> {
        let judged = self.judged.iter().filter(|judged| counts(judged.stage));
        judged.filter_map(|j| Some((j.at as f64, *j.metrics.get("accuracy")?))).collect()
    }

    /// Optimizer steps of a stage.
    pub(crate) fn steps(&self, stage: usize) -> usize {
        self.updates.iter().filter(|update| update.stage == stage).count()
    }

    /// The newest evaluation of a stage.
    pub(crate) fn newest_judged(&self, stage: usize) -> Option<&Judged> {
        self.judged.iter().rev().find(|judged| judged.stage == stage)
    }

    /// The newest value of a metric in a stage, as the mean over its last tenth.
    pub(crate) fn settled(&self, stage: usize, metric: &str) -> Option<f64> {
        let of_stage = self.updates.iter().filter(|update| update.stage == stage);
        let values: Vec<f64> = of_stage.filter_map(|u| u.metrics.get(metric).copied()).collect();
        let last = &values[values.len() - values.len().div_ceil(10)..];
        (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
    }
}
