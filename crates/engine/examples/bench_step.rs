//! Our side of `bench/run.sh`: does one training step or one sampling round for every line it
//! reads, and answers with a line of JSON.
//!
//! ```text
//! bench_step export FOLDER            writes the models as Hugging Face folders
//! bench_step data WORKLOAD FOLDER     prints the tokens both sides compute
//! bench_step serve WORKLOAD FOLDER    answers `run` and `check`
//! ```
#![expect(clippy::print_stdout, reason = "the answers are lines")]

use std::error::Error;
use std::io::BufRead as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use stepwell_env::sql::world;
use stepwell_methods::objective::{clipped, cross_entropy};
use stepwell_methods::{Aggregation, Objective};
use stepwell_model::template::ChatTemplate;
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{
    AdamWSettings, Config, Decoder, Family, Finished, Halt, Model, Prefix, RopeScaling,
    SampleRequest, Sampling, io,
};
use stepwell_train::{Codec, Learner, Settings};
use stepwell_tree::{
    Credit, Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, Task,
};

const THREADS: usize = 2;
/// The job's trees: 32 of 4 first steps with 2 branches each.
const TREES: u64 = 32;
const FIRST: u64 = 4;
const BRANCHES: u64 = 2;
/// Tokens of prompt, first step, observation and second step: U = 12 448, F = 22 016.
const PROMPT: usize = 29;
const STEP: usize = 12;
const OBSERVATION: usize = 12;
const LAST: usize = 33;
const VOCABULARY: usize = 494;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["export", folder] => export(Path::new(folder)),
        ["data", workload, folder] => {
            println!("{}", data(workload, Path::new(folder))?);
            Ok(())
        }
        ["serve", workload, folder] => serve(workload, Path::new(folder)),
        _ => Err("usage: bench_step export FOLDER | data|serve WORKLOAD FOLDER".into()),
    }
}

fn export(folder: &Path) -> Outcome<()> {
    let tokenizer = Tokenizer::from_words(world::words())?;
    for (name, config) in [("job", job_shape()), ("smol", smol_shape())] {
        io::save_folder(&folder.join(name), &Model::random(config, 1), &tokenizer, None)?;
    }
    Ok(())
}

fn job_shape() -> Config {
    Config {
        family: Family::Llama,
        vocabulary: VOCABULARY,
        hidden: 96,
        layers: 3,
        heads: 3,
        kv_heads: 3,
        head_dim: 32,
        ffn: 256,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 256,
    }
}

fn smol_shape() -> Config {
    Config {
        vocabulary: 49_152,
        hidden: 576,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ffn: 1536,
        rope_base: 100_000.0,
        context: 2048,
        ..job_shape()
    }
}

fn load(workload: &str, folder: &Path) -> Outcome<Model> {
    let name = if workload.starts_with("job") { "job" } else { "smol" };
    Ok(io::load_weights(&folder.join(name))?.0)
}

/// Token `at` of the piece named by `place`.
fn tokens(place: &[u64], count: usize, vocabulary: usize) -> Vec<u32> {
    let key = place.iter().fold(Key::new(7, Purpose::Sample), |key, &word| key.with(word));
    (0..count).map(|at| (key.with(at as u64).bits() % vocabulary as u64) as u32).collect()
}

fn number(place: &[u64]) -> f64 {
    let key = place.iter().fold(Key::new(8, Purpose::Sample), |key, &word| key.with(word));
    2.0 * key.uniform() - 1.0
}

// ---- training

/// A forest, its credit, and how it is trained.
struct Training {
    forest: Vec<StepTree>,
    credit: Vec<Credit>,
    settings: Settings,
}

fn task(name: &str) -> Task {
    Task { id: name.to_owned(), question: name.to_owned(), fields: Default::default() }
}

fn step(parent: StepId, child_index: u64, origin: Origin, token: &[u32]) -> NewStep<'_> {
    let (child_index, stop) = (child_index as u32, Stop::Length);
    NewStep { parent, child_index, origin, stop, token, logprob: &[] }
}

