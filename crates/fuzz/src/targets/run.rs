//! What lies in a run folder that somebody hands over.

use stepwell_store::{strangers, tensors_from_bytes};

pub(crate) const MANIFEST_WORDS: &[&str] = &[
    "\"format\": 1",
    "\"checkpoint\": 7",
    "\"files\": [",
    "\"name\": \"../../etc/passwd\"",
    "\"bytes\": 18446744073709551615",
    "\"blake3\": \"",
    "\"last_commit\": {\"number\": 1, \"digest\": \"",
    "0000000000000000000000000000000000000000000000000000000000000000",
];

pub(crate) fn manifest(bytes: &[u8]) -> String {
    strangers::manifest(bytes)
}

pub(crate) const TREE_WORDS: &[&str] = &[
    "prompt",
    "policy",
    "environment",
    "demonstration",
    "stop_string",
    "scored",
    "unscored",
    "gold_failed",
    "step",
    "token",
    "absent",
    "{\"format\":1.0}",
];

pub(crate) fn trees(bytes: &[u8]) -> String {
    strangers::trees(bytes)
}

pub(crate) const STATE_WORDS: &[&str] = &[
    "\"place\":{\"stage\":0,\"done\":1}",
    "\"version\":",
    "\"weights_checksum\":\"",
    "\"memory\":{\"schedule\":",
    "\"estimates\":",
    "\"companions\":[{\"name\":\"critic\"",
    "\"heads\":[",
    "\"base\":{\"path\":null,\"checksum\":\"",
];

pub(crate) fn state(bytes: &[u8]) -> String {
    stepwell_engine::checkpoint::told_of_state(bytes)
}

pub(crate) const HEAD_WORDS: &[&str] = &[
    "[{\"name\":\"value\",\"outputs\":1,\"optimizer_step\":0}]\n",
    "\"hidden\":",
    "\"outputs\":",
    "\"optimizer_step\":",
    "value/out.weight",
    "value/out.bias",
    "value/inner.weight",
    "\"shape\":[",
    "\"data_offsets\":[",
];

/// Weights of heads, on a trunk of two numbers.
pub(crate) fn heads(bytes: &[u8]) -> String {
    stepwell_engine::checkpoint::told_of_heads(bytes, 2)
}

pub(crate) fn tensors(bytes: &[u8]) -> String {
    match tensors_from_bytes(bytes) {
        Ok(tensors) => format!("{} tensors", tensors.len().min(3)),
        Err(error) => error.to_string(),
    }
}
