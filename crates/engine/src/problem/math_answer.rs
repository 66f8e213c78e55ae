//! Problems of the `math_answer` environment.

use stepwell_env::EnvError;
use stepwell_env::math_answer::{self, MathAnswerEnvironment};
use stepwell_model::tokenizer::words_of;

use super::Problem;
use super::files;
use crate::recipe::MathAnswer;

/// Reads.
pub(super) fn problem(settings: &MathAnswer) -> Result<Problem, EnvError> {
    let tasks = files::read(&settings.files, math_answer::load)?;
    let config = settings.config();
    let marks = config.form.marks().iter().map(|mark| (*mark).to_owned());
    let splits = [&tasks.train, &tasks.development, &tasks.held_out].into_iter().flatten();
    let gold = splits.flat_map(|task| words_of(task.field("answer").unwrap_or_default()));
    let speech = marks.chain(gold).collect();
    let environment = Box::new(MathAnswerEnvironment::new(config)?);
    Ok(Problem::new(tasks, environment, None, speech, None))
}