/// The job's forest; `flat` has one tree per leaf.
fn job_forest(flat: bool) -> (Vec<StepTree>, Vec<Credit>) {
    let policy = Origin::Policy(PolicyVersion(0));
    let mut made = Vec::new();
    for t in 0..TREES {
        let fresh = || StepTree::new(task("bench").hash(), &tokens(&[t], PROMPT, VOCABULARY));
        let (mut tree, mut credit) = (fresh(), Credit::none(1));
        for a in 0..FIRST {
            let own = tokens(&[t, a], STEP, VOCABULARY);
            let seen = tokens(&[t, a, 9], OBSERVATION, VOCABULARY);
            let mut above = None;
            for b in 0..BRANCHES {
                let last = tokens(&[t, a, 9, b], LAST, VOCABULARY);
                let zero = [0.0; LAST];
                let below = above.unwrap_or_else(|| {
                    let logprob = &zero[..STEP];
                    let first = step(StepId::ROOT, a, policy, &own);
                    let first = tree.push(NewStep { logprob, ..first });
                    let below = tree.push(step(first, 0, Origin::Environment, &seen));
                    credit.step.extend([Some(number(&[t, a])), None]);
                    below
                });
                tree.push(NewStep { logprob: &zero, ..step(below, b, policy, &last) });
                credit.step.push(Some(number(&[t, a, b])));
                above = (!flat).then_some(below);
                if flat {
                    let whole = std::mem::replace(&mut tree, fresh());
                    made.push((whole, std::mem::replace(&mut credit, Credit::none(1))));
                }
            }
        }
        if !flat {
            made.push((tree, credit));
        }
    }
    made.into_iter().unzip()
}

/// Rows of random tokens, every token but the first trained.
fn smol_forest(rows: usize, length: usize) -> (Vec<StepTree>, Vec<Credit>) {
    let row = |row: usize| {
        let token = tokens(&[row as u64], length, smol_shape().vocabulary);
        let mut tree = StepTree::new(task("bench").hash(), &token[..1]);
        tree.push(step(StepId::ROOT, 0, Origin::Demonstration, &token[1..]));
        (tree, Credit { step: vec![None, Some(1.0)], token: None })
    };
    (0..rows).map(row).unzip()
}

fn training(workload: &str, learner: &mut Learner) -> Outcome<Training> {
    let aggregation = Aggregation::TokenMean;
    let job = workload.starts_with("job");
    let (mut forest, credit) = match workload {
        "job_train" => job_forest(false),
        "job_train_flat" => job_forest(true),
        "smol_train_1x512" => smol_forest(1, 512),
        "smol_train_4x256" => smol_forest(4, 256),
        _ => return Err(format!("no such workload: {workload}").into()),
    };
    if job {
        // Behaviour near the policy: every ratio has a value of its own.
        let frozen = stepwell_train::Reference::of(learner.model());
        learner.fill_reference(&mut forest, &frozen, 1.0, 32_768);
        for tree in &mut forest {
            let now = tree.token_column.remove("reference_logprob").ok_or("no column")?;
            for s in (0..tree.len()).filter(|&s| tree.origin[s].is_policy()) {
                for at in tree.span[s].range() {
                    let shift = 0.1 * number(&[u64::from(tree.token[at]), 3]) as f32;
                    tree.logprob[at] = now[at] + shift;
                }
            }
        }
    }
    let objective = if job {
        Objective::Clipped(clipped::Config { aggregation, ..clipped::Config::default() })
    } else {
        Objective::CrossEntropy(cross_entropy::Config { aggregation })
    };
    let adamw = AdamWSettings {
        learning_rate: if job { 1e-3 } else { 1e-4 },
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
    };
    let settings = Settings {
        objective,
        max_tokens: LAST,
        temperature: 1.0,
        adamw,
        gradient_clip: 1.0,
        epochs: 1,
        minibatches: 1,
        tokens_max: 32_768,
        on_policy: false,
    };
    Ok(Training { forest, credit, settings })
}

fn learner(model: Model) -> Outcome<Learner> {
    let tokenizer = Tokenizer::from_words(world::words())?;
    Ok(Learner::new(model, Codec::new(tokenizer, Some(ChatTemplate::plain()))?, THREADS))
}

