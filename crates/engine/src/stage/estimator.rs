//! A learner beside the policy learns to say a number at the ends of steps. The policy stands
//! still; every update is told of before the estimator has learned from it, so that its figures
//! are those of trees it has not seen.

use stepwell_methods::estimator::EstimatorDiagnostics;
use stepwell_train::{HeadReport, HeadSettings, Learner, SCORE, TrainError};
use stepwell_tree::{Credit, Purpose, StepTree};

use super::adamw;
use super::forest::{Growing, forest, growth, rate};
use super::step::end_step;
use crate::companion;
use crate::conversation::comparison_tree;
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::Metrics;
use crate::order::batch;
use crate::recipe::{Estimator, EstimatorTrunk, PairFile, Stage};
use crate::session::{Flow, Session, Stopwatch};

/// An update's trees with what their leaves are worth, and what is known before training.
struct Judged {
    trees: Vec<StepTree>,
    /// `[tree][N]` `Some` on scored leaves.
    leaf: Vec<Vec<Option<f64>>>,
    metrics: Metrics,
    /// What the policy wrote in a second, where it did.
    rate: Option<f64>,
}

/// Runs the stage from where the session stands.
pub(crate) fn estimator(
    session: &mut Session<'_>,
    config: &Estimator,
) -> Result<Flow, EngineError> {
    let name = companion::estimator(session.place.stage);
    if !session.companions.contains_key(&name) {
        let mut own = session.learner.twin()?;
        own.attach_head(SCORE, config.hidden, 1, session.recipe.seed);
        session.companions.insert(name.clone(), own);
    }
    while session.place.done < config.steps {
        session.require_whole()?;
        let mut watch = Stopwatch::start();
        let Judged { trees, leaf, mut metrics, rate } = match config.pair_file() {
            Some(file) => compared(session, config, &file)?,
            None => grown(session, config, &mut watch)?,
        };
        metrics.extend(learn(session, config, &name, &trees, &leaf)?);
        watch.lap("train");
        session.place.sampled_tokens +=
            metrics.get("sampled_tokens").copied().unwrap_or_default() as u64;
        if end_step(session, metrics, rate, &watch)? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
    }
    let own = session.companions.get_mut(&name).expect("it was made above");
    own.reset_optimizer()?;
    Ok(Flow::Done)
}

/// This update's trees, committed before anything trains on them.
fn grown(
    session: &mut Session<'_>,
    config: &Estimator,
    watch: &mut Stopwatch,
) -> Result<Judged, EngineError> {
    let growing = Growing {
        grow: &config.grow,
        tasks: config.tasks,
        temperature: config.temperature,
        max_tokens: config.max_tokens,
        path_tokens: config.path_tokens,
        unscored_max: config.unscored_max,
    };
    let forest = forest(session, &growing)?;
    let seconds = watch.lap("sample");
    let trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
    let leaf = config.reward.reward(&trees).leaf;
    let credits: Vec<Credit> = trees.iter().map(|tree| Credit::none(tree.len())).collect();
    let mut metrics = growth(&forest, &credits);
    metrics.remove("steps_without_credit");
    session.commit_grown(&forest, &credits, &metrics, watch.parts())?;
    let rate = Some(rate(&metrics, seconds));
    Ok(Judged { trees, leaf, metrics, rate })
}

/// This update's pairs of a file, in keyed epochs: a tree each, whose better leaf is worth 1.
fn compared(
    session: &Session<'_>,
    config: &Estimator,
    file: &PairFile,
) -> Result<Judged, EngineError> {
    let all = session.problem.pairs(&file.path);
    let key = session.key(Purpose::TaskOrder);
    let order = batch(key, all.len(), config.batch, session.place.done);
    let codec = session.learner.codec();
    let end = file.end(codec);
    let tree = |i: &usize| comparison_tree(codec, &all[*i], end);
    let trees: Vec<StepTree> = order
        .iter()
        .map(tree)
        .collect::<Result<_, _>>()
        .map_err(|error| EngineError::Input(format!("{}: {error}", file.path)))?;
    let leaf = vec![vec![None, Some(1.0), Some(0.0)]; trees.len()];
    let metrics = Metrics::from([("pairs".to_owned(), trees.len() as f64)]);
    Ok(Judged { trees, leaf, metrics, rate: None })
}

fn learn(
    session: &mut Session<'_>,
    config: &Estimator,
    name: &str,
    trees: &[StepTree],
    leaf: &[Vec<Option<f64>>],
) -> Result<Metrics, EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let settings = HeadSettings {
        adamw: adamw(&config.optimizer, config.steps, update),
        gradient_clip: config.optimizer.gradient_clip,
        tokens_max: microbatch(config.microbatch_tokens, session.learner.model().config()),
        frozen_trunk: config.trunk == EstimatorTrunk::Frozen,
    };
    let own = session.companions.get_mut(name).expect("it was made when the stage began");
    let (report, seen) = one_step(own, config, (trees, leaf), &settings)
        .map_err(|source| EngineError::Train { stage, update, source })?;
    let named = [
        ("loss", report.loss),
        ("gradient_norm", report.gradient_norm),
        ("computed_tokens", report.computed_tokens as f64),
    ];
    let told = seen.metrics().into_iter().map(|(name, x)| (format!("estimator/{name}"), x));
    Ok(named.map(|(name, x)| (name.to_owned(), x)).into_iter().chain(told).collect())
}

/// One optimizer step on the terms of all trees; none where they have none.
fn one_step(
    own: &mut Learner,
    config: &Estimator,
    (trees, leaf): (&[StepTree], &[Vec<Option<f64>>]),
    settings: &HeadSettings,
) -> Result<(HeadReport, EstimatorDiagnostics), TrainError> {
    let method = &config.estimator;
    let terms: usize = trees.iter().zip(leaf).map(|(tree, leaf)| method.terms(tree, leaf)).sum();
    let mut seen = EstimatorDiagnostics::default();
    if terms == 0 {
        return Ok((HeadReport::default(), seen));
    }
    let report = own.learn_scores(trees, settings, |tree, score| {
        let loss = method.loss(&trees[tree], &leaf[tree], score, terms as f64);
        seen.merge(&loss.diagnostics);
        (loss.value, loss.d_score)
    })?;
    Ok((report, seen))
}

/// Fills the column of the estimator that a stage names.
pub(super) fn fill(
    session: &mut Session<'_>,
    stage: usize,
    trees: &mut [StepTree],
    microbatch_tokens: Option<usize>,
) -> Result<(), EngineError> {
    let Some(Stage::Estimator(config)) = session.recipe.stage.get(stage) else {
        panic!("stage[{stage}] was checked to be an estimator when the recipe was read")
    };
    let tokens_max = microbatch(microbatch_tokens, session.learner.model().config());
    let own = session.companions.get_mut(&companion::estimator(stage));
    let own = own.expect("an earlier stage made it, and checkpoints hold it");
    let scores = own.step_scores(trees, tokens_max)?;
    for (tree, scores) in trees.iter_mut().zip(scores) {
        let column = scores.into_iter().map(|score| config.estimator.column(score)).collect();
        tree.step_column.insert(config.estimator.fills().to_owned(), column);
    }
    Ok(())
}
