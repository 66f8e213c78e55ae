//! The control of an attempt: the same program as an ordinary process. It must succeed, or the
//! attempt shows nothing.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::attempts::{ATTEMPTS, Attempt, Kind, MARK, PYTHON, Way, Where, program, ways};
use super::host::Host;
use super::processes::{is_root, tagged};

/// What came of an attempt outside.
pub(crate) struct Outside {
    pub(crate) ways: Vec<Way>,
    /// What it printed, and what the host read.
    pub(crate) text: String,
}

/// Runs every control, two at a time, each amid canaries of its own.
pub(crate) fn all() -> Vec<Outside> {
    let (even, odd): (Vec<_>, Vec<_>) = ATTEMPTS.iter().partition(|one| one.number % 2 == 0);
    let run = |list: Vec<&'static Attempt>| {
        let host = Host::new();
        list.into_iter().map(|one| (one.number, outside(&host, one))).collect::<Vec<_>>()
    };
    let mut all = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(odd));
        let mut all = run(even);
        all.extend(other.join().unwrap());
        all
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, outside)| outside).collect()
}

fn outside(host: &Host, attempt: &Attempt) -> Outside {
    let folder = host.path(&format!("control-{}", attempt.number));
    std::fs::create_dir(&folder).unwrap();
    let begun = Instant::now();
    let mut facts = host.facts.clone();
    facts["cgroup"] = cgroup(&host.tag).into();
    let code = program(attempt.number);
    let place =
        if is_root() || attempt.control == Where::Terminal { attempt.control } else { Where::Here };
    let number = attempt.number.to_string();
    let words = [PYTHON, "-I", "-B", "-S", "-c", &code, &number, &facts.to_string()];
    let mut command = host.amid(place, &folder, None, &words);
    let mut child = command.process_group(0).spawn().unwrap();
    let seen = beside(host, attempt.number, &folder, &mut child);
    let mut text = seen.unwrap_or_default();
    text += &output(child);
    text += &after(host, attempt.number, &folder).unwrap_or_default();
    remove(&folder);
    if let Some(group) = Some(facts["cgroup"].as_str().unwrap()).filter(|path| !path.is_empty()) {
        std::fs::remove_dir(group).unwrap();
    }
    if begun.elapsed() > Duration::from_secs(2) {
        println!("control {} took {:?}", attempt.number, begun.elapsed());
    }
    Outside { ways: ways(&text), text }
}

/// A cgroup that stands in for one of the host's.
fn cgroup(tag: &str) -> String {
    let folder = format!("/sys/fs/cgroup/pids/stand-in-{tag}");
    std::fs::create_dir(&folder).map_or(String::new(), |()| folder)
}

fn output(mut child: Child) -> String {
    drop(child.stdin.take());
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let other = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).unwrap();
    child.wait().unwrap();
    bytes.push(b'\n');
    bytes.extend(other.join().unwrap());
    // A flood is not for reading.
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| {
        let line = line.iter().copied().skip_while(|byte| *byte == b'x').collect::<Vec<_>>();
        String::from_utf8_lossy(&line[..line.len().min(2000)]).into_owned()
    });
    lines.map(|line| line + "\n").collect()
}

/// What the host does while the program runs.
fn beside(host: &Host, number: u8, folder: &Path, child: &mut Child) -> Option<String> {
    match number {
        6 => {
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && child.try_wait().unwrap().is_none() {
                let read = std::fs::read_to_string(folder.join("answer")).unwrap_or_default();
                if read.contains(MARK) {
                    return Some(format!("ESCAPED the host copied: {read}\n"));
                }
            }
            None
        }
        26 => {
            let mut word = [0; 9];
            child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            let own = Pid::from_child(child);
            kill_process(own, Signal::TERM).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            let still = child.try_wait().unwrap().is_none();
            // It and its child; the victim has the tag, too, and is left alone.
            host.left().into_iter().filter(|one| grouped(*one, own)).for_each(kill);
            still.then(|| "ESCAPED outlives SIGTERM: alive\n".to_owned())
        }
        47 => {
            let port = host.facts["inbound"].as_u64().unwrap();
            Some(called(port, &host.secret)).filter(|called| *called).map(|_| String::new())
        }
        _ => None,
    }
}

