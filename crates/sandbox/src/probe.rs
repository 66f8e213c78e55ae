//! Whether each layer holds on this machine, found out by using it: a set of deeds is done outside,
//! where they succeed, inside a jail, and inside a confined child.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::cgroup::Group;
use crate::child::{self, Role};
use crate::confine::confine;
use crate::jail::{Jail, JailError, Limits, Program, WORKSPACE};
use crate::layer::files::{self, Rules};
use crate::python::{Python, Session, Step};

/// The word that stands for a program: do the deeds.
pub(crate) const DEEDS: &str = "@deeds";
/// A confined child that does the deeds.
pub(crate) const ROLE: Role = Role { name: "confined-deeds", run: confined };
/// The word that makes it take one layer only.
const LANDLOCK_ALONE: &str = "landlock";
/// Address space of a confined child that is looked at.
const CHILD_BYTES: u64 = 1 << 30;
/// Bytes nobody gets in either.
const TOO_MUCH: usize = 2 << 30;

/// The deed of telling one's own user.
const USER: &str = "its user";

/// What came of each deed: what it saw, or why not.
pub type Facts = BTreeMap<String, Result<String, String>>;

/// One layer, looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub layer: &'static str,
    /// True where it holds.
    pub holds: bool,
    /// What was seen.
    pub found: String,
}

/// The layers of a jail, and what this machine's are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grade {
    /// Each layer; empty where no jail could be made.
    pub findings: Vec<Finding>,
    /// Why there is no jail.
    pub missing: Option<String>,
}

impl Grade {
    /// True where every layer holds; cgroups are a second bound where a machine has them.
    pub fn is_whole(&self) -> bool {
        self.missing.is_none()
            && self.findings.iter().all(|finding| finding.holds || finding.layer == "cgroups")
    }

    /// `full`; `weak(...)` where a layer does not hold; `none` where no jail can be made.
    pub fn word(&self) -> String {
        let open = self.findings.iter().filter(|finding| !finding.holds);
        let open: Vec<&str> = open.map(|finding| finding.layer).collect();
        match (&self.missing, open.is_empty()) {
            (Some(_), _) => "none".to_owned(),
            (None, true) => "full".to_owned(),
            (None, false) => format!("weak({})", open.join(", ")),
        }
    }
}

/// Makes a jail and looks at every layer of it. `weak` as in [`Program`].
pub fn jail(weak: bool) -> Grade {
    match facts_inside(weak) {
        Ok((user, inside)) => Grade { findings: layers(user, &inside, &outside()), missing: None },
        Err(error) => Grade { findings: Vec::new(), missing: Some(error.to_string()) },
    }
}

/// Makes a confined child (SQL runs in one) and looks at it. `Err` tells what is missing.
pub fn confined_child() -> Result<Vec<Finding>, String> {
    let all = facts_of_child(&[])?;
    // The list of calls refuses to open anything at all, so Landlock is looked at by itself.
    let landlock = facts_of_child(&[LANDLOCK_ALONE])?;
    let outside = outside();
    let user = match all.get(USER) {
        Some(Ok(number)) => number.parse().unwrap_or(0),
        _ => 0,
    };
    Ok(vec![
        identity(user),
        closed("landlock", &["read a file", "list the root"], &landlock, &outside),
        closed("seccomp", &["read a file", "be nicer", "start a program"], &all, &outside),
        closed("limits", &["2 GiB of memory"], &all, &outside),
    ])
}

fn facts_of_child(words: &[&str]) -> Result<Facts, String> {
    let mut command = child::command(&ROLE).ok_or("this program cannot start itself")?;
    command.args(words).stdin(Stdio::null());
    let output = command.output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// An interpreter of Python in a jail: its version, or why there is none.
pub fn python(python: &Python) -> Result<String, JailError> {
    let mut session = Session::start(python)?;
    match session.step("import sys; print(sys.version.split()[0])") {
        Step::Ran { text, .. } => Ok(text.trim().to_owned()),
        Step::Gone(why) => Err(JailError::NotStarted(why)),
    }
}

/// A jail's layers against the same deeds outside.
fn layers(user: u32, inside: &Facts, outside: &Facts) -> Vec<Finding> {
    let closed = |layer, deeds: &[&'static str]| closed(layer, deeds, inside, outside);
    let mut findings = vec![
        identity(user),
        closed("private root", &["read a file", "see this process", "keep the host's name"]),
        Finding {
            layer: "namespaces",
            holds: true,
            found: "user, mnt, pid, net, ipc, uts, cgroup are its own".to_owned(),
        },
        closed("landlock", &["list the root"]),
        closed("seccomp", &["be nicer", "a socket to the network"]),
        closed("limits", &["2 GiB of memory"]),
    ];
    for deed in ["write the workspace", "start a program", "a socket of its own"] {
        if let Some(Err(why)) = inside.get(deed) {
            let found = format!("a jail cannot {deed}: {why}");
            findings.push(Finding { layer: "jail", holds: false, found });
        }
    }
    let group = Group::make(&Limits::default());
    findings.push(Finding {
        layer: "cgroups",
        holds: group.is_some(),
        found: match group {
            Some(_) => "memory and processes of a jail are bounded together".to_owned(),
            None => "not writable: inodes of a workspace are unbounded".to_owned(),
        },
    });
    findings
}

/// A layer holds where each deed succeeds outside and fails inside.
fn closed(layer: &'static str, deeds: &[&'static str], inside: &Facts, outside: &Facts) -> Finding {
    let mut words = Vec::new();
    let mut holds = true;
    for deed in deeds {
        let (free, caught) = (outside.get(*deed), inside.get(*deed));
        words.push(match (free, caught) {
            (Some(Ok(_)), Some(Err(why))) => format!("{deed}: {why}"),
            (Some(Err(why)), _) => {
                holds = false;
                format!("{deed}: cannot tell, outside it fails too ({why})")
            }
            _ => {
                holds = false;
                format!("{deed}: not stopped")
            }
        });
    }
    Finding { layer, holds, found: words.join("; ") }
}

fn identity(user: u32) -> Finding {
    Finding { layer: "identity", holds: user != 0, found: format!("the host knows it as {user}") }
}

fn facts_inside(weak: bool) -> Result<(u32, Facts), JailError> {
    let program = Program { command: vec![DEEDS.to_owned()], weak, ..Program::default() };
    let deadline = Instant::now() + Duration::from_secs(30);
    let input = own_words();
    let done = Jail::run(&program, &Limits::default(), input.as_bytes(), 1 << 16, deadline)?;
    let facts = serde_json::from_slice(&done.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        JailError::NotStarted(format!("{error}: {said}"))
    })?;
    Ok((done.user, facts))
}

