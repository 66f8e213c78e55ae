use std::path::Path;

use serde_json::json;

use super::*;
use crate::{
    config::{Config, Family},
    testing::tiny,
};

type Files = Vec<(String, Vec<u8>)>;

fn small(family: Family) -> (Model, Tokenizer) {
    let tokenizer = Tokenizer::from_words(["<think>", "</think>", "how", "many"]).unwrap();
    let config = Config { vocabulary: tokenizer.vocabulary(), ..tiny(family) };
    (Model::random(config, 5), tokenizer)
}

fn files() -> Files {
    let (model, tokenizer) = small(Family::Llama);
    folder_bytes(&model, &tokenizer, Some(&ChatTemplate::plain())).unwrap()
}

fn put(files: &mut Files, name: &str, bytes: Vec<u8>) {
    files.retain(|(other, _)| other != name);
    files.push((name.to_owned(), bytes));
}

fn take(files: &mut Files, name: &str) -> Vec<u8> {
    let at = files.iter().position(|(other, _)| other == name).unwrap();
    files.remove(at).1
}

#[test]
fn a_folder_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for (family, name) in [(Family::Llama, "a"), (Family::Qwen2, "b"), (Family::Qwen3, "c")] {
        let path = folder.path().join(name);
        let (model, tokenizer) = small(family);
        save_folder(&path, &model, &tokenizer, Some(&ChatTemplate::plain())).unwrap();
        let loaded = load_folder(&path).unwrap();
        assert_eq!(loaded.model.checksum(), model.checksum());
        assert_eq!(loaded.model.config(), model.config());
        assert_eq!(loaded.tokenizer.to_json(), tokenizer.to_json());
        assert_eq!(loaded.tokenizer.end_of_text(), tokenizer.end_of_text());
        assert_eq!(loaded.template, Some(ChatTemplate::plain()));
        assert_eq!(loaded.notes, Vec::<String>::new());
        let again = save_folder(&path, &model, &tokenizer, None).unwrap_err().to_string();
        assert!(again.ends_with("cannot be written: expected an empty folder; name another"));
        let bytes = folder_bytes(&model, &tokenizer, Some(&ChatTemplate::plain())).unwrap();
        assert_eq!(from_bytes(&bytes).unwrap().model.checksum(), model.checksum());
    }
}

#[test]
fn shards_and_halves_are_read() {
    let mut files = files();
    let whole = take(&mut files, "model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let mut map = serde_json::Map::new();
    let mut shards: [Vec<(String, safetensors::tensor::TensorView<'_>)>; 2] = [vec![], vec![]];
    for (number, (name, view)) in tensors.tensors().into_iter().enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", number % 2 + 1);
        map.insert(name.clone(), json!(file));
        shards[number % 2].push((name, view));
    }
    for (number, shard) in shards.into_iter().enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", number + 1);
        put(&mut files, &name, safetensors::serialize(shard, None).unwrap());
    }
    let index = json!({ "weight_map": map }).to_string().into_bytes();
    put(&mut files, "model.safetensors.index.json", index);
    assert_eq!(from_bytes(&files).unwrap().model.checksum(), small(Family::Llama).0.checksum());
    // bf16: truncated values, exactly.
    let cut = |view: &safetensors::tensor::TensorView<'_>| -> Vec<u8> {
        view.data().chunks_exact(4).flat_map(|word| [word[2], word[3]]).collect()
    };
    let halves: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .tensors()
        .iter()
        .map(|(name, view)| (name.clone(), view.shape().to_vec(), cut(view)))
        .collect();
    let views = halves.iter().map(|(name, shape, data)| {
        let kind = safetensors::Dtype::BF16;
        (name, safetensors::tensor::TensorView::new(kind, shape.clone(), data).unwrap())
    });
    put(&mut files, "model.safetensors", safetensors::serialize(views, None).unwrap());
    let loaded = from_bytes(&files).unwrap().model;
    for (ours, full) in loaded.parameters().iter().zip(small(Family::Llama).0.parameters()) {
        for (value, full) in ours.to_row_major().iter().zip(full.to_row_major()) {
            assert_eq!(value.to_bits(), full.to_bits() & 0xffff_0000);
        }
    }
}

