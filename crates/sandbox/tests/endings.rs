//! Every child dies: whatever a program does, within its time and a second nothing of it is left,
//! no process, namespace, cgroup, descriptor or file; also where the engine is killed.

#![expect(clippy::print_stdout, reason = "a passing test tells what it took")]

mod processes;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use processes::{ORDINARY, groups, is_root, is_tagged, random, tagged};
use stepwell_sandbox::jail::{Jail, Limits, Program};
use support::{cannot_run, skipped};

/// A program gets so long, and a second more to be gone.
const TIME: Duration = Duration::from_millis(700);
const GRACE: Duration = Duration::from_secs(1);
/// Bytes kept of each of its streams.
const OUTPUT: usize = 10_000;

fn main() -> ExitCode {
    if let Some(code) = stepwell_sandbox::enter(&[]) {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("engine-that-ends-them") => return engine_that_ends_them(&words[1]),
        Some("engine-that-is-killed") => return engine_that_is_killed(&words[1], &words[2..]),
        _ => {}
    }
    let tests = vec![
        Trial::test("nobody_outlives_its_time", || ok(nobody_outlives_its_time)),
        Trial::test("nobody_outlives_the_engine", || ok(nobody_outlives_the_engine)),
        Trial::test("a_thousand_jails_leave_nothing", || ok(a_thousand_jails_leave_nothing)),
    ];
    if cannot_run("endings", &tests) {
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn ok(test: fn()) -> Result<(), Failed> {
    test();
    Ok(())
}

/// What they do, by name; in Python, after `import os, signal, sys, time` and a moment.
const STRANGERS: &[(&str, &str)] = &[
    ("fork bomb", "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass"),
    (
        "daemon",
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.closerange(0, 64)\n        \
         time.sleep(60)\n    os._exit(0)\ntime.sleep(0.4)",
    ),
    (
        "daemon that holds the output",
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n    os._exit(0)\ntime.sleep(0.4)",
    ),
    ("session of its own", "os.fork() or os.setsid()\ntime.sleep(60)"),
    ("stopped", "os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(60)"),
    (
        "deaf",
        "for n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n    \
         except (OSError, ValueError):\n        pass\ntime.sleep(60)",
    ),
    (
        "zombies",
        "while True:\n    try:\n        os.fork() or os._exit(0)\n    except OSError:\n        time.sleep(0.01)",
    ),
    ("flood", "while True:\n    os.write(1, b'x' * 65536)"),
    ("flood of complaints", "while True:\n    os.write(2, b'x' * 65536)"),
    ("reads nothing", "time.sleep(60)"),
    ("closes its output", "os.closerange(0, 3)\ntime.sleep(60)"),
    ("kills everybody", "os.kill(-1, signal.SIGKILL)\ntime.sleep(60)"),
    (
        "kills the first process",
        "try:\n    os.kill(1, signal.SIGKILL)\nfinally:\n    time.sleep(60)",
    ),
    ("stops its parents", "try:\n    os.kill(1, signal.SIGSTOP)\nfinally:\n    time.sleep(60)"),
    ("maps and spins", "x = bytearray(1 << 28)\nwhile True:\n    pass"),
    (
        "threads",
        "import threading\nwhile True:\n    try:\n        threading.Thread(target=time.sleep, args=(60,)).start()\n    except RuntimeError:\n        time.sleep(0.01)",
    ),
];

/// A program in Python whose words hold a tag.
fn stranger(code: &str, tag: &str) -> Program {
    // It waits a moment, so that it is seen before it ends everything.
    let code = format!("import os, signal, sys, time\n# {tag}\ntime.sleep(0.2)\n{code}\n");
    let words = ["/usr/bin/python3", "-I", "-B", "-S", "-c", &code];
    Program {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        environment: [("STEPWELL_TAG".to_owned(), tag.to_owned())].into(),
        ..Program::default()
    }
}

/// Namespaces by their names, held open: the kernel gives a number again once it is free.
type Spaces = BTreeMap<String, std::fs::File>;

/// The namespaces of all tagged processes, besides one's own.
fn namespaces(tag: &str) -> Spaces {
    let mut found = Spaces::new();
    for process in tagged(tag) {
        let names = ["pid", "net", "mnt", "user", "ipc"].iter().filter_map(|name| {
            let path = |who: &str| format!("/proc/{who}/ns/{name}");
            let held = std::fs::File::open(path(&process.to_string())).ok()?;
            let its = std::fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).ok()?;
            (its != std::fs::read_link(path("self")).ok()?)
                .then(|| (its.display().to_string(), held))
        });
        let its: Vec<(String, std::fs::File)> = names.collect();
        // Its number may be another's by now.
        if is_tagged(process, tag) {
            found.extend(its);
        }
    }
    found
}

/// Processes in one of these namespaces.
fn inhabitants(namespaces: &Spaces) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let lives_there = |process: &u32| {
        ["pid", "net", "mnt", "user", "ipc"].iter().any(|name| {
            std::fs::read_link(format!("/proc/{process}/ns/{name}"))
                .is_ok_and(|link| namespaces.contains_key(&link.display().to_string()))
        })
    };
    numbers.filter(lives_there).collect()
}