/// What a deed has to know of the outside: this process, when it began, and the host's name.
fn own_words() -> String {
    let own = std::process::id();
    let begun = begun(&own.to_string()).unwrap_or_default();
    format!("{own} {begun} {}\n", host_name())
}

/// When a process began, in the kernel's ticks.
pub(crate) fn begun(process: &str) -> std::io::Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let behind_its_name = stat.rsplit(')').next().unwrap_or_default();
    let field = behind_its_name.split_whitespace().nth(19);
    field.map(str::to_owned).ok_or_else(|| std::io::Error::other("no such field"))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The deeds done here, where nothing is closed. In a process of their own, because one of them
/// cannot be undone.
fn outside() -> Facts {
    let asked = child::command(&FREE).and_then(|mut command| {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        child.stdin.take()?.write_all(own_words().as_bytes()).ok()?;
        child.wait_with_output().ok()
    });
    asked.and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default()
}

/// The deeds without any layer: the control.
pub(crate) const FREE: Role = Role { name: "free-deeds", run: |_| tell(&deeds(Path::new("/tmp"))) };

fn confined(words: &[String]) -> ExitCode {
    let closed = match words {
        [word] if word == LANDLOCK_ALONE => files::restrict(&Rules::default()),
        _ => confine(CHILD_BYTES),
    };
    if let Err(error) = closed {
        let _ = writeln!(std::io::stderr(), "{error}");
        return ExitCode::FAILURE;
    }
    tell(&deeds(Path::new("/tmp")))
}

/// The program of a jail that is looked at.
pub(crate) fn do_deeds() -> ExitCode {
    tell(&deeds(Path::new(WORKSPACE)))
}

fn tell(facts: &Facts) -> ExitCode {
    let text = serde_json::to_vec(facts).unwrap_or_default();
    ExitCode::from(u8::from(std::io::stdout().write_all(&text).is_err()))
}

/// Does them, the one that cannot be undone last.
fn deeds(folder: &Path) -> Facts {
    let mut words = String::new();
    let _ = std::io::stdin().read_line(&mut words);
    let mut words = words.split_whitespace();
    let mut word = || words.next().unwrap_or_default();
    let (process, since, host) = (word(), word(), word());
    let mut facts = Facts::new();
    let mut note = |deed: &str, outcome: std::io::Result<String>| {
        facts.insert(deed.to_owned(), outcome.map_err(|error| error.to_string()));
    };
    let done = |outcome: std::io::Result<()>| outcome.map(|()| "done".to_owned());
    note(USER, Ok(rustix::process::getuid().as_raw().to_string()));
    note("read a file", std::fs::read("/etc/passwd").map(|bytes| format!("{}", bytes.len())));
    note("list the root", done(std::fs::read_dir("/").map(|_| ())));
    note("see this process", seen(process, since));
    note("keep the host's name", kept(host));
    let network = std::net::UdpSocket::bind("127.0.0.1:0").map(|_| ());
    note("a socket to the network", done(network));
    note("a socket of its own", done(std::os::unix::net::UnixStream::pair().map(|_| ())));
    note("start a program", done(Command::new("/bin/true").status().map(|_| ())));
    note("write the workspace", written(folder));
    let room = Vec::<u8>::new().try_reserve_exact(TOO_MUCH);
    note("2 GiB of memory", done(room.map_err(std::io::Error::other)));
    let nicer = rustix::process::setpriority_process(None, 19);
    note("be nicer", done(nicer.map_err(std::io::Error::from)));
    facts
}

/// The process of that number, if it is the same one: inside, the number may be somebody else's.
fn seen(process: &str, since: &str) -> std::io::Result<String> {
    match begun(process)? {
        same if same == since => Ok("seen".to_owned()),
        _ => Err(std::io::Error::other("another process")),
    }
}

fn kept(host: &str) -> std::io::Result<String> {
    let own = host_name();
    if own == host { Ok(own) } else { Err(std::io::Error::other(format!("it is {own}"))) }
}

fn written(folder: &Path) -> std::io::Result<String> {
    let file = folder.join(format!("stepwell-probe-{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&file)?.write_all(b"x")?;
    std::fs::remove_file(&file)?;
    Ok("done".to_owned())
}
