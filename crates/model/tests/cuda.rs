//! The GPU computes what the CPU computes: the CPU is the judge. Where this machine has no GPU
//! each test is counted as skipped, with the reason.
#![cfg(feature = "cuda")]
#![expect(clippy::print_stdout, reason = "a passing test tells how far it was from failing")]

mod support;

use std::io::Write as _;

use stepwell_model::{
    AdamWSettings, Config, Family, Gradients, Model, Precision, RopeScaling, Scored, Target,
    TokenScores, Workspace,
    cuda::{CudaError, Device, Trainer},
};
use support::{Forest, adapted, config, model, sample_forest, unit};

/// How far the GPU may be from the CPU.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// |difference| of a log-probability or entropy, in nats: mean and largest.
    score_mean: f64,
    score_most: f64,
    /// Of one parameter, the Euclidean norm of the difference of gradients over that of the
    /// gradient: the largest over the parameters.
    gradient: f64,
}

/// Sums in another order, and other last places of exponentials; measured on an H200: 1.4e-6, 1e-5
/// and 4.7e-6.
const F32: Bound = Bound { score_mean: 5e-6, score_most: 5e-5, gradient: 2e-5 };

/// With `bf16`: where two sums in `f32` differ in their last place, the nearest `bf16` of one
/// number in some thousands is another one, a part in 256 away; what follows from it differs by
/// more, and rounds to other sides more often. After a few layers two devices are as far apart as
/// rounding itself is from none.
const BF16: Bound = Bound { score_mean: 1e-2, score_most: 1e-1, gradient: 2e-2 };

fn bound(precision: Precision) -> Bound {
    match precision {
        Precision::F32 => F32,
        Precision::Bf16 => BF16,
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

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Shapes with odd and even widths, one and several key heads, tied and untied heads.
fn shapes() -> Vec<Config> {
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 64,
    };
    vec![
        config(Family::Llama),
        Config { tied: false, ffn: 53, ..config(Family::Qwen2) },
        Config { head_dim: 34, kv_heads: 1, heads: 2, hidden: 39, ..config(Family::Qwen3) },
        Config { rope_scaling: scaling, ..large(Family::Llama) },
        large(Family::Qwen3),
    ]
}

/// As wide as the tiles of attention.
fn large(family: Family) -> Config {
    let sizes = config(family);
    Config { hidden: 192, heads: 6, kv_heads: 2, head_dim: 64, ffn: 256, vocabulary: 997, ..sizes }
}

fn in_precision(mut model: Model, precision: Precision) -> Model {
    model.set_precision(precision);
    model
}

fn draws(stream: u64, count: usize) -> Vec<f32> {
    (0..count as u64).map(|index| (unit(stream, index) * 2.0 - 1.0) as f32).collect()
}

/// A forest, what is scored of it, and what a loss says of that.
struct Case {
    forest: Forest,
    row: Vec<u32>,
    target: Vec<u32>,
    temperature: f32,
    d_logprob: Vec<f32>,
    d_entropy: Vec<f32>,
}

/// Scores, and gradients by name.
type Answer = (TokenScores, Vec<(String, Vec<f32>)>);

impl Case {
    fn new(forest: Forest, temperature: f32) -> Self {
        let (row, target) = forest.predictions();
        let d_logprob = draws(1, row.len());
        let d_entropy = draws(2, row.len()).into_iter().map(|x| 0.3 * x).collect();
        Self { forest, row, target, temperature, d_logprob, d_entropy }
    }

    fn scored(&self) -> Scored<'_> {
        Scored { row: &self.row, target: &self.target, temperature: self.temperature }
    }

    fn on_cpu(&self, model: &Model) -> Answer {
        let (mut workspace, mut gradients) = (Workspace::new(2), Gradients::zeros_like(model));
        let (packed, scored) = (self.forest.packed(), self.scored());
        let scores = workspace.forward(model, &packed, &scored);
        let (d_logprob, d_entropy) = (&self.d_logprob, &self.d_entropy);
        workspace.backward(model, &packed, &scored, d_logprob, d_entropy, &mut gradients);
        let names = model.parameters().into_iter().map(|view| view.name().to_owned());
        let all = names.filter_map(|name| gradients.to_row_major(&name).map(|own| (name, own)));
        (scores, all.collect())
    }

    fn on_gpu(&self, trainer: &mut Trainer, model: &Model) -> Answer {
        let (packed, scored) = (self.forest.packed(), self.scored());
        trainer.clear_gradients().unwrap();
        let scores = trainer.forward(&packed, &scored).unwrap();
        trainer.backward(&packed, &scored, &self.d_logprob, &self.d_entropy).unwrap();
        let names = model.parameters().into_iter().map(|view| view.name().to_owned());
        let read = |name: &String| trainer.gradient(name).unwrap();
        let all = names.filter_map(|name| read(&name).map(|own| (name, own)));
        (scores, all.collect())
    }
}

