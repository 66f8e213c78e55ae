//! Decoding on the GPU: what was sampled is what is trained, to the stated rounding; greedy tokens
//! are the CPU's. Where this machine has no GPU each test is counted as skipped, with the reason.
#![cfg(feature = "cuda")]

mod support;

use std::io::Write as _;

use stepwell_model::{
    Config, Family, Finished, Halt, Model, Precision, Prefix, SampleRequest, Sampling, Scored,
    StopCause, Target,
    cuda::{self, CudaError, Device, Trainer},
};
use support::{Forest, adapted, config, model, unit};

/// Largest difference of a sampled log-probability from the trainer's on the same device: sums in
/// another order; in `bf16` a number that lies near the middle of two then rounds to the other.
fn gap_max(precision: Precision) -> f32 {
    match precision {
        Precision::F32 => 5e-5,
        Precision::Bf16 => 5e-2,
    }
}

/// The GPU; without one the test is counted as skipped.
fn device(name: &str) -> Option<Device> {
    match Device::open() {
        Ok(device) => Some(device),
        Err(reason @ (CudaError::Missing { .. } | CudaError::NoDevice { .. })) => {
            if let Some(list) = std::env::var_os("STEPWELL_SKIPPED") {
                let list = std::fs::File::options().create(true).append(true).open(list);
                list.unwrap().write_all(format!("{name}: {reason}\n").as_bytes()).unwrap();
            }
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// One shape of each family, odd and even, with and without adapters, in both precisions.
fn models() -> Vec<(String, Model)> {
    let untied = Config { tied: false, vocabulary: 300, ..config(Family::Qwen2) };
    let odd = Config { hidden: 39, ffn: 53, ..config(Family::Llama) };
    let wide = Config {
        head_dim: 64,
        heads: 6,
        hidden: 192,
        vocabulary: 2500,
        context: 700,
        ..config(Family::Qwen3)
    };
    let mut all = Vec::new();
    for (shape, adapter) in [(untied.clone(), false), (odd, false), (wide, false), (untied, true)] {
        for precision in [Precision::F32, Precision::Bf16] {
            let own = if adapter {
                adapted(shape.clone(), &Target::ALL)
            } else {
                model(shape.clone(), 3)
            };
            let mut own = own;
            own.set_precision(precision);
            all.push((format!("{:?} {precision:?} adapter {adapter}", shape.family), own));
        }
    }
    all
}

fn request(sampling: Sampling, max_tokens: usize) -> SampleRequest {
    SampleRequest { sampling, max_tokens, end_tokens: vec![3] }
}

fn tempered(temperature: f32) -> Sampling {
    Sampling { temperature, top_k: 0, top_p: 1.0 }
}

fn uniform(id: u64, position: u32) -> f64 {
    unit(id, u64::from(position))
}

/// Tokens and log-probs by id, and the prefixes.
type Sampled<P> = Vec<Finished<P>>;

/// What a decoder of either device does.
trait Decodes {
    type Prefix: Clone;
    fn extend(&mut self, steps: &[(Option<Self::Prefix>, Vec<u32>)]) -> Vec<Self::Prefix>;
    fn begin(&mut self, id: u64, parent: &Self::Prefix, request: SampleRequest);
    fn drain(&mut self) -> Sampled<Self::Prefix>;
}

struct Cpu<'a>(stepwell_model::Decoder, &'a Model);

impl Decodes for Cpu<'_> {
    type Prefix = Prefix;

    fn extend(&mut self, steps: &[(Option<Prefix>, Vec<u32>)]) -> Vec<Prefix> {
        self.0.extend_many(self.1, steps)
    }

    fn begin(&mut self, id: u64, parent: &Prefix, request: SampleRequest) {
        self.0.begin(id, parent, request);
    }

    fn drain(&mut self) -> Sampled<Prefix> {
        let mut finished = Vec::new();
        while self.0.live() > 0 {
            finished.extend(self.0.advance(self.1, &uniform, &|_, _| Halt::Continue));
        }
        finished.sort_by_key(|step| step.id);
        finished
    }
}

impl Decodes for cuda::Decoder<'_> {
    type Prefix = cuda::Prefix;

    fn extend(&mut self, steps: &[(Option<cuda::Prefix>, Vec<u32>)]) -> Vec<cuda::Prefix> {
        self.extend_many(steps).unwrap()
    }

    fn begin(&mut self, id: u64, parent: &cuda::Prefix, request: SampleRequest) {
        cuda::Decoder::begin(self, id, parent, request);
    }

    fn drain(&mut self) -> Sampled<cuda::Prefix> {
        let mut finished = Vec::new();
        while self.live() > 0 {
            finished.extend(self.advance(&uniform, &|_, _| Halt::Continue).unwrap());
        }
        finished.sort_by_key(|step| step.id);
        finished
    }
}

