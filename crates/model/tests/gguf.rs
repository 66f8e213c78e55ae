//! GGUF files: the same model as the folder they were converted from, and every damage by name
//! (row 49 of the bad inputs).

mod support;

use stepwell_model::{Config, Packed, RopeScaling, Scored, Workspace, io};
use support::gguf::{File, Item, Tensor, factors_tensor, folder, llama3_factors, of_folder};

const TEXTS: [&str; 6] =
    ["the other cat, naïve\n", "", "  a  b 12 345", "<|im_end|>", "don't\tstop\r\n", "日本語 😀"];

#[test]
fn a_file_is_the_folder_it_was_converted_from() {
    for name in ["llama_tied", "llama_untied", "qwen2", "qwen3"] {
        let expected = io::load_folder(&folder(name)).unwrap();
        let mut file = of_folder(name);
        if let RopeScaling::Llama3 { factor, original_context, .. } =
            expected.model.config().rope_scaling
        {
            let config = expected.model.config();
            let context = original_context as f64;
            let factors = llama3_factors(config.rope_base, config.head_dim, factor, context);
            file.tensors.insert(0, factors_tensor(&factors));
            let stated = Item::U32(original_context as u32);
            file.set("llama.rope.scaling.original_context_length", stated);
        }
        let loaded = io::from_gguf(&file.bytes()).unwrap();
        assert_eq!(loaded.notes, Vec::<String>::new(), "{name}");
        assert_eq!(loaded.model.config(), expected.model.config(), "{name}");
        assert_eq!(loaded.model.checksum(), expected.model.checksum(), "{name}");
        assert_eq!(loaded.template, expected.template, "{name}");
        assert_eq!(loaded.tokenizer.end_of_text(), expected.tokenizer.end_of_text());
        assert!(loaded.tokenizer.controls().eq(expected.tokenizer.controls()));
        for text in TEXTS {
            let ids = loaded.tokenizer.encode(text);
            assert_eq!(ids, expected.tokenizer.encode(text), "{name} {text:?}");
            assert_eq!(loaded.tokenizer.decode(&ids), text);
        }
        // What a run writes from it is an ordinary folder.
        let files = io::folder_bytes(&loaded.model, &loaded.tokenizer, loaded.template.as_ref());
        let again = io::from_bytes(&files.unwrap()).unwrap();
        assert_eq!(again.model.checksum(), expected.model.checksum());
        assert_eq!(again.model.config(), expected.model.config());
        assert_eq!(again.tokenizer.encode(TEXTS[0]), expected.tokenizer.encode(TEXTS[0]));
        assert_eq!(again.template, expected.template);
    }
}

fn logprob(model: &stepwell_model::Model) -> Vec<u32> {
    let ids: Vec<u32> = (0..200).map(|at| at * 7 % 272).collect();
    let packed = Packed {
        token: &ids,
        position: &(0..200).collect::<Vec<u32>>(),
        segment_begin: &[0, 200],
        subtree_end: &[200; 200],
    };
    let row: Vec<u32> = (0..199).collect();
    let scored = Scored { row: &row, target: &ids[1..], temperature: 1.0 };
    let scores = Workspace::new(1).forward(model, &packed, &scored);
    scores.logprob.iter().map(|value| value.to_bits()).collect()
}

