//! The tokenizer in a file's metadata, written as the `tokenizer.json` it came from. So exports of
//! a run are ordinary folders, and everything that is checked there is checked here.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::{
    merges,
    value::{Metadata, Value},
};
use crate::template::Controls;

/// GPT-2's pattern, as the crate's own `ByteLevel` has it.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// How llama.cpp cuts where a file does not name its rule.
const DEFAULT: [&str; 4] = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"];

/// `tokenizer.ggml.token_type`.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

/// A tokenizer as `tokenizer.json` says it, and what stands beside it.
pub(super) struct Words {
    pub(super) document: Json,
    /// Ids after which nothing follows.
    pub(super) ends: Vec<u32>,
    pub(super) controls: Controls,
    /// One past the largest id.
    pub(super) size: usize,
    pub(super) notes: Vec<String>,
}

pub(super) fn read(metadata: &Metadata) -> Result<Words, String> {
    let list = List::new(metadata)?;
    let mut notes = Vec::new();
    let document = match text(metadata, "tokenizer.ggml.model") {
        Some("gpt2") => byte_level(metadata, &list, &mut notes)?,
        Some("llama") => sentence_piece(metadata, &list)?,
        other => {
            let got = other.unwrap_or("nothing").escape_debug();
            return Err(format!("`tokenizer.ggml.model`: got {got}, expected gpt2 or llama"));
        }
    };
    let name = |id: Option<u32>| id.map(|id| list.tokens[id as usize].clone());
    let controls = Controls { begin: name(list.begin), end: name(list.ends.first().copied()) };
    let (ends, size) = (list.ends.clone(), list.tokens.len());
    Ok(Words { document, ends, controls, size, notes })
}

fn text<'m>(metadata: &'m Metadata, key: &str) -> Option<&'m str> {
    match metadata.get(key) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn texts<'m>(metadata: &'m Metadata, key: &str) -> Result<&'m [String], String> {
    match metadata.get(key) {
        Some(Value::Texts(list)) => Ok(list),
        Some(other) => Err(format!("`{key}`: got {}, expected a list of strings", other.shown())),
        None => Err(format!("`{key}` is missing: expected a list of strings")),
    }
}

/// One number per token; `None` if the file has no such list.
fn numbers<'m>(
    metadata: &'m Metadata,
    key: &str,
    tokens: usize,
) -> Result<Option<&'m [f64]>, String> {
    match metadata.get(key) {
        None => Ok(None),
        Some(Value::Numbers(list)) if list.len() == tokens => Ok(Some(list)),
        Some(Value::Numbers(list)) => {
            Err(format!("`{key}`: got {} numbers, expected one for each of {tokens}", list.len()))
        }
        Some(other) => Err(format!("`{key}`: got {}, expected a list of numbers", other.shown())),
    }
}

/// The tokens with their types and parts.
struct List<'m> {
    tokens: &'m [String],
    types: Vec<i64>,
    begin: Option<u32>,
    ends: Vec<u32>,
}

impl<'m> List<'m> {
    fn new(metadata: &'m Metadata) -> Result<Self, String> {
        let tokens = texts(metadata, "tokenizer.ggml.tokens")?;
        let key = "tokenizer.ggml.token_type";
        let mut types = match numbers(metadata, key, tokens.len())? {
            Some(list) => list.iter().map(|kind| *kind as i64).collect(),
            None => vec![NORMAL; tokens.len()],
        };
        if let Some((id, kind)) = types.iter().enumerate().find(|(_, t)| !(1..=BYTE).contains(*t)) {
            return Err(format!("`{key}`: got {kind} for id {id}, expected 1 to {BYTE}"));
        }
        let id = |name: &str| id(metadata, name, tokens.len());
        let begin = id("bos")?;
        let ends = [id("eos")?, id("eot")?, id("eom")?];
        let mut ends: Vec<u32> = ends.into_iter().flatten().collect();
        // The first is the one that templates call the end.
        let first = ends.first().copied();
        ends.sort_unstable();
        ends.dedup();
        ends.sort_by_key(|id| Some(*id) != first);
        // Ends and beginnings are never text, whatever an old converter wrote.
        for id in ends.iter().chain(&begin) {
            types[*id as usize] = CONTROL;
        }
        Ok(Self { tokens, types, begin, ends })
    }

    /// Every token with its id and type, but those that stand for nothing.
    fn used(&self) -> impl Iterator<Item = (usize, &'m String, i64)> {
        let all = self.tokens.iter().zip(&self.types).enumerate();
        all.map(|(id, (token, kind))| (id, token, *kind)).filter(|(_, _, kind)| *kind != UNUSED)
    }

    fn vocabulary(&self) -> Result<Map<String, Json>, String> {
        let mut vocabulary = Map::new();
        for (id, token, _) in self.used() {
            if let Some(other) = vocabulary.insert(token.clone(), json!(id)) {
                let token: String = token.chars().take(80).collect();
                let token = token.escape_debug();
                return Err(format!("token \"{token}\" has two ids: {other} and {id}"));
            }
        }
        Ok(vocabulary)
    }

    fn added(&self) -> Vec<Json> {
        let listed =
            self.used().filter(|(_, _, kind)| matches!(*kind, CONTROL | USER_DEFINED | UNKNOWN));
        listed
            .map(|(id, token, kind)| {
                json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": kind != USER_DEFINED
                })
            })
            .collect()
    }
}

