//! A process that starts jails, as the engine does: it makes the attempts inside, tells what it
//! saw as the host of them, and runs an honest task beside them all the while.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use stepwell_sandbox::ArtifactError;
use stepwell_sandbox::jail::{Finished, Jail, Limits, Program};
use stepwell_sandbox::python::{Python, Session, Step};

use super::attempts::{MARK, PYTHON, program, ways};

/// What an engine is told on its standard input.
#[derive(Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) facts: Json,
    /// Layers to leave out.
    pub(crate) holes: Vec<String>,
    pub(crate) attempts: Vec<u8>,
    pub(crate) runtime: std::path::PathBuf,
    pub(crate) tag: String,
}

/// What came of one attempt inside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Inside {
    pub(crate) number: u8,
    /// What it printed, and what the host of it says, line by line.
    pub(crate) text: String,
    /// Seconds that the jail took.
    pub(crate) seconds: f64,
}

/// What an engine says in the end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) process: u32,
    pub(crate) inside: Vec<Inside>,
    /// Answers of the honest task, each of which has to be right.
    pub(crate) honest: usize,
    pub(crate) wrong: Vec<String>,
    /// Open descriptors before and after.
    pub(crate) descriptors: (usize, usize),
    /// The most memory that it held, in KiB.
    pub(crate) peak_kib: u64,
}

/// The life of an engine.
pub(crate) fn main() -> ExitCode {
    let mut orders: Orders = serde_json::from_reader(std::io::stdin()).unwrap();
    orders.facts["engine"] = std::process::id().into();
    stepwell_sandbox::holes::open(orders.holes.clone());
    // The thread that starts jails, and what a first jail opens.
    drop(Session::start(&Python::default()).unwrap());
    let before = descriptors();
    let over = AtomicBool::new(false);
    let (inside, (honest, wrong)) = std::thread::scope(|scope| {
        let honest = scope.spawn(|| honest_task(&over, orders.attempts.len()));
        let end = Over(&over);
        let mut inside = Vec::new();
        for number in &orders.attempts {
            inside.push(attempt(*number, &orders));
        }
        drop(end);
        (inside, honest.join().unwrap())
    });
    let descriptors = (before, descriptors());
    let process = std::process::id();
    let report = Report { process, inside, honest, wrong, descriptors, peak_kib: peak() };
    serde_json::to_writer(std::io::stdout(), &report).unwrap();
    ExitCode::SUCCESS
}