/// Files name no constants; several may give the same divisors, and the same log-probabilities.
#[test]
fn llama3_factors_are_recognised_or_refused() {
    let expected = io::load_folder(&folder("llama_untied")).unwrap().model;
    let Config { rope_base, head_dim, .. } = *expected.config();
    let mut file = of_folder("llama_untied");
    let plain = io::from_gguf(&file.bytes()).unwrap().model;
    assert_ne!(logprob(&plain), logprob(&expected), "the factors matter");
    let factors = llama3_factors(rope_base, head_dim, 8.0, 64.0);
    file.tensors.push(factors_tensor(&factors));
    let loaded = io::from_gguf(&file.bytes()).unwrap().model;
    assert_eq!(logprob(&loaded), logprob(&expected));
    for (factor, context) in [(8.0, 8192.0), (32.0, 8192.0), (8.0, 256.0)] {
        let factors = llama3_factors(rope_base, head_dim, factor, context);
        file.tensors.pop();
        file.tensors.push(factors_tensor(&factors));
        let scaling = io::from_gguf(&file.bytes()).unwrap().model.config().rope_scaling;
        let RopeScaling::Llama3 { factor: found, original_context, .. } = scaling else {
            panic!("{scaling:?}")
        };
        let again = llama3_factors(rope_base, head_dim, found, original_context as f64);
        assert_eq!(again, factors);
    }
    for wrong in [vec![1.0, 2.0, 1.5, 8.0], vec![8.0; 3], vec![f32::NAN; 4], vec![0.5; 4]] {
        file.tensors.pop();
        file.tensors.push(factors_tensor(&wrong));
        let message = io::from_gguf(&file.bytes()).unwrap_err().to_string();
        assert!(message.contains("`rope_freqs.weight`: its factors are not those of"), "{message}");
    }
}

#[test]
fn a_path_means_a_file_or_the_only_file_of_a_folder() {
    let here = tempfile::tempdir().unwrap();
    let bytes = of_folder("qwen3").bytes();
    let expected = io::load_folder(&folder("qwen3")).unwrap().model.checksum();
    let path = here.path().join("small.GGUF");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(io::load(&path).unwrap().model.checksum(), expected);
    assert_eq!(io::load(here.path()).unwrap().model.checksum(), expected);
    assert_eq!(io::load(&folder("qwen3")).unwrap().model.checksum(), expected);
    std::fs::write(here.path().join("other.gguf"), &bytes).unwrap();
    let message = io::load(here.path()).unwrap_err().to_string();
    let expected = "cannot be read: expected one GGUF file, got other.gguf, small.GGUF; name one";
    assert!(message.ends_with(expected), "{message}");
    let other = here.path().join("notes.txt");
    std::fs::write(&other, "x").unwrap();
    let message = io::load(&other).unwrap_err().to_string();
    let expected = "expected a GGUF file (.gguf) or a folder with config.json, got another file";
    assert!(message.ends_with(expected), "{message}");
    let missing = io::load(&here.path().join("none.gguf")).unwrap_err().to_string();
    assert!(missing.contains("none.gguf` cannot be read: No such file"), "{missing}");
}

fn refusal(file: &File) -> String {
    io::from_gguf(&file.bytes()).unwrap_err().to_string()
}

#[track_caller]
fn check(message: &str, expected: &str) {
    assert!(message.contains(expected), "\n got {message}\nwant {expected}");
}

/// Bytes that are not a GGUF file of a version that is read.
#[test]
fn foreign_files_are_told() {
    let file = of_folder("llama_tied");
    let version = |version: u32| File { version, ..file.clone() }.bytes();
    let (one, ninety_nine, swapped) = (version(1), version(99), version(3_u32.swap_bytes()));
    let cases: [(&[u8], &str); 9] = [
        (b"", "`model.gguf` is not a GGUF file: it is empty; fetch or write it again"),
        (b"GGU", "`model.gguf`: got bytes 474755 at its start, expected `GGUF`"),
        (b"\x00\x00\x00\x00rest", "got bytes 00000000 at its start, expected `GGUF`"),
        (b"GGUF\x03", "version: got 1 of at least 4 bytes each, 1 bytes of the file are left"),
        (b"<!DOCTYPE html>", "is not a GGUF file: it is an HTML page"),
        (b"version https://git-lfs.github.com", "is not a GGUF file: it is a Git-LFS pointer"),
        (&one, "is not a GGUF version 2 or 3 file: it is version 1; convert the model again"),
        (&ninety_nine, "version: got 99, expected 2 or 3"),
        (&swapped, "it is big-endian; convert it with `gguf-convert-endian FILE little`"),
    ];
    for (bytes, expected) in cases {
        check(&io::from_gguf(bytes).unwrap_err().to_string(), expected);
    }
    assert!(io::from_gguf(&version(2)).is_ok());
}

