//! Reads a `tokenizer.json`: everything that would make the encoder panic, fail or lose text later
//! is refused here, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Joining, TokenizerError, alphabet, words};

/// Largest id accepted: what a model's vocabulary may be, and no more.
pub const ID_MAX: u64 = 1 << 21;
/// Most tokens that `added_tokens` may list.
pub const ADDED_MAX: usize = 1 << 16;

/// How long a text a pattern is tried on, and how long it may take: ten times what would be 2 s
/// for a megabyte, because the machine may be busy.
const PROBE_BYTES: usize = 16 << 10;
const PROBE_TIME_MAX: Duration = Duration::from_millis(300);

/// A control token as the file lists it.
pub(crate) struct Added {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) special: bool,
}

/// A checked file.
pub(crate) struct Read {
    pub(crate) content: tokenizers::Tokenizer,
    pub(crate) joining: Joining,
    pub(crate) controls: Vec<Added>,
    pub(crate) unknown: Option<(u32, String)>,
    pub(crate) unspellable: Vec<u8>,
    pub(crate) vocabulary: usize,
    pub(crate) notes: Vec<String>,
}

pub(crate) fn read(bytes: &[u8]) -> Result<Read, TokenizerError> {
    let mut document: Value = serde_json::from_slice(bytes)
        .map_err(|wrong| TokenizerError::unreadable(format!("not valid JSON: {wrong}")))?;
    let vocabulary = vocabulary(&document)?;
    let merged = check_merges(&document, &vocabulary)?;
    let unknown = unknown(&document, &vocabulary)?;
    let (unspellable, mut notes) = check_bytes(&document, &vocabulary, unknown.is_some())?;
    let mut controls = added(&document, &vocabulary)?;
    if let Some(forged) = controls.iter().find(|control| merged.contains(&control.name)) {
        let name = forged.name.escape_debug().to_string();
        let problem = "a merge makes it, so text could forge it".to_owned();
        return Err(TokenizerError::Added { name, problem });
    }
    let joining = if is_word_rule(&document) { Joining::Words } else { Joining::Decoder };
    let largest = vocabulary.values().chain(controls.iter().map(|added| &added.id)).max();
    let size = largest.map_or(0, |id| *id as usize + 1);
    notes.extend(strip(&mut document, &controls, unknown.as_ref()));
    // `<unk>` may be listed as a control token; it is what text that cannot be spelled becomes.
    controls.retain(|added| unknown.as_ref().is_none_or(|(id, _)| added.id != *id));
    let content = build(&document)?;
    if joining == Joining::Decoder && has_pattern(&document["pre_tokenizer"]) {
        check_speed(&content)?;
    }
    Ok(Read { content, joining, controls, unknown, unspellable, vocabulary: size, notes })
}

fn vocabulary(document: &Value) -> Result<BTreeMap<String, u32>, TokenizerError> {
    let model = &document["model"];
    let kind = model["type"].as_str().unwrap_or("nothing");
    if !matches!(kind, "BPE" | "WordLevel") {
        return Err(TokenizerError::unreadable(format!(
            "model type: got {}, expected BPE or WordLevel",
            kind.escape_debug()
        )));
    }
    let Some(map) = model["vocab"].as_object() else {
        return Err(TokenizerError::unreadable("`model.vocab` is missing"));
    };
    let mut vocabulary = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for (token, id) in map {
        let id = id.as_u64().filter(|id| *id < ID_MAX);
        let fresh = id.is_some_and(|id| ids.insert(id));
        let Some(id) = id.filter(|_| fresh) else {
            return Err(TokenizerError::unreadable(format!(
                "`model.vocab`: the id of \"{}\" is out of range or used twice",
                token.escape_debug()
            )));
        };
        vocabulary.insert(token.clone(), id as u32);
    }
    Ok(vocabulary)
}

