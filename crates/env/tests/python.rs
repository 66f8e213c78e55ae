//! The `python` environment as a user meets it: laws, cheats (RELIABILITY section 7, rows 1 to
//! 18), forks, and what a program can do to its interpreter.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod programs;

use std::collections::BTreeMap;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use programs::cheats;
use stepwell_env::laws::{self, Case, play};
use stepwell_env::python::{Config, PythonEnvironment, Reward};
use stepwell_tree::{Environment, Key, Purpose, Stop, Task, Turn, UnscoredReason, Verdict};

fn main() -> ExitCode {
    if let Some(code) = stepwell_sandbox::enter(&[]) {
        return code;
    }
    let tests: [(&str, fn()); 7] = [
        ("laws_hold_and_no_cheat_pays", laws_hold_and_no_cheat_pays),
        ("a_fork_has_variables_and_files_of_its_own", a_fork_has_variables_and_files_of_its_own),
        ("a_program_that_is_not_repeatable_is_not_scored", not_repeatable),
        ("an_interpreter_that_is_gone_starts_anew", an_interpreter_that_is_gone_starts_anew),
        ("the_answer_may_be_a_file", the_answer_may_be_a_file),
        ("a_daemon_cannot_change_the_file", a_daemon_cannot_change_the_file),
        ("a_share_of_cases_is_a_share_of_reward", a_share_of_cases_is_a_share_of_reward),
    ];
    let run = |test: fn()| {
        move || -> Result<(), Failed> {
            test();
            Ok(())
        }
    };
    let tests: Vec<Trial> =
        tests.into_iter().map(|(name, test)| Trial::test(name, run(test))).collect();
    if cannot_run("python", &tests) {
        return ExitCode::SUCCESS;
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// Without bubblewrap nothing here can run: each test is counted as skipped.
fn cannot_run(file: &str, tests: &[Trial]) -> bool {
    let missing = !std::path::Path::new("/usr/bin/bwrap").is_file();
    if missing && let Some(list) = std::env::var_os("STEPWELL_SKIPPED") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        let line = |test: &Trial| format!("{file}::{}: /usr/bin/bwrap is missing\n", test.name());
        let lines: String = tests.iter().map(line).collect();
        std::io::Write::write_all(&mut list, lines.as_bytes()).unwrap();
    }
    missing
}

fn task(function: &str, question: &str, cases: &str) -> Task {
    let examples = r#"[{"input":[1],"output":2},{"input":[2],"output":4}]"#;
    let fields = [("function", function), ("cases", cases), ("examples", examples)];
    let fields: BTreeMap<String, String> =
        fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Task { id: function.to_owned(), question: question.to_owned(), fields }
}

/// The tasks that cheats name.
fn tasks() -> Vec<Task> {
    let double = r#"[{"input":[1],"output":2},{"input":[21],"output":42},
        {"input":[123456789012],"output":246913578024},{"input":["ab"],"output":"abab"}]"#;
    let rows = r#"[{"input":[7],"output":[[1,7]]},{"input":["x"],"output":[[1,"x"]]}]"#;
    vec![
        task("double", "Twice what is given.", double),
        task("rows", "One row of a one and what is given.", rows),
    ]
}

fn environment(config: Config) -> PythonEnvironment {
    PythonEnvironment::new(config).unwrap()
}

/// Short enough that a program without end is over soon.
fn quick() -> Config {
    Config { seconds: 1, ..Config::default() }
}

fn call(code: &str) -> String {
    format!("<python>{code}</python>")
}

fn answer(code: &str) -> String {
    format!("<answer>{code}</answer>")
}

fn key() -> Key {
    Key::new(1, Purpose::Episode)
}

fn observed(turn: &Turn) -> &str {
    match turn {
        Turn::Observation(text) => text,
        Turn::End(verdict) => panic!("the end: {verdict:?}"),
    }
}

fn reward(turn: &Turn) -> f64 {
    match turn {
        Turn::End(Verdict::Scored { reward, .. }) => *reward,
        other => panic!("no score: {other:?}"),
    }
}

fn laws_hold_and_no_cheat_pays() {
    let environment = environment(quick());
    let mut tried = 0;
    for task in tasks() {
        let solution = match task.id.as_str() {
            "double" => "```python\ndef double(n):\n    return n + n\n```",
            _ => "def rows(n):\n    return [(1, n)]",
        };
        let solution = [call("x = 20\nx + 1"), answer(solution)];
        let cheats = cheats("python", &task.id);
        tried += cheats.len();
        let words = ["def", "return", "n", "2 * n", "the answer is", "()", ":", "<p>"];
        let environment = &environment;
        laws::environment(&Case {
            environment,
            task: &task,
            solution: &solution,
            cheats: &cheats,
            words: &words,
        });
    }
    assert!(tried >= 30, "only {tried} cheats were found");
}