/// Root-to-leaf rows; a token's weight is dealt out among the rows that repeat it.
fn rows(training: &Training) -> Value {
    let trained: usize = trained(training);
    let (mut row, mut weight, mut credit, mut behaviour) = (vec![], vec![], vec![], vec![]);
    for (tree, own) in training.forest.iter().zip(&training.credit) {
        let leaves = stepwell_tree::leaves(tree);
        let paths: Vec<Vec<StepId>> =
            leaves.iter().map(|&leaf| stepwell_tree::path_to(tree, leaf)).collect();
        for path in &paths {
            let mut columns = (vec![], vec![], vec![], vec![]);
            for step in path {
                let shared = paths.iter().filter(|path| path.contains(step)).count();
                let worth = own.step[step.index()];
                let factor = worth.map_or(0.0, |_| 1.0 / (trained * shared) as f64);
                for at in tree.span[step.index()].range() {
                    columns.0.push(tree.token[at]);
                    columns.1.push(factor);
                    columns.2.push(worth.unwrap_or(0.0));
                    columns.3.push(if worth.is_some() { tree.logprob[at].min(0.0) } else { 0.0 });
                }
            }
            row.push(columns.0);
            weight.push(columns.1);
            credit.push(columns.2);
            behaviour.push(columns.3);
        }
    }
    let unique: usize = training.forest.iter().map(StepTree::unique_tokens).sum();
    let flat: usize = training.forest.iter().map(StepTree::flat_tokens).sum();
    let clipped = matches!(training.settings.objective, Objective::Clipped(_));
    json!({
        "kind": "train", "rows": row, "weight": weight, "credit": credit, "behaviour": behaviour,
        "clipped": clipped, "learning_rate": training.settings.adamw.learning_rate,
        "unique": unique, "flat": flat, "trained": trained,
    })
}

fn trained(training: &Training) -> usize {
    let of = |(tree, credit): (&StepTree, &Credit)| -> usize {
        let steps = tree.span.iter().zip(&credit.step);
        steps.map(|(span, credit)| credit.map_or(0, |_| span.len())).sum()
    };
    training.forest.iter().zip(&training.credit).map(of).sum()
}

// ---- sampling

/// Rows that are sampled: prompt, first step, then (in the job) observation and second step.
struct Round {
    shared: bool,
    prompt: Vec<Vec<u32>>,
    /// Per tree and first step; empty where a step is all.
    observation: Vec<Vec<u32>>,
    first: u64,
    branches: u64,
    step: usize,
    last: usize,
}

fn round(workload: &str) -> Outcome<Round> {
    if let Some(rows) = workload.strip_prefix("smol_decode_") {
        let vocabulary = smol_shape().vocabulary;
        let prompt = (0..rows.parse()?).map(|row: u64| tokens(&[row], 128, vocabulary)).collect();
        let (first, branches, step, last) = (1, 0, 32, 0);
        return Ok(Round {
            shared: true,
            prompt,
            observation: vec![],
            first,
            branches,
            step,
            last,
        });
    }
    let shared = match workload {
        "job_sample" => true,
        "job_sample_flat" => false,
        _ => return Err(format!("no such workload: {workload}").into()),
    };
    let prompt = (0..TREES).map(|t| tokens(&[t], PROMPT, VOCABULARY)).collect();
    let place = |i: u64| [i / FIRST, i % FIRST, 9];
    let seen = |i| tokens(&place(i), OBSERVATION, VOCABULARY);
    Ok(Round {
        shared,
        prompt,
        observation: (0..TREES * FIRST).map(seen).collect(),
        first: FIRST,
        branches: BRANCHES,
        step: STEP,
        last: LAST,
    })
}

/// Decodes until every live row has ended; rows by id.
fn finish(decoder: &mut Decoder, model: &Model) -> Vec<Finished> {
    let key = Key::new(9, Purpose::Sample);
    let draw = |id: u64, position: u32| key.with(id).with(u64::from(position)).uniform();
    let mut all = Vec::new();
    while decoder.live() > 0 {
        all.extend(decoder.advance(model, &draw, &|_, _| Halt::Continue));
    }
    all.sort_by_key(|finished| finished.id);
    all
}