fn grouped(process: u32, leader: Pid) -> bool {
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    rustix::process::getpgid(Some(process)).is_ok_and(|group| group == leader)
}

fn kill(process: u32) {
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    let _ = kill_process(process, Signal::KILL);
}

/// Calls a port of the host for three seconds; true where somebody answered.
pub(crate) fn called(port: u64, secret: &str) -> bool {
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port as u16)) {
            return std::io::Write::write_all(&mut stream, secret.as_bytes()).is_ok();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// What the host finds when the program is over.
fn after(host: &Host, number: u8, folder: &Path) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let said = |found: String| format!("ESCAPED the host read: {found}\n");
    match number {
        3 => Some(said(read("answer")) + &said(read("folder/canary"))),
        14 => waits(&folder.join("answer")).then(|| "ESCAPED the host waited: yes\n".to_owned()),
        15 => folder.join("d/d/d/d").is_dir().then(|| "ESCAPED folders stay: deep\n".to_owned()),
        25 => {
            let left: Vec<u32> = tagged(&format!("control-{number}"))
                .into_iter()
                .filter(|process| host.left().contains(process))
                .collect();
            left.iter().copied().for_each(kill);
            (!left.is_empty()).then(|| format!("ESCAPED a daemon is left: {left:?}\n"))
        }
        39 => {
            let said = next_interpreter(folder);
            said.contains("planted").then(|| format!("ESCAPED the next one ran: {said}\n"))
        }
        _ => None,
    }
}

/// True where reading a path the naive way does not come back.
fn waits(path: &Path) -> bool {
    let owned = path.to_owned();
    let reader = std::thread::spawn(move || std::fs::read(owned));
    std::thread::sleep(Duration::from_millis(300));
    let waits = !reader.is_finished();
    drop(std::fs::OpenOptions::new().write(true).open(path));
    reader.join().unwrap().unwrap();
    waits
}

/// What an interpreter prints whose home is the folder that a program had.
fn next_interpreter(folder: &Path) -> String {
    let mut command = Command::new(PYTHON);
    command.args(["-c", "print('clean')"]).env_clear().env("HOME", folder).current_dir(folder);
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).replace('\n', " ")
}

/// Ten thousand folders deep: a plain recursion would not come back.
fn remove(folder: &Path) {
    let status = Command::new("rm").arg("-rf").arg(folder).status().unwrap();
    assert!(status.success());
}

/// What is wrong with the controls, and which attempts this machine cannot make.
pub(crate) fn judge(
    all: &[Outside],
    secret_is_told: impl Fn(&str) -> bool,
) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut absent) = (Vec::new(), Vec::new());
    for (attempt, outside) in ATTEMPTS.iter().zip(all) {
        let of = |kind: Kind| outside.ways.iter().filter(move |way| way.kind == kind);
        let name = format!("escape {}, {}", attempt.number, attempt.name);
        let lacking: Vec<&Way> = of(Kind::Stopped).filter(|way| lacks(way)).collect();
        let real = of(Kind::Stopped).filter(|way| !lacks(way));
        let stopped: Vec<String> = real.map(|way| format!("{}: {}", way.name, way.what)).collect();
        let escaped = of(Kind::Escaped).count();
        let reasons = lacking.iter().map(|way| format!("{}: {}", way.name, way.what));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        match (stopped.is_empty(), escaped) {
            (true, 0) if !reasons.is_empty() => absent.push(format!("{name}: {reasons}")),
            (true, 1..) => {}
            _ => wrong.push(format!("{name}: {stopped:?} in\n{}", outside.text)),
        }
        if attempt.reads && !secret_is_told(&outside.text) {
            wrong.push(format!("{name}: its control tells no canary: {}", outside.text));
        }
    }
    (wrong, absent)
}

/// Facilities that this kernel, or this user, does not have: never counted as stopped.
pub(crate) fn lacks(way: &Way) -> bool {
    let kernel = ["ENOSYS", "EAFNOSUPPORT", "EOPNOTSUPP", "ENODEV", "ENOTTY", "EPROTONOSUPPORT"];
    let user = ["EPERM", "EACCES"];
    kernel.contains(&&*way.what) || (!is_root() && user.contains(&&*way.what))
}
