//! From verdicts to training rewards (DECISIONS 8): the verdict is the environment's and stays as
//! it is; how its parts are weighed is a choice of the recipe.

pub mod attribution;
pub mod composite;
pub mod expert_mix;
pub mod gated;
pub mod hierarchical;
pub mod kl_penalty;
pub mod outcome;
pub mod overlong;
mod turns;