/// A prompt, sampled steps behind it, an observation behind each, two sampled children each.
struct Grown {
    segments: Vec<(Option<usize>, Vec<u32>)>,
    logprobs: Vec<Option<Vec<f32>>>,
    stops: Vec<StopCause>,
}

fn grow(
    decoder: &mut impl Decodes,
    vocabulary: usize,
    sampling: Sampling,
    (width, prompt): (u64, usize),
) -> Grown {
    let tokens = |stream: u64, count: usize| -> Vec<u32> {
        (0..count as u64).map(|i| (unit(stream, i) * vocabulary as f64) as u32).collect()
    };
    let prompt = tokens(900, prompt);
    let root = decoder.extend(&[(None, prompt.clone())]).remove(0);
    for id in 0..width {
        // Lengths differ, so rows leave the batch at different times.
        decoder.begin(id, &root, request(sampling, 20 + 9 * id as usize));
    }
    let first = decoder.drain();
    let observed: Vec<_> = first
        .iter()
        .map(|step| (Some(step.prefix.clone()), tokens(500 + step.id, 1 + 7 * step.id as usize)))
        .collect();
    let observations = decoder.extend(&observed);
    for (parent, prefix) in observations.iter().enumerate() {
        for child in 0..2 {
            decoder.begin(100 + 2 * parent as u64 + child, prefix, request(sampling, 12));
        }
    }
    let second = decoder.drain();
    let mut grown =
        Grown { segments: vec![(None, prompt)], logprobs: vec![None], stops: Vec::new() };
    for (index, step) in first.iter().enumerate() {
        let at = grown.segments.len();
        grown.segments.push((Some(0), step.tokens.clone()));
        grown.logprobs.push(Some(step.logprobs.clone()));
        grown.segments.push((Some(at), observed[index].1.clone()));
        grown.logprobs.push(None);
        for child in &second[2 * index..2 * index + 2] {
            grown.segments.push((Some(at + 1), child.tokens.clone()));
            grown.logprobs.push(Some(child.logprobs.clone()));
        }
    }
    grown.stops = first.iter().chain(&second).map(|step| step.stop).collect();
    grown
}

/// The same tokens' log-probs from the trainer's forward, in the order of the packed rows.
fn trained(trainer: &mut Trainer, grown: &Grown, temperature: f32) -> Vec<f32> {
    let forest = Forest::new(&grown.segments);
    let (mut row, mut target) = (Vec::new(), Vec::new());
    for (segment, logprobs) in grown.logprobs.iter().enumerate() {
        for at in forest.rows(segment).filter(|_| logprobs.is_some()) {
            let path = forest.visible(at);
            row.push(path[path.len() - 2] as u32);
            target.push(forest.token[at]);
        }
    }
    let scored = Scored { row: &row, target: &target, temperature };
    trainer.forward(&forest.packed(), &scored).unwrap().logprob
}

#[test]
fn what_was_sampled_is_what_is_trained() {
    let Some(device) = device("what_was_sampled_is_what_is_trained") else { return };
    for (name, model) in models() {
        let mut trainer = Trainer::new(&device, &model).unwrap();
        for (width, temperature, prompt) in [(5, 1.0, 7), (3, 0.6, 300), (1, 0.0, 1)] {
            let mut decoder = trainer.decoder();
            let vocabulary = model.config().vocabulary;
            let grown = grow(&mut decoder, vocabulary, tempered(temperature), (width, prompt));
            drop(decoder);
            let own = trained(&mut trainer, &grown, temperature);
            let sampled = grown.logprobs.iter().flatten().flatten();
            let far = sampled.zip(&own).map(|(a, b)| (a - b).abs());
            let (count, sum) = (own.len(), far.clone().sum::<f32>());
            let most = far.fold(0.0, f32::max);
            println!(
                "{name} {temperature}: {count} tokens, mean {:.2e}, most {most:.2e}",
                sum / count as f32
            );
            assert!(most <= gap_max(model.precision()), "{name}: {most}");
        }
    }
}

