//! The same numbers as transformers, on small random models of every family.
//!
//! `tools/make_fixtures.py` wrote the folders. Norms, stated once: the loss is compared
//! relatively; log-probabilities by their largest absolute difference (they are logarithms, so
//! that is relative in probability); a parameter's gradient by the Euclidean norm of the
//! difference over the Euclidean norm of transformers' gradient; greedy tokens exactly.

use std::path::PathBuf;

use stepwell_model::{Gradients, Model, Packed, Scored, Workspace, io};

const TOLERANCE: f64 = 1e-4;
const FIXTURES: [&str; 4] = ["llama_tied", "llama_untied", "qwen2", "qwen3"];

/// What transformers said.
struct Reference {
    ids: Vec<u32>,
    loss: f64,
    logprob: Vec<f64>,
    prompt: Vec<u32>,
    greedy: Vec<u32>,
    gradients: Vec<u8>,
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn reference(name: &str) -> Reference {
    let text = std::fs::read_to_string(folder(name).join("parity.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ids = |field: &str| -> Vec<u32> {
        json[field].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    Reference {
        ids: ids("input_ids"),
        loss: json["loss"].as_f64().unwrap(),
        logprob: json["logprob"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect(),
        prompt: ids("prompt"),
        greedy: ids("greedy"),
        gradients: std::fs::read(folder(name).join("parity.safetensors")).unwrap(),
    }
}

/// Log-probability of every next token of one row, and the gradients of their negated mean.
fn train(model: &Model, ids: &[u32], threads: usize) -> (Vec<f32>, Gradients) {
    let length = ids.len() as u32;
    let position: Vec<u32> = (0..length).collect();
    let subtree_end = vec![length; ids.len()];
    let segment_begin = [0, length];
    let packed = Packed {
        token: ids,
        position: &position,
        segment_begin: &segment_begin,
        subtree_end: &subtree_end,
    };
    let row: Vec<u32> = (0..length - 1).collect();
    let scored = Scored { row: &row, target: &ids[1..], temperature: 1.0 };
    let mut workspace = Workspace::new(threads);
    let scores = workspace.forward(model, &packed, &scored);
    let seed = vec![-1.0 / row.len() as f32; row.len()];
    let mut gradients = Gradients::zeros_like(model);
    let zeros = vec![0.0; row.len()];
    workspace.backward(model, &packed, &scored, &seed, &zeros, &mut gradients);
    (scores.logprob, gradients)
}

/// Euclidean norm of the difference over that of the expected values.
fn distance(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let square = |x: f64| x * x;
    let difference: f64 =
        got.iter().zip(expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let size: f64 = expected.iter().map(|b| square(f64::from(*b))).sum();
    assert!(size > 0.0, "a gradient of zeros compares with nothing");
    (difference / size).sqrt()
}

#[test]
fn losses_log_probabilities_and_gradients_are_those_of_transformers() {
    for name in FIXTURES {
        let expected = reference(name);
        let model = io::load_folder(&folder(name)).unwrap().model;
        let (logprob, gradients) = train(&model, &expected.ids, 2);
        let loss = -logprob.iter().map(|x| f64::from(*x)).sum::<f64>() / logprob.len() as f64;
        let loss_error = ((loss - expected.loss) / expected.loss).abs();
        let differences = logprob.iter().zip(&expected.logprob);
        let logprob_error = differences.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        let stored = safetensors::SafeTensors::deserialize(&expected.gradients).unwrap();
        let mut worst = (0.0, String::new());
        assert_eq!(stored.len(), model.parameters().len(), "{name}");
        for (parameter, view) in stored.tensors() {
            let words = view.data().chunks_exact(4);
            let theirs: Vec<f32> =
                words.map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
            let ours = gradients.to_row_major(&parameter).unwrap();
            let error = distance(&ours, &theirs);
            if error > worst.0 {
                worst = (error, parameter);
            }
        }
        println!("{name}: loss {loss_error:.1e}, log-prob {logprob_error:.1e}, gradient {worst:?}");
        assert!(loss_error < TOLERANCE, "{name}: loss {loss}, expected {}", expected.loss);
        assert!(logprob_error < TOLERANCE, "{name}: log-probabilities differ by {logprob_error}");
        assert!(worst.0 < TOLERANCE, "{name}: gradients differ: {worst:?}");
    }
}

/// Greedy tokens through the training forward: the whole row again for every token.
fn greedy_by_forward(model: &Model, prompt: &[u32], count: usize) -> Vec<u32> {
    let vocabulary = model.config().vocabulary as u32;
    let mut ids = prompt.to_vec();
    for _ in 0..count {
        let length = ids.len() as u32;
        let position: Vec<u32> = (0..length).collect();
        let packed = Packed {
            token: &ids,
            position: &position,
            segment_begin: &[0, length],
            subtree_end: &vec![length; ids.len()],
        };
        let target: Vec<u32> = (0..vocabulary).collect();
        let row = vec![length - 1; target.len()];
        let scored = Scored { row: &row, target: &target, temperature: 1.0 };
        let scores = Workspace::new(1).forward(model, &packed, &scored).logprob;
        let best = (0..target.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        ids.push(target[best]);
    }
    ids.split_off(prompt.len())
}

#[test]
fn greedy_tokens_of_the_training_forward_are_those_of_transformers() {
    for name in FIXTURES {
        let expected = reference(name);
        let model = io::load_folder(&folder(name)).unwrap().model;
        let got = greedy_by_forward(&model, &expected.prompt, expected.greedy.len());
        assert_eq!(got, expected.greedy, "{name}");
    }
}