fn is_zombie(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// The resident memory of this process, in KiB, and the most it was.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// Runs every stranger to its end and looks what is left. A line for each that stays.
fn engine_that_ends_them(tag: &str) -> ExitCode {
    let input = vec![b'i'; 1 << 20];
    let true_program = Program { command: vec!["/bin/true".to_owned()], ..Program::default() };
    Jail::run(&true_program, &Limits::default(), b"", 10, Instant::now() + GRACE * 20).unwrap();
    let (before, mounted) = (descriptors(), mounts());
    let mut wrong = std::thread::scope(|scope| {
        let (some, others) = STRANGERS.split_at(STRANGERS.len() / 2);
        let other = scope.spawn(|| ended(others, tag, &input));
        [ended(some, tag, &input), other.join().unwrap()].concat()
    });
    if (before, &mounted) != (descriptors(), &mounts()) {
        wrong.push(format!("{} descriptors, before {before}", descriptors()));
    }
    if !groups(std::process::id()).is_empty() {
        wrong.push(format!("left {:?}", groups(std::process::id())));
    }
    if memory().1 > 48 << 10 {
        wrong.push(format!("the engine held {} KiB", memory().1));
    }
    print!("{}", wrong.join("\n"));
    ExitCode::SUCCESS
}

/// Runs strangers one after another; what is wrong with their ends.
fn ended(strangers: &[(&str, &str)], tag: &str, input: &[u8]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, code) in strangers {
        let own = format!("{tag}{}", random());
        let over = AtomicBool::new(false);
        let (spaces, late, kept) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watched(&own, &over));
            let program = stranger(code, &own);
            let deadline = Instant::now() + START + TIME;
            let done = Jail::run(&program, &Limits::default(), input, OUTPUT, deadline).unwrap();
            let late = deadline.elapsed();
            over.store(true, Ordering::SeqCst);
            let kept = done.stdout.len() + done.stderr.len();
            (watcher.join().unwrap(), late, kept)
        });
        // At once: the call that ends a jail comes back when all are dead.
        let left = (tagged(&own), inhabitants(&spaces));
        if spaces.is_empty() {
            wrong.push(format!("{name}: was never seen"));
        }
        if late > GRACE || kept > 2 * OUTPUT || left != (vec![], vec![]) {
            wrong.push(format!("{name}: {late:?} late, {kept} bytes kept, left {left:?}"));
        }
    }
    wrong
}

/// What a start may take on a busy machine, before a program's own time.
const START: Duration = Duration::from_millis(500);

/// The namespaces that a tag's processes were seen in.
fn watched(tag: &str, over: &AtomicBool) -> Spaces {
    let mut spaces = Spaces::new();
    while !over.load(Ordering::SeqCst) {
        spaces.extend(namespaces(tag));
        std::thread::sleep(Duration::from_millis(5));
    }
    spaces
}

/// This program under another name and user, in a folder that both can reach.
struct Engine {
    folder: tempfile::TempDir,
    user: Option<u32>,
}

impl Engine {
    fn of(user: Option<u32>) -> Engine {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let folder = tempfile::Builder::new().prefix("stepwell-endings-").tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        std::fs::copy("/proc/self/exe", folder.path().join("engine")).unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        chown(folder.path().join("own"), user, user).unwrap();
        Engine { folder, user }
    }

    fn start(&self, words: &[&str]) -> Child {
        let own = self.folder.path().join("own");
        let mut command = Command::new(self.folder.path().join("engine"));
        command.args(words).current_dir(&own).env("TMPDIR", &own);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Files that its jails left where temporary files go.
    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("own")).unwrap().count()
    }
}

/// Who starts jails: root, where the test is root, and an ordinary user.
fn users() -> Vec<Option<u32>> {
    if is_root() {
        vec![None, Some(ORDINARY)]
    } else {
        skipped("endings as root: the tests do not run as root");
        vec![None]
    }
}

