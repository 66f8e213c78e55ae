//! Kernels and machines that lack a layer: the jail refuses and names it, and goes on without it
//! only where that is asked for and the layer is not bubblewrap.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use stepwell_sandbox::jail::{Jail, Limits, Program};

use super::attempts::PYTHON;
use super::host::Host;
use super::processes::is_root;
use super::support::skipped;

const LACKING: &str = include_str!("programs/lacking.py");

/// The life of an engine on such a machine: a jail as it should be, and a weak one.
pub(crate) fn engine() -> ExitCode {
    for weak in [false, true] {
        let program = Program {
            command: vec!["/bin/echo".to_owned(), "ran".to_owned()],
            weak,
            ..Program::default()
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        match Jail::run(&program, &Limits::default(), b"", 100, deadline) {
            Ok(done) => print!("{}", String::from_utf8_lossy(&done.stdout)),
            Err(error) => println!("{error}"),
        }
    }
    ExitCode::SUCCESS
}

/// What is missing, the beginning of the error, what the error says to do, and what a weak jail
/// says.
const LACKS: &[(&str, &str, &str, &str)] = &[
    ("nothing", "ran", "", "ran"),
    ("landlock", "sandbox: landlock unavailable: ", "needs Linux 6.12", "ran"),
    ("seccomp", "sandbox: seccomp unavailable: ", "needs a kernel with", "ran"),
    (
        "bubblewrap",
        "sandbox: bubblewrap unavailable: ",
        "install bubblewrap",
        "sandbox: bubblewrap unavailable: ",
    ),
    (
        "namespaces",
        "sandbox: namespaces unavailable: ",
        "allow user namespaces",
        "sandbox: namespaces unavailable: ",
    ),
];

pub(crate) fn what_a_machine_lacks_is_named() {
    if std::env::consts::ARCH != "x86_64" {
        skipped("what_a_machine_lacks_is_named: its filters know the calls of x86-64");
        return;
    }
    let host = Host::new();
    let own = host.path("engine").display().to_string();
    std::fs::copy("/proc/self/exe", &own).unwrap();
    for (what, beginning, advice, weak) in LACKS {
        if *what == "bubblewrap" && !is_root() {
            skipped("what_a_machine_lacks_is_named: only root can cover bubblewrap");
            continue;
        }
        let output = std::process::Command::new(PYTHON)
            .args(["-I", "-B", "-S", "-c", LACKING, what, &own, "lacking"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        let lines: Vec<&str> = said.lines().collect();
        println!("without {what}: {lines:#?}");
        assert_eq!(lines.len(), 2, "without {what}: {said}");
        assert!(lines[0].starts_with(beginning), "without {what}: {said}");
        assert!(lines[0].contains(advice), "without {what}: {said}");
        assert!(lines[1].starts_with(weak), "without {what}, weak: {said}");
    }
}