/// The crate copies a merge into a buffer as long as the longest token and panics if it is longer.
/// Returns what merges make.
fn check_merges(
    document: &Value,
    vocabulary: &BTreeMap<String, u32>,
) -> Result<BTreeSet<String>, TokenizerError> {
    let mut merged = BTreeSet::new();
    let Some(merges) = document["model"]["merges"].as_array() else { return Ok(merged) };
    let prefix = document["model"]["continuing_subword_prefix"].as_str().unwrap_or("");
    for (number, merge) in merges.iter().enumerate() {
        // `["a", "b"]` in newer files, `"a b"` in older ones.
        let parts = match merge {
            Value::String(text) => text.split_once(' '),
            pair => pair[0].as_str().zip(pair[1].as_str()),
        };
        let Some((left, right)) = parts else {
            let problem = format!("merge {number}: got {merge}, expected two tokens");
            return Err(TokenizerError::unreadable(problem));
        };
        let rest = right.strip_prefix(prefix).unwrap_or(right);
        let result = format!("{left}{rest}");
        for token in [left, right, &result] {
            if !vocabulary.contains_key(token) {
                let token = token.escape_debug().to_string();
                return Err(TokenizerError::Merge { number, token });
            }
        }
        merged.insert(result);
    }
    Ok(merged)
}

fn unknown(
    document: &Value,
    vocabulary: &BTreeMap<String, u32>,
) -> Result<Option<(u32, String)>, TokenizerError> {
    let Some(name) = document["model"]["unk_token"].as_str() else { return Ok(None) };
    match vocabulary.get(name) {
        Some(id) => Ok(Some((*id, name.to_owned()))),
        None if document["model"]["type"] == "BPE" => Err(TokenizerError::unreadable(format!(
            "`unk_token` \"{}\" is not in the vocabulary",
            name.escape_debug()
        ))),
        None => Ok(None),
    }
}

/// Every byte must have a spelling, or text would be dropped without a word. Bytes that are rare
/// in text may lack one, with a note: SmolLM2's vocabulary has 235 of 256.
fn check_bytes(
    document: &Value,
    vocabulary: &BTreeMap<String, u32>,
    unknown: bool,
) -> Result<(Vec<u8>, Vec<String>), TokenizerError> {
    let byte_level =
        uses(&document["pre_tokenizer"], "ByteLevel") || uses(&document["normalizer"], "ByteLevel");
    let fallback = document["model"]["byte_fallback"] == true;
    if !byte_level && (unknown || (fallback && has_fallback(vocabulary))) {
        return Ok((Vec::new(), Vec::new()));
    }
    if !byte_level {
        let problem = "expected byte-level spelling, `byte_fallback` with all 256 bytes, or an \
                       `unk_token`";
        return Err(TokenizerError::Byte { byte: 0, problem });
    }
    let table = alphabet::characters();
    let lacks = |byte: &u8| !vocabulary.contains_key(&table[usize::from(*byte)].to_string());
    // 0xC0, 0xC1 and 0xF5 to 0xFF occur in no UTF-8 text.
    let missing: Vec<u8> =
        (0..=0xf4).filter(|byte| !matches!(byte, 0xc0 | 0xc1)).filter(lacks).collect();
    let needed = |byte: &&u8| matches!(byte, b'\t' | b'\n' | b' '..=b'~');
    if let Some(byte) = missing.iter().find(needed) {
        let problem = "its character is not in the vocabulary";
        return Err(TokenizerError::Byte { byte: *byte, problem });
    }
    let list = missing.iter().map(|byte| format!("0x{byte:02X}")).collect::<Vec<_>>().join(", ");
    let note = format!("tokenizer.json: cannot encode {list}: such characters become U+FFFD");
    let notes = if missing.is_empty() { Vec::new() } else { vec![note] };
    Ok((missing, notes))
}

fn has_fallback(vocabulary: &BTreeMap<String, u32>) -> bool {
    (0..=255_u8).all(|byte| vocabulary.contains_key(&format!("<0x{byte:02X}>")))
}

/// Whether a component, or one in its sequence, is of this type.
fn uses(component: &Value, kind: &str) -> bool {
    let lists = ["pretokenizers", "normalizers"];
    component["type"] == kind
        || lists
            .iter()
            .filter_map(|name| component[name].as_array())
            .flatten()
            .any(|part| part["type"] == kind)
}

