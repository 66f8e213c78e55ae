//! Fifty-two ways out of a jail, each tried twice: outside, where it has to succeed, and inside,
//! where it has to fail; and each layer left out once, to see what it alone holds.
//!
//! Nothing here touches what is not the test's own: canaries, listeners, a victim, stand-ins.

#![expect(clippy::print_stdout, reason = "a passing test tells what it saw")]

#[path = "escape/attempts.rs"]
mod attempts;
#[path = "escape/control.rs"]
mod control;
#[path = "escape/engine.rs"]
mod engine;
#[path = "escape/host.rs"]
mod host;
#[path = "escape/lacking.rs"]
mod lacking;
mod processes;
#[path = "escape/scan.rs"]
mod scan;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use attempts::{ATTEMPTS, Kind, Where, ways};
use control::Outside;
use engine::{Inside, Orders, Report};
use host::Host;
use libtest_mimic::{Arguments, Failed, Trial};
use processes::{ORDINARY, groups, is_root, tagged};
use support::{cannot_run, skipped};

type Seen = BTreeMap<String, String>;

fn main() -> ExitCode {
    if let Some(code) = stepwell_sandbox::enter(&[]) {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("engine") => return engine::main(),
        Some("scan") => return scan::engine(&words[1..]),
        Some("lacking") => return lacking::engine(),
        _ => {}
    }
    let tests = vec![
        Trial::test("every_control_succeeds", || ok(every_control_succeeds)),
        Trial::test("nothing_leaves_a_jail_of_root", || ok(nothing_leaves_a_jail_of_root)),
        Trial::test("nothing_leaves_a_jail_of_an_ordinary_user", || {
            ok(nothing_leaves_a_jail_of_an_ordinary_user)
        }),
        Trial::test("each_layer_is_missed", || ok(each_layer_is_missed)),
        Trial::test("the_scanner_finds_what_is_there", || {
            ok(scan::the_scanner_finds_what_is_there)
        }),
        Trial::test("a_scanner_finds_no_canary", || ok(scan::a_scanner_finds_no_canary)),
        Trial::test("what_a_machine_lacks_is_named", || ok(lacking::what_a_machine_lacks_is_named)),
    ];
    // One after another: each counts what is left of it.
    if cannot_run("escape", &tests) {
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn ok(test: fn()) -> Result<(), Failed> {
    test();
    Ok(())
}

/// The controls, run once, and whether the canary of one of their hosts is in a text.
fn controls() -> &'static [Outside] {
    static CONTROLS: OnceLock<Vec<Outside>> = OnceLock::new();
    CONTROLS.get_or_init(control::all)
}

fn tells_a_canary(text: &str) -> bool {
    text.split(attempts::MARK)
        .skip(1)
        .any(|rest| rest.len() >= 32 && rest.as_bytes()[..32].iter().all(u8::is_ascii_hexdigit))
}

fn every_control_succeeds() {
    let begun = Instant::now();
    let (wrong, absent) = control::judge(controls(), tells_a_canary);
    let ways: usize = controls().iter().map(|outside| outside.ways.len()).sum();
    println!("{ways} ways outside in {:?}", begun.elapsed());
    for line in absent {
        skipped(&line);
    }
    for (attempt, outside) in ATTEMPTS.iter().zip(controls()) {
        for way in outside.ways.iter().filter(|way| control::lacks(way)) {
            println!("not applicable: {} {}: {}", attempt.number, way.name, way.what);
        }
    }
    assert!(wrong.is_empty(), "{} controls fail:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs an engine as a user and gives its report and what the host saw.
fn engine_of(host: &Host, user: Option<u32>, holes: &[&str], attempts: &[u8]) -> Report {
    let own = host.path("engine");
    if !own.exists() {
        std::fs::copy("/proc/self/exe", &own).unwrap();
    }
    let folder = host.path(&format!("engine-{}", user.unwrap_or(0)));
    if !folder.exists() {
        std::fs::create_dir(&folder).unwrap();
    }
    if user.is_some() {
        std::os::unix::fs::chown(&folder, user, user).unwrap();
    }
    let program = own.to_str().unwrap();
    let mut command = host.amid(Where::Here, &folder, user, &[program, "engine"]);
    let orders = Orders {
        facts: host.facts.clone(),
        holes: holes.iter().map(|hole| (*hole).to_owned()).collect(),
        attempts: attempts.to_vec(),
        runtime: host.path("runtime"),
        tag: host.tag.clone(),
    };
    let mut child = command.spawn().unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), &orders).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the engine of {user:?} without {holes:?} died: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn nothing_leaves_a_jail_of_root() {
    if !is_root() {
        skipped("nothing_leaves_a_jail_of_root: the tests do not run as root");
        return;
    }
    nothing_leaves(None);
}

fn nothing_leaves_a_jail_of_an_ordinary_user() {
    nothing_leaves(is_root().then_some(ORDINARY));
}

fn nothing_leaves(user: Option<u32>) {
    let host = Host::new();
    let before = host.look();
    let numbers: Vec<u8> = ATTEMPTS.iter().map(|attempt| attempt.number).collect();
    let begun = Instant::now();
    let caller = {
        let (port, secret) = (host.facts["inbound"].as_u64().unwrap(), host.secret.clone());
        std::thread::spawn(move || control::called(port, &secret))
    };
    let report = engine_of(&host, user, &[], &numbers);
    println!("52 inside as {user:?} in {:?}: honest {}", begun.elapsed(), report.honest);
    let mut wrong: Vec<String> =
        report.inside.iter().flat_map(|inside| got_out(&host, inside)).collect();
    if caller.join().unwrap() {
        wrong.push("47: somebody answered".to_owned());
    }
    let group = stepwell_cgroups(user);
    wrong.retain(|line| {
        let bounded = ["48 memory of all its processes", "51 use up the inodes"];
        let excused = !group && bounded.iter().any(|way| line.starts_with(way));
        if excused {
            skipped(&format!("escape {line}: this user's jails have no cgroup to bound it"));
        }
        !excused
    });
    for inside in report.inside.iter().filter(|inside| inside.seconds > 1.5) {
        println!("{} took {:.1} s", inside.number, inside.seconds);
    }
    assert!(wrong.is_empty(), "as {user:?}:\n{}", wrong.join("\n"));
    assert_eq!(report.wrong, Vec::<String>::new(), "the honest task");
    assert_eq!(report.descriptors.0, report.descriptors.1, "descriptors of the engine");
    assert!(report.peak_kib < 64 << 10, "the engine held {} KiB", report.peak_kib);
    assert_eq!(host.calls.load(Ordering::SeqCst), 0, "somebody called");
    nothing_is_left(&host, report.process);
    assert_eq!(differences(&before, &host.look()), Vec::<String>::new(), "the host changed");
    let victim = host.end_of_the_victim();
    assert!(victim.ends_with("untouched\n") && tells_a_canary(&victim), "{victim}");
}

/// Why an attempt did not stay inside.
fn got_out(host: &Host, inside: &Inside) -> Vec<String> {
    let of = format!("{} ", inside.number);
    let found = ways(&inside.text);
    let through = found.iter().filter(|way| way.kind == Kind::Escaped);
    let mut wrong: Vec<String> =
        through.map(|way| format!("{of}{}: {}", way.name, way.what)).collect();
    if inside.text.contains(&host.secret) {
        wrong.push(format!("{of}the canary is in what it printed: {}", inside.text));
    }
    // Nothing was tried where nothing was said: the program did not run.
    if found.is_empty() {
        wrong.push(format!("{of}said nothing: {}", inside.text));
    }
    wrong
}

/// Whether jails of a user have a cgroup.
fn stepwell_cgroups(user: Option<u32>) -> bool {
    user.is_none() && is_root() && std::path::Path::new("/sys/fs/cgroup").is_dir()
}

/// Within a second nothing of an engine that is over is there: no process, no cgroup, no file.
fn nothing_is_left(host: &Host, engine: u32) {
    let until = Instant::now() + Duration::from_secs(1);
    let left = || {
        let keeper = tagged(&format!("keeper\0stepwell-{engine}-"));
        (host.left(), keeper, groups(engine))
    };
    let nothing = (vec![], vec![], vec![]);
    while left() != nothing && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(left(), nothing, "processes, a keeper or cgroups are left");
    for entry in std::fs::read_dir(host.base.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("engine-") {
            let files: Vec<_> = std::fs::read_dir(entry.path()).unwrap().collect();
            assert!(files.is_empty(), "files are left: {files:?}");
        }
    }
}

fn differences(before: &Seen, after: &Seen) -> Vec<String> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |path: &&&String| before.get(**path) != after.get(**path);
    let ours = |path: &&&String| !path.contains("/engine");
    let told = |path: &String| format!("{path}: {:?}, {:?}", before.get(path), after.get(path));
    paths.iter().filter(differs).filter(ours).map(|path| told(path)).collect()
}

/// Layers left out together, the attempts that then get out, and those that still do not.
struct Missed {
    holes: &'static [&'static str],
    out: &'static [u8],
    held: &'static [u8],
}

