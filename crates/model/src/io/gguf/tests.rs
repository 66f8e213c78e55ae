use std::collections::BTreeSet;

use serde_json::json;

use super::{
    merges, quant,
    tokenizer::{self, Words},
    value::{Metadata, Value},
};
use crate::tokenizer::Tokenizer;

fn bytes(hex: &serde_json::Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// `tools/make_gguf_fixtures.py` wrote the blocks and what the package `gguf` makes of them.
#[test]
fn blocks_of_every_type_are_the_reference_bit_for_bit() {
    let text = include_str!("../../../tests/fixtures/gguf_blocks.json");
    let record: serde_json::Value = serde_json::from_str(text).unwrap();
    let record = record.as_object().unwrap();
    assert_eq!(record.len(), quant::names().split(", ").count());
    for (name, case) in record {
        let number = case["number"].as_u64().unwrap() as u32;
        let (known, kind) = quant::named(number).unwrap();
        assert_eq!(known, name);
        let values = kind.unwrap().to_f32(&bytes(&case["bytes"]));
        let expected = bytes(&case["values"]);
        let expected =
            expected.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        assert!(values.len() >= 192, "{name}");
        assert!(values.iter().map(|value| value.to_bits()).eq(expected), "{name}");
    }
}

/// SentencePiece's own rule: join the best neighbours, the first of equals, until none is left.
fn sentence_piece(tokens: &[String], scores: &[f64], text: &str) -> Vec<String> {
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(f64, usize)> = None;
        for at in 1..parts.len() {
            let whole = format!("{}{}", parts[at - 1], parts[at]);
            // The specials and the bytes are no pieces.
            let id = tokens.iter().position(|token| *token == whole).filter(|id| *id >= 259);
            let score = id.map(|id| scores[id]);
            if let Some(score) = score
                && best.is_none_or(|(other, _)| score > other)
            {
                best = Some((score, at));
            }
        }
        let Some((_, at)) = best else { return parts };
        let right = parts.remove(at);
        parts[at - 1].push_str(&right);
    }
}

/// A SentencePiece vocabulary: specials, bytes, pieces with falling scores.
fn pieces() -> Metadata {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut types = vec![2.0, 3.0, 3.0];
    for byte in 0..=255_u8 {
        tokens.push(format!("<0x{byte:02X}>"));
        types.push(6.0);
    }
    let text = [
        "ab",
        "▁a",
        "abc",
        "▁ab",
        "bc",
        "ca",
        "▁▁",
        "cab",
        "▁▁▁▁",
        "bca",
        "aa",
        "aaaa",
        "</",
        "s>",
        "▁abc",
        "▁",
        "a",
        "b",
        "c",
        "<",
        "/",
        "s",
        ">",
    ];
    tokens.extend(text.map(str::to_owned));
    types.resize(tokens.len(), 1.0);
    let scores = (0..tokens.len()).map(|id| if id < 259 { 0.0 } else { 259.0 - id as f64 });
    let ends = [("bos", 1), ("eos", 2)];
    let mut metadata = Metadata::from([
        ("tokenizer.ggml.model".to_owned(), Value::Text("llama".to_owned())),
        ("tokenizer.ggml.scores".to_owned(), Value::Numbers(scores.collect())),
        ("tokenizer.ggml.tokens".to_owned(), Value::Texts(tokens)),
        ("tokenizer.ggml.token_type".to_owned(), Value::Numbers(types)),
    ]);
    for (name, id) in ends {
        metadata.insert(format!("tokenizer.ggml.{name}_token_id"), Value::Whole(id));
    }
    metadata
}

fn built(metadata: &Metadata) -> (Tokenizer, Words) {
    let words = tokenizer::read(metadata).unwrap();
    let (tokenizer, notes) = Tokenizer::from_json(words.document.to_string().as_bytes()).unwrap();
    assert_eq!(notes, Vec::<String>::new());
    (tokenizer, words)
}

#[test]
fn scores_become_merges_that_join_as_sentence_piece_does() {
    let mut metadata = pieces();
    let Value::Texts(tokens) = metadata["tokenizer.ggml.tokens"].clone() else { panic!() };
    let Value::Numbers(scores) = metadata["tokenizer.ggml.scores"].clone() else { panic!() };
    let (tokenizer, words) = built(&metadata);
    assert_eq!((words.ends.as_slice(), words.size), ([2].as_slice(), tokens.len()));
    assert_eq!(words.controls.begin.as_deref(), Some("<s>"));
    let alphabet = ["a", "b", "c", " ", "aa", "ab", "  ", "</s>"];
    for seed in 0..400_usize {
        let parts = (0..seed % 23).map(|at| alphabet[(seed * 31 + at * at * 7 + at * seed) % 8]);
        let text: String = parts.collect();
        let spelled = format!("▁{}", text.replace(' ', "▁"));
        let expected: Vec<u32> = sentence_piece(&tokens, &scores, &spelled)
            .iter()
            .map(|part| tokens.iter().position(|token| token == part).unwrap() as u32)
            .collect();
        let expected = if text.is_empty() { Vec::new() } else { expected };
        assert_eq!(tokenizer.encode(&text), expected, "{text:?}");
        assert_eq!(tokenizer.decode(&expected), text, "{text:?}");
    }
    // What has no piece is spelled by bytes; what looks like a byte or an end is text.
    assert_eq!(tokenizer.encode("é").len(), 1 + 2);
    assert_eq!(tokenizer.decode(&tokenizer.encode("é <0x41>\n")), "é <0x41>\n");
    assert!(!tokenizer.encode("</s>").contains(&2));
    metadata.insert("tokenizer.ggml.add_space_prefix".to_owned(), Value::Flag(false));
    let bare = built(&metadata).0;
    let id = |piece: &str| tokens.iter().position(|token| token == piece).unwrap() as u32;
    assert_eq!(bare.encode("ab ab"), [id("ab"), id("▁ab")]);
    assert_eq!(bare.decode(&bare.encode(" ab")), " ab");
}

