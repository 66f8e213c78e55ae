//! From a recipe to a run.

pub mod recipe;
