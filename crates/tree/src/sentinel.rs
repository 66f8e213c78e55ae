//! Named constants that stand for "nothing here" in a column.

/// Log-probability of a token that the policy did not sample. Never NaN, so that a column can be
/// summed; readers select by origin, not by value.
pub const NOT_SAMPLED: f32 = 0.0;
