//! A scanner that reads all it can: it finds what the host holds everywhere, and nothing of it
//! from inside a jail, neither a canary nor a path of the host.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use stepwell_sandbox::jail::{Jail, Limits, Program};

use super::attempts::{PYTHON, Where};
use super::host::Host;
use super::processes::{ORDINARY, is_root};
use super::tells_a_canary;

const SCANNER: &str = include_str!("programs/scan.py");

/// Where it looks in a jail, where the root itself cannot be listed; and besides.
const ROOTS: &str = "/:/etc:/work:/tmp:/home:/root:/var:/run:/opt:/mnt:/srv:/boot:/media";

/// The life of an engine that holds a canary in its words, environment, memory, folder and files,
/// and runs the scanner in a jail. Its words are the canary and where to look.
pub(crate) fn engine(words: &[String]) -> ExitCode {
    let memory = words[0].clone().into_boxed_str();
    let roots = words[1].clone();
    std::fs::write("answers", &*memory).unwrap();
    let words = [PYTHON, "-I", "-B", "-S", "-c", SCANNER, &roots];
    let program = Program {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..Program::default()
    };
    let limits = Limits { address_space: 2 << 30, ..Limits::default() };
    let deadline = Instant::now() + Duration::from_secs(100);
    let done = Jail::run(&program, &limits, b"", 8 << 20, deadline).unwrap();
    assert!(!done.cut && !done.late, "{done:?}");
    std::fs::remove_file("answers").unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(said, "");
    print!("{}", String::from_utf8_lossy(&done.stdout));
    // Held until the end.
    assert!(tells_a_canary(&memory));
    ExitCode::SUCCESS
}

pub(crate) fn a_scanner_finds_no_canary() {
    let host = Host::new();
    std::fs::copy("/proc/self/exe", host.path("engine")).unwrap();
    let own = host.path("engine").display().to_string();
    for user in [None, is_root().then_some(ORDINARY)] {
        let folder = tempfile::TempDir::with_prefix_in("scan-", host.base.path()).unwrap();
        std::os::unix::fs::chown(folder.path(), user, user).unwrap();
        // The whole runtime is a hundred thousand files, older than any canary.
        let long = std::env::var_os("STEPWELL_LONG").is_some();
        let runtime = if long { "/usr" } else { "/usr/bin:/usr/sbin:/usr/local:/usr/lib/python3" };
        let roots = format!("{ROOTS}:{runtime}");
        let words = [own.as_str(), "scan", &host.secret, &roots];
        let begun = Instant::now();
        let child = host.amid(Where::Here, folder.path(), user, &words).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let names = said.lines().find_map(|line| line.strip_prefix("scanned ")).unwrap();
        println!("inside, as {user:?}: {names} in {:?}", begun.elapsed());
        let count: usize = names.split(' ').next().unwrap().parse().unwrap();
        assert!(count > 300, "{names}");
        assert!(!tells_a_canary(&said), "as {user:?}: {said}");
        let path = host.base.path().file_name().unwrap().to_str().unwrap();
        let told: Vec<&str> = said.lines().filter(|line| line.contains(path)).collect();
        assert!(told.is_empty(), "as {user:?} it learns paths of the host: {told:#?}");
    }
}

/// The control: outside, with the canaries in reach, the same scanner finds each of them.
pub(crate) fn the_scanner_finds_what_is_there() {
    let host = Host::new();
    let mut child = Command::new(PYTHON)
        .args(["-I", "-B", "-S", "-c", SCANNER, host.base.path().to_str().unwrap(), &host.secret])
        .env("SECRET", &host.secret)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
    assert!(child.wait().unwrap().success());
    let victim = host.facts["victim"]["pid"].as_u64().unwrap();
    let mut places = vec!["cwd/canary".to_owned(), "environment".to_owned()];
    places.extend(["words", "memory"].map(str::to_owned));
    places.extend(["cmdline", "environ"].map(|name| format!("/proc/{victim}/{name}")));
    for place in places {
        let found = said.lines().any(|line| line.starts_with("FOUND ") && line.contains(&place));
        assert!(found, "not found in {place}: {said}");
    }
}
