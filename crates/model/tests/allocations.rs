//! In steady state training allocates what it returns and nothing else, and decoding a few small
//! lists whose size has nothing to do with the model's or the context's.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use stepwell_model::{
    ActivationPlan, AdamW, AdamWSettings, Config, Decoder, Family, Gradients, Halt, Model,
    Precision, SampleRequest, Sampling, Scored, Target, Workspace,
};
use support::{Forest, adapted, config, model, sample_forest, unit};

/// The system's allocator, counted over all threads.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    CALLS.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes, Relaxed);
    HELD.fetch_add(bytes, Relaxed);
}

#[expect(unsafe_code, reason = "the interface of allocators; every call is passed on as it came")]
// SAFETY: `System` keeps the contract, and counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, from: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.realloc(from, layout, size) }
    }

    unsafe fn dealloc(&self, from: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(from, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and bytes while `work` runs.
fn counted<T>(work: impl FnOnce() -> T) -> (T, [usize; 2]) {
    let now = || [CALLS.load(Relaxed), BYTES.load(Relaxed)];
    let before = now();
    let value = work();
    let after = now();
    (value, [after[0] - before[0], after[1] - before[1]])
}

const SETTINGS: AdamWSettings = AdamWSettings {
    learning_rate: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weight_decay: 0.1,
};

/// Allocations and bytes of each of `steps` training steps on one forest.
fn training(
    model: &mut Model,
    forest: &Forest,
    (threads, budget, steps): (usize, Option<usize>, usize),
) -> Vec<[usize; 2]> {
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    let seeds: Vec<f32> = (0..row.len() as u64).map(|i| (unit(1, i) - 0.4) as f32).collect();
    let mut workspace = Workspace::new(threads);
    workspace.set_activation_budget(budget);
    let mut gradients = Gradients::zeros_like(model);
    let mut optimizer = AdamW::new(model);
    let mut step = || {
        let packed = forest.packed();
        let scores = workspace.forward(model, &packed, &scored);
        gradients.clear();
        workspace.backward(model, &packed, &scored, &seeds, &seeds, &mut gradients);
        assert!(gradients.norm() > 0.0);
        optimizer.step(model, &gradients, &SETTINGS, threads);
        scores
    };
    (0..steps).map(|_| counted(&mut step).1).collect()
}

/// Models of both precisions, with all weights training or an adapter.
fn models() -> Vec<Model> {
    let shape = |family| Config { layers: 4, ..config(family) };
    let mut models = vec![adapted(shape(Family::Qwen2), &Target::ALL)];
    models.extend([Family::Llama, Family::Qwen2, Family::Qwen3].map(|f| model(shape(f), 5)));
    let mut split = models.clone();
    split.iter_mut().for_each(|model| model.set_precision(Precision::Bf16));
    models.into_iter().chain(split).collect()
}

/// A step allocates the two lists of scores that it returns, four bytes for each number.
fn a_training_step_allocates_its_scores() {
    let forest = sample_forest(75);
    let scores = 4 * forest.predictions().0.len();
    for mut model in models() {
        let all = ActivationPlan::new(model.config(), forest.token.len(), None).bytes;
        for budget in [None, Some(all * 60 / 100), Some(0)] {
            let what = (model.config().family, model.precision(), budget);
            let costs = training(&mut model, &forest, (1, budget, 4));
            assert!(costs[0][0] > 50, "the first step allocates its buffers: {costs:?}");
            assert_eq!(costs[1..], [[2, 2 * scores]; 3], "{what:?}");
            // Which thread takes which work is chance, so a thread may meet a long path late: each
            // of its two dozen buffers grows once or twice, whatever the number of steps and tasks.
            let costs = training(&mut model, &forest, (2, budget, 13));
            let more: usize = costs[1..].iter().map(|[calls, _]| calls - 2).sum();
            assert!(more <= 60, "{what:?}: {costs:?}");
        }
    }
}

/// A workspace holds less by exactly what the plan leaves out.
fn a_plan_of_activations_is_kept() {
    let forest = sample_forest(75);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    let model = model(Config { layers: 8, ..config(Family::Qwen3) }, 5);
    let plan = |budget| ActivationPlan::new(model.config(), forest.token.len(), budget);
    let all = plan(None);
    let held = |budget| {
        let mut workspace = Workspace::new(1);
        workspace.set_activation_budget(budget);
        let before = HELD.load(Relaxed);
        let scores = workspace.forward(&model, &forest.packed(), &scored);
        let after = HELD.load(Relaxed);
        drop(scores);
        after - before
    };
    let whole = held(None);
    for percent in [0, 30, 60] {
        let budget = Some(all.bytes * percent / 100);
        let saved = all.bytes - plan(budget).bytes;
        assert!(saved > all.bytes / 5, "{percent} %: {saved} of {}", all.bytes);
        // Buffers end on whole lines of 64 bytes.
        let off = (whole - held(budget)).abs_diff(saved);
        assert!(off < saved / 100, "{percent} %: {off} bytes beside {saved}");
    }
}

/// Allocations and bytes of each `advance` of `rows` rows behind a prompt.
fn decoding(model: &Model, rows: u64, prompt: u64) -> Vec<[usize; 2]> {
    let mut decoder = Decoder::new(1);
    let prompt: Vec<u32> = (0..prompt).map(|index| (unit(9, index) * 75.0) as u32).collect();
    let root = decoder.extend(model, None, &prompt);
    for id in 0..rows {
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };
        decoder.begin(id, &root, SampleRequest { sampling, max_tokens: 1000, end_tokens: vec![] });
    }
    let draw = |id: u64, position: u32| unit(id, u64::from(position));
    let mut advance = || {
        let (ended, cost) = counted(|| decoder.advance(model, &draw, &|_, _| Halt::Continue));
        assert!(ended.is_empty());
        cost
    };
    (0..TOKENS).map(|_| advance()).collect()
}

const TOKENS: usize = 200;

/// A token allocates lists of one entry per row: of what grows, of its tokens, of the batch. Now
/// and then a chunk of keys and values is added and what a row keeps per token doubles.
fn a_token_allocates_a_few_lists_of_rows() {
    for rows in [1, 8] {
        let mut usual = Vec::new();
        for (hidden, layers, prompt) in [(40, 2, 10), (160, 2, 10), (40, 6, 10), (40, 2, 300)] {
            let mut model = model(Config { hidden, layers, ..config(Family::Llama) }, 5);
            for precision in [Precision::F32, Precision::Bf16] {
                model.set_precision(precision);
                let costs = decoding(&model, rows, prompt);
                let least = *costs.iter().min().unwrap();
                let more = costs.iter().filter(|cost| **cost != least).count();
                assert!(more <= 14, "{more} of {TOKENS} tokens allocate more than {least:?}");
                usual.push(least);
            }
        }
        assert!(usual.iter().all(|cost| *cost == usual[0]), "no width or context shows: {usual:?}");
        let [calls, bytes] = usual[0];
        // Two of the lists grow in steps: 4, 8, 16 ...
        let most = if rows == 1 { [3, 224] } else { [6, 672] };
        assert!(calls <= most[0] && bytes <= most[1], "{calls} lists, {bytes} bytes");
    }
}

/// One test, so that nothing else runs while allocations are counted.
#[test]
fn steady_states_allocate_what_they_return_and_little_else() {
    a_training_step_allocates_its_scores();
    a_plan_of_activations_is_kept();
    a_token_allocates_a_few_lists_of_rows();
}