#[test]
fn missing_and_foreign_files_are_named() {
    let cases: [(&str, Option<&[u8]>, &str); 9] = [
        (
            "config.json",
            None,
            "`config.json` is missing: expected in the model folder; give a Hugging Face folder \
             of a Llama, Qwen2 or Qwen3 model",
        ),
        (
            "tokenizer.json",
            None,
            "`tokenizer.json` is missing: expected in the model folder; save the tokenizer with \
             transformers' `AutoTokenizer(...).save_pretrained`",
        ),
        (
            "model.safetensors",
            None,
            "`model.safetensors` is missing: expected in the model folder; give a Hugging Face \
             folder with safetensors weights",
        ),
        (
            "model.safetensors",
            Some(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
            "`model.safetensors` is not a safetensors file: it is a Git-LFS pointer; run `git \
             lfs pull`",
        ),
        (
            "model.safetensors",
            Some(b"<!DOCTYPE html><html>"),
            "`model.safetensors` is not a safetensors file: it is an HTML page; the download was \
             redirected: fetch the file itself",
        ),
        (
            "model.safetensors",
            Some(b"PK\x03\x04rest"),
            "`model.safetensors` is not a safetensors file: it is a PyTorch pickle; pickle files \
             can run code and are not read: convert to safetensors",
        ),
        (
            "model.safetensors",
            Some(b""),
            "`model.safetensors` is not a safetensors file: it is empty; fetch or write it again",
        ),
        (
            "model.safetensors",
            Some(b"1234567"),
            "`model.safetensors`: got 7 bytes, expected at least 8 for the header's length; the \
             file is damaged: fetch or write it again",
        ),
        (
            "config.json",
            Some(b"{ \"a\": NaN }"),
            "`config.json`: not valid JSON: expected value at line 1 column 8; the file is \
             damaged: fetch or write it again",
        ),
    ];
    for (name, bytes, expected) in cases {
        let mut files = files();
        match bytes {
            Some(bytes) => put(&mut files, name, bytes.to_vec()),
            None => drop(take(&mut files, name)),
        }
        assert_eq!(from_bytes(&files).unwrap_err().to_string(), expected);
    }
    let mut pickled = files();
    let bytes = take(&mut pickled, "model.safetensors");
    put(&mut pickled, "pytorch_model.bin", bytes);
    let message = from_bytes(&pickled).unwrap_err().to_string();
    assert!(message.starts_with("`pytorch_model.bin` is not a safetensors file"), "{message}");
    let missing = load_folder(Path::new("/nonexistent/model")).unwrap_err().to_string();
    assert!(missing.starts_with("`/nonexistent/model` cannot be read: No such file"), "{missing}");
}

#[test]
fn shard_names_are_plain_and_tensors_stand_once() {
    for path in ["/etc/passwd", "../model.safetensors", ".safetensors", "a/b.safetensors", "x.bin"]
    {
        let mut files = files();
        take(&mut files, "model.safetensors");
        let index = json!({ "weight_map": { "lm_head.weight": path } }).to_string().into_bytes();
        put(&mut files, "model.safetensors.index.json", index);
        let message = from_bytes(&files).unwrap_err().to_string();
        let expected =
            format!("shard path must be a plain file name ending in .safetensors: got \"{path}\"");
        assert!(message.contains(&expected), "{message}");
    }
    let mut files = files();
    let whole = take(&mut files, "model.safetensors");
    put(&mut files, "a.safetensors", whole.clone());
    put(&mut files, "b.safetensors", whole);
    let map = json!({ "weight_map": { "x": "a.safetensors", "y": "b.safetensors" } });
    put(&mut files, "model.safetensors.index.json", map.to_string().into_bytes());
    let message = from_bytes(&files).unwrap_err().to_string();
    let expected = "`model.norm.weight` is in two files: a.safetensors and b.safetensors";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn tensors_that_do_not_fit_are_all_listed() {
    let (model, tokenizer) = small(Family::Llama);
    let mut files = folder_bytes(&model, &tokenizer, None).unwrap();
    let qwen = Config { family: Family::Qwen3, tied: false, ..model.config().clone() };
    put(&mut files, "config.json", settings::write(&Config { ffn: 64, ..qwen }, &[1]));
    let message = from_bytes(&files).unwrap_err().to_string();
    for expected in [
        "`model.safetensors` has 11 problems:",
        "`lm_head.weight` is missing: config says untied embeddings",
        "`model.layers.1.self_attn.k_norm.weight` is missing: config.json describes it",
        "`model.layers.0.mlp.up_proj.weight` has shape [52, 40], expected [64, 40] by config.json",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let biased = folder_bytes(&small(Family::Qwen2).0, &tokenizer, None).unwrap();
    put(&mut files, "config.json", settings::write(model.config(), &[1]));
    let weights = biased.into_iter().find(|(name, _)| name == "model.safetensors").unwrap().1;
    put(&mut files, "model.safetensors", weights);
    let message = from_bytes(&files).unwrap_err().to_string();
    let expected = "`model.layers.0.self_attn.q_proj.bias` is unexpected: config.json describes \
                    no such tensor";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn weights_are_finite_and_vocabularies_fit() {
    let (mut model, tokenizer) = small(Family::Llama);
    let mut norm = vec![1.0; model.config().hidden];
    (norm[3], norm[7]) = (f32::NAN, f32::INFINITY);
    model.set_parameter("model.norm.weight", &norm).unwrap();
    let files = folder_bytes(&model, &tokenizer, None).unwrap();
    assert_eq!(
        from_bytes(&files).unwrap_err().to_string(),
        "`the weights` has 1 problem:\n  `model.norm.weight` holds 2 non-finite values (first at 3)"
    );
    let sized = |vocabulary| {
        let model = Model::random(Config { vocabulary, ..model.config().clone() }, 1);
        from_bytes(&folder_bytes(&model, &tokenizer, None).unwrap())
    };
    let ids = tokenizer.vocabulary();
    let more = sized(ids + 5).unwrap();
    assert_eq!(
        more.notes,
        [format!(
            "tokenizer has {ids} ids, model has {} rows: ids from {ids} on stand for no text",
            ids + 5
        )]
    );
    let message = sized(ids - 1).unwrap_err().to_string();
    let expected = format!("got {ids} ids, expected at most the model's {} rows", ids - 1);
    assert!(message.contains(&expected), "{message}");
}

/// Cutting a good file anywhere, or changing any byte of its header, never panics.
#[test]
fn damaged_weights_never_panic() {
    let mut files = files();
    let whole = take(&mut files, "model.safetensors");
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let cuts = (0..header.min(200)).chain([header - 1, header, header + 1, whole.len() - 1]);
    for cut in cuts {
        put(&mut files, "model.safetensors", whole[..cut].to_vec());
        from_bytes(&files).unwrap_err();
    }
    for at in (0..header).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 0x11;
        put(&mut files, "model.safetensors", changed);
        drop(from_bytes(&files));
    }
}
