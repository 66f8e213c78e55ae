//! Runs every target of the fuzz list, each in a process of its own, under bounds of time and
//! memory, and says of each how many inputs were tried. A program of its own and no test of the
//! usual harness, because it starts itself again.
#![expect(clippy::print_stdout, reason = "what stands in for the usual harness reports as it does")]

mod bounds;
mod child;
mod corpus;
mod plants;

use std::process::ExitCode;
use std::time::Duration;

use stepwell_fuzz::{TARGETS, Target};

/// Seconds for each target where nothing else is said: all of them take a minute on two cores.
const SECONDS: f64 = 4.0;
/// Seconds of the long form, for all targets together.
const LONG_SECONDS: f64 = 3600.0;

/// Seconds for each target.
fn seconds() -> f64 {
    let set = std::env::var("STEPWELL_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let long = std::env::var_os("STEPWELL_LONG").is_some_and(|value| value == "1");
    set.unwrap_or(if long { LONG_SECONDS / TARGETS.len() as f64 } else { SECONDS })
}

/// The draws' seed: the same inputs in the same order, as far as time goes.
fn seed() -> u64 {
    std::env::var("STEPWELL_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Options of the usual harness whose value is the word after them.
const WITH_VALUE: [&str; 6] =
    ["--test-threads", "--skip", "--format", "--color", "--logfile", "--shuffle-seed"];

/// As `cargo test` hands words on: one that is no option keeps what its name holds.
fn filters(words: &[String]) -> Vec<&str> {
    let mut words = words.iter().map(String::as_str);
    let mut filters = Vec::new();
    while let Some(word) = words.next() {
        match word {
            option if WITH_VALUE.contains(&option) => drop(words.next()),
            option if option.starts_with('-') => {}
            filter => filters.push(filter),
        }
    }
    filters
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, place] = &words[..]
        && flag == "--child"
    {
        return child::run(name, place.as_ref(), seconds(), seed());
    }
    let filters = filters(&words);
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|part| name.contains(*part));
    let targets: Vec<&Target> = TARGETS.iter().filter(|target| wanted(target.name)).collect();
    let each = Duration::from_secs_f64(seconds());
    println!("fuzz: {} targets, {:.1} s each, seed {}", targets.len(), each.as_secs_f64(), seed());
    let plants = if wanted("plants") { plants::find_all() } else { Vec::new() };
    let mut failed = plants.iter().filter(|found| found.is_err()).count();
    let checked = plants.len() + targets.len();
    for found in plants {
        println!("{}", found.unwrap_or_else(|why| why));
    }
    for outcome in child::run_all(&targets) {
        match outcome {
            Ok(told) => println!("{told}"),
            Err(why) => {
                failed += 1;
                println!("{why}");
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let passed = checked - failed;
    let rest = "0 ignored; 0 measured; 0 filtered out";
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; {rest}\n");
    ExitCode::from(if failed == 0 { 0 } else { 101 })
}
