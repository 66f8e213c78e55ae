//! Named maxima of a model's files: what is exactly as large as it may be is accepted, and one more
//! is refused with its limit named (P20).

mod support;

use std::fs::File;
use std::io::Write as _;

use serde_json::{Value, json};
use stepwell_model::template::{ChatTemplate, Controls, Message};
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{io, limits};
use support::gguf::{Item, folder, of_folder};

type Files = Vec<(String, Vec<u8>)>;

fn files() -> Files {
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let read = |name: &str| std::fs::read(folder("llama_tied").join(name)).unwrap();
    names.map(|name| (name.to_owned(), read(name))).to_vec()
}

fn with(name: &str, bytes: Vec<u8>) -> Files {
    let mut files = files();
    files.retain(|(other, _)| other != name);
    files.push((name.to_owned(), bytes));
    files
}

#[track_caller]
fn says(files: &Files, expected: &str) {
    let message = io::from_bytes(files).unwrap_err().to_string();
    assert!(message.contains(expected), "\n got {message}\nwant {expected}");
}

#[test]
fn text_files_of_a_model() {
    let config = std::fs::read(folder("llama_tied").join("config.json")).unwrap();
    let padded = |bytes: u64| {
        let mut text = config.clone();
        text.resize(bytes as usize, b' ');
        with("config.json", text)
    };
    assert!(io::from_bytes(&padded(limits::TEXT_BYTES)).is_ok());
    says(&padded(limits::TEXT_BYTES + 1), "got 67108865 bytes, expected at most 67108864");
}

