//! Cross-entropy on demonstrations.

use stepwell_methods::Objective;
use stepwell_methods::objective::cross_entropy;
use stepwell_train::{Settings, UpdateReport};
use stepwell_tree::{Credit, Purpose, StepTree};

use super::adamw;
use super::evaluate::development;
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::{Event, Metrics};
use crate::order::{batch, demonstration_tree};
use crate::problem::Told;
use crate::recipe::{Demonstrations, Sft};
use crate::session::{Flow, Session, Stopwatch};

/// Runs the stage from where the session stands.
pub(crate) fn sft(session: &mut Session<'_>, config: &Sft) -> Result<Flow, EngineError> {
    let problem = session.problem;
    let codec = session.learner.codec();
    let known = match config.demonstrations {
        Some(Demonstrations::GoldSteps) => {
            let tree = |d| demonstration_tree(codec, d, config.mask_observations);
            Some(problem.gold().iter().map(tree).collect())
        }
        Some(Demonstrations::Scripted) => None,
        None => Some(problem.conversations(config, codec)?),
    };
    while session.place.done < config.steps {
        let mut watch = Stopwatch::start();
        let (trees, credits): (Vec<StepTree>, Vec<Credit>) =
            draw(session, config, known.as_ref()).into_iter().unzip();
        let report = update(session, config, &trees, &credits)?;
        watch.lap("train");
        session.place.done += 1;
        let metrics = metrics(&report);
        session.commit_updated(&metrics, watch.parts())?;
        let (stage, done) = (session.place.stage, session.place.done);
        session.observer.event(Event::Step { stage, done, metrics: &metrics });
        if config.evaluate_every > 0 && done.is_multiple_of(config.evaluate_every) {
            development(session, config.evaluate_questions, config.evaluate_max_tokens)?;
        }
        if session.after_step(config.checkpoint_every, config.steps)? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
    }
    Ok(Flow::Done)
}

/// This step's demonstrations: of those that are known in keyed epochs, or fresh from the script.
fn draw(session: &Session<'_>, config: &Sft, known: Option<&Told>) -> Told {
    let step = session.place.done;
    match known {
        Some(all) => {
            let key = session.key(Purpose::TaskOrder);
            batch(key, all.len(), config.batch, step).iter().map(|&i| all[i].clone()).collect()
        }
        None => {
            let key = session.key(Purpose::Demonstration).with(step as u64);
            let fresh = |i| session.problem.demonstration(key.with(i));
            let codec = session.learner.codec();
            let tree = |i| demonstration_tree(codec, &fresh(i), config.mask_observations);
            (0..config.batch as u64).map(tree).collect()
        }
    }
}

fn update(
    session: &mut Session<'_>,
    config: &Sft,
    trees: &[StepTree],
    credits: &[Credit],
) -> Result<UpdateReport, EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let settings = Settings {
        objective: Objective::CrossEntropy(cross_entropy::Config::default()),
        max_tokens: 1,
        temperature: 1.0,
        adamw: adamw(&config.optimizer, config.steps, update),
        gradient_clip: config.optimizer.gradient_clip,
        epochs: 1,
        minibatches: 1,
        tokens_max: microbatch(config.microbatch_tokens, session.learner.model().config()),
        on_policy: false,
    };
    let key = session.key(Purpose::TaskOrder).with(update as u64);
    session.learner.update(trees, credits, &settings, key).map_err(|source| EngineError::Train {
        stage,
        update,
        source,
    })
}

fn metrics(report: &UpdateReport) -> Metrics {
    Metrics::from([
        ("loss".to_owned(), report.loss),
        ("gradient_norm".to_owned(), report.gradient_norm),
        ("trained_tokens".to_owned(), report.trained_tokens as f64),
        ("computed_tokens".to_owned(), report.computed_tokens as f64),
    ])
}