/// Says so when it is dropped, in a panic too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// An interpreter that computes and remembers while others do their worst.
fn honest_task(over: &AtomicBool, attempts: usize) -> (usize, Vec<String>) {
    let mut session = Session::start(&Python::default()).unwrap();
    let mut wrong = Vec::new();
    let mut steps = 0;
    assert!(matches!(session.step("total = 0"), Step::Ran { error: None, .. }));
    while !over.load(Ordering::SeqCst) || steps < attempts.min(10) {
        steps += 1;
        let code = format!("total += {steps}\nopen('kept', 'w').write(str(total))\nprint(total)");
        let text = format!("{}\n", steps * (steps + 1) / 2);
        let right = Step::Ran { text, cut: false, error: None };
        let got = session.step(&code);
        if got != right {
            wrong.push(format!("step {steps}: {got:?}"));
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    let kept = session.end().read("kept", 100);
    let right = (steps * (steps + 1) / 2).to_string().into_bytes();
    if wrong.is_empty() && kept != Ok(right) {
        wrong.push(format!("its file: {kept:?}"));
    }
    (steps, wrong)
}

/// The limits of an attempt's jail.
fn limits(number: u8) -> Limits {
    let limits = Limits { memory: 192 << 20, ..Limits::default() };
    match number {
        48 => Limits { memory: 128 << 20, ..limits },
        49 => Limits { cpu_seconds: 1, ..limits },
        51 => Limits { memory: 96 << 20, ..limits },
        _ => limits,
    }
}

/// Runs a program and tells what it said and what the host of it saw.
fn outcome(number: u8, stranger: &Program, seconds: f64) -> String {
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let done = Jail::run(stranger, &limits(number), b"", 1 << 16, deadline)
        .unwrap_or_else(|error| panic!("attempt {number}: {error}"));
    let over = deadline.elapsed().as_secs_f64();
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    let end = format!("\nended {}, late {}\n", done.status, done.late);
    out + "\n" + &err + &end + &told_by_the_host(number, &done, over)
}

/// The program without one of its two ways.
fn alone(stranger: &Program, number: u8, other: usize) -> Program {
    let mut stranger = stranger.clone();
    let source = stranger.command.iter_mut().find(|word| word.contains("WAYS")).unwrap();
    *source = source.replace("\nmain()\n", &format!("\ndel WAYS[{number}][{other}]\nmain()\n"));
    stranger
}

fn attempt(number: u8, orders: &Orders) -> Inside {
    let mut facts = orders.facts.clone();
    facts["devices"] = serde_json::json!(["/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda"]);
    facts["sockets"] = serde_json::json!([]);
    facts["race_seconds"] = 20.0.into();
    facts["sleep_seconds"] = 60.into();
    facts["flood_mib"] = 1024.into();
    facts["inodes"] = 120_000.into();
    // Landlock walks up from every folder, so making them takes the square of their number.
    let long = std::env::var_os("STEPWELL_LONG").is_some();
    facts["depth"] = if long { 10_000 } else { 2_500 }.into();
    let stranger = |facts: &Json| Program {
        command: [
            "-I",
            "-B",
            "-S",
            "-c",
            &program(number),
            &number.to_string(),
            &facts.to_string(),
        ]
        .iter()
        .fold(vec![PYTHON.to_owned()], |mut all, word| {
            all.push((*word).to_owned());
            all
        }),
        environment: [("STEPWELL_TAG".to_owned(), orders.tag.clone())].into(),
        read: vec![orders.runtime.clone()],
        weak: false,
    };
    let begun = Instant::now();
    let text = match number {
        6 => race(&stranger(&facts)),
        // One way at a time, because the end of the first is the end of the jail.
        49 => {
            let spins = alone(&stranger(&facts), 49, 1);
            let sleeps = alone(&stranger(&facts), 49, 0);
            outcome(49, &spins, 20.0) + &outcome(26, &sleeps, 1.0)
        }
        50 => [0, 1].map(|other| flood(&alone(&stranger(&facts), 50, other))).concat(),
        _ => outcome(number, &stranger(&facts), if number == 26 { 1.0 } else { 40.0 }),
    };
    Inside { number, text, seconds: begun.elapsed().as_secs_f64() }
}

/// What the host says of an attempt that only it can judge.
fn told_by_the_host(number: u8, done: &Finished, over: f64) -> String {
    let read = |name: &str| {
        let begun = Instant::now();
        let found = done.workspace.read(name, 1 << 20);
        verdict(name, &found, begun.elapsed())
    };
    match number {
        3 => read("answer") + &read("folder/canary"),
        14 => read("answer") + &read("socket") + &read("device"),
        15 => read("sparse") + &read(&"d/".repeat(10_000)) + &read(&"n".repeat(255)),
        // It has to be ended, and in time.
        26 if !done.late => "ESCAPED it ended itself: before its time\n".to_owned(),
        26 if over > 1.0 => format!("ESCAPED it lived on: {over} s past its time\n"),
        26 => "stopped by the host: in time\n".to_owned(),
        39 => the_next_interpreter(),
        _ => String::new(),
    }
}

/// A file that leaves a jail must be a plain one of its own, and leave at once.
fn verdict(name: &str, found: &Result<Vec<u8>, ArtifactError>, took: Duration) -> String {
    let name: String = name.chars().take(20).collect();
    match found {
        _ if took > Duration::from_millis(500) => format!("ESCAPED {name}: the host waited\n"),
        Ok(bytes) if bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes()) => {
            format!("ESCAPED {name}: {}\n", String::from_utf8_lossy(bytes))
        }
        Ok(bytes) => format!("stopped {name}: {} bytes of its own\n", bytes.len()),
        Err(error) => format!("stopped {name}: {}\n", error.to_string().replace('\n', " ")),
    }
}

/// Kills a program in the middle of its race, at different moments, and copies.
fn race(stranger: &Program) -> String {
    let mut text = String::new();
    for moment in 0..8 {
        let mut jail = Jail::start(stranger, &Limits::default()).unwrap();
        jail.stdin = None;
        std::thread::sleep(Duration::from_millis(120 + 7 * moment));
        let workspace = jail.kill().workspace;
        let begun = Instant::now();
        for _ in 0..20 {
            let found = workspace.read("answer", 1000);
            text += &verdict("answer", &found, begun.elapsed());
        }
    }
    text
}

/// Lets one of the two streams be flooded.
fn flood(stranger: &Program) -> String {
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(20);
    let cap = 100_000;
    let done = Jail::run(stranger, &limits(50), b"", cap, deadline).unwrap();
    let kept = done.stdout.len() + done.stderr.len();
    let text = String::from_utf8_lossy(&done.stdout);
    let bounded = done.cut && kept <= 2 * cap && ways(&text).is_empty();
    let took = begun.elapsed().as_secs_f64();
    match bounded && took < 10.0 {
        true => format!("stopped a flood: cut after {kept} bytes\n"),
        false => format!("ESCAPED a flood: {kept} bytes, cut {}, {took} s\n", done.cut),
    }
}

/// What an interpreter of the next jail prints, with the site's packages on.
fn the_next_interpreter() -> String {
    let mut session = Session::start(&Python { packages: true, ..Python::default() }).unwrap();
    match session.step("print('clean')") {
        Step::Ran { text, .. } if text == "clean\n" => "stopped the next one: clean\n".to_owned(),
        other => format!("ESCAPED the next one: {other:?}\n"),
    }
}