/// Tokens of every path, and the seconds until the prompts were computed.
fn sample(model: &Model, round: &Round, greedy: bool) -> (Vec<Vec<u32>>, f64) {
    let start = Instant::now();
    let temperature = if greedy { 0.0 } else { 1.0 };
    let sampling = Sampling { temperature, top_k: 0, top_p: 1.0 };
    let request = |max_tokens| SampleRequest { sampling, max_tokens, end_tokens: vec![] };
    let mut decoder = Decoder::new(THREADS);
    // Flat: as many prompts as leaves, each computed on its own.
    let copies = if round.shared { 1 } else { (round.first * round.branches) as usize };
    let prompts: Vec<(Option<Prefix>, Vec<u32>)> =
        round.prompt.iter().flat_map(|p| vec![(None, p.clone()); copies]).collect();
    let prefixes = decoder.extend_many(model, &prompts);
    let opened = start.elapsed().as_secs_f64();
    let (children, branches) =
        if round.shared { (round.first, round.branches) } else { (1, round.branches.min(1)) };
    for (p, prefix) in prefixes.iter().enumerate() {
        for child in 0..children {
            decoder.begin(p as u64 * children + child, prefix, request(round.step));
        }
    }
    let first = finish(&mut decoder, model);
    if branches == 0 {
        return (first.into_iter().map(|f| f.tokens).collect(), opened);
    }
    let repeats = first.len() / round.observation.len();
    let seen: Vec<(Option<Prefix>, Vec<u32>)> = first
        .iter()
        .enumerate()
        .map(|(i, f)| (Some(f.prefix.clone()), round.observation[i / repeats].clone()))
        .collect();
    let below = decoder.extend_many(model, &seen);
    for (i, prefix) in below.iter().enumerate() {
        for branch in 0..branches {
            decoder.begin(i as u64 * branches + branch, prefix, request(round.last));
        }
    }
    let last = finish(&mut decoder, model);
    let path = |(i, f): (usize, &Finished)| {
        [first[i / branches as usize].tokens.clone(), f.tokens.clone()].concat()
    };
    (last.iter().enumerate().map(path).collect(), opened)
}

fn round_data(round: &Round) -> Value {
    let (prompts, firsts) = (round.prompt.len(), round.prompt.len() * round.first as usize);
    let rows = firsts * round.branches.max(1) as usize;
    let seen = round.observation.first().map_or(0, Vec::len);
    let prompt = round.prompt[0].len();
    json!({
        "kind": "sample", "prompts": round.prompt, "observations": round.observation,
        "rows": rows, "step": round.step, "last": round.last,
        "unique": prompts * prompt + firsts * (round.step + seen)
            + firsts * round.branches as usize * round.last,
        "flat": rows * (prompt + round.step + seen + round.last),
    })
}

// ---- the protocol

fn data(workload: &str, folder: &Path) -> Outcome<Value> {
    if workload.contains("train") {
        let mut learner = learner(load(workload, folder)?)?;
        return Ok(rows(&training(workload, &mut learner)?));
    }
    Ok(round_data(&round(workload)?))
}

fn serve(workload: &str, folder: &Path) -> Outcome<()> {
    let model = load(workload, folder)?;
    if workload.contains("train") {
        let mut learner = learner(model)?;
        let training = training(workload, &mut learner)?;
        let Training { forest, credit, settings } = &training;
        return answer(|_| {
            let start = Instant::now();
            let key = Key::new(1, Purpose::Sample);
            let report = learner.update(forest, credit, settings, key)?;
            let wall = start.elapsed().as_secs_f64();
            Ok(json!({ "wall": wall, "loss": report.loss, "norm": report.gradient_norm }))
        });
    }
    let round = round(workload)?;
    answer(|command| {
        let start = Instant::now();
        let (tokens, opened) = sample(&model, &round, command == "check");
        let wall = start.elapsed().as_secs_f64();
        Ok(match command {
            "check" => json!({ "tokens": tokens }),
            _ => json!({ "wall": wall, "opened": opened }),
        })
    })
}

fn answer(mut work: impl FnMut(&str) -> Outcome<Value>) -> Outcome<()> {
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines() {
        println!("{}", work(line?.trim())?);
    }
    Ok(())
}