fn id(metadata: &Metadata, name: &str, tokens: usize) -> Result<Option<u32>, String> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match metadata.get(&key) {
        None => Ok(None),
        Some(Value::Whole(id)) if (0..tokens as i128).contains(id) => Ok(Some(*id as u32)),
        Some(other) => {
            Err(format!("`{key}`: got {}, expected an id below {tokens}", other.shown()))
        }
    }
}

/// Byte-level BPE: GPT-2's spelling of bytes, a rule that cuts words, merges in order.
fn byte_level(
    metadata: &Metadata,
    list: &List<'_>,
    notes: &mut Vec<String>,
) -> Result<Json, String> {
    let merges = texts(metadata, "tokenizer.ggml.merges")?;
    let mut pairs = Vec::with_capacity(merges.len());
    for (number, merge) in merges.iter().enumerate() {
        // Bytes are spelled without blanks, so the first blank is the one between.
        let Some((left, right)) = merge.split_once(' ') else {
            let merge: String = merge.chars().take(80).collect();
            let merge = merge.escape_debug();
            return Err(format!("merge {number}: got \"{merge}\", expected two tokens"));
        };
        pairs.push(json!([left, right]));
    }
    let rule = text(metadata, "tokenizer.ggml.pre");
    if rule.is_none_or(|rule| rule == "default") {
        notes.push(
            "`tokenizer.ggml.pre` does not say how words are cut: llama.cpp's default is used, \
             which may not be what the model was trained with"
                .to_owned(),
        );
    }
    let rule = rule.unwrap_or("default");
    let cut = cutting(rule)?;
    let byte_level = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": use_regex
        })
    };
    let mut steps = cut.steps;
    steps.push(byte_level(cut.gpt2));
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
        "ignore_merges": cut.ignore_merges, "vocab": list.vocabulary()?, "merges": pairs
    });
    let normalizer = if cut.composed { json!({ "type": "NFC" }) } else { Json::Null };
    let steps = json!({ "type": "Sequence", "pretokenizers": steps });
    Ok(document(list, normalizer, steps, byte_level(true), model))
}

/// How text is cut before merging.
struct Cutting {
    steps: Vec<Json>,
    /// GPT-2's pattern follows.
    gpt2: bool,
    /// Text is composed first (NFC).
    composed: bool,
    /// A piece that is a token is that token, whatever merges say.
    ignore_merges: bool,
}

/// The rules by llama.cpp's names, as the tokenizers of those models have them.
fn cutting(rule: &str) -> Result<Cutting, String> {
    let split = |pattern: &str| {
        json!({
            "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated",
            "invert": false
        })
    };
    let plain = Cutting { steps: Vec::new(), gpt2: false, composed: false, ignore_merges: false };
    Ok(match rule {
        "gpt-2" => Cutting { gpt2: true, ..plain },
        "smollm" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            Cutting { steps: vec![digits], gpt2: true, ..plain }
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            Cutting { steps: vec![split(LLAMA3)], ignore_merges: true, ..plain }
        }
        "qwen2" => Cutting { steps: vec![split(QWEN2)], composed: true, ..plain },
        "default" => Cutting { steps: DEFAULT.map(split).to_vec(), ..plain },
        other => {
            let other: String = other.chars().take(80).collect();
            let other = other.escape_debug();
            return Err(format!(
                "`tokenizer.ggml.pre`: got {other}, expected one of smollm, gpt-2, default, \
                 llama-bpe, qwen2; convert the model to a Hugging Face folder instead"
            ));
        }
    })
}

/// SentencePiece's BPE: characters with `▁` for a blank, merges by score, bytes for the rest.
fn sentence_piece(metadata: &Metadata, list: &List<'_>) -> Result<Json, String> {
    let scores = numbers(metadata, "tokenizer.ggml.scores", list.tokens.len())?;
    let scores = scores.ok_or("`tokenizer.ggml.scores` is missing: expected one per token")?;
    let vocabulary = list.vocabulary()?;
    let unknown = list.used().find(|(_, _, kind)| *kind == UNKNOWN).map(|(_, token, _)| token);
    // Only pieces of text merge: controls and bytes have spellings that text may hold, too.
    let whole: BTreeSet<usize> =
        list.used().filter(|(_, _, kind)| *kind == NORMAL).map(|(id, _, _)| id).collect();
    let pairs = merges::by_score(list.tokens, scores, &whole);
    let merges: Vec<Json> = pairs
        .into_iter()
        .map(|(left, right)| json!([list.tokens[left], list.tokens[right]]))
        .collect();
    let prefix = metadata.get("tokenizer.ggml.add_space_prefix") != Some(&Value::Flag(false));
    let blank = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let (mut normalizers, mut decoders) = (Vec::new(), vec![blank("▁", " ")]);
    decoders.extend([json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })]);
    if prefix {
        normalizers.push(json!({ "type": "Prepend", "prepend": "▁" }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    normalizers.push(blank(" ", "▁"));
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
        "ignore_merges": false, "vocab": vocabulary, "merges": merges
    });
    let normalizer = json!({ "type": "Sequence", "normalizers": normalizers });
    let decoder = json!({ "type": "Sequence", "decoders": decoders });
    Ok(document(list, normalizer, Json::Null, decoder, model))
}

fn document(
    list: &List<'_>,
    normalizer: Json,
    pre_tokenizer: Json,
    decoder: Json,
    model: Json,
) -> Json {
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": list.added(),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": decoder,
        "model": model,
    })
}
