//! Writes folders that `tools/check_export.py` compares with transformers, and reads them back.
//!
//! The folders stay in `target/tmp/export/<name>`, each with an `expected.json` beside it:
//! `python tools/check_export.py target/tmp/export/words target/tmp/export/words.json`.

use std::path::PathBuf;

use serde_json::json;
use stepwell_model::{
    Config, Family, Model, Packed, RopeScaling, Scored, Workspace, io,
    template::{ChatTemplate, Message},
    tokenizer::{Tokenizer, words_of},
};

const TEXTS: [&str; 8] = [
    "how many orders with state 'New York' ?",
    "SELECT COUNT(*) FROM orders WHERE total>=12.50 AND month = '2021-03' -- #### -5",
    "<think> look </think>\n<final_sql>zebra</final_sql>",
    "Janet's café 字 a_b 7-5 - 3||x<>y",
    "  two\n\nlines\t\r\n",
    "x**2 // 3 -> (-4)",
    "<|end|><|prompt|> <|answer|>",
    "",
];

fn config(family: Family, vocabulary: usize) -> Config {
    Config {
        family,
        vocabulary,
        hidden: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ffn: 48,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: family != Family::Qwen2,
        context: 256,
    }
}

fn logprob(model: &Model, ids: &[u32]) -> Vec<f32> {
    let length = ids.len() as u32;
    let packed = Packed {
        token: ids,
        position: &(0..length).collect::<Vec<_>>(),
        segment_begin: &[0, length],
        subtree_end: &vec![length; ids.len()],
    };
    let row: Vec<u32> = (0..length - 1).collect();
    let scored = Scored { row: &row, target: &ids[1..], temperature: 1.0 };
    Workspace::new(1).forward(model, &packed, &scored).logprob
}

fn fresh(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("export");
    let folder = root.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

#[test]
fn exported_folders_read_back_and_wait_for_the_check() {
    let words = Tokenizer::from_words(TEXTS[..3].iter().flat_map(|text| words_of(text))).unwrap();
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 64,
    };
    let cases = [
        ("words", words, Family::Llama, llama3),
        ("bytes", Tokenizer::bytes(), Family::Qwen2, RopeScaling::Linear { factor: 2.0 }),
        ("bytes3", Tokenizer::bytes(), Family::Qwen3, RopeScaling::None),
    ];
    for (name, tokenizer, family, rope_scaling) in cases {
        let shape = Config { rope_scaling, ..config(family, tokenizer.vocabulary()) };
        let model = Model::random(shape, 3);
        let template = ChatTemplate::plain();
        let folder = fresh(name);
        io::save_folder(&folder, &model, &tokenizer, Some(&template)).unwrap();

        let loaded = io::load_folder(&folder).unwrap();
        assert_eq!(loaded.model.checksum(), model.checksum());
        let ids: Vec<Vec<u32>> = TEXTS.iter().map(|text| loaded.tokenizer.encode(text)).collect();
        let row: Vec<u32> = ids.iter().flatten().copied().take(64).collect();
        let message = Message { role: "user", content: TEXTS[0] };
        let prompt = template.apply(&tokenizer, &[message], true).unwrap();
        let expected = json!({
            "text": TEXTS,
            "ids": ids,
            "decoded": ids.iter().map(|ids| tokenizer.decode(ids)).collect::<Vec<_>>(),
            "input_ids": row,
            "logprob": logprob(&loaded.model, &row),
            "messages": [[{ "role": message.role, "content": message.content }]],
            "prompt_ids": [prompt],
        });
        std::fs::write(folder.with_extension("json"), expected.to_string()).unwrap();
    }
}
