//! Tokens per second of a tiny model on two threads: training a forest, decoding many rows.
//! Criterion's `elem/s` are tokens per second; the share of the measured peak counts the products
//! with weights only, so attention and everything else lower it.

mod beside;

use beside::{Limit, beside};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_model::measure::peak;
use stepwell_model::{
    AdamW, AdamWSettings, Config, Decoder, Family, Gradients, Halt, Model, Packed, RopeScaling,
    SampleRequest, Sampling, Scored, Workspace,
};

const THREADS: usize = 2;

fn tiny() -> Model {
    let config = Config {
        family: Family::Llama,
        vocabulary: 320,
        hidden: 96,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 24,
        ffn: 256,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 1024,
    };
    Model::random(config, 1)
}

/// Operations of the products of `passes` passes over `tokens` tokens, beside two threads' peak.
fn limit(model: &Model, tokens: usize, passes: u64) -> Limit {
    let amount = 2 * passes * (model.parameter_count() * tokens) as u64;
    Limit { amount, unit: "GFLOP/s", peak: peak(THREADS).f32() }
}

/// Trees of a 100-token root with `leaves` children of 50 tokens each.
struct Forest {
    token: Vec<u32>,
    position: Vec<u32>,
    segment_begin: Vec<u32>,
    subtree_end: Vec<u32>,
    row: Vec<u32>,
    target: Vec<u32>,
}

fn forest(trees: usize, leaves: usize) -> Forest {
    let mut forest = Forest {
        token: Vec::new(),
        position: Vec::new(),
        segment_begin: vec![0],
        subtree_end: Vec::new(),
        row: Vec::new(),
        target: Vec::new(),
    };
    for _ in 0..trees {
        let root = forest.token.len() as u32;
        let end = root + 100 + 50 * leaves as u32;
        for segment in 0..=leaves {
            let (start, length) = if segment == 0 { (0, 100) } else { (100, 50) };
            let begin = forest.token.len() as u32;
            for index in 0..length {
                let row = begin + index;
                let token = row * 7919 % 320;
                if segment > 0 {
                    forest.row.push(if index == 0 { root + 99 } else { row - 1 });
                    forest.target.push(token);
                }
                forest.token.push(token);
                forest.position.push(start + index);
                forest.subtree_end.push(if segment == 0 { end } else { begin + length });
            }
            forest.segment_begin.push(begin + length);
        }
    }
    forest
}

fn train(criterion: &mut Criterion) {
    let mut model = tiny();
    let Forest { token, position, segment_begin, subtree_end, row, target } = forest(16, 8);
    let packed = Packed {
        token: &token,
        position: &position,
        segment_begin: &segment_begin,
        subtree_end: &subtree_end,
    };
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    let (seed, none) = (vec![1e-3; row.len()], vec![0.0; row.len()]);
    let mut workspace = Workspace::new(THREADS);
    let mut gradients = Gradients::zeros_like(&model);
    let mut optimizer = AdamW::new(&model);
    let settings = AdamWSettings {
        learning_rate: 0.0,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
    };
    let mut group = criterion.benchmark_group("tiny");
    group.throughput(Throughput::Elements(token.len() as u64));
    let id = |name: &str| BenchmarkId::from_parameter(name);
    let (once, thrice) = (limit(&model, token.len(), 1), limit(&model, token.len(), 3));
    beside(&mut group, id("forward"), once, || {
        workspace.forward(&model, &packed, &scored);
    });
    beside(&mut group, id("train"), thrice, || {
        gradients.clear();
        workspace.forward(&model, &packed, &scored);
        workspace.backward(&model, &packed, &scored, &seed, &none, &mut gradients);
        optimizer.step(&mut model, &gradients, &settings, THREADS);
    });
    group.finish();
}

/// 32 prompts of 100 tokens, 8 rows each, 64 tokens per row.
fn decode(criterion: &mut Criterion) {
    let model = tiny();
    let prompts: Vec<(Option<_>, Vec<u32>)> = (0..32_u32)
        .map(|prompt| (None, (0..100).map(|index| (prompt * 31 + index * 7) % 320).collect()))
        .collect();
    let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };
    let request = SampleRequest { sampling, max_tokens: 64, end_tokens: Vec::new() };
    let uniform = |id: u64, position: u32| {
        let mixed = (id * 1009 + u64::from(position)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut group = criterion.benchmark_group("tiny");
    group.throughput(Throughput::Elements(256 * 64));
    let once = limit(&model, 32 * 100 + 256 * 64, 1);
    beside(&mut group, BenchmarkId::from_parameter("decode"), once, || {
        let mut decoder = Decoder::new(THREADS);
        let roots = decoder.extend_many(&model, &prompts);
        for id in 0..256 {
            decoder.begin(id, &roots[id as usize / 8], request.clone());
        }
        while decoder.live() > 0 {
            decoder.advance(&model, &uniform, &|_, _| Halt::Continue);
        }
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(3));
    targets = train, decode
}
criterion_main!(benches);
