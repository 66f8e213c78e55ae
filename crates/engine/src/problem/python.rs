//! Problems of the `python` environment.

use stepwell_env::EnvError;
use stepwell_env::python::{self, PythonEnvironment};

use super::Problem;
use super::files;
use crate::recipe::PythonSettings;

/// Reads, and starts an interpreter to know that it can.
pub(super) fn problem(settings: &PythonSettings) -> Result<Problem, EnvError> {
    let tasks = files::read(&settings.files, python::load)?;
    let environment = Box::new(PythonEnvironment::new(settings.config())?);
    Ok(Problem::new(tasks, environment, None, python::tags().collect(), None))
}
