//! How a step of any stage that trains ends.

use super::evaluate::development;
use crate::error::EngineError;
use crate::observe::{Event, Metrics};
use crate::session::{Flow, Session, Stopwatch};

/// Ends a step: its metrics are committed and told, with what the policy wrote in a second beside
/// them where it wrote; then a look at the development split and a checkpoint, each where the
/// stage's rhythm says so.
///
/// # Errors
/// Where the disk fails or a number is not finite.
pub(super) fn end_step(
    session: &mut Session<'_>,
    mut metrics: Metrics,
    rate: Option<f64>,
    watch: &Stopwatch,
) -> Result<Flow, EngineError> {
    session.place.done += 1;
    session.commit_updated(&metrics, watch.parts())?;
    metrics.extend(rate.map(|rate| ("sampled_tokens_per_second".to_owned(), rate)));
    let (stage, done) = (session.place.stage, session.place.done);
    session.observer.event(Event::Step { stage, done, metrics: &metrics });
    let rhythm = session.recipe.stage[stage].rhythm().expect("a stage that trains has one");
    if rhythm.evaluate_every > 0 && done.is_multiple_of(rhythm.evaluate_every) {
        development(session, rhythm.evaluate_questions, rhythm.evaluate_max_tokens)?;
    }
    session.after_step(rhythm.checkpoint_every, rhythm.steps)
}