/// Mean and largest difference of the scores, and the largest distance of a gradient.
fn distance(got: &Answer, expected: &Answer) -> (Bound, String) {
    let pairs = |a: &[f32], b: &[f32]| -> Vec<f64> {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).collect()
    };
    let mut far = pairs(&got.0.logprob, &expected.0.logprob);
    far.extend(pairs(&got.0.entropy, &expected.0.entropy));
    let score_mean = far.iter().sum::<f64>() / far.len().max(1) as f64;
    let score_most = far.iter().copied().fold(0.0, f64::max);
    let (mut gradient, mut worst) = (0.0, String::new());
    assert_eq!(got.1.len(), expected.1.len(), "what trains");
    for ((name, own), (other, exact)) in got.1.iter().zip(&expected.1) {
        assert_eq!(name, other);
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
        let size = norm(&mut exact.iter().map(|x| f64::from(*x)));
        let error = norm(&mut pairs(own, exact).into_iter());
        assert!(error.is_finite(), "{name} is not finite");
        let share = (error / size.max(1e-30)).sqrt();
        if share > gradient {
            (gradient, worst) = (share, name.clone());
        }
    }
    (Bound { score_mean, score_most, gradient }, worst)
}

fn within(far: &Bound, most: &Bound) -> bool {
    far.score_mean <= most.score_mean
        && far.score_most <= most.score_most
        && far.gradient <= most.gradient
}

#[track_caller]
fn require(what: &str, (far, worst): &(Bound, String), most: &Bound) {
    println!("{what}: {far:?}, farthest gradient {worst}");
    assert!(within(far, most), "{what}: {far:?} of {worst}, allowed: {most:?}");
}

/// A random forest: trees of random segments.
fn random_forest(seed: u64, vocabulary: u32, segments: usize, longest: usize) -> Forest {
    let mut path: Vec<usize> = Vec::new();
    let mut all = Vec::new();
    for index in 0..segments {
        let draw = |what: u64| unit(seed.wrapping_add(what), index as u64);
        // Depth-first order: the parent is on the path of the segment before, or there is none.
        let up = (draw(1) * (path.len() + 1) as f64) as usize;
        path.truncate(path.len() - up.min(path.len()));
        let length = 1 + (draw(2) * draw(3) * longest as f64) as usize;
        let token = |at: usize| unit(seed, (index * 10_000 + at) as u64) * f64::from(vocabulary);
        all.push((path.last().copied(), (0..length).map(|at| token(at) as u32).collect()));
        path.push(index);
    }
    Forest::new(&all)
}

#[test]
fn scores_and_every_gradient_are_the_cpus() {
    let Some(device) = device("scores_and_every_gradient_are_the_cpus") else { return };
    for (shape, precision) in shapes().into_iter().flat_map(|s| PRECISIONS.map(|p| (s.clone(), p)))
    {
        let what = format!("{:?} of {} {precision:?}", shape.family, shape.hidden);
        let model = in_precision(model(shape, 5), precision);
        let mut trainer = Trainer::new(&device, &model).unwrap();
        for temperature in [1.0, 0.7] {
            let case = Case::new(sample_forest(75), temperature);
            let (got, expected) = (case.on_gpu(&mut trainer, &model), case.on_cpu(&model));
            require(&what, &distance(&got, &expected), &bound(precision));
        }
    }
}

#[test]
fn random_forests_agree_with_the_cpu_and_with_their_rows() {
    let Some(device) = device("random_forests_agree_with_the_cpu_and_with_their_rows") else {
        return;
    };
    let shape = large(Family::Llama);
    for precision in PRECISIONS {
        let model = in_precision(model(shape.clone(), 9), precision);
        let mut trainer = Trainer::new(&device, &model).unwrap();
        for seed in 0..4 {
            let longest = if seed == 3 { 150 } else { 40 };
            let forest = random_forest(seed, 997, 4 + 6 * seed as usize, longest);
            let case = Case::new(forest, 1.0);
            let (got, expected) = (case.on_gpu(&mut trainer, &model), case.on_cpu(&model));
            let what = format!("forest {seed} of {} rows {precision:?}", case.forest.token.len());
            require(&what, &distance(&got, &expected), &bound(precision));
            rows_agree(&mut trainer, &case.forest, &bound(precision));
        }
    }
}

