//! The models that are measured.

use std::path::Path;

use stepwell_env::sql::world;
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{Config, Family, Model, RopeScaling, io};

use crate::Outcome;

/// Models that peers read from folders.
const EXPORTED: [&str; 3] = ["job", "tiny", "smol"];

/// Writes every model that peers load; weights are random, the same in every export.
pub(crate) fn export(folder: &Path) -> Outcome<()> {
    let tokenizer = Tokenizer::from_words(world::words())?;
    for name in EXPORTED {
        io::save_folder(&folder.join(name), &Model::random(config(name)?, 1), &tokenizer, None)?;
    }
    Ok(())
}

/// The model from its folder, or made here where no peer needs it.
pub(crate) fn load(name: &str, folder: &Path) -> Outcome<Model> {
    let config = config(name)?;
    let expected = parameters(&config);
    let model = if EXPORTED.contains(&name) {
        io::load_weights(&folder.join(name))?.0
    } else {
        Model::random(config, 1)
    };
    let got = model.parameter_count();
    if got != expected {
        return Err(format!("parameters of {name}: got {got}, expected {expected}").into());
    }
    Ok(model)
}

/// Numbers in all weights.
pub(crate) fn parameters(config: &Config) -> usize {
    let (d, heads) = (config.hidden, config.heads * config.head_dim);
    let attention = d * (2 * heads + 2 * config.kv_heads * config.head_dim);
    let layer = attention + 3 * d * config.ffn + 2 * d;
    let embeddings = if config.tied { 1 } else { 2 };
    config.layers * layer + embeddings * config.vocabulary * d + d
}

/// A shape by its name; `NAME@VOCABULARY` changes the vocabulary.
pub(crate) fn config(name: &str) -> Outcome<Config> {
    if let Some((name, vocabulary)) = name.split_once('@') {
        return Ok(Config { vocabulary: vocabulary.parse()?, ..config(name)? });
    }
    let base = Config {
        family: Family::Llama,
        vocabulary: 494,
        hidden: 96,
        layers: 3,
        heads: 3,
        kv_heads: 3,
        head_dim: 32,
        ffn: 256,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 256,
    };
    Ok(match name {
        // What `recipes/` trains: 0.35 million parameters.
        "job" => base,
        // 0.85 million parameters.
        "tiny" => Config {
            vocabulary: 384,
            hidden: 128,
            layers: 4,
            heads: 4,
            kv_heads: 4,
            ffn: 352,
            context: 2048,
            ..base
        },
        // 16 million parameters: bound by arithmetic, yet quick.
        "mid" => Config {
            vocabulary: 8192,
            hidden: 384,
            layers: 8,
            heads: 6,
            kv_heads: 2,
            head_dim: 64,
            ffn: 1024,
            context: 8192,
            ..base
        },
        // SmolLM2-135M.
        "smol" => Config {
            vocabulary: 49_152,
            hidden: 576,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            ffn: 1536,
            rope_base: 100_000.0,
            context: 2048,
            ..base
        },
        _ => return Err(format!("unknown model: {name}, expected job, tiny, mid or smol").into()),
    })
}
