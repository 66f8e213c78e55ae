//! What a jail costs: `cargo run --release -p stepwell-sandbox --example cost`.
//!
//! Medians in milliseconds. A step's cost is what its round trip takes beside the time that the
//! interpreter itself needs for it, measured inside.

#![expect(clippy::print_stdout, reason = "the answers are lines")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use stepwell_sandbox::jail::{Jail, Limits, Program};
use stepwell_sandbox::python::{Python, Session, Step};

/// How often a start is measured, and a step.
const STARTS: usize = 50;
const STEPS: usize = 500;
/// A step that takes a moment and prints how long, in seconds.
const STEP: &str = "begun = time.perf_counter()
total = sum(n * n for n in range(10000))
print(time.perf_counter() - begun)";

fn main() -> ExitCode {
    if let Some(code) = stepwell_sandbox::enter(&[]) {
        return code;
    }
    let (command, quickest_command) = median((0..STARTS).map(|_| {
        let program = Program { command: vec!["/bin/true".to_owned()], ..Program::default() };
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(20);
        Jail::run(&program, &Limits::default(), b"", 100, deadline).expect("a jail");
        milliseconds(begun.elapsed())
    }));
    let (start, quickest_start) = median((0..STARTS).map(|_| {
        let begun = Instant::now();
        let session = Session::start(&Python::default()).expect("a session");
        let taken = milliseconds(begun.elapsed());
        drop(session);
        taken
    }));
    let mut session = Session::start(&Python::default()).expect("a session");
    session.step("import time");
    let mut whole = Vec::with_capacity(STEPS);
    let mut inside = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        let begun = Instant::now();
        let Step::Ran { text, error: None, .. } = session.step(STEP) else { panic!("a step") };
        whole.push(milliseconds(begun.elapsed()));
        inside.push(1e3 * text.trim().parse::<f64>().expect("seconds"));
    }
    let (cost, quickest) = median(whole.iter().zip(&inside).map(|(whole, inside)| whole - inside));
    let (inside, _) = median(inside.into_iter());
    println!("a command from start to end: {command:.1} ms, at best {quickest_command:.1}");
    println!("a session's start:           {start:.1} ms, at best {quickest_start:.1}");
    println!("a step, inside:              {inside:.2} ms");
    println!("a step, besides:             {cost:.2} ms, at best {quickest:.2}");
    ExitCode::SUCCESS
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The median, and the least.
fn median(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0])
}
