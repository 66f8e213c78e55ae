//! The run folder: record, checkpoints, exports.
