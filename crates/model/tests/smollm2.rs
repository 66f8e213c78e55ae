//! SmolLM2-135M-Instruct from its GGUF file, against what llama.cpp and transformers say of the
//! same file. `cargo xtask fetch smollm2` brings it.

use std::io::Write as _;
use std::path::PathBuf;

use stepwell_model::{
    Decoder, Halt, Packed, SampleRequest, Sampling, Scored, Workspace, io, template::Message,
};

const QUESTION: &str = "What is 7 + 5? Answer with a number.";

fn model() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if path.exists() {
        return Some(path);
    }
    if let Some(list) = std::env::var_os("STEPWELL_SKIPPED") {
        let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
        let name = "smollm2_says_what_it_says_elsewhere";
        let line = format!("{name}: no model file; run `cargo xtask fetch smollm2`\n");
        list.write_all(line.as_bytes()).unwrap();
    }
    None
}

#[test]
fn smollm2_says_what_it_says_elsewhere() {
    let Some(path) = model() else { return };
    let began = std::time::Instant::now();
    let loaded = io::load(&path).unwrap();
    println!("loaded in {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(loaded.model.parameter_count(), 134_515_008);
    assert_eq!(loaded.tokenizer.end_of_text(), [2]);
    println!("{:?}", loaded.notes);
    texts(&loaded);
    let message = Message { role: "user", content: QUESTION };
    let template = loaded.template.as_ref().unwrap();
    let prompt = template.apply(&loaded.tokenizer, &[message], true).unwrap();
    assert_eq!(prompt.len(), 43);
    let worst = first_token(&loaded, &prompt);
    println!("largest difference of log-probabilities {worst:.1e}");
    let said = greedy(&loaded, &prompt);
    assert!(said.starts_with("7 + 5 = 12"), "{said}");
}

/// Texts of every kind, with the ids of llama.cpp.
fn texts(loaded: &io::Loaded) {
    let record = include_str!("fixtures/smollm2_encoded.json");
    let record: Vec<(String, Vec<u32>)> = serde_json::from_str(record).unwrap();
    assert!(record.len() >= 200);
    for (text, expected) in record {
        assert_eq!(loaded.tokenizer.encode(&text), expected, "{text:?}");
    }
}

/// The largest difference from the reference.
fn first_token(loaded: &io::Loaded, prompt: &[u32]) -> f64 {
    let expected =
        [("7", -1.80457), ("The", -1.94426), ("To", -2.41714), ("A", -2.64022), ("1", -2.67834)];
    let target: Vec<u32> = expected
        .iter()
        .map(|(text, _)| {
            let ids = loaded.tokenizer.encode(text);
            assert_eq!(ids.len(), 1, "{text}");
            ids[0]
        })
        .collect();
    let length = prompt.len() as u32;
    let packed = Packed {
        token: prompt,
        position: &(0..length).collect::<Vec<_>>(),
        segment_begin: &[0, length],
        subtree_end: &vec![length; prompt.len()],
    };
    let row = vec![length - 1; target.len()];
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    let scores = Workspace::new(2).forward(&loaded.model, &packed, &scored);
    let mut worst = 0.0_f64;
    for ((text, expected), got) in expected.iter().zip(&scores.logprob) {
        let difference = (f64::from(*got) - expected).abs();
        assert!(difference < 2e-4, "{text}: got {got}, expected {expected}");
        worst = worst.max(difference);
    }
    worst
}

fn greedy(loaded: &io::Loaded, prompt: &[u32]) -> String {
    let mut decoder = Decoder::new(2);
    let root = decoder.extend(&loaded.model, None, prompt);
    let sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 };
    let end_tokens = loaded.tokenizer.end_of_text().to_vec();
    decoder.begin(0, &root, SampleRequest { sampling, max_tokens: 16, end_tokens });
    let mut said = String::new();
    while decoder.live() > 0 {
        for step in decoder.advance(&loaded.model, &|_, _| 0.5, &|_, _| Halt::Continue) {
            said = loaded.tokenizer.decode(&step.tokens);
        }
    }
    said
}