/// One change of a good file, and what the message must hold.
type Case = (fn(&mut File), &'static str);

#[track_caller]
fn check_all(cases: &[Case]) {
    let good = of_folder("llama_tied");
    for (change, expected) in cases {
        let mut file = good.clone();
        change(&mut file);
        check(&refusal(&file), expected);
    }
}

fn array(kind: u32, count: u64, rest: &[u8]) -> Item {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(count.to_le_bytes());
    bytes.extend(rest);
    Item::Raw(9, bytes)
}

#[test]
fn counts_and_values_are_believed_only_if_the_file_has_them() {
    check_all(&[
        (|file| file.counts.1 = Some(1 << 60), "metadata entries: got 1152921504606846976 of"),
        (|file| file.counts.0 = Some(1 << 60), "tensors: got 1152921504606846976 of at least 24"),
        (|file| file.counts.1 = Some(4000), "bytes of the file are left"),
        (
            |file| file.set("k", Item::Raw(8, (1_u64 << 63).to_le_bytes().to_vec())),
            "`k`: got 9223372036854775808 of at least 1 bytes each",
        ),
        (
            |file| file.items.insert(0, ("x".repeat(70_000), Item::U32(1))),
            "key 0: got 70000 bytes, expected at most 65535",
        ),
        (
            |file| file.set("k", array(8, 1 << 60, &[])),
            "`k`: got 1152921504606846976 of at least 8",
        ),
        (|file| file.set("k", array(4, u64::MAX, &[])), "`k`: got 18446744073709551615 of at"),
        (
            |file| file.set("k", array(9, 1, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])),
            "`k` is an array of arrays: expected one level",
        ),
        (|file| file.set("k", array(77, 1, &[])), "`k` has an unknown value type: got 77"),
        (|file| file.set("k", Item::Raw(13, vec![])), "`k` has an unknown value type: got 13"),
        (|file| file.set("k", Item::Raw(7, vec![2])), "`k`: got 2, expected 0 or 1"),
        (|file| file.set("k", Item::Raw(8, vec![1, 0, 0, 0, 0, 0, 0, 0, 0xff])), "`k`: not UTF-8"),
        (
            |file| file.items.push(("general.languages".to_owned(), Item::U32(1))),
            "key `general.languages` appears twice",
        ),
        (
            |file| file.set("general.alignment", Item::U32(0)),
            "`general.alignment`: got 0, expected a power of two up to 2^30",
        ),
        (|file| file.set("general.alignment", Item::U32(3)), "`general.alignment`: got 3"),
        (
            |file| file.set("general.alignment", Item::Text("a".to_owned())),
            "`general.alignment`: got \"a\"",
        ),
        (|file| file.set("split.count", Item::U32(3)), "`split.count`: got 3, expected one file"),
    ]);
    let mut wide = of_folder("llama_tied");
    wide.alignment = 128;
    wide.set("general.alignment", Item::U32(128));
    assert!(io::from_gguf(&wide.bytes()).is_ok(), "another alignment is read");
}