/// A prefix of many blocks of keys and siblings that do not see each other.
#[test]
fn a_long_forest_agrees_with_the_cpu() {
    let Some(device) = device("a_long_forest_agrees_with_the_cpu") else { return };
    let tokens = |stream, count: u64| -> Vec<u32> {
        (0..count).map(|index| (unit(stream, index) * 997.0) as u32).collect()
    };
    let mut segments = vec![(None, tokens(1, 1200))];
    segments.extend((2..5).map(|stream| (Some(0), tokens(stream, 900 + stream))));
    let case = Case::new(Forest::new(&segments), 1.0);
    let shape = Config { layers: 1, context: 4096, ..large(Family::Llama) };
    for precision in PRECISIONS {
        let model = in_precision(model(shape.clone(), 9), precision);
        let mut trainer = Trainer::new(&device, &model).unwrap();
        let (got, expected) = (case.on_gpu(&mut trainer, &model), case.on_cpu(&model));
        require(&format!("3909 rows {precision:?}"), &distance(&got, &expected), &bound(precision));
    }
}

/// A path inside the forest has the scores of the path alone.
fn rows_agree(trainer: &mut Trainer, forest: &Forest, most: &Bound) {
    let rows: Vec<_> = forest.paths().into_iter().map(|tokens| (None, tokens)).collect();
    let flat = Forest::new(&rows);
    let scores = |trainer: &mut Trainer, forest: &Forest| {
        let (row, target) = forest.predictions();
        let scored = Scored { row: &row, target: &target, temperature: 1.0 };
        let own = trainer.forward(&forest.packed(), &scored).unwrap();
        (row, own)
    };
    let (row, in_tree) = scores(trainer, forest);
    let (_, in_rows) = scores(trainer, &flat);
    let mut next = in_rows.logprob.iter();
    let leaf = |segment: &usize| !forest.parent.contains(&Some(*segment));
    for segment in (0..forest.parent.len()).filter(leaf) {
        let path = forest.visible(forest.rows(segment).end - 1);
        for step in path.windows(2) {
            // A row may predict several children; the one of this path has its target.
            let at = (0..row.len()).filter(|at| row[*at] == step[0] as u32);
            let alone = next.next().unwrap();
            let own = at.map(|at| (in_tree.logprob[at] - alone).abs()).fold(f32::MAX, f32::min);
            assert!(f64::from(own) <= most.score_most, "row {} differs by {own}", step[1]);
        }
    }
}

/// The bounds tell a forest from another one with the same tokens and another mask.
#[test]
fn a_wrong_mask_is_told_from_the_right_one() {
    let Some(device) = device("a_wrong_mask_is_told_from_the_right_one") else { return };
    let tokens =
        |stream| -> Vec<u32> { (0..20).map(|i| (unit(stream, i) * 75.0) as u32).collect() };
    let tree =
        |parent| Forest::new(&[(None, tokens(1)), (Some(0), tokens(2)), (Some(parent), tokens(3))]);
    let model = model(config(Family::Llama), 5);
    let mut trainer = Trainer::new(&device, &model).unwrap();
    let (right, wrong) = (Case::new(tree(0), 1.0), Case::new(tree(1), 1.0));
    let expected = right.on_cpu(&model);
    let (far, _) = distance(&right.on_gpu(&mut trainer, &model), &expected);
    assert!(within(&far, &F32), "{far:?}");
    let (far, _) = distance(&wrong.on_gpu(&mut trainer, &model), &expected);
    println!("another mask: {far:?}");
    assert!(!within(&far, &BF16), "{far:?}");
}

#[test]
fn an_adapter_has_the_cpus_gradients_and_the_base_has_none() {
    let Some(device) = device("an_adapter_has_the_cpus_gradients_and_the_base_has_none") else {
        return;
    };
    let some = [Target::Query, Target::Down];
    let case = Case::new(sample_forest(75), 0.8);
    for (family, targets) in
        [(Family::Llama, &some[..]), (Family::Qwen2, &Target::ALL), (Family::Qwen3, &Target::ALL)]
    {
        for precision in PRECISIONS {
            let model = in_precision(adapted(config(family), targets), precision);
            let mut trainer = Trainer::new(&device, &model).unwrap();
            let (got, expected) = (case.on_gpu(&mut trainer, &model), case.on_cpu(&model));
            assert!(got.1.iter().all(|(name, _)| name.contains("lora_")));
            let what = format!("adapter on {family:?} {precision:?}");
            require(&what, &distance(&got, &expected), &bound(precision));
        }
    }
}