const fn missed(holes: &'static [&'static str], out: &'static [u8], held: &'static [u8]) -> Missed {
    Missed { holes, out, held }
}

/// Every layer, alone where it alone holds something, else with the layers that hold the same.
const MISSED: &[Missed] = &[
    // L1: limits on processes do not bind root, but a cgroup does; settings of the kernel are
    // root's to write, but for the private root and Landlock.
    missed(&["identity"], &[], &[18, 23]),
    missed(&["identity", "cgroup"], &[23], &[]),
    missed(&["identity", "root", "landlock"], &[18], &[]),
    // L2
    missed(&["environment"], &[39], &[]),
    // L3
    missed(&["namespaces"], &[7], &[19, 44]),
    // L4: no terminal is in reach, and system calls are refused; tests/endings.rs has the rest.
    missed(&["session"], &[], &[27]),
    // L5
    missed(&["root"], &[16, 45], &[1]),
    // L6
    missed(&["limits"], &[31, 48, 49, 52], &[24]),
    // L7
    missed(&["cgroup"], &[48, 51], &[]),
    // L8
    missed(&["descriptors"], &[8], &[]),
    // L9: files by the private root, names without files by the namespace of the network.
    missed(&["landlock"], &[], &[1, 44]),
    missed(&["landlock", "root"], &[1], &[]),
    missed(&["landlock", "namespaces"], &[44], &[]),
    // L10: mounts are refused by Landlock and by the list of calls, each by itself; and where a
    // second user namespace forbids a third, the kernel holds what is read-only, too.
    missed(&["capabilities"], &[], &[11, 12]),
    missed(&["capabilities", "landlock"], &[], &[11, 12]),
    missed(&["capabilities", "landlock", "seccomp"], &[11], &[12]),
    missed(&["capabilities", "landlock", "seccomp", "namespaces"], &[12], &[]),
    // L11: new namespaces are refused by the one that forbids them, rings by the lock on memory.
    missed(&["seccomp"], &[29, 35, 36, 37, 38], &[32, 34]),
    missed(&["seccomp", "namespaces"], &[32], &[]),
    missed(&["seccomp", "limits"], &[34], &[]),
];

