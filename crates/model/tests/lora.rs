//! Adapters beside PEFT: `tools/make_lora_fixtures.py` wrote the folders. Norms as in parity.rs.

use std::path::PathBuf;

use stepwell_model::{
    Adapter, Gradients, LoraSettings, Model, Packed, Scored, Target, Workspace, io,
};

const TOLERANCE: f64 = 1e-4;
const FIXTURES: [&str; 3] = ["lora_llama", "lora_qwen2", "lora_qwen3"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What PEFT said.
struct Reference {
    base: Model,
    adapter: Adapter,
    ids: Vec<u32>,
    loss: f64,
    logprob: Vec<f64>,
}

fn reference(name: &str) -> Reference {
    let text = std::fs::read_to_string(folder(name).join("parity.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = |field: &str| json[field].as_array().unwrap().clone();
    let base = io::load_folder(&folder(json["base"].as_str().unwrap())).unwrap().model;
    let read = io::load_adapter(&folder(name), base.config()).unwrap();
    assert_eq!(read.notes, Vec::<String>::new(), "{name}");
    assert_eq!(read.base.as_deref(), json["base"].as_str(), "{name}");
    Reference {
        base,
        adapter: read.adapter,
        ids: list("input_ids").iter().map(|id| id.as_u64().unwrap() as u32).collect(),
        loss: json["loss"].as_f64().unwrap(),
        logprob: list("logprob").iter().map(|x| x.as_f64().unwrap()).collect(),
    }
}

/// Log-probability of every next token of one row.
fn logprob(model: &Model, ids: &[u32]) -> Vec<f32> {
    train(model, ids).0
}

/// The same, and the gradients of their negated mean.
fn train(model: &Model, ids: &[u32]) -> (Vec<f32>, Gradients) {
    let length = ids.len() as u32;
    let packed = Packed {
        token: ids,
        position: &(0..length).collect::<Vec<_>>(),
        segment_begin: &[0, length],
        subtree_end: &vec![length; ids.len()],
    };
    let row: Vec<u32> = (0..length - 1).collect();
    let scored = Scored { row: &row, target: &ids[1..], temperature: 1.0 };
    let mut workspace = Workspace::new(2);
    let scores = workspace.forward(model, &packed, &scored);
    let mut gradients = Gradients::zeros_like(model);
    let (seed, zeros) = (vec![-1.0 / row.len() as f32; row.len()], vec![0.0; row.len()]);
    workspace.backward(model, &packed, &scored, &seed, &zeros, &mut gradients);
    (scores.logprob, gradients)
}

/// Largest absolute difference.
fn largest(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_merged_model_computes_what_peft_computes_with_the_adapter() {
    for name in FIXTURES {
        let Reference { base, adapter, ids, loss, logprob: theirs } = reference(name);
        let mut merged = base.clone();
        adapter.merge_into(&mut merged).unwrap();
        let ours = logprob(&merged, &ids);
        let mean = -ours.iter().map(|x| f64::from(*x)).sum::<f64>() / ours.len() as f64;
        let error = largest(&ours, &theirs);
        println!("{name}: merged, log-prob {error:.1e}");
        assert!(error < TOLERANCE && ((mean - loss) / loss).abs() < TOLERANCE, "{name}: {error}");
        let alone = largest(&logprob(&base, &ids), &theirs);
        assert!(alone > 0.1, "{name}: the adapter says nothing: {alone}");
    }
}

#[test]
fn losses_log_probabilities_and_every_gradient_of_the_adapter_are_those_of_peft() {
    for name in FIXTURES {
        let Reference { mut base, adapter, ids, loss, logprob: theirs } = reference(name);
        base.attach(adapter).unwrap();
        let (ours, gradients) = train(&base, &ids);
        let mean = -ours.iter().map(|x| f64::from(*x)).sum::<f64>() / ours.len() as f64;
        let error = largest(&ours, &theirs);
        let bytes = std::fs::read(folder(name).join("parity.safetensors")).unwrap();
        let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(stored.len(), base.adapter().unwrap().parameters().len(), "{name}");
        let mut worst = (0.0, String::new());
        for (parameter, view) in stored.tensors() {
            let words = view.data().chunks_exact(4);
            let expected: Vec<f64> =
                words.map(|w| f64::from(f32::from_le_bytes([w[0], w[1], w[2], w[3]]))).collect();
            let got = gradients.to_row_major(&parameter).unwrap();
            let size: f64 = expected.iter().map(|b| b * b).sum();
            assert!(size > 0.0, "a gradient of zeros compares with nothing");
            let pairs = got.iter().zip(&expected);
            let difference: f64 = pairs.map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
            let error = (difference / size).sqrt();
            if error > worst.0 {
                worst = (error, parameter);
            }
        }
        println!("{name}: log-prob {error:.1e}, gradient {worst:?}");
        assert!(error < TOLERANCE && ((mean - loss) / loss).abs() < TOLERANCE, "{name}: {error}");
        assert!(worst.0 < TOLERANCE, "{name}: gradients differ: {worst:?}");
    }
}

#[test]
fn folders_of_peft_are_written_again_bit_for_bit() {
    for name in FIXTURES {
        let Reference { base, adapter, .. } = reference(name);
        let files = io::adapter_bytes(&adapter, Some("base")).unwrap();
        let again = io::adapter_from_bytes(&files, base.config()).unwrap();
        assert_eq!(again.adapter.settings(), adapter.settings());
        for (ours, theirs) in again.adapter.parameters().iter().zip(adapter.parameters()) {
            assert_eq!(ours.name(), theirs.name());
            assert_eq!(ours.to_row_major(), theirs.to_row_major(), "{name}: {}", ours.name());
        }
    }
}

/// Writes what `tools/check_adapter.py` compares with PEFT: base, adapter and `expected.json`
/// stay in `target/tmp/adapter`.
#[test]
fn a_written_adapter_waits_for_the_check() {
    let base = io::load_folder(&folder("qwen2")).unwrap().model;
    let settings = LoraSettings {
        rank: 5,
        alpha: 7.5,
        targets: vec![Target::Query, Target::Output, Target::Gate, Target::Down],
    };
    let mut adapter = Adapter::new(base.config(), settings, 9);
    let sizes: Vec<(String, usize)> = adapter
        .parameters()
        .iter()
        .map(|view| (view.name().to_owned(), view.shape().iter().product()))
        .collect();
    for (name, count) in sizes.into_iter().filter(|(name, _)| name.contains("lora_B")) {
        let values: Vec<f32> = (0..count).map(|i| (i % 17) as f32 / 40.0 - 0.2).collect();
        adapter.set_parameter(&name, &values).unwrap();
    }
    let mut merged = base.clone();
    adapter.merge_into(&mut merged).unwrap();
    let ids: Vec<u32> = (0..48).map(|i| (i * i * 7 + 3) % 272).collect();
    let expected = serde_json::json!({ "input_ids": ids, "logprob": logprob(&merged, &ids) });
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("adapter");
    std::fs::create_dir_all(&root).unwrap();
    for (name, bytes) in io::adapter_bytes(&adapter, Some("qwen2")).unwrap() {
        std::fs::write(root.join(name), bytes).unwrap();
    }
    std::fs::write(root.join("expected.json"), expected.to_string()).unwrap();
    assert!(io::load_adapter(&root, base.config()).is_ok());
}
