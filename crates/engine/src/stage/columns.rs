//! Columns that reward and credit read, filled before either is asked.

use stepwell_methods::credit::reverse_kl::TEACHER;
use stepwell_train::REFERENCE;
use stepwell_tree::StepTree;

use super::{critic, estimator};
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::recipe::Rl;
use crate::session::Session;

/// Fills what the stage's methods declare: log-probabilities of the reference and of the teacher,
/// what an estimator says, and values.
pub(super) fn fill(
    session: &mut Session<'_>,
    config: &Rl,
    trees: &mut [StepTree],
) -> Result<(), EngineError> {
    let needs = [config.credit.needs(), config.reward.needs()];
    let reads = |column: &str| needs.iter().any(|own| own.token_columns.contains(&column));
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    let temperature = config.temperature as f32;
    if let (true, Some(reference)) = (reads(REFERENCE), &session.reference) {
        session.learner.fill_reference(trees, reference, temperature, tokens_max)?;
    }
    if let (true, Some(teacher)) = (reads(TEACHER), &session.teacher) {
        let learner = &mut session.learner;
        learner.fill_frozen(TEACHER, trees, teacher, temperature, tokens_max)?;
    }
    if let Some(stage) = config.estimator {
        estimator::fill(session, stage, trees, config.microbatch_tokens)?;
    }
    critic::fill(session, config, trees)
}