#[test]
fn every_way_to_make_a_piece_is_a_merge_and_the_best_piece_comes_first() {
    let tokens = ["a", "aa", "aaa", "<s>"].map(str::to_owned);
    let whole = BTreeSet::from([0, 1, 2]);
    assert_eq!(
        merges::by_score(&tokens, &[0.0, -2.0, -1.0, 0.0], &whole),
        [(0, 1), (1, 0), (0, 0)]
    );
}

/// A byte-level vocabulary with this rule; some digits and letters merge.
fn byte_level(rule: &str) -> Tokenizer {
    let document: serde_json::Value = serde_json::from_slice(Tokenizer::bytes().to_json()).unwrap();
    let mut tokens = vec![String::new(); 256];
    for (token, id) in document["model"]["vocab"].as_object().unwrap() {
        if let Some(place) = tokens.get_mut(id.as_u64().unwrap() as usize) {
            *place = token.clone();
        }
    }
    let merges = ["1 2", "12 3", "Ġ 1", "Ġ Ġ", "ĠĠ ĠĠ", "a b", "' T", "Ċ Ċ", "! !", "Ġ a"];
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    tokens.extend(["1234", "<think>", "<|end|>"].map(str::to_owned));
    let mut types = vec![1.0; tokens.len()];
    let count = tokens.len();
    (types[count - 2], types[count - 1]) = (4.0, 3.0);
    let metadata = Metadata::from([
        ("tokenizer.ggml.model".to_owned(), Value::Text("gpt2".to_owned())),
        ("tokenizer.ggml.pre".to_owned(), Value::Text(rule.to_owned())),
        ("tokenizer.ggml.tokens".to_owned(), Value::Texts(tokens)),
        ("tokenizer.ggml.token_type".to_owned(), Value::Numbers(types)),
        ("tokenizer.ggml.merges".to_owned(), Value::Texts(merges.map(str::to_owned).to_vec())),
        ("tokenizer.ggml.eos_token_id".to_owned(), Value::Whole(count as i128 - 1)),
    ]);
    built(&metadata).0
}

/// The rules differ in digits, in blanks before them, in contractions and in whole words.
#[test]
fn each_rule_cuts_in_its_own_way() {
    let cases = [
        ("smollm", json!(["1", "2", "3", "4"]), json!(["Ġ", "1"]), json!(["'", "T"])),
        ("gpt-2", json!(["123", "4"]), json!(["Ġ1"]), json!(["'", "T"])),
        ("llama-bpe", json!(["123", "4"]), json!(["Ġ", "1"]), json!(["'T"])),
        ("qwen2", json!(["1", "2", "3", "4"]), json!(["Ġ", "1"]), json!(["'T"])),
        ("default", json!(["123", "4"]), json!(["Ġ", "1"]), json!(["'", "T"])),
    ];
    for (rule, digits, blank, contraction) in cases {
        let tokenizer = byte_level(rule);
        let spell = |text: &str| -> serde_json::Value {
            let ids = tokenizer.encode(text);
            assert_eq!(tokenizer.decode(&ids), text, "{rule}");
            ids.iter().map(|id| tokenizer.spelling(*id).unwrap()).collect()
        };
        assert_eq!(spell("1234"), digits, "{rule}");
        assert_eq!(spell(" 1"), blank, "{rule}");
        assert_eq!(spell("'T"), contraction, "{rule}");
        assert_eq!(tokenizer.encode("<think>").len(), 7, "{rule}: text forges no control");
        assert_eq!(tokenizer.decode(&[tokenizer.control("<think>").unwrap()]), "<think>");
        assert_eq!(tokenizer.decode(&[tokenizer.control("<|end|>").unwrap()]), "");
    }
    // Llama 3 takes a piece that is a token whole, though no merge makes it.
    assert_eq!(byte_level("llama-bpe").encode("\n\n").len(), 1);
    // Qwen composes text first.
    let composed = byte_level("qwen2");
    assert_eq!(composed.encode("e\u{301}"), composed.encode("é"));
}

/// Row 51: a megabyte without a break, for the rules that are not the crate's own.
#[test]
fn long_texts_are_cut_in_bounded_time_without_loss() {
    for rule in ["smollm", "llama-bpe", "qwen2", "default"] {
        let tokenizer = byte_level(rule);
        for unit in ["a", " ", "1", "'", "!", "\n", " \n"] {
            let text = unit.repeat((1 << 20) / unit.len()) + "x";
            let began = std::time::Instant::now();
            let ids = tokenizer.encode(&text);
            let seconds = began.elapsed().as_secs_f64();
            assert!(seconds < 10.0, "{rule} {unit:?}: {seconds} s");
            assert!(tokenizer.decode(&ids) == text, "{rule} {unit:?}: text was lost");
        }
    }
}