#[test]
fn tensors_lie_in_the_file_in_order() {
    check_all(&[
        (|file| file.tensors[2].offset = Some(1 << 40), "ends at 1099511"),
        (|file| file.tensors[2].offset = Some(u64::MAX - 31), "offset 18446744073709551584 overf"),
        (|file| file.tensors[2].offset = Some(33), "got offset 33, expected a multiple of 32"),
        (
            |file| file.tensors[1].offset = Some(0),
            "tensors `blk.0.attn_norm.weight` and `token_embd.weight` overlap at byte 0",
        ),
        (
            |file| file.tensors[1].bytes.extend([0; 64]),
            "64 unused bytes before tensor `blk.0.attn_q",
        ),
        (
            |file| file.tensors.last_mut().unwrap().bytes.truncate(8),
            "truncated: tensor `output_norm.weight` ends at",
        ),
        (
            |file| file.tensors.last_mut().unwrap().bytes.extend([0; 40]),
            "40 bytes after the last tensor",
        ),
        (
            |file| file.tensors.push(file.tensors[1].clone()),
            "tensor `blk.0.attn_norm.weight` appears twice",
        ),
        (|file| file.tensors[0].name = "../x".to_owned(), "tensor name is not plain: \"../x\""),
        (
            |file| file.tensors[0].kind = 99,
            "tensor `token_embd.weight` has an unknown type: got 99",
        ),
        (|file| file.tensors[0].kind = 4, "tensor `token_embd.weight` has an unknown type: got 4"),
        (
            |file| file.tensors[0].kind = 6,
            "tensor `token_embd.weight` has type Q5_0, expected one of F32, F16, Q4_0, Q4_1, Q8_0, \
             Q4_K, Q5_K, Q6_K, BF16",
        ),
        (
            |file| file.tensors[0].sides = vec![1 << 32, 1 << 32],
            "[4294967296, 4294967296] overflows",
        ),
        (|file| file.tensors[0].sides = vec![32, 0], "shape [32, 0] holds nothing"),
        (|file| file.tensors[0].sides = vec![], "has 0 dimensions, expected 1 to 4"),
        (|file| file.tensors[0].sides = vec![1; 5], "has 5 dimensions, expected 1 to 4"),
        (
            |file| file.tensor("blk.0.ffn_down.weight").kind = 8,
            "got rows of 48 values, expected a multiple of 32 for its type",
        ),
    ]);
}

#[test]
fn shapes_that_cannot_be_computed_are_refused_by_key() {
    let text = |text: &str| Item::Text(text.to_owned());
    let cases: [(&str, Item, &str); 17] = [
        (
            "general.architecture",
            text("mamba"),
            "`general.architecture`: got mamba, expected one of llama, qwen2, qwen3",
        ),
        ("general.architecture", Item::U32(1), "`general.architecture`: got nothing"),
        ("llama.block_count", text("two"), "`llama.block_count`: got \"two\", expected a whole"),
        ("llama.block_count", Item::U32(3), "`blk.2.attn_norm.weight` is missing"),
        ("llama.block_count", Item::U32(1), "`blk.1.attn_k.weight` is unexpected"),
        ("llama.block_count", Item::U32(1024), "and 9158 more"),
        ("llama.attention.head_count", Item::U32(0), "`heads` must lie in 1..=1024: 0"),
        ("llama.attention.head_count", Item::Ints(vec![4, 4]), "got an array, expected a whole"),
        ("llama.expert_count", Item::U32(8), "`llama.expert_count`: got 8, expected 0"),
        ("llama.rope.scaling.type", text("yarn"), "got yarn, expected none or linear"),
        ("llama.rope.scaling.type", text("linear"), "`llama.rope.scaling.factor` is missing"),
        ("llama.rope.dimension_count", Item::U32(4), "got 4, expected 8"),
        (
            "llama.rope.freq_base",
            Item::F32(f32::NAN),
            "`rope_base` must be finite and above 1: NaN",
        ),
        ("llama.vocab_size", Item::U32(99), "`llama.vocab_size`: got 99, expected the embedding's"),
        ("llama.attention.scale", Item::F32(0.1), "`llama.attention.scale`: got 0.1, expected no"),
        ("llama.attention.sliding_window", Item::U32(64), "got 64, expected none below 256"),
        (
            "llama.feed_forward_length",
            Item::U32(64),
            "`blk.0.ffn_down.weight` has shape [32, 48], expected [32, 64] by the metadata",
        ),
    ];
    for (key, item, expected) in cases {
        let mut file = of_folder("llama_tied");
        file.set(key, item);
        check(&refusal(&file), expected);
    }
    let mut file = of_folder("llama_tied");
    file.remove("llama.attention.layer_norm_rms_epsilon");
    file.remove("llama.context_length");
    let message = refusal(&file);
    check(&message, "`model.gguf` has 2 problems:");
    check(&message, "`llama.context_length`: it is missing: expected a whole number");
    let mut file = of_folder("llama_tied");
    file.set("llama.future_key", Item::U32(1));
    let notes = io::from_gguf(&file.bytes()).unwrap().notes;
    assert_eq!(notes, ["model.gguf: ignored `llama.future_key`"]);
}

