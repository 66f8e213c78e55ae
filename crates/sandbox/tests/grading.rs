//! Whose doing it is that a tested program gives nothing: real programs, real signals, a machine
//! that is really busy.

#![expect(clippy::print_stdout, reason = "a skipped test says so")]

#[expect(dead_code, reason = "other tests look at more of a process")]
mod processes;
mod support;

use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use stepwell_sandbox::python::{Outcome, Python, Untested, Value, grade};
use support::cannot_run;

fn main() -> ExitCode {
    if let Some(code) = stepwell_sandbox::enter(&[]) {
        return code;
    }
    let tests: [(&str, fn()); 10] = [
        ("a_program_that_computes_for_ever_is_judged", computes_for_ever),
        ("a_program_that_sleeps_is_judged", sleeps),
        ("a_program_that_answers_byte_by_byte_gets_no_more_time", byte_by_byte),
        ("a_program_that_ends_itself_is_judged", ends_itself),
        ("one_blow_from_outside_costs_nothing", one_blow),
        ("a_blow_behind_much_computing_costs_nothing", late_blow),
        ("blows_from_outside_judge_nobody", blows),
        ("a_jail_that_is_ended_judges_nobody", ended_jails),
        ("a_busy_machine_judges_nobody", busy),
        ("a_program_that_makes_itself_wait_is_judged", starves_itself),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let tests: Vec<Trial> = tests.into_iter().map(trial).collect();
    if cannot_run("grading", &tests) {
        return ExitCode::SUCCESS;
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// Who makes the machine busy is alone with it.
static MACHINE: RwLock<()> = RwLock::new(());

/// An interpreter that processes can be known by: its path is nobody else's.
struct Marked {
    folder: tempfile::TempDir,
    python: Python,
}

fn marked() -> Marked {
    let folder = tempfile::Builder::new().prefix("grading").tempdir_in("/tmp").unwrap();
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let interpreter = folder.path().join("python");
    std::os::unix::fs::symlink("/usr/bin/python3", &interpreter).unwrap();
    let read = vec![folder.path().to_owned()];
    let python = Python { interpreter, read, seconds: 1, patience: 2, ..Python::default() };
    Marked { folder, python }
}

/// Three cases: the first is right, whatever the program does in the second.
fn tested(python: &Python, second: &str) -> Result<Vec<Outcome>, Untested> {
    let code = format!(
        "import os, signal, time\ndef f(n):\n    if n == 2:\n        {second}\n    return n"
    );
    let cases: Vec<Vec<Json>> = (1..4).map(|n| vec![json!(n)]).collect();
    grade(python, &code, "f", &cases)
}

fn int(n: u32) -> Outcome {
    Ok(Value::Int(n.to_string()))
}

fn right() -> Result<Vec<Outcome>, Untested> {
    Ok((1..4).map(int).collect())
}

/// The first case counts; the others have no outcome, and are judged so.
fn judged(second: &str, patience: u32) -> Duration {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Marked { folder: _folder, python } = marked();
    let begun = Instant::now();
    let outcomes = tested(&Python { patience, ..python }, second).unwrap();
    assert_eq!(outcomes[0], int(1), "{second}");
    assert!(outcomes[1].is_err() && outcomes[2].is_err(), "{second}: {outcomes:?}");
    begun.elapsed()
}

/// Once. The rest of the machine may leave it a fifth of a processor.
fn computes_for_ever() {
    let stubborn = "while True:\n            try:\n                while True: pass\n            \
                    except BaseException: pass";
    assert!(judged(stubborn, 5) < Duration::from_secs(9));
}

/// Sleeping is the program's doing: once, too.
fn sleeps() {
    let taken = judged("time.sleep(60)", 2);
    assert!(taken > Duration::from_secs(2) && taken < Duration::from_secs(4), "{taken:?}");
    // It can close its pipe first: every descriptor above the usual ones.
    judged("os.closerange(3, 100); time.sleep(60)", 2);
}

/// A program that shares the driver's process writes the driver's frames: the first byte of each
/// at once, the rest just before patience ends. Each case is in time; 5 s of patience and
/// a second for each of three cases are less than both together.
fn byte_by_byte() {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Marked { folder: _folder, python } = marked();
    let slow = "import sys\n        for value in b'23':\n            \
                frame = b'\\0\\0\\0\\x17{\"value\": [\"int\", \"%c\"]}' % value\n            \
                os.write(sys.modules['__main__'].OUTPUT, frame[:1])\n            \
                time.sleep(4.3)\n            os.write(sys.modules['__main__'].OUTPUT, frame[1:])";
    let begun = Instant::now();
    let outcomes = tested(&Python { patience: 5, ..python }, slow).unwrap();
    assert_eq!(outcomes[..2], [int(1), int(2)]);
    assert!(outcomes[2].is_err(), "{outcomes:?} after {:?}", begun.elapsed());
}

fn ends_itself() {
    for end in [
        "os._exit(0)",
        "os._exit(137)",
        "os.kill(os.getpid(), 9)",
        "os.abort()",
        "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(60)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
    ] {
        judged(end, 2);
    }
}

/// Who is struck: processes whose words hold all of these, so many of them inside the program, and
/// then either nobody or everybody at once.
struct Blows<'a> {
    words: [&'a str; 2],
    signal: Signal,
    inside: usize,
    /// How long after it was seen.
    after: Duration,
    then_at_once: bool,
}

fn striking<T>(blows: &Blows<'_>, work: impl FnOnce() -> T) -> T {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let striker = scope.spawn(move || {
            let mut struck = 0;
            while !over.load(Ordering::Relaxed) && (struck < blows.inside || blows.then_at_once) {
                let found = processes::tagged(blows.words[0]).into_iter();
                let found = found.filter(|one| processes::is_tagged(*one, blows.words[1]));
                for process in found.collect::<Vec<_>>() {
                    if struck < blows.inside {
                        std::thread::sleep(blows.after);
                    }
                    let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
                    struck += usize::from(kill_process(process, blows.signal).is_ok());
                }
            }
            struck
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        assert!(striker.join().unwrap() >= blows.inside, "too few were struck");
        done
    })
}

/// What only an interpreter's command line holds, and what its launcher's does.
const INTERPRETER: &str = "ProcessorTimeIsUp()";
const LAUNCHER: &str = "__child\0launch";

const SOON: Duration = Duration::from_millis(500);

fn interpreter_of(folder: &Path) -> String {
    format!("{}/python\0-s", folder.display())
}

fn one_blow() {
    for signal in [Signal::KILL, Signal::STOP] {
        let Marked { folder, python } = marked();
        let words = interpreter_of(folder.path());
        let words = [words.as_str(), INTERPRETER];
        let blows = Blows { words, signal, inside: 1, after: SOON, then_at_once: false };
        let outcomes = striking(&blows, || tested(&python, "time.sleep(1)"));
        assert_eq!(outcomes, right(), "{signal:?}");
    }
}

/// The module and the first case may each compute as long as a case may.
fn late_blow() {
    let Marked { folder, python } = marked();
    let words = interpreter_of(folder.path());
    let words = [words.as_str(), INTERPRETER];
    let after = Duration::from_millis(2500);
    let blows = Blows { words, signal: Signal::STOP, inside: 1, after, then_at_once: false };
    let code = "import time\ndef compute():\n    end = time.process_time() + 0.8\n    while \
                time.process_time() < end: pass\ncompute()\ndef f(n):\n    compute()\n    \
                time.sleep(2)\n    return n";
    let cases = [[json!(1)]];
    let outcomes = striking(&blows, || grade(&Python { patience: 6, ..python }, code, "f", &cases));
    assert_eq!(outcomes, Ok(vec![int(1)]));
}

fn blows() {
    let Marked { folder, python } = marked();
    let words = interpreter_of(folder.path());
    let words = [words.as_str(), INTERPRETER];
    let blows = Blows { words, signal: Signal::KILL, inside: 2, after: SOON, then_at_once: true };
    let why = striking(&blows, || tested(&python, "time.sleep(1)")).unwrap_err().to_string();
    let expect = "signal 9 ended the interpreter, and a program of ours did not live either";
    assert!(why.ends_with(expect), "{why}");
    assert_eq!(tested(&python, "time.sleep(0)"), right());
}

fn ended_jails() {
    let Marked { folder, python } = marked();
    let path = folder.path().display().to_string();
    let words = [path.as_str(), LAUNCHER];
    let blows = Blows { words, signal: Signal::KILL, inside: 2, after: SOON, then_at_once: false };
    let why = striking(&blows, || tested(&python, "time.sleep(1)")).unwrap_err().to_string();
    assert!(why.ends_with("signal 9 ended its jail"), "{why}");
    assert_eq!(tested(&python, "time.sleep(0)"), right());
}

/// Processes that do nothing but compute; gone when they are dropped.
struct Spinners(Vec<Child>);

impl Spinners {
    fn start(count: usize) -> Spinners {
        // Each in a session of its own: a scheduler that is fair to sessions counts all of one as
        // one.
        let words = ["/bin/sh", "-c", "while :; do :; done"];
        let spin = || Command::new("/usr/bin/setsid").args(words).spawn().unwrap();
        Spinners((0..count).map(|_| spin()).collect())
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        for spinner in &mut self.0 {
            let _ = spinner.kill();
            let _ = spinner.wait();
        }
    }
}

/// A program that needs less than its processor time, on a machine with ten others to each
/// processor, who take it in turns.
fn busy() {
    let _alone = MACHINE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Marked { folder: _folder, python } = marked();
    let patient = Python { patience: 20, ..python.clone() };
    let computes = "end = time.process_time() + 0.7\n        while time.process_time() < end: pass";
    assert_eq!(tested(&patient, computes), right());
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let spinners = Spinners::start(10 * processors);
    let why = tested(&python, computes).unwrap_err().to_string();
    assert!(why.contains("it waited for a processor for"), "{why}");
    assert!(why.ends_with(", and a program of ours did not live either"), "{why}");
    // A program that sleeps is judged there, too.
    let outcomes = tested(&python, "time.sleep(60)").unwrap();
    assert!(outcomes[1].is_err(), "{outcomes:?}");
    drop(spinners);
}

/// A program that keeps every processor busy with short-lived children of its own, whose time
/// nobody counts since nobody waits for them, and so waits for one itself. On a machine of many
/// processors it uses up its own time instead.
fn starves_itself() {
    let _alone = MACHINE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Marked { folder: _folder, python } = marked();
    let starving = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n        while True:\n        \
                    \x20   try:\n                if os.fork() == 0:\n                    end = \
                    time.monotonic() + 0.1\n                    while time.monotonic() < end: \
                    pass\n                    os._exit(0)\n            except OSError: pass";
    let outcomes = tested(&Python { patience: 4, ..python }, starving).unwrap();
    assert_eq!(outcomes[0], int(1));
    assert!(outcomes[1].is_err() && outcomes[2].is_err(), "{outcomes:?}");
}
