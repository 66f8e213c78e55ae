//! What a workload's words mean.
//!
//! ```text
//! MODEL KIND TREES pPROMPT LEVEL... [flat] [bf16]
//! job rl 32 p29 4x12 1e12 2x33      32 trees: 29 prompt tokens, 4 steps of 12 tokens, an
//!                                   observation of 12 below each, 2 steps of 33 below each
//! smol sample 8 p128 1x64           8 prompts of 128 tokens, 64 new tokens each
//! ```
//!
//! `flat` makes every leaf a tree of its own.

use crate::Outcome;
use crate::tree::{Level, Regular};

/// What is done with the trees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Every step is a demonstration; cross-entropy.
    Sft,
    /// Every step was sampled; the clipped objective.
    Rl,
    /// Steps are sampled.
    Sample,
    /// Steps are sampled, judged, credited and trained on.
    Grpo,
}

/// The arithmetic of products.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    Bf16,
}

/// One thing to measure.
pub(crate) struct Workload {
    /// Name of a shape, with an optional vocabulary: `mid`, `mid@4096`.
    pub(crate) model: String,
    pub(crate) kind: Kind,
    pub(crate) tree: Regular,
    pub(crate) flat: bool,
    pub(crate) precision: Precision,
    /// Layers keep their inputs only and are computed again in the backward.
    pub(crate) lean: bool,
}

impl Workload {
    /// Reads the words; an error names the word that is wrong.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let mut words = text.split_whitespace();
        let mut next = |what: &str| words.next().ok_or(format!("`{text}`: no {what}"));
        let model = next("model")?.to_owned();
        let kind = match next("kind")? {
            "sft" => Kind::Sft,
            "rl" => Kind::Rl,
            "sample" => Kind::Sample,
            "grpo" => Kind::Grpo,
            other => return Err(format!("`{text}`: unknown kind: {other}").into()),
        };
        let trees = next("number of trees")?.parse()?;
        let prompt = next("prompt")?.strip_prefix('p').ok_or("a prompt is p and a number")?;
        let mut tree = Regular { trees, prompt: prompt.parse()?, levels: Vec::new() };
        let (mut flat, mut lean, mut precision) = (false, false, Precision::F32);
        for word in words {
            match word {
                "flat" => flat = true,
                "bf16" => precision = Precision::Bf16,
                "lean" => lean = true,
                _ => tree.levels.push(level(word)?),
            }
        }
        Ok(Workload { model, kind, tree, flat, precision, lean })
    }
}

/// `4x12`: four steps of twelve tokens; `1e12`: one observation of twelve.
fn level(word: &str) -> Outcome<Level> {
    let observed = word.contains('e');
    let (children, tokens) = word
        .split_once(['x', 'e'])
        .ok_or_else(|| format!("a level is 4x12 or 1e12, got: {word}"))?;
    Ok(Level { children: children.parse()?, tokens: tokens.parse()?, observed })
}