fn bits(answer: &Answer) -> Vec<u32> {
    let scores = answer.0.logprob.iter().chain(&answer.0.entropy);
    scores.chain(answer.1.iter().flat_map(|(_, own)| own)).map(|x| x.to_bits()).collect()
}

#[test]
fn a_budget_a_repetition_and_a_second_trainer_change_no_bit() {
    let Some(device) = device("a_budget_a_repetition_and_a_second_trainer_change_no_bit") else {
        return;
    };
    for precision in PRECISIONS {
        let shape = Config { layers: 5, ..large(Family::Qwen3) };
        let model = in_precision(model(shape, 3), precision);
        let case = Case::new(random_forest(11, 997, 20, 60), 1.0);
        let mut trainer = Trainer::new(&device, &model).unwrap();
        let first = bits(&case.on_gpu(&mut trainer, &model));
        assert!(bits(&case.on_gpu(&mut trainer, &model)) == first, "again");
        for budget in [0, 6 << 20] {
            trainer.set_activation_budget(Some(budget));
            assert!(bits(&case.on_gpu(&mut trainer, &model)) == first, "budget {budget}");
        }
        let mut other = Trainer::new(&device, &model).unwrap();
        assert!(bits(&case.on_gpu(&mut other, &model)) == first, "another trainer");
    }
}

/// Training moves the host's copy as the CPU's optimizer moves its own. The bound is that of the
/// gradients times what the optimizer makes of them: an element whose gradient is near zero takes a
/// step of any size up to the rate, so the weights are compared by their distance as a whole.
#[test]
fn three_updates_move_the_weights_as_on_the_cpu() {
    let Some(device) = device("three_updates_move_the_weights_as_on_the_cpu") else { return };
    let settings = AdamWSettings {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-6,
        weight_decay: 0.1,
    };
    for (precision, most) in [(Precision::F32, 2e-3), (Precision::Bf16, 5e-2)] {
        let start = in_precision(model(config(Family::Qwen2), 4), precision);
        let (mut on_cpu, mut on_gpu) = (start.clone(), start.clone());
        let mut trainer = Trainer::new(&device, &start).unwrap();
        let mut optimizer = stepwell_model::AdamW::new(&start);
        let case = Case::new(sample_forest(75), 1.0);
        let (packed, scored) = (case.forest.packed(), case.scored());
        for _ in 0..3 {
            let mut gradients = Gradients::zeros_like(&on_cpu);
            let mut workspace = Workspace::new(2);
            workspace.forward(&on_cpu, &packed, &scored);
            let (d_logprob, d_entropy) = (&case.d_logprob, &case.d_entropy);
            workspace.backward(&on_cpu, &packed, &scored, d_logprob, d_entropy, &mut gradients);
            optimizer.step(&mut on_cpu, &gradients, &settings, 2);
            case.on_gpu(&mut trainer, &start);
            let (own, host) = (trainer.gradient_norm().unwrap(), gradients.norm());
            assert!((own / host - 1.0).abs() < most, "norms {own} and {host}");
            trainer.step(&settings).unwrap();
        }
        trainer.download(&mut on_gpu).unwrap();
        let (mut moved, mut far) = (0.0, 0.0);
        let all = |model: &Model| -> Vec<f32> {
            model.parameters().iter().flat_map(|view| view.to_row_major()).collect()
        };
        let (start, on_cpu, on_gpu) = (all(&start), all(&on_cpu), all(&on_gpu));
        for ((start, cpu), gpu) in start.iter().zip(&on_cpu).zip(&on_gpu) {
            moved += f64::from(cpu - start).powi(2);
            far += f64::from(cpu - gpu).powi(2);
        }
        let share = (far / moved).sqrt();
        println!("{precision:?}: {share:.2e} of the way apart");
        assert!(share < most, "{precision:?}: {share}");
        assert_eq!(trainer.step_count(), 3);
        assert_eq!(trainer.non_finite_gradient().unwrap(), None);
    }
}

