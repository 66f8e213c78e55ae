//! The `python` environment as a user meets it: laws, cheats (RELIABILITY section 7, rows 1 to
//! 18), forks, and what a program can do to its interpreter.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod programs;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use programs::cheats;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use stepwell_env::laws::{self, Case, play};
use stepwell_env::python::{Config, PROGRAM_BYTES_MAX, PythonEnvironment, Reward, load};
use stepwell_env::tasks::Options;
use stepwell_tree::{Environment, Key, Purpose, STRICT, Stop, Task, Turn, UnscoredReason, Verdict};

fn main() -> ExitCode {
    if let Some(code) = stepwell_sandbox::enter(&[]) {
        return code;
    }
    let tests: [(&str, fn()); 14] = [
        ("laws_hold_and_no_cheat_pays", laws_hold_and_no_cheat_pays),
        ("a_fork_has_variables_and_files_of_its_own", a_fork_has_variables_and_files_of_its_own),
        ("a_program_that_is_not_repeatable_is_not_scored", not_repeatable),
        ("sets_print_alike", sets_print_alike),
        ("an_interpreter_that_is_gone_starts_anew", an_interpreter_that_is_gone_starts_anew),
        ("the_answer_may_be_a_file", the_answer_may_be_a_file),
        ("a_daemon_cannot_change_the_file", a_daemon_cannot_change_the_file),
        ("a_program_has_a_length", a_program_has_a_length),
        ("what_is_printed_is_cut_at_its_limit", what_is_printed_is_cut_at_its_limit),
        ("a_share_of_cases_is_a_share_of_reward", a_share_of_cases_is_a_share_of_reward),
        ("a_grader_that_is_killed_judges_nobody", a_grader_that_is_killed_judges_nobody),
        ("a_file_that_the_machine_cannot_read_judges_nobody", no_descriptors),
        ("whole_numbers_keep_their_digits", whole_numbers_keep_their_digits),
        ("a_stricter_judge_holds_cases_out", a_stricter_judge_holds_cases_out),
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
    // One looks at every process of this kind, so they run one after the other.
    let words = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&words, tests).exit_code()
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

/// A set of texts prints in the order of its hashes, which have a seed of ours.
fn sets_print_alike() {
    let environment = environment(quick());
    let mut first = environment.start(&tasks()[0], key()).unwrap();
    let set = "print({w * 3 for w in 'abcdefghij'}, hash('a'))";
    first.step(&call(set), Stop::StopString);
    let mut second = first.fork().unwrap();
    assert_eq!(observed(&second.step(&call("1"), Stop::StopString)), " <result>1</result>\n");
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

/// Hack 15: no process of an attempt is left to rewrite what its answer is tested in. The daemon
/// writes all the time, and the wrong function only once it is alone: where it lived on, the file
/// read at the end would be its.
fn a_daemon_cannot_change_the_file() {
    let artifact = Some("solution.py".to_owned());
    let environment = environment(Config { artifact, ..quick() });
    let mut attempt = environment.start(&tasks()[0], key()).unwrap();
    let daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    while True:\n        \
                  open('beat', 'w').write(str(time.time_ns()))\n        time.sleep(0.001)\n\
                  while not os.path.exists('beat'):\n    time.sleep(0.001)";
    let turn = attempt.step(&call(daemon), Stop::StopString);
    assert_eq!(observed(&turn), " <result>no output</result>\n");
    let before = strangers();
    assert!(!before.is_empty(), "no daemon runs, so none could be ended");
    let save = "open('solution.py', 'w').write('def double(n):\\n    return n + n')";
    let turn = attempt.step(&call(save), Stop::StopString);
    assert_eq!(observed(&turn), " <result>31</result>\n");
    assert_eq!(reward(&attempt.step(&answer("done"), Stop::StopString)), 1.0);
    assert_eq!(strangers(), Vec::<i32>::new(), "a process of the attempt is left");
}

/// Every interpreter is killed from outside as soon as it is there.
fn a_grader_that_is_killed_judges_nobody() {
    let environment = environment(quick());
    let over = AtomicBool::new(false);
    let solution = [answer("import time\ndef double(n):\n    time.sleep(1)\n    return 2 * n")];
    let turns = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for process in strangers() {
                    let _ = kill_process(Pid::from_raw(process).unwrap(), Signal::KILL);
                }
            }
        });
        let turns = play(&environment, &tasks()[0], key(), &solution);
        over.store(true, Ordering::Relaxed);
        turns
    });
    let Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(why))) = &turns[0] else {
        panic!("{turns:?}");
    };
    assert!(why.starts_with("the program could not be tested: "), "{why}");
}

/// The engine is out of descriptors when it reads the answer's file.
fn no_descriptors() {
    let artifact = Some("solution.py".to_owned());
    let environment = environment(Config { artifact, ..quick() });
    let mut attempt = environment.start(&tasks()[0], key()).unwrap();
    let save = "open('solution.py', 'w').write('def double(n):\\n    return n + n')";
    attempt.step(&call(save), Stop::StopString);
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
    let turn = attempt.step(&answer("done"), Stop::StopString);
    setrlimit(Resource::Nofile, before).unwrap();
    let Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(why))) = &turn else {
        panic!("{turn:?}");
    };
    assert_eq!(why, "`solution.py` cannot be read: Too many open files (os error 24)");
}

