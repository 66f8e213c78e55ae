//! One target in a process of its own, and the process that waits for it.

use std::collections::BTreeSet;
use std::io::{Seek as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stepwell_fuzz::mutate::{Draws, mutate};
use stepwell_fuzz::{TARGETS, Target};

use crate::{bounds, corpus, plants};

/// The stack of every thread that Rust starts and nothing else is said of.
const STACK: usize = 2 << 20;
/// Inputs that are kept to be changed, and their bytes.
const KEPT_MAX: usize = 4096;
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Where the input stands that is tried.
const INPUT: &str = "input";

/// Milliseconds since the start at which the input that is tried began.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// In the child: tries inputs until the time is up. Exit code 1 where one failed.
pub(crate) fn run(name: &str, place: &Path, seconds: f64, seed: u64) -> ExitCode {
    let planted = plants::PLANTS.iter().map(|plant| &plant.target);
    let target = TARGETS.iter().chain(planted).find(|target| target.name == name);
    let target = *target.unwrap_or_else(|| panic!("no target `{name}`"));
    let corpus = plants::corpus(name).unwrap_or_else(|| corpus::read(name));
    let patience = plants::patience(name).unwrap_or(bounds::PATIENCE);
    let start = Instant::now();
    std::thread::spawn(move || watch(start, patience));
    let place = place.to_owned();
    let work = move || Trial::new(target, &place, start).go_on(corpus, seconds, seed);
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap();
    match thread.join() {
        Ok(Ok(told)) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Ok(Err(why)) => {
            println!("{why}");
            ExitCode::from(1)
        }
        Err(_) => ExitCode::from(1),
    }
}

/// Ends the process where an input does not return.
fn watch(start: Instant, patience: Duration) {
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let began = Duration::from_millis(BEGAN.load(Ordering::Relaxed));
        if start.elapsed() > began + patience {
            println!("an input did not return in {} s", patience.as_secs_f64());
            std::process::exit(1);
        }
    }
}

struct Trial {
    target: Target,
    file: std::fs::File,
    start: Instant,
    panic: std::sync::Arc<Mutex<String>>,
    tried: u64,
    most: usize,
    slowest: Duration,
}

impl Trial {
    fn new(target: Target, place: &Path, start: Instant) -> Trial {
        let panic = std::sync::Arc::<Mutex<String>>::default();
        let said = std::sync::Arc::clone(&panic);
        std::panic::set_hook(Box::new(move |info| *said.lock().unwrap() = info.to_string()));
        let file = std::fs::File::create(place.join(INPUT)).unwrap();
        let (tried, most, slowest) = (0, 0, Duration::ZERO);
        Trial { target, file, start, panic, tried, most, slowest }
    }

    fn go_on(mut self, corpus: Vec<Vec<u8>>, seconds: f64, seed: u64) -> Result<String, String> {
        let known = corpus.len();
        let mut heard = BTreeSet::new();
        let mut kept = Vec::new();
        for input in corpus {
            heard.insert(kind_of(&self.one(&input)?));
            kept.push(input);
        }
        let mut bytes: usize = kept.iter().map(Vec::len).sum();
        let mut draws = Draws::new(seed);
        while self.start.elapsed().as_secs_f64() < seconds {
            let (one, other) = (draws.below(kept.len()), draws.below(kept.len()));
            let Target { words, bytes_max, .. } = self.target;
            let input = mutate(&mut draws, &kept[one], &kept[other], words, bytes_max);
            let said = self.one(&input)?;
            let news = heard.len() < KEPT_MAX * 4 && heard.insert(kind_of(&said));
            if news && kept.len() < KEPT_MAX && bytes + input.len() < KEPT_BYTES_MAX {
                bytes += input.len();
                kept.push(input);
            }
        }
        Ok(format!(
            "{:<18} {:>8} inputs from {known} known, {} kinds of answer, at most {} KiB and {} ms",
            self.target.name,
            self.tried,
            heard.len(),
            self.most >> 10,
            self.slowest.as_millis()
        ))
    }

    /// Tries one input.
    fn one(&mut self, input: &[u8]) -> Result<String, String> {
        self.file.rewind().unwrap();
        self.file.write_all(input).unwrap();
        self.file.set_len(input.len() as u64).unwrap();
        BEGAN.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.tried += 1;
        let (live, time) = (bounds::begin(), bounds::processor_time());
        let run = self.target.run;
        let said = catch_unwind(AssertUnwindSafe(|| run(input)));
        let spent = bounds::processor_time() - time;
        let grown = bounds::grown(live);
        self.most = self.most.max(grown);
        self.slowest = self.slowest.max(spent);
        let said = said.map_err(|_| self.panic.lock().unwrap().clone())?;
        let most = bounds::BYTES_MAX + bounds::BYTES_MAX_EACH * input.len();
        if grown > most {
            return Err(format!("{grown} bytes of memory, at most {most}"));
        }
        if spent > bounds::TIME_MAX {
            let (spent, most) = (spent.as_secs_f64(), bounds::TIME_MAX.as_secs_f64());
            return Err(format!("{spent:.1} s of processor time, at most {most}"));
        }
        Ok(said)
    }
}

/// What was said, without names and numbers: the first two stretches outside of quotes, up to where
/// a message repeats its input, without digits.
fn kind_of(said: &str) -> u64 {
    let ends = [" got", "(line starts", "known:"];
    let end = ends.iter().filter_map(|end| said.find(end)).min().unwrap_or(said.len());
    let mut outside = said[..end].split(['`', '"']).step_by(2);
    let parts = [outside.next(), outside.next()].into_iter().flatten();
    let letters = parts.flat_map(|part| part.chars().take(80)).filter(|c| !c.is_ascii_digit());
    corpus::mark(letters.map(u64::from))
}

/// In the parent: every target, as many at once as there are cores; `Err` says what failed and
/// where its input is.
pub(crate) fn run_all(targets: &[&Target]) -> Vec<Result<String, String>> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Result<String, String>)>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(target) = targets.get(at) else { return };
                    let outcome = start(target.name).map_err(|(why, input)| {
                        let path = corpus::keep(target.name, &input);
                        failure(target.name, &why, &input, &path)
                    });
                    outcomes.lock().unwrap().push((at, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn failure(name: &str, why: &str, input: &[u8], path: &Path) -> String {
    let shown = corpus::hex(&input[..input.len().min(960)]);
    let rest = if input.len() > 960 { "...\n" } else { "" };
    format!(
        "FAILED {name}: {why}\n{} bytes, kept as {}\n{shown}{rest}\
         to try it again: cargo test -p stepwell-fuzz --test fuzz {name}",
        input.len(),
        path.display()
    )
}

/// Runs a target in a child: what it told, or why it failed, with the input.
pub(crate) fn start(name: &str) -> Result<String, (String, Vec<u8>)> {
    let place = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--child", name])
        .arg(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(said);
    }
    let input = std::fs::read(place.path().join(INPUT)).unwrap_or_default();
    // A stack that overflows and memory that ends are told on stderr.
    let last = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err((format!("{}: {said} {last}", output.status), input))
}
