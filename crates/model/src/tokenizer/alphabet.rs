//! Byte-level spelling: GPT-2's table, in which every byte is a printable character.

use serde_json::{Map, Value, json};

use super::{ANSWER, END, PROMPT};

/// The character that spells each byte: itself where it is printable and not blank, else the
/// next free one from U+0100 on.
pub(crate) fn characters() -> [char; 256] {
    let mut table = ['\0'; 256];
    let mut spare = 0x100;
    for byte in 0..=255_u8 {
        let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        table[usize::from(byte)] = if printable {
            char::from(byte)
        } else {
            let next = char::from_u32(spare).unwrap_or('\u{fffd}');
            spare += 1;
            next
        };
    }
    table
}

/// A `tokenizer.json` in which the id of a byte is the byte.
pub(crate) fn byte_document() -> Vec<u8> {
    let mut vocabulary: Map<String, Value> = Map::new();
    for (byte, character) in characters().iter().enumerate() {
        vocabulary.insert(character.to_string(), json!(byte));
    }
    let controls = [END, PROMPT, ANSWER];
    let added: Vec<Value> =
        controls.iter().zip(256..).map(|(name, id)| added_token(name, id)).collect();
    for (name, id) in controls.iter().zip(256..) {
        vocabulary.insert((*name).to_owned(), json!(id));
    }
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false
    });
    let document = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": [],
        },
    });
    document.to_string().into_bytes()
}

/// A control token as `added_tokens` lists it.
pub(crate) fn added_token(name: &str, id: u32) -> Value {
    json!({
        "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_gpt2s() {
        let table = characters();
        assert_eq!(table[usize::from(b'A')], 'A');
        assert_eq!(table[usize::from(b' ')], 'Ġ');
        assert_eq!(table[usize::from(b'\n')], 'Ċ');
        assert_eq!(table[0xad], '\u{143}');
        let distinct: std::collections::BTreeSet<char> = table.into_iter().collect();
        assert_eq!(distinct.len(), 256);
    }
}