/// A program that knows the cases earns the reward and not the part that held-out cases give; the
/// prompt tells of neither.
fn a_stricter_judge_holds_cases_out() {
    let mut task = tasks().remove(0);
    let held_out = r#"[{"input":[1000],"output":2000},{"input":[-3],"output":-6}]"#;
    task.fields.insert("cases_held_out".to_owned(), held_out.to_owned());
    let fits =
        "def double(n):\n    return {1: 2, 21: 42, 123456789012: 246913578024, 'ab': 'abab'}[n]";
    let half = "def double(n):\n    return n + n if n != 1000 and n != 'ab' else 0";
    let right = "def double(n):\n    return n + n";
    let earned = |reward, text: &str| {
        let environment = environment(Config { reward, ..quick() });
        assert!(!environment.opening(&task).user.contains("1000"));
        let turns = play(&environment, &task, key(), &[text.to_owned()]);
        let Turn::End(Verdict::Scored { reward, parts }) = &turns[0] else { panic!("{turns:?}") };
        (*reward, parts[STRICT])
    };
    assert_eq!(earned(Reward::All, &answer(right)), (1.0, 1.0));
    assert_eq!(earned(Reward::All, &answer(fits)), (1.0, 0.0));
    assert_eq!(earned(Reward::All, "no answer"), (0.0, 0.0));
    assert_eq!(earned(Reward::Share, &answer(fits)), (1.0, 4.0 / 6.0));
    assert_eq!(earned(Reward::Share, &answer(half)), (0.75, 4.0 / 6.0));
    assert_eq!(earned(Reward::Share, "no answer"), (0.0, 0.0));
}

/// Through the task file, into the jail and out of it.
fn whole_numbers_keep_their_digits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.jsonl");
    let ten_30 = "1000000000000000000000000000000";
    let case = |input: &str, output: &str| format!(r#"{{"input":[{input}],"output":{output}}}"#);
    let example = case(ten_30, ten_30);
    let first = case(ten_30, &format!("{}1", &ten_30[..30]));
    let second = case("18446744073709551615", "18446744073709551616");
    let head = r#""id":"a","question":"One more.","function":"more""#;
    let line = format!(r#"{{{head},"examples":[{example}],"cases":[{first},{second}]}}"#);
    std::fs::write(&file, line + "\n").unwrap();
    let task = load(&file, &Options::default()).unwrap().tasks.remove(0);
    let environment = environment(quick());
    let prompt = environment.opening(&task).user;
    assert!(prompt.contains(&format!("more({ten_30}) == {ten_30}")), "{prompt}");
    let judged = |body: &str| {
        let program = answer(&format!("def more(n):\n    return {body}"));
        reward(&play(&environment, &task, key(), &[program])[0])
    };
    assert_eq!(judged("n + 1"), 1.0);
    assert_eq!(judged("int(float(n)) + 1"), 0.0);
    assert_eq!(judged("float(n + 1)"), 0.0);
}

/// Interpreters of this user's jails, the daemon among them, that are alive: this test runs alone.
fn strangers() -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let words = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let state = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let ours = words.windows(19).any(|part| part == b"ProcessorTimeIsUp()");
        if ours && !state.contains("State:\tZ") {
            found.extend(path.file_name().unwrap().to_str().unwrap().parse::<i32>());
        }
    }
    found
}

fn a_share_of_cases_is_a_share_of_reward() {
    let environment = environment(Config { reward: Reward::Share, ..quick() });
    let numbers = answer("def double(n):\n    return 2 * n if n != 'ab' else 1 / 0");
    let turns = play(&environment, &tasks()[0], key(), &[numbers]);
    let Turn::End(Verdict::Scored { reward, parts }) = &turns[0] else { panic!("{turns:?}") };
    assert_eq!((*reward, parts["passed"], parts["ran"], parts["format"]), (0.75, 0.75, 0.75, 1.0));
}

fn a_program_has_a_length() {
    let environment = environment(quick());
    let right = "def double(n):\n    return n + n\n#";
    for (bytes, earned) in [(PROGRAM_BYTES_MAX, 1.0), (PROGRAM_BYTES_MAX + 1, 0.0)] {
        let program = right.to_owned() + &"x".repeat(bytes - right.len());
        let turns = play(&environment, &tasks()[0], key(), &[answer(&program)]);
        assert_eq!(reward(&turns[0]), earned, "{bytes}");
    }
}

fn what_is_printed_is_cut_at_its_limit() {
    let environment = environment(Config { observation_bytes_max: 64, ..quick() });
    let printed = |letters: usize| {
        let mut attempt = environment.start(&tasks()[0], key()).unwrap();
        let program = call(&format!("import sys\nsys.stdout.write('x' * {letters})\nNone"));
        observed(&attempt.step(&program, Stop::StopString)).to_owned()
    };
    assert_eq!(printed(64), format!(" <result>{}</result>\n", "x".repeat(64)));
    assert_eq!(printed(65), format!(" <result>{} [cut]</result>\n", "x".repeat(58)));
    // An error counts, however long its author makes it, and so do tags that are taken apart.
    for program in [
        "raise SyntaxError('x' * 100000)",
        "raise type('A' * 100000, (Exception,), {})",
        "print('y' * 100000)\n1 / 0",
        "print((chr(60) + 'answer>') * 100)",
    ] {
        let mut attempt = environment.start(&tasks()[0], key()).unwrap();
        let turn = attempt.step(&call(program), Stop::StopString);
        let inner = observed(&turn).len() - " <result></result>\n".len();
        assert!(inner <= 64, "{inner}: {program}");
        assert!(!program.contains("1 / 0") || observed(&turn).contains("ZeroDivision"), "{turn:?}");
    }
}
