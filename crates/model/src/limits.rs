//! Most of everything that a model's files may hold, for the table of limits.

pub use crate::io::limits::{
    GGUF_KEY_BYTES, GGUF_NAME_BYTES, GGUF_SIDES, GGUF_TEXT_BYTES, HEADER_BYTES, SHARDS,
    TENSOR_NAME_BYTES, TEXT_BYTES,
};
pub use crate::template::{
    FUEL as TEMPLATE_STEPS, OUTPUT_BYTES_MAX as TEMPLATE_OUTPUT_BYTES,
    RECURSION_MAX as TEMPLATE_RECURSION, SOURCE_BYTES_MAX as TEMPLATE_BYTES,
};
pub use crate::tokenizer::limits::{ADDED_TOKENS, TOKEN_IDS, WORDS};