fn a_fork_has_variables_and_files_of_its_own() {
    let environment = environment(quick());
    let mut first = environment.start(&tasks()[0], key()).unwrap();
    let turn = first.step(&call("x = 1\nopen('f', 'w').write('one')"), Stop::StopString);
    assert_eq!(observed(&turn), " <result>3</result>\n");
    let mut second = first.fork().unwrap();
    first.step(&call("x = 2\nopen('f', 'w').write('two!')"), Stop::StopString);
    let look = call("print(x, open('f').read())");
    assert_eq!(observed(&second.step(&look, Stop::StopString)), " <result>1 one</result>\n");
    assert_eq!(observed(&first.step(&look, Stop::StopString)), " <result>2 two!</result>\n");
}

fn not_repeatable() {
    let environment = environment(quick());
    let mut first = environment.start(&tasks()[0], key()).unwrap();
    first.step(&call("import time\ntime.time_ns()"), Stop::StopString);
    let mut second = first.fork().unwrap();
    match second.step(&call("1"), Stop::StopString) {
        Turn::End(Verdict::Unscored(UnscoredReason::ReplayDiverged(why))) => {
            assert!(why.starts_with("program 0, run again, printed"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    // What was forked goes on.
    assert_eq!(observed(&first.step(&call("1"), Stop::StopString)), " <result>1</result>\n");
}

fn an_interpreter_that_is_gone_starts_anew() {
    let environment = environment(quick());
    let mut attempt = environment.start(&tasks()[0], key()).unwrap();
    attempt.step(&call("x = 1"), Stop::StopString);
    let turn = attempt.step(&call("import os\nos._exit(0)"), Stop::StopString);
    let gone = " <result>the interpreter ended; its variables are gone</result>\n";
    assert_eq!(observed(&turn), gone);
    let turn = attempt.fork().unwrap().step(&call("x"), Stop::StopString);
    let unknown = " <result>NameError: name 'x' is not defined (line 1)</result>\n";
    assert_eq!(observed(&turn), unknown);
    assert_eq!(observed(&attempt.step(&call("x"), Stop::StopString)), unknown);
    // All of them count: the fifth is past the limit.
    assert_eq!(observed(&attempt.step(&call("4"), Stop::StopString)), " <result>4</result>\n");
    assert!(matches!(attempt.step(&call("5"), Stop::StopString), Turn::End(_)));
}

/// An attempt that leaves its answer in a file.
fn left(program: &str) -> Vec<Turn> {
    let artifact = Some("solution.py".to_owned());
    let environment = environment(Config { artifact, ..quick() });
    let steps = [call(program), answer("done")];
    play(&environment, &tasks()[0], key(), &steps)
}

fn the_answer_may_be_a_file() {
    let save = "open('solution.py', 'w').write('def double(n):\\n    return n + n')";
    assert_eq!(reward(&left(save)[1]), 1.0);
    for nothing in [
        "pass",
        "import os\nos.mkdir('solution.py')",
        "import os\nos.mkfifo('solution.py')",
        "import os\nopen('x', 'w').write('def double(n):\\n    return n + n')\nos.symlink('x', 'solution.py')",
        "import os\nos.symlink('/proc/self/fd/0', 'solution.py')",
        "open('solution.py', 'wb').write(b'\\xff\\xfe')",
    ] {
        assert_eq!(reward(&left(nothing)[1]), 0.0, "{nothing}");
    }
}

/// Hack 15: what was read when the attempt ended is what is tested.
fn a_daemon_cannot_change_the_file() {
    let turns = left(
        "import os, time\nopen('solution.py', 'w').write('def double(n): return 0')\n\
         if os.fork() == 0:\n    os.setsid()\n    time.sleep(0.5)\n    \
         open('solution.py', 'w').write('def double(n): return n + n')\n    os._exit(0)",
    );
    assert_eq!(reward(&turns[1]), 0.0);
}

fn a_share_of_cases_is_a_share_of_reward() {
    let environment = environment(Config { reward: Reward::Share, ..quick() });
    let numbers = answer("def double(n):\n    return 2 * n if n != 'ab' else 1 / 0");
    let turns = play(&environment, &tasks()[0], key(), &[numbers]);
    let Turn::End(Verdict::Scored { reward, parts }) = &turns[0] else { panic!("{turns:?}") };
    assert_eq!((*reward, parts["passed"], parts["ran"], parts["format"]), (0.75, 0.75, 0.75, 1.0));
}
