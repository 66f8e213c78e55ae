//! Which attempts become demonstrations.

pub mod rejection;
