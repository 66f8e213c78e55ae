//! The list.

mod data;
pub(crate) mod model;
mod policy;
mod recipe;
mod run;

use crate::Target;

const fn target(
    name: &'static str,
    run: fn(&[u8]) -> String,
    words: &'static [&'static str],
) -> Target {
    Target { name, run, words, bytes_max: 64 << 10 }
}

/// Every parser of foreign bytes.
pub const TARGETS: &[Target] = &[
    target("recipe", recipe::recipe, recipe::WORDS),
    target("override", recipe::overrides, recipe::WORDS),
    target("prompt", recipe::prompt, &["{question}", "{own}", "{{", "}}", "{", "}"]),
    target("tasks", data::tasks, data::TASK_WORDS),
    target("demonstrations", data::demonstrations, data::CHAT_WORDS),
    target("pairs", data::pairs, data::CHAT_WORDS),
    target("import", data::import, data::IMPORT_WORDS),
    target("safetensors", model::safetensors, model::TENSOR_WORDS),
    target("shard_index", model::shard_index, model::TENSOR_WORDS),
    target("config", model::config, model::CONFIG_WORDS),
    target("tokenizer", model::tokenizer, model::TOKENIZER_WORDS),
    target("tokenizer_config", model::tokenizer_config, model::TOKENIZER_WORDS),
    target("chat_template", model::chat_template, model::TEMPLATE_WORDS),
    target("gguf", model::gguf, model::GGUF_WORDS),
    target("adapter_config", model::adapter_config, model::ADAPTER_WORDS),
    target("adapter_weights", model::adapter_weights, model::ADAPTER_WORDS),
    target("sql_step", policy::sql_step, policy::SQL_WORDS),
    target("calculator_step", policy::calculator_step, policy::CALCULATOR_WORDS),
    target("math_answer", policy::math_answer, policy::MATH_WORDS),
    target("python_step", policy::python_step, policy::PYTHON_WORDS),
    target("python_reply", policy::python_reply, policy::INTERPRETER_WORDS),
    target("sql_reply", policy::sql_reply, policy::SQL_REPLY_WORDS),
    target("external_reply", policy::external_reply, policy::REPLY_WORDS),
    target("content", policy::content, policy::CONTENT_WORDS),
    target("manifest", run::manifest, run::MANIFEST_WORDS),
    target("record_trees", run::trees, run::TREE_WORDS),
    target("checkpoint_state", run::state, run::STATE_WORDS),
    target("checkpoint_heads", run::heads, run::HEAD_WORDS),
    target("tensors", run::tensors, model::TENSOR_WORDS),
];
