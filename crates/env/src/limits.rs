//! Most of everything that data, a policy's text and a program's replies may hold, for the table of
//! limits.

pub use crate::calculator::answer::BYTES_MAX as ANSWER_BYTES;
pub use crate::calculator::expression::{
    BYTES_MAX as EXPRESSION_BYTES, DEPTH_MAX as EXPRESSION_DEPTH,
};
pub use crate::calculator::number::DIGITS_MAX as NUMBER_DIGITS;
pub use crate::exact::DIGITS_MAX as PYTHON_NUMBER_DIGITS;
pub use crate::external::{LINES_WAITING, NAME_BYTES_MAX, NAMES_MAX, STDERR_BYTES};
pub use crate::math_answer::value::{BYTES_MAX as MATH_ANSWER_BYTES, POWER_MAX as MATH_POWER};
pub use crate::python::{CASES_MAX as PYTHON_CASES, PROGRAM_BYTES_MAX as PYTHON_PROGRAM_BYTES};
pub use crate::sql::TABLE_ROWS_MAX as TWIN_ROWS;
pub use crate::tasks::{FILE_BYTES_MAX, LINE_BYTES_MAX};