/// The state of every parameter that trains, by name: weight, moments and gradient.
fn state(trainer: &Trainer, model: &mut Model) -> Vec<[Vec<f32>; 4]> {
    trainer.download(model).unwrap();
    let moments = trainer.moments().unwrap();
    let (first, second) = moments.split_at(moments.len() / 2);
    let of = |view: &stepwell_model::ParameterView, at: usize| {
        let gradient = trainer.gradient(view.name()).unwrap().unwrap();
        [view.to_row_major(), first[at].2.clone(), second[at].2.clone(), gradient]
    };
    model.parameters().iter().enumerate().map(|(at, view)| of(view, at)).collect()
}

/// From equal gradients the GPU takes the host's step, bit for bit: matrices decay, norms and
/// biases do not.
#[test]
fn a_step_is_the_hosts_rule_to_the_bit() {
    let Some(device) = device("a_step_is_the_hosts_rule_to_the_bit") else { return };
    let settings = AdamWSettings {
        learning_rate: 3e-3,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
    };
    for precision in PRECISIONS {
        let mut model = in_precision(model(config(Family::Qwen2), 4), precision);
        let case = Case::new(sample_forest(75), 1.0);
        let mut trainer = Trainer::new(&device, &model).unwrap();
        case.on_gpu(&mut trainer, &model);
        trainer.step(&settings).unwrap();
        case.on_gpu(&mut trainer, &model);
        let before = state(&trainer, &mut model);
        trainer.step(&settings).unwrap();
        let after = state(&trainer, &mut model);
        let decays: Vec<bool> =
            model.parameters().iter().map(|view| view.shape().len() == 2).collect();
        let (rate, root) = (3e-3 / (1.0 - 0.9_f64.powi(2)), 1.0 / (1.0 - 0.95_f64.powi(2)));
        for ((before, after), decays) in before.iter().zip(&after).zip(decays) {
            let keep = if decays { (1.0 - 3e-3 * 0.1) as f32 } else { 1.0 };
            for at in 0..before[0].len() {
                let [weight, first, second, gradient] =
                    [0, 1, 2, 3].map(|what: usize| before[what][at]);
                let first = (1.0 - 0.9_f32).mul_add(gradient, 0.9 * first);
                let second = (1.0 - 0.95_f32).mul_add(gradient * gradient, 0.95 * second);
                let below = (second * root as f32).sqrt() + 1e-8;
                let weight = weight * keep - rate as f32 * first / below;
                let got = [after[0][at], after[1][at], after[2][at]];
                assert_eq!(got.map(f32::to_bits), [weight, first, second].map(f32::to_bits));
            }
        }
    }
}

/// Moments go to the host and come back, bit for bit, and continue alike on both.
#[test]
fn moments_survive_a_checkpoint() {
    let Some(device) = device("moments_survive_a_checkpoint") else { return };
    let settings = AdamWSettings {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
    };
    let mut model = model(config(Family::Llama), 4);
    let case = Case::new(sample_forest(75), 1.0);
    let mut trainer = Trainer::new(&device, &model).unwrap();
    case.on_gpu(&mut trainer, &model);
    trainer.step(&settings).unwrap();
    let moments = trainer.moments().unwrap();
    let mut host = stepwell_model::AdamW::new(&model);
    host.restore(1, &moments).unwrap();
    assert_eq!(host.tensors(), moments);
    trainer.download(&mut model).unwrap();
    let mut second = Trainer::new(&device, &model).unwrap();
    second.restore_moments(1, &moments).unwrap().unwrap();
    assert!(second.restore_moments(1, &moments[1..]).unwrap().is_err());
    let mut ends = [model.clone(), model.clone()];
    for (trainer, end) in [&mut trainer, &mut second].into_iter().zip(&mut ends) {
        case.on_gpu(trainer, &model);
        trainer.step(&settings).unwrap();
        trainer.download(end).unwrap();
    }
    assert_eq!(ends[0].checksum(), ends[1].checksum());
    assert_ne!(ends[0].checksum(), model.checksum());
}

#[test]
fn a_forest_without_scores_and_an_empty_one_pass() {
    let Some(device) = device("a_forest_without_scores_and_an_empty_one_pass") else { return };
    let model = model(config(Family::Llama), 4);
    let mut trainer = Trainer::new(&device, &model).unwrap();
    let none = Scored { row: &[], target: &[], temperature: 1.0 };
    for forest in [Forest::new(&[(None, vec![1, 2, 3])]), Forest::new(&[])] {
        trainer.clear_gradients().unwrap();
        let scores = trainer.forward(&forest.packed(), &none).unwrap();
        assert!(scores.logprob.is_empty());
        trainer.backward(&forest.packed(), &none, &[], &[]).unwrap();
        assert_eq!(trainer.gradient_norm().unwrap(), 0.0);
    }
}