/// The weights with another header of the same meaning, padded with spaces to a length.
fn padded_header(bytes: usize) -> Vec<u8> {
    let whole = std::fs::read(folder("llama_tied").join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let mut header = whole[8..8 + length].to_vec();
    header.resize(bytes, b' ');
    [&(bytes as u64).to_le_bytes()[..], &header, &whole[8 + length..]].concat()
}

#[test]
fn headers_and_names_of_tensors() {
    let most = limits::HEADER_BYTES as usize;
    assert!(io::from_bytes(&with("model.safetensors", padded_header(most))).is_ok());
    let expected = "header claims 100000001 bytes, expected at most 100000000";
    says(&with("model.safetensors", padded_header(most + 1)), expected);
    let named = |bytes: usize| {
        let entry = json!({ "dtype": "F32", "shape": [1], "data_offsets": [0, 4] });
        let header = json!({ "x".repeat(bytes): entry }).to_string();
        let length = (header.len() as u64).to_le_bytes();
        with("model.safetensors", [&length[..], header.as_bytes(), &[0; 4]].concat())
    };
    says(&named(limits::TENSOR_NAME_BYTES), "xxx` is unexpected: config.json describes no such");
    says(&named(limits::TENSOR_NAME_BYTES + 1), "tensor name is not plain: \"xxx");
}

#[test]
fn shards_of_an_index() {
    let index = |count: usize| {
        let map: Value =
            (0..count).map(|i| (format!("t{i}"), format!("{i}.safetensors"))).collect();
        let mut files =
            with("model.safetensors.index.json", json!({ "weight_map": map }).to_string().into());
        files.retain(|(name, _)| name != "model.safetensors");
        files
    };
    says(&index(limits::SHARDS), "`0.safetensors` is missing");
    says(&index(limits::SHARDS + 1), "got 4097 shards, expected 1 to 4096");
}

#[test]
fn lengths_in_gguf_files() {
    let good = of_folder("llama_tied");
    let read = |key: String, item: Item| {
        let mut file = good.clone();
        file.items.push((key, item));
        io::from_gguf(&file.bytes()).map(|_| ()).map_err(|error| error.to_string())
    };
    let key = |bytes: u64| read("x".repeat(bytes as usize), Item::U32(1));
    assert_eq!(key(limits::GGUF_KEY_BYTES), Ok(()));
    let error = key(limits::GGUF_KEY_BYTES + 1).unwrap_err();
    assert!(error.contains("got 65536 bytes, expected at most 65535"), "{error}");
    let text = |bytes: u64| read("k".to_owned(), Item::Text("x".repeat(bytes as usize)));
    assert_eq!(text(limits::GGUF_TEXT_BYTES), Ok(()));
    let error = text(limits::GGUF_TEXT_BYTES + 1).unwrap_err();
    assert!(error.contains("`k`: got 16777217 bytes, expected at most 16777216"), "{error}");
    let name = |bytes: u64| {
        let mut file = good.clone();
        file.tensors[0].name = "x".repeat(bytes as usize);
        io::from_gguf(&file.bytes()).unwrap_err().to_string()
    };
    let error = name(limits::GGUF_NAME_BYTES);
    assert!(error.contains("is unexpected: the metadata describes no such tensor"), "{error}");
    let error = name(limits::GGUF_NAME_BYTES + 1);
    assert!(error.contains("got 513 bytes, expected at most 512"), "{error}");
}

#[test]
fn ids_and_added_tokens() {
    let bytes = std::fs::read(folder("llama_tied").join("tokenizer.json")).unwrap();
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    let read = |tokens: Vec<Value>| {
        let mut document = document.clone();
        document["added_tokens"] = json!(tokens);
        let read = Tokenizer::from_json(document.to_string().as_bytes());
        read.map(|(tokenizer, _)| tokenizer.vocabulary()).map_err(|error| error.to_string())
    };
    let token = |id: u64| json!({ "id": id, "content": format!("<{id}>"), "special": true });
    let most = limits::TOKEN_IDS;
    assert_eq!(read(vec![token(most - 1)]), Ok(most as usize));
    let expected =
        "tokenizer.json: added token \"<2097152>\": got id 2097152, expected 0 to 2097151";
    assert_eq!(read(vec![token(most)]).unwrap_err(), expected);
    let many = |count: usize| read((0..count as u64).map(|i| token(1000 + i)).collect());
    assert!(many(limits::ADDED_TOKENS).is_ok());
    let error = many(limits::ADDED_TOKENS + 1).unwrap_err();
    assert!(error.contains("got 65537 added tokens, expected at most 65536"), "{error}");
}

#[test]
fn words_of_a_vocabulary() {
    let words = |count: usize| Tokenizer::from_words((0..count).map(|n| format!("w{n:x}")));
    let error = words(limits::WORDS + 1).map(|_| ()).unwrap_err().to_string();
    let expected =
        "too many words: got 1000001, expected at most 1000000; use a byte-level tokenizer";
    assert_eq!(error, expected);
    assert!(words(limits::WORDS).is_ok());
}

#[test]
fn templates() {
    let new = |source: &str| ChatTemplate::new(source, Controls::default());
    let rest = "{{ messages[0].content }}";
    let long = |bytes: usize| format!("{rest}{{#{}#}}", "x".repeat(bytes - rest.len() - 4));
    assert!(new(&long(limits::TEMPLATE_BYTES)).is_ok());
    let error = new(&long(limits::TEMPLATE_BYTES + 1)).unwrap_err().to_string();
    assert_eq!(error, "chat_template: got 1048577 bytes, expected at most 1048576");
    let tokenizer = Tokenizer::bytes();
    // The content's sentinel is 14 letters.
    let written = |bytes: usize| {
        let source = format!("{rest}{{{{ 'x' * {} }}}}", bytes - "qz0content0zq".len());
        let messages = [Message { role: "user", content: "a" }];
        let ids = new(&source).unwrap().apply(&tokenizer, &messages, false);
        ids.map(|ids| ids.len()).map_err(|error| error.to_string())
    };
    let most = limits::TEMPLATE_OUTPUT_BYTES;
    assert_eq!(written(most), Ok(most - "qz0content0zq".len() + 1));
    assert_eq!(written(most + 1).unwrap_err(), "chat_template: output over 4 MiB");
}

/// A file that says it is larger than the limit is refused before it is read, wherever it lies.
#[test]
fn a_sparse_file_is_refused_by_its_length() {
    let place = tempfile::tempdir().unwrap();
    let mut file = File::create(place.path().join("config.json")).unwrap();
    file.write_all(b"{}").unwrap();
    file.set_len(1 << 40).unwrap();
    let message = io::load_folder(place.path()).unwrap_err().to_string();
    assert!(message.contains("got 1099511627776 bytes, expected at most 67108864"), "{message}");
}
