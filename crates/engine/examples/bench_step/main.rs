//! Our side of `bench/run.sh`: does one training step, sampling round or whole GRPO step for every
//! line it reads, and answers with a line of JSON.
//!
//! ```text
//! bench_step export FOLDER               writes the models as Hugging Face folders
//! bench_step facts WORKLOAD              prints its U, F and number of parameters
//! bench_step data FOLDER WORKLOAD        prints the tokens that every side computes, and the facts
//! bench_step serve FOLDER WORKLOAD       answers `run` and `check`
//! bench_step precisions                  prints what the engine can compute in
//! bench_step serve FOLDER products       the products of the training shapes beside the peak
//! ```
//!
//! A workload is one argument of words; see [`workload`].
#![expect(clippy::print_stdout, reason = "the answers are lines")]

mod grpo;
mod products;
mod rows;
mod sampling;
mod shapes;
mod training;
mod tree;
mod workload;

use std::error::Error;
use std::io::BufRead as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use stepwell_env::sql::world;
use stepwell_model::Model;
use stepwell_model::template::ChatTemplate;
use stepwell_model::tokenizer::Tokenizer;
use stepwell_train::{Codec, Learner};
use stepwell_tree::{Key, Purpose};
use workload::{Kind, Precision, Workload};

/// Threads of every side.
const THREADS: usize = 2;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["export", folder] => shapes::export(Path::new(folder)),
        ["data", folder, workload] => {
            println!("{}", data(&Workload::parse(workload)?, Path::new(folder))?);
            Ok(())
        }
        ["facts", workload] => {
            println!("{}", facts(&Workload::parse(workload)?, json!({}))?);
            Ok(())
        }
        ["precisions"] => {
            println!("{}", json!(PRECISIONS));
            Ok(())
        }
        ["serve", _, "products"] => answer(|_| Ok(products::measure())),
        ["serve", folder, workload] => serve(&Workload::parse(workload)?, Path::new(folder)),
        _ => Err("usage: bench_step export FOLDER | data|serve FOLDER WORKLOAD".into()),
    }
}

fn data(workload: &Workload, folder: &Path) -> Outcome<Value> {
    let model = shapes::load(&workload.model, folder)?;
    let value = match workload.kind {
        Kind::Sft | Kind::Rl => {
            let mut learner = learner(model, workload.precision)?;
            let training = training::training(workload, &mut learner)?;
            rows::training(&training)
        }
        Kind::Sample | Kind::Grpo => rows::sampling(workload, model.config().vocabulary),
    };
    facts(workload, value)
}

/// Adds to `value` what every table needs.
fn facts(workload: &Workload, mut value: Value) -> Outcome<Value> {
    let (config, tree) = (shapes::config(&workload.model)?, &workload.tree);
    value["unique"] = json!(tree.unique());
    value["flat"] = json!(tree.flat());
    value["leaves"] = json!(tree.leaves());
    value["sampled"] = json!(tree.sampled());
    value["parameters"] = json!(shapes::parameters(&config));
    value["vocabulary"] = json!(config.vocabulary);
    Ok(value)
}

fn serve(workload: &Workload, folder: &Path) -> Outcome<()> {
    let model = shapes::load(&workload.model, folder)?;
    match workload.kind {
        Kind::Sft | Kind::Rl => {
            let mut learner = learner(model, workload.precision)?;
            learner.set_activation_budget(workload.lean.then_some(0));
            let training = training::training(workload, &mut learner)?;
            answer(|_| {
                let start = Instant::now();
                let report = training.update(&mut learner)?;
                let wall = start.elapsed().as_secs_f64();
                Ok(json!({ "wall": wall, "loss": report.loss, "norm": report.gradient_norm }))
            })
        }
        Kind::Sample => {
            let model = with_precision(model, workload.precision);
            answer(|command| {
                let start = Instant::now();
                let (tokens, opened) = sampling::sample(&model, workload, command == "check");
                let wall = start.elapsed().as_secs_f64();
                Ok(match command {
                    "check" => json!({ "tokens": tokens }),
                    _ => json!({ "wall": wall, "opened": opened }),
                })
            })
        }
        Kind::Grpo => {
            let mut learner = learner(model, workload.precision)?;
            let mut count = 0;
            answer(|command| {
                count += 1;
                let key = Key::new(11, Purpose::Sample).with(count);
                let start = Instant::now();
                let step = grpo::step(&mut learner, workload, key)?;
                let wall = start.elapsed().as_secs_f64();
                let mut value = json!({
                    "wall": wall, "opened": step.sampled, "norm": step.report.gradient_norm,
                    "loss": step.report.loss, "gap": step.report.gap,
                });
                if command == "check" {
                    value["tokens"] = json!(step.tokens);
                }
                Ok(value)
            })
        }
    }
}

fn learner(model: Model, precision: Precision) -> Outcome<Learner> {
    let tokenizer = Tokenizer::from_words(world::words())?;
    let codec = Codec::new(tokenizer, Some(ChatTemplate::plain()))?;
    Ok(Learner::new(with_precision(model, precision), codec, THREADS))
}

/// What [`with_precision`] knows; the driver leaves out what is not here.
const PRECISIONS: [&str; 2] = ["f32", "bf16"];

/// The one place where a workload's precision reaches the engine.
fn with_precision(mut model: Model, precision: Precision) -> Model {
    model.set_precision(match precision {
        Precision::F32 => stepwell_model::Precision::F32,
        Precision::Bf16 => stepwell_model::Precision::Bf16,
    });
    model
}

fn answer(mut work: impl FnMut(&str) -> Outcome<Value>) -> Outcome<()> {
    println!("{}", json!({ "ready": true, "note": stepwell_model::vector_unit() }));
    for line in std::io::stdin().lock().lines() {
        println!("{}", work(line?.trim())?);
    }
    Ok(())
}
