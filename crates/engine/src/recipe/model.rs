//! What the policy is made of: weights from a folder or a new model, and an adapter beside them.

use serde::Serialize;

use super::macros::{Entry, Settings, choices, settings};
use super::section::Section;
use super::setting::Limit;

/// Where the first weights come from.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// A folder with `config.json`, `model.safetensors` and `tokenizer.json`, as published models
    /// have it, or a GGUF file (`.gguf`); relative to the working folder.
    Path(String),
    /// New weights, drawn from the recipe's seed.
    Scratch(Scratch),
}

choices! {
    /// The shape of a transformer layer.
    pub enum Family {
        /// Llama: root mean square norm, rotary positions, gated feed-forward.
        Llama = "llama",
        /// The same with biases on the query, key and value projections.
        Qwen2 = "qwen2",
        /// The same with a norm per head on queries and keys.
        Qwen3 = "qwen3",
    }
}

choices! {
    /// How text becomes tokens for a model made from scratch.
    pub enum Tokenizer {
        /// One token per word of the world's closed word lists, or of the user's tasks.
        Words = "words",
        /// One token per byte.
        Bytes = "bytes",
    }
}

settings! {
    /// A new model.
    pub struct Scratch {
        /// Shape of a layer.
        family: Family = Family::Llama, Limit::Any;
        /// How text becomes tokens.
        tokenizer: Tokenizer = Tokenizer::Words, Limit::Any;
        /// Width of the residual stream, in numbers per token.
        hidden: usize = 96, Limit::Whole(8, 65_536);
        /// Layers.
        layers: usize = 3, Limit::Whole(1, 256);
        /// Attention heads per layer; must divide `hidden` unless `head_dim` is set.
        heads: usize = 4, Limit::Whole(1, 1024);
        /// Heads of keys and values; must divide `heads`. Default: `heads`.
        kv_heads: Option<usize> = None, Limit::Whole(1, 1024);
        /// Width of a head; even, because positions rotate pairs. Default: `hidden / heads`.
        head_dim: Option<usize> = None, Limit::Whole(2, 1024);
        /// Width of the feed-forward layer. Default: 8/3 of `hidden`, up to a multiple of 8.
        ffn: Option<usize> = None, Limit::Whole(8, 262_144);
        /// Most tokens on one path from the root to a leaf.
        context: usize = 512, Limit::Whole(8, 1_048_576);
        /// Base of the rotary frequencies.
        rope_base: f64 = 10_000.0, Limit::Above(1.0, 1e9);
        /// Added to the mean square before the root of a norm.
        norm_epsilon: f64 = 1e-5, Limit::Above(0.0, 0.1);
        /// Input and output embeddings are one matrix.
        tied: bool = true, Limit::Any;
    }
}

settings! {
    /// LoRA: the model's weights are frozen, and a product of two small matrices beside each
    /// projection trains in their place.
    pub struct Lora {
        /// Inner dimension of the two matrices.
        rank: usize = 16, Limit::Whole(1, 256);
        /// Their product is multiplied by `alpha / rank`.
        alpha: f64 = 32.0, Limit::Above(0.0, 1e6);
        /// Projections that get them in every layer, of `q`, `k`, `v`, `o`, `gate`, `up`, `down`.
        targets: Vec<String> = all_targets(), Limit::Any;
    }
}

fn all_targets() -> Vec<String> {
    stepwell_model::Target::ALL.map(|target| target.word().to_owned()).to_vec()
}

impl Lora {
    /// The table `model.lora`, where the recipe has one.
    pub(super) fn read_from(top: &Section<'_>) -> Option<Lora> {
        let model = top.has("model").then(|| top.child("model"))??;
        let table = model.child("lora")?;
        let lora = Lora::read(&table, Lora::default());
        table.finish();
        Some(lora)
    }
}

/// What `model.chat_template` means.
pub(super) const CHAT_TEMPLATE_ABOUT: &[&str] =
    &["A file with a chat template (Jinja), in place of the model's own."];

/// The key `model.chat_template`, where the recipe has one.
pub(super) fn chat_template(top: &Section<'_>) -> Option<String> {
    let model = top.has("model").then(|| top.child("model"))??;
    model.setting("chat_template", None, Limit::Any)
}

impl Scratch {
    /// Fills the widths that follow from others, so that a resolved recipe states them.
    pub(super) fn resolve(&mut self) {
        self.kv_heads.get_or_insert(self.heads);
        self.head_dim.get_or_insert(self.hidden / self.heads.max(1));
        self.ffn.get_or_insert((self.hidden * 8).div_ceil(3).next_multiple_of(8));
    }
}

impl Default for Model {
    fn default() -> Self {
        Model::Scratch(Scratch::default())
    }
}

impl Settings for Model {
    fn read(section: &Section<'_>, default: Self) -> Self {
        let Some(table) = section.child("model") else {
            if !section.has("model") {
                let message =
                    "missing `model`; write `[model.scratch]` or `model.path = \"folder\"`";
                section.notes.error(section.offset, "model", message);
            }
            return default;
        };
        let both = table.has("path") && table.has("scratch");
        let neither = !table.has("path") && !table.has("scratch");
        if both || neither {
            let found = if both { "both" } else { "neither" };
            let message =
                format!("`model` must hold exactly one of `path`, `scratch`; found: {found}");
            section.notes.error(table.offset, "model", message);
        }
        // Read by themselves: they go with either kind of model.
        table.take("lora");
        table.take("chat_template");
        table.take("compute");
        let path: Option<String> = table.setting("path", None, Limit::Any);
        let scratch = table.child("scratch").map(|scratch| {
            let mut read = Scratch::read(&scratch, Scratch::default());
            read.resolve();
            scratch.finish();
            read
        });
        table.finish();
        match (path, scratch) {
            (_, Some(scratch)) => Model::Scratch(scratch),
            (Some(path), None) => Model::Path(path),
            (None, None) => default,
        }
    }

    fn write(&self, _: &str, out: &mut Vec<Entry>) {
        match self {
            Model::Path(path) => out.push(super::macros::entry(
                "model",
                "path",
                path,
                &["Folder of the model, relative to the working folder."],
                Limit::Any,
            )),
            Model::Scratch(scratch) => scratch.write("model.scratch", out),
        }
    }
}