fn added(
    document: &Value,
    vocabulary: &BTreeMap<String, u32>,
) -> Result<Vec<Added>, TokenizerError> {
    let none = Vec::new();
    let list = document["added_tokens"].as_array().unwrap_or(&none);
    if list.len() > ADDED_MAX {
        let got = list.len();
        let problem = format!("got {got} added tokens, expected at most {ADDED_MAX}");
        return Err(TokenizerError::unreadable(problem));
    }
    let taken: BTreeMap<u32, &str> =
        vocabulary.iter().map(|(token, id)| (*id, token.as_str())).collect();
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let mut added = Vec::new();
    for token in list {
        let name = token["content"].as_str().unwrap_or_default();
        let wrong = |problem: String| TokenizerError::Added {
            name: name.escape_debug().to_string(),
            problem,
        };
        let Some(id) = token["id"].as_u64().filter(|id| *id < ID_MAX).map(|id| id as u32) else {
            let got = &token["id"];
            return Err(wrong(format!("got id {got}, expected 0 to {}", ID_MAX - 1)));
        };
        if name.is_empty() {
            return Err(wrong(format!("the text of id {id} is empty")));
        }
        if !names.insert(name) || !ids.insert(id) {
            return Err(wrong(format!("it or its id {id} is listed twice")));
        }
        if taken.get(&id).is_some_and(|other| *other != name)
            || vocabulary.get(name).is_some_and(|other| *other != id)
        {
            return Err(wrong(format!("id {id} disagrees with `model.vocab`")));
        }
        let special = token["special"] == true;
        added.push(Added { name: name.to_owned(), id, special });
    }
    Ok(added)
}

/// Leaves nothing in the document by which text could become a control token, be cut or padded.
fn strip(document: &mut Value, controls: &[Added], unknown: Option<&(u32, String)>) -> Vec<String> {
    let mut notes = Vec::new();
    for name in ["truncation", "padding"] {
        if !document[name].is_null() {
            notes.push(format!("tokenizer.json: ignored `{name}`"));
        }
        document[name] = Value::Null;
    }
    if document["model"]["dropout"].as_f64().is_some_and(|dropout| dropout > 0.0) {
        notes.push("tokenizer.json: ignored `dropout`: encoding is deterministic".to_owned());
    }
    if document["model"]["type"] == "BPE" {
        document["model"]["dropout"] = Value::Null;
    }
    document["post_processor"] = Value::Null;
    if !stepwell_mutant::planted(26) {
        document["added_tokens"] = json!([]);
    }
    // Their ids stay taken: a token keeps the id the file gives it.
    if let Some(vocabulary) = document["model"]["vocab"].as_object_mut() {
        for control in controls {
            if unknown.is_none_or(|(_, name)| *name != control.name) {
                vocabulary.remove(&control.name);
            }
        }
    }
    notes
}

/// Whether this is a file of our own word rule.
fn is_word_rule(document: &Value) -> bool {
    document["pre_tokenizer"]["pattern"]["Regex"] == words::PATTERN
        && document["model"]["continuing_subword_prefix"] == words::CONTINUED.to_string()
}

/// Whether text is cut by a pattern of the file's own.
fn has_pattern(component: &Value) -> bool {
    let own = component["pattern"]["Regex"].is_string();
    own || component["pretokenizers"].as_array().into_iter().flatten().any(has_pattern)
}

/// A pattern may look ahead over the whole text at every character. Usual ones cut these texts in
/// milliseconds; one that is slow twice is slow, not interrupted.
fn check_speed(content: &tokenizers::Tokenizer) -> Result<(), TokenizerError> {
    for unit in ["a", " ", "1", "'", "\n"] {
        let text = unit.repeat(PROBE_BYTES) + "x";
        let slow = || {
            let began = Instant::now();
            drop(content.encode_fast(text.as_str(), false));
            began.elapsed() > PROBE_TIME_MAX
        };
        if slow() && slow() {
            return Err(TokenizerError::Slow { unit: unit.escape_debug().to_string() });
        }
    }
    Ok(())
}

/// The crate's own reading. Its panics are errors here: a bad file is not a bug of this program.
fn build(document: &Value) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let bytes = document.to_string().into_bytes();
    let built = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(&bytes));
    match built {
        Ok(Ok(tokenizer)) => Ok(tokenizer),
        Ok(Err(wrong)) => Err(TokenizerError::unreadable(wrong.to_string())),
        Err(_) => Err(TokenizerError::unreadable("the tokenizers library failed on it")),
    }
}