fn nobody_outlives_its_time() {
    for user in users() {
        let (engine, tag) = (Engine::of(user), random());
        let begun = Instant::now();
        let output = engine.start(&["engine-that-ends-them", &tag]).wait_with_output().unwrap();
        assert!(output.status.success(), "{user:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "as {user:?}");
        assert_eq!((tagged(&tag), engine.files()), (vec![], 0), "as {user:?}");
        println!("{} strangers of {user:?} ended in {:?}", STRANGERS.len(), begun.elapsed());
    }
}

/// Starts jails that would never end, says so, and waits for its death.
fn engine_that_is_killed(tag: &str, holes: &[String]) -> ExitCode {
    stepwell_sandbox::holes::open(holes.to_vec());
    let names = ["daemon", "deaf", "stopped", "session of its own", "zombies"];
    let all = STRANGERS.iter().filter(|(name, _)| names.contains(name));
    let jails: Vec<Jail> = all
        .map(|(_, code)| Jail::start(&stranger(code, tag), &Limits::default()).unwrap())
        .collect();
    std::thread::sleep(Duration::from_millis(400));
    println!("ready");
    std::thread::sleep(Duration::from_secs(60));
    drop(jails);
    ExitCode::FAILURE
}

/// Kills an engine in the middle of its work; gives what is left a second later, and the cgroups.
fn left_of_a_killed_engine(user: Option<u32>, holes: &[&str]) -> (Vec<u32>, Vec<String>) {
    use std::io::Read as _;
    let (engine, tag) = (Engine::of(user), random());
    let mut words = vec!["engine-that-is-killed", &tag];
    words.extend(holes);
    let mut child = engine.start(&words);
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let seen = tagged(&tag);
    let spaces = namespaces(&tag);
    let keeps = groups(child.id()).len();
    assert!(seen.len() > 10 && spaces.len() > 10, "too little to lose: {seen:?}");
    assert_eq!(keeps > 0, user.is_none() && is_root() && Path::new("/sys/fs/cgroup").is_dir());
    let process = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    let until = Instant::now() + GRACE;
    let left = || -> Vec<u32> {
        let words = format!("keeper\0stepwell-{process}-");
        let mut left: BTreeSet<u32> = tagged(&tag).into_iter().collect();
        left.extend(inhabitants(&spaces));
        left.extend(tagged(&words));
        // Orphans of an engine that was killed are the first process's to reap, at its leisure.
        left.into_iter().filter(|process| !is_zombie(*process)).collect()
    };
    while (!left().is_empty() || !groups(process).is_empty()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let found = (left(), groups(process));
    assert_eq!(engine.files(), 0, "files are left");
    for process in &found.0 {
        let process = rustix::process::Pid::from_raw((*process).try_into().unwrap()).unwrap();
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
    found
}

fn nobody_outlives_the_engine() {
    let mounted = mounts();
    for user in users() {
        let left = left_of_a_killed_engine(user, &[]);
        assert_eq!(left, (vec![], vec![]), "of an engine of {user:?}");
    }
    // The test can fail: without what makes a jail die with its parent, it does not.
    let left = left_of_a_killed_engine(users().pop().unwrap(), &["session"]);
    assert!(!left.0.is_empty(), "nothing outlives an engine whose jails may");
    assert_eq!(mounts(), mounted);
}

fn a_thousand_jails_leave_nothing() {
    let jails = if std::env::var_os("STEPWELL_LONG").is_some() { 10_000 } else { 1_000 };
    let tag = random();
    let run = |number: usize| {
        let program = Program {
            command: vec!["/bin/sh".into(), "-c".into(), format!("# {tag}\necho {number}")],
            ..Program::default()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let done = Jail::run(&program, &Limits::default(), b"", 100, deadline).unwrap();
        assert_eq!(done.stdout, format!("{number}\n").as_bytes(), "{done:?}");
    };
    (0..20).for_each(&run);
    let (before, mounted, held) = (descriptors(), mounts(), memory().0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for first in 0..2 {
            let run = &run;
            scope.spawn(move || (first..jails).step_by(2).for_each(run));
        }
    });
    println!(
        "{jails} jails in {:?}; {} KiB more",
        begun.elapsed(),
        memory().0 - held.min(memory().0)
    );
    assert_eq!((descriptors(), mounts()), (before, mounted));
    assert_eq!((tagged(&tag), groups(std::process::id())), (vec![], vec![]));
    assert!(memory().0 < held + (8 << 10), "{} KiB, before {held}", memory().0);
}