fn each_layer_is_missed() {
    if !is_root() {
        skipped(
            "each_layer_is_missed: the tests do not run as root, so that half is missing anyway",
        );
        return;
    }
    let mut wrong = Vec::new();
    for Missed { holes, out, held } in MISSED {
        let host = Host::new();
        let folder = format!("folder {}", host.base.path().display());
        let mut open = holes.to_vec();
        open.push(&folder);
        let mut numbers: Vec<u8> = out.iter().chain(*held).copied().collect();
        // That nothing at all misses a layer takes all attempts.
        if out.is_empty() && holes.len() == 1 && std::env::var_os("STEPWELL_LONG").is_some() {
            numbers = ATTEMPTS.iter().map(|attempt| attempt.number).collect();
        }
        let report = engine_of(&host, None, &open, &numbers);
        for inside in &report.inside {
            let through = got_out(&host, inside);
            let said = through.first().map(|line| line.chars().take(90).collect::<String>());
            println!("without {holes:?}: {}: {said:?}", inside.number);
            if through.is_empty() == out.contains(&inside.number) {
                wrong.push(format!("without {holes:?}, {}: {}", inside.number, inside.text));
            }
        }
    }
    let named: BTreeSet<_> = MISSED.iter().flat_map(|missed| missed.holes).copied().collect();
    let layers: BTreeSet<_> = stepwell_sandbox::holes::LAYERS.into_iter().collect();
    assert_eq!(named, layers, "a layer that no attempt misses");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
