//! Programs of the user's through the binary: the laws, a run, and what is left when it is killed.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{run, start};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/external").join(name)
}

/// The Python to test with: `STEPWELL_PYTHON`, or the one on PATH. Skipped where it, or a package
/// that the test needs, is missing; whoever counts the tests counts this too.
fn python(name: &str, package: &str) -> Option<String> {
    let python = std::env::var("STEPWELL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = ["-c", &format!("import {package}")].map(str::to_owned);
    if Command::new(&python).args(import).output().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    if let Some(list) = std::env::var_os("STEPWELL_SKIPPED") {
        let mut list = fs::File::options().create(true).append(true).open(list).unwrap();
        let line = format!("{name}: `{python}` has no `{package}`\n");
        list.write_all(line.as_bytes()).unwrap();
    }
    None
}

/// Every law holds, of so many.
#[track_caller]
fn lawful(words: &[&str], holds: usize) -> String {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &[&["env", "check"], words].concat()).fine();
    assert!(said.out.ends_with("no law is broken\n"), "{}", said.out);
    assert_eq!(said.out.matches("  holds  ").count(), holds, "{}", said.out);
    said.out
}

#[test]
fn the_example_in_python_keeps_every_law() {
    let Some(python) = python("the_example_in_python_keeps_every_law", "json") else { return };
    let out = lawful(&[&python, example("safe.py").to_str().unwrap()], 9);
    assert!(out.contains("`safe` offers episodes, fork, tasks; rewards 0 to 1"), "{out}");
    assert!(out.contains("mean reward of silence 0.000"), "{out}");
    let folder = tempfile::tempdir().unwrap();
    let tasks = folder.path().join("tasks.jsonl");
    fs::write(&tasks, "{\"id\":\"a\",\"question\":\"2+2\",\"answer\":4}\n").unwrap();
    let grader = example("length_grader.py");
    let words = ["--tasks", tasks.to_str().unwrap(), &python, grader.to_str().unwrap()];
    lawful(&words, 6);
}

#[test]
fn reasoning_gym_keeps_the_laws() {
    let Some(python) = python("reasoning_gym_keeps_the_laws", "reasoning_gym") else { return };
    let program = example("reasoning_gym_grader.py");
    let words = ["--timeout", "300", &python, program.to_str().unwrap(), "chain_sum"];
    lawful(&words, 6);
}

/// Sums so long that two of them are the same by no accident.
#[test]
fn reasoning_gym_splits_share_no_task() {
    let name = "reasoning_gym_splits_share_no_task";
    let Some(python) = python(name, "reasoning_gym") else { return };
    let long = ["chain_sum", "min_terms=6", "max_terms=6", "min_digits=4", "max_digits=4"];
    let mut child = Command::new(&python)
        .arg(example("reasoning_gym_grader.py"))
        .args(long)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for split in ["train", "development", "held_out"] {
        let fields = format!("\"split\":\"{split}\",\"from\":0,\"count\":100");
        writeln!(input, "{{\"id\":1,\"method\":\"tasks\",{fields}}}").unwrap();
    }
    drop(input);
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let replies = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let tasks: Vec<_> = replies.flat_map(|r| r["tasks"].as_array().unwrap().clone()).collect();
    let questions: BTreeSet<_> = tasks.iter().map(|t| t["question"].to_string()).collect();
    assert_eq!((tasks.len(), questions.len()), (300, 300));
}

#[test]
fn textworld_keeps_the_laws() {
    let Some(python) = python("textworld_keeps_the_laws", "textworld") else { return };
    let program = example("textworld_env.py");
    let program = program.to_str().unwrap();
    let words = ["--timeout", "300", "--max-steps", "3", &python, program, "nb_rooms=1"];
    lawful(&words, 9);
}

#[test]
fn a_broken_law_is_named_and_is_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &["env", "check", "sh", "-c", "echo hello"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let expected = "says hello  BROKEN  `sh -c echo hello`: environment sent bytes that are not a \
                    reply: hello\n1 broken; docs/EXTERNAL.md says what each reply must be\n";
    assert!(said.out.ends_with(expected), "{}", said.out);
    let said = run(folder.path(), &["env", "check", "--tasks", "none.jsonl", "true"]);
    assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
}

/// A program that answers everything, slowly enough to be killed in the middle, and whose child
/// and own number are in files.
const SLOW: &str = r#"
sleep 600 & echo $! > child
echo $$ > self
while read -r line; do
  id=${line#*'"id":'}; id=${id%%[!0-9]*}
  case $line in
  *'"hello"'*) echo "{\"id\":$id,\"protocol\":1,\"name\":\"t\",\"offers\":[\"episodes\",\"tasks\"]}" ;;
  *'"tasks"'*) echo "{\"id\":$id,\"tasks\":[{\"id\":\"a\",\"question\":\"q\"}]}" ;;
  *'"step"'*) touch stepped; sleep 600 ;;
  *) echo "{\"id\":$id}" ;;
  esac
done
"#;

const RECIPE: &str = r#"
[model.scratch]
hidden = 8
layers = 1
heads = 1
context = 40
tokenizer = "bytes"
[environment]
type = "external"
command = ["sh", "slow.sh"]
tasks = { train = 1 }
[[stage]]
[stage.rl]
steps = 1
tasks = 1
max_tokens = 4
grow = { type = "independent", attempts = 2 }
credit = { type = "group_mean" }
"#;

fn alive(file: &Path) -> bool {
    let number = fs::read_to_string(file).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", number.trim()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

#[test]
fn a_program_and_its_children_end_when_stepwell_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("slow.sh"), SLOW).unwrap();
    fs::write(here.join("recipe.toml"), RECIPE).unwrap();
    let mut stepwell = start(here, &["train", "recipe.toml", "--run", "run"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !here.join("stepped").exists() {
        assert!(Instant::now() < deadline, "the program is never asked");
        std::thread::sleep(Duration::from_millis(20));
    }
    let files = ["child", "self"].map(|name| here.join(name));
    assert!(files.iter().all(|file| alive(file)));
    stepwell.kill().unwrap();
    stepwell.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while files.iter().any(|file| alive(file)) {
        assert!(Instant::now() < deadline, "a process outlives stepwell");
        std::thread::sleep(Duration::from_millis(20));
    }
}