#[test]
fn in_f32_greedy_and_sampled_tokens_are_the_cpus() {
    let Some(device) = device("in_f32_greedy_and_sampled_tokens_are_the_cpus") else { return };
    for (name, model) in models() {
        if model.precision() != Precision::F32 {
            continue;
        }
        let trainer = Trainer::new(&device, &model).unwrap();
        let top_k = Sampling { temperature: 1.0, top_k: 5, top_p: 1.0 };
        let top_p = Sampling { temperature: 0.8, top_k: 0, top_p: 0.7 };
        for sampling in [tempered(0.0), tempered(1.0), top_k, top_p] {
            let vocabulary = model.config().vocabulary;
            let mut cpu = Cpu(stepwell_model::Decoder::new(2), &model);
            let expected = grow(&mut cpu, vocabulary, sampling, (4, 30));
            let got = grow(&mut trainer.decoder(), vocabulary, sampling, (4, 30));
            assert_eq!(got.segments, expected.segments, "{name} {sampling:?}");
            assert_eq!(got.stops, expected.stops, "{name} {sampling:?}");
            let pairs = got.logprobs.iter().flatten().flatten();
            let pairs = pairs.zip(expected.logprobs.iter().flatten().flatten());
            let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most <= gap_max(Precision::F32), "{name} {sampling:?}: {most}");
        }
    }
}

#[test]
fn a_full_context_ends_a_step_as_on_the_cpu() {
    let Some(device) = device("a_full_context_ends_a_step_as_on_the_cpu") else { return };
    let model = model(Config { context: 40, ..config(Family::Llama) }, 3);
    let trainer = Trainer::new(&device, &model).unwrap();
    let run = |decoder: &mut dyn FnMut() -> Vec<(Vec<u32>, StopCause)>| decoder();
    let sampling = tempered(1.0);
    let mut gpu = || {
        let mut decoder = trainer.decoder();
        let roots = Decodes::extend(&mut decoder, &[(None, vec![5; 30]), (None, vec![5; 40])]);
        for (id, root) in roots.iter().enumerate() {
            let request = SampleRequest { sampling, max_tokens: 99, end_tokens: vec![] };
            decoder.begin(id as u64, root, request);
        }
        Decodes::drain(&mut decoder).into_iter().map(|step| (step.tokens, step.stop)).collect()
    };
    let mut cpu = || {
        let mut decoder = Cpu(stepwell_model::Decoder::new(1), &model);
        let roots = decoder.extend(&[(None, vec![5; 30]), (None, vec![5; 40])]);
        for (id, root) in roots.iter().enumerate() {
            let request = SampleRequest { sampling, max_tokens: 99, end_tokens: vec![] };
            decoder.begin(id as u64, root, request);
        }
        decoder.drain().into_iter().map(|step| (step.tokens, step.stop)).collect()
    };
    let (got, expected) = (run(&mut gpu), run(&mut cpu));
    assert_eq!(got, expected);
    assert_eq!(got[0].0.len(), 10);
    assert!(got.iter().all(|(_, stop)| *stop == StopCause::Context));
}

/// A fork copies nothing, a step's slots are free when the last path through it is gone, and the
/// pool that grows keeps what it held.
#[test]
fn slots_are_held_by_reference_and_survive_growth() {
    let Some(device) = device("slots_are_held_by_reference_and_survive_growth") else { return };
    let model = model(Config { context: 6000, ..config(Family::Llama) }, 3);
    let trainer = Trainer::new(&device, &model).unwrap();
    let mut decoder = trainer.decoder();
    let one = |decoder: &mut cuda::Decoder<'_>, parent: &cuda::Prefix| {
        decoder.begin(1, parent, request(tempered(1.0), 8));
        Decodes::drain(decoder).remove(0)
    };
    let root = Decodes::extend(&mut decoder, &[(None, vec![7; 50])]).remove(0);
    assert_eq!(decoder.held(), 50);
    let before = one(&mut decoder, &root);
    let length = before.tokens.len();
    assert_eq!((decoder.held(), before.prefix.len()), (50 + length, 50 + length));
    let child = before.prefix.clone();
    drop(root);
    assert_eq!(decoder.held(), 50 + length, "the child holds its path");
    let root = Decodes::extend(&mut decoder, &[(None, vec![7; 50])]).remove(0);
    // Beyond the first allocation: everything moves.
    let long = Decodes::extend(&mut decoder, &[(None, vec![9; 5500])]);
    let after = one(&mut decoder, &root);
    assert_eq!((after.tokens, after.logprobs), (before.tokens, before.logprobs));
    drop((long, root, child, before.prefix, after.prefix));
    assert_eq!(decoder.held(), 0);
}