#[test]
fn weights_are_there_and_finite() {
    check_all(&[
        (
            |file| {
                file.tensors.remove(0);
                let extra = Tensor { name: "extra.bias".to_owned(), ..file.tensors[0].clone() };
                file.tensors.push(extra);
            },
            "`model.gguf` has 2 problems:\n  `extra.bias` is unexpected: the metadata describes no \
             such tensor\n  `token_embd.weight` is missing: the metadata describes it",
        ),
        (
            |file| {
                let bytes = &mut file.tensor("blk.1.ffn_up.weight").bytes;
                bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
                bytes[80..84].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
            },
            "`blk.1.ffn_up.weight` holds 2 non-finite values (first at 10)",
        ),
    ]);
}

#[test]
fn tokenizers_are_read_faithfully_or_refused() {
    let text = |text: &str| Item::Text(text.to_owned());
    let cases: [(&str, Item, &str); 11] = [
        ("tokenizer.ggml.model", text("bert"), "got bert, expected gpt2 or llama"),
        ("tokenizer.ggml.model", text("llama"), "`tokenizer.ggml.scores` is missing"),
        ("tokenizer.ggml.pre", text("tekken"), "`tokenizer.ggml.pre`: got tekken, expected one of"),
        ("tokenizer.ggml.merges", Item::U32(1), "`tokenizer.ggml.merges`: got 1, expected a list"),
        (
            "tokenizer.ggml.merges",
            Item::Texts(vec!["ab".to_owned()]),
            "merge 0: got \"ab\", expected two tokens",
        ),
        (
            "tokenizer.ggml.merges",
            Item::Texts(vec!["q q".to_owned()]),
            "its tokenizer, written as tokenizer.json: merge 0 makes `qq`, which is not in the",
        ),
        (
            "tokenizer.ggml.tokens",
            Item::Texts(vec!["a".to_owned(); 272]),
            "token \"a\" has two ids: 0 and 1",
        ),
        ("tokenizer.ggml.eos_token_id", Item::U32(272), "got 272, expected an id below 272"),
        ("tokenizer.ggml.token_type", Item::Ints(vec![1; 3]), "got 3 numbers, expected one for"),
        ("tokenizer.ggml.token_type", Item::Ints(vec![9; 272]), "got 9 for id 0, expected 1 to 6"),
        ("tokenizer.chat_template", text("{% for x in %}"), "chat_template:1:13: syntax error"),
    ];
    for (key, item, expected) in cases {
        let mut file = of_folder("llama_tied");
        file.set(key, item);
        check(&refusal(&file), expected);
    }
    for missing in ["tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.model"] {
        let mut file = of_folder("llama_tied");
        file.remove(missing);
        check(&refusal(&file), missing);
    }
    let mut file = of_folder("llama_tied");
    file.remove("tokenizer.ggml.pre");
    let notes = io::from_gguf(&file.bytes()).unwrap().notes;
    assert!(notes[0].starts_with("model.gguf: `tokenizer.ggml.pre` does not say"), "{notes:?}");
}
