//! A stranger's program behind the door (RELIABILITY 5.4): whatever it does, the attempt is
//! unscored with the reason, in time, and everything it started is gone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod shell;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shell::{JUDGE, OBSERVE, Shell, is_gone};
use stepwell_env::external::{Config, ExternalEnvironment, Law, Mode, check};
use stepwell_env::math_answer::StepEnd;
use stepwell_env::{EnvError, Split};
use stepwell_tree::{
    Environment, Episode, ForkError, Key, Purpose, Stop, Task, Turn, UnscoredReason, Verdict,
};

fn task() -> Task {
    let fields = BTreeMap::from([("answer".to_owned(), "5".to_owned())]);
    Task { id: "t".to_owned(), question: "2 + 3?".to_owned(), fields }
}

fn key() -> Key {
    Key::new(3, Purpose::Episode)
}

fn open(shell: &Shell) -> ExternalEnvironment {
    ExternalEnvironment::open(shell.config()).unwrap()
}

fn begin(environment: &ExternalEnvironment) -> Box<dyn Episode> {
    environment.start(&task(), key()).unwrap()
}

/// Why the end of a turn has no score.
#[track_caller]
fn unscored(turn: Turn) -> String {
    match turn {
        Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(why))) => why,
        Turn::End(Verdict::Unscored(other)) => format!("{other:?}"),
        other => panic!("a reward or an observation: {other:?}"),
    }
}

fn observed(text: &str) -> Turn {
    Turn::Observation(text.to_owned())
}

#[test]
fn a_program_plays_judges_and_forks() {
    let environment = open(&Shell::default());
    assert_eq!(environment.opening(&task()).user, "2 + 3?\n");
    assert_eq!(environment.stop_strings(), ["."]);
    let mut episode = begin(&environment);
    assert_eq!(episode.step("a.", Stop::StopString), observed("step 1"));
    let mut fork = episode.fork().unwrap();
    for episode in [&mut episode, &mut fork] {
        assert_eq!(episode.step("b.", Stop::StopString), observed("step 2"));
        let parts = BTreeMap::from([("format".to_owned(), 1.0)]);
        let verdict = Verdict::Scored { reward: 0.5, parts };
        assert_eq!(episode.step("c", Stop::EndOfText), Turn::End(verdict));
        assert_eq!(unscored(episode.step("d", Stop::EndOfText)), "protocol: step after end");
    }
    let tasks = environment.tasks(Split::Train, 3).unwrap();
    let asked: Vec<&str> = tasks.tasks.iter().map(|task| task.question.as_str()).collect();
    assert_eq!(asked, ["q", "r", "s"]);
}

/// What a program does with a step, and what is said of it.
const MISDEEDS: &[(&str, &str, &str)] = &[
    ("hangs", "sleep 60", "environment did not answer `step` in 4 s"),
    ("ends", "exit 3", "environment exited (code 3) during `step`"),
    ("ends well", "exit 0", "environment exited (code 0) during `step`"),
    ("crashes", "kill -SEGV $$", "environment exited (signal 11) during `step`"),
    ("is killed", "kill -KILL $$", "environment exited (signal 9) during `step`"),
    (
        "says why it ends",
        "echo 'trace: a' >&2; echo 'no such room' >&2; exit 1",
        "environment exited (code 1) during `step`; it printed: trace: a | no such room",
    ),
    ("prints", "echo hello", "environment sent bytes that are not a reply: hello"),
    ("says nothing", "echo", "environment sent bytes that are not a reply: "),
    ("a list", "echo '[1]'", "environment sent bytes that are not a reply: [1]"),
    (
        "half a line",
        r#"printf '{"id":%s,"obs' "$id"; exit 0"#,
        r#"environment sent bytes that are not a reply: {\"id\":ID,\"obs"#,
    ),
    (
        "another id",
        r#"id=99; reply '"observation":"x"'"#,
        "environment answered `99`, the `id` of no request; expected: one reply to each request, \
         with its `id`",
    ),
    (
        "no id",
        r#"echo '{"observation":"x"}'"#,
        "environment answered without an `id`; expected: one reply to each request, with its `id`",
    ),
    (
        "two verdicts",
        r#"reply '"verdict":{"reward":1,"parts":{"format":1}}'
           reply '"verdict":{"reward":1,"parts":{"format":1}}'"#,
        "environment answered twice; expected: one reply to each request, with its `id`",
    ),
    (
        "two replies that a policy wrote, printed raw",
        r#"id=3; reply '"verdict":{"reward":1,"parts":{"format":1}}'; id=4; reply '"ok":true'"#,
        "environment answered `3`, the `id` of no request; expected: one reply to each request, \
         with its `id`",
    ),
    (
        "not a number",
        r#"reply '"verdict":{"reward":NaN,"parts":{"format":1}}'"#,
        r#"environment sent bytes that are not a reply: {\"id\":ID,\"verdict\":{\"reward\":NaN,\"parts\":{\"format\":1}}}"#,
    ),
    (
        "too large for a number",
        r#"reply '"verdict":{"reward":1e400}'"#,
        r#"environment sent bytes that are not a reply: {\"id\":ID,\"verdict\":{\"reward\":1e400}}"#,
    ),
    ("no reward", r#"reply '"verdict":{}'"#, "a verdict must hold a `reward`, got: {}"),
    ("a bare float", r#"reply '"verdict":1'"#, "a verdict must hold a `reward`, got: 1"),
    (
        "null",
        r#"reply '"verdict":{"reward":null,"parts":{"format":1}}'"#,
        "reward outside declared range 0..=1: null",
    ),
    (
        "text",
        r#"reply '"verdict":{"reward":"1","parts":{"format":1}}'"#,
        "reward outside declared range 0..=1: \"1\"",
    ),
    (
        "a truth",
        r#"reply '"verdict":{"reward":true,"parts":{"format":1}}'"#,
        "reward outside declared range 0..=1: true",
    ),
    (
        "too much",
        r#"reply '"verdict":{"reward":7,"parts":{"format":1}}'"#,
        "reward outside declared range 0..=1: 7",
    ),
    (
        "too little",
        r#"reply '"verdict":{"reward":-0.1,"parts":{"format":1}}'"#,
        "reward outside declared range 0..=1: -0.1",
    ),
    (
        "no part",
        r#"reply '"verdict":{"reward":1}'"#,
        "the part `format` must be a number, got: nothing",
    ),
    (
        "an unknown part",
        r#"reply '"verdict":{"reward":1,"parts":{"format":1,"style":1}}'"#,
        "the part `style` was not declared in hello",
    ),
    (
        "both",
        r#"reply '"observation":"x","verdict":{"reward":1,"parts":{"format":1}}'"#,
        "a reply holds an `observation` or a `verdict`, found: both",
    ),
    (
        "neither",
        r#"reply '"reward":1'"#,
        "a reply holds an `observation` or a `verdict`, found: neither",
    ),
    (
        "an observation of no text",
        r#"reply '"observation":5'"#,
        "`observation` must be text, got: 5",
    ),
    ("an error", r#"reply '"error":"no room"'"#, "environment refused `step`: no room"),
    (
        "cannot judge",
        r#"reply '"verdict":{"unscored":"grader offline"}'"#,
        "the program could not judge: grader offline",
    ),
    ("a huge line", "head -c 5000 /dev/zero | tr '\\0' x; echo", "reply over 4096 bytes"),
    ("a line without end", "yes | tr -d '\\n'", "reply over 4096 bytes"),
    ("a flood", "yes", "environment sent bytes that are not a reply: y"),
    (
        "no UTF-8",
        "printf '{\"id\":1,\"\\377\\n'",
        "environment sent bytes that are not a reply: 0xff is not UTF-8",
    ),
    ("drips", "while :; do printf x; sleep 0.1; done", "environment did not answer `step` in 4 s"),
    (
        "leaves a child with the pipe",
        "sleep 60 & exit 0",
        "environment exited (code 0) during `step`",
    ),
    ("closes its output", "exec >&-; sleep 60", "environment closed its output during `step`"),
];

#[test]
fn what_a_program_does_wrong_is_never_a_reward_and_never_a_hang() {
    std::thread::scope(|scope| {
        for (name, step, expected) in MISDEEDS {
            scope.spawn(move || {
                let environment = open(&Shell::stepping(step));
                let begun = Instant::now();
                let mut episode = begin(&environment);
                assert_eq!(unscored(episode.step("a", Stop::EndOfText)), *expected, "{name}");
                assert!(begun.elapsed() < Duration::from_secs(60), "{name}");
                // The attempt is over, and the door opens again.
                let after = unscored(episode.step("b", Stop::EndOfText));
                assert_eq!(after, "protocol: step after end", "{name}");
                drop(episode);
                let again = unscored(begin(&environment).step("a", Stop::EndOfText));
                let same = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "#");
                assert_eq!(same(&again), same(expected), "{name}, after a restart");
            });
        }
    });
}

#[test]
fn prints_on_stderr_cost_nothing_and_a_long_observation_is_cut() {
    let noise = "yes noise | head -c 3000000 >&2; reply \"\\\"observation\\\":\\\"$(head -c 300 \
                 /dev/zero | tr '\\0' x)\\\"\"";
    let shell = Shell::stepping(noise);
    let mut config = shell.config();
    config.limits.timeout = Duration::from_secs(10);
    config.limits.observation_bytes_max = 64;
    let environment = ExternalEnvironment::open(config).unwrap();
    let mut episode = begin(&environment);
    assert_eq!(episode.step("a", Stop::StopString), observed(&("x".repeat(58) + " [cut]")));
}

#[test]
fn a_program_that_does_not_read_is_late() {
    let shell = Shell::stepping("sleep 60");
    let environment = open(&shell);
    let mut episode = begin(&environment);
    let begun = Instant::now();
    // More than a pipe holds.
    let text = "x".repeat(1 << 20);
    let why = unscored(episode.step(&text, Stop::EndOfText));
    assert_eq!(why, "environment did not answer `step` in 4 s");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_last_step_must_bring_a_verdict() {
    let environment = open(&Shell::stepping(OBSERVE));
    let mut episode = begin(&environment);
    for n in 1..5 {
        assert_eq!(episode.step("a", Stop::StopString), observed(&format!("step {n}")));
    }
    let why = "the last step was answered without a verdict";
    assert_eq!(unscored(episode.step("a", Stop::StopString)), why);
    let why_context = unscored(begin(&environment).step("", Stop::Context));
    assert_eq!(why_context, why);
}

#[test]
fn everything_that_a_program_started_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let child = |name: &str, then: &str| {
        let path = file(name);
        format!("sleep 600 & echo $! > '{}'; {then}", path.display())
    };
    let gone = |name: &str| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !is_gone(&file(name)) {
            assert!(Instant::now() < deadline, "{name}: a child lives on");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let environment = open(&Shell::stepping(&child("late", "sleep 600")));
    unscored(begin(&environment).step("a", Stop::EndOfText));
    gone("late");
    let environment = open(&Shell::stepping(&child("left", "exit 0")));
    unscored(begin(&environment).step("a", Stop::EndOfText));
    gone("left");
    // A program that does well is told to close; what it left behind ends too.
    let environment = open(&Shell::stepping(&child("well", OBSERVE)));
    begin(&environment).step("a", Stop::StopString);
    assert!(!is_gone(&file("well")));
    drop(environment);
    gone("well");
}

#[test]
fn a_program_that_moves_to_another_group_is_ended_too() {
    let move_away = "import os, time; os.setpgid(0, os.getpgid(os.getppid())); time.sleep(600)";
    let folder = tempfile::tempdir().unwrap();
    let number = folder.path().join("number");
    let step = format!("echo $$ > '{}'; exec python3 -c '{move_away}'", number.display());
    if !std::process::Command::new("python3").arg("-V").output().is_ok_and(|o| o.status.success()) {
        skipped("a_program_that_moves_to_another_group_is_ended_too: no `python3`");
        return;
    }
    let environment = open(&Shell::stepping(&step));
    let begun = Instant::now();
    let why = unscored(begin(&environment).step("a", Stop::EndOfText));
    assert_eq!(why, "environment did not answer `step` in 4 s");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(is_gone(&number));
}

/// Whoever counts the tests counts this too.
fn skipped(line: &str) {
    use std::io::Write as _;
    let Some(list) = std::env::var_os("STEPWELL_SKIPPED") else { return };
    let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
    list.write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[test]
fn attempts_outlive_a_restart_where_they_replay() {
    let boom = format!("case $line in *boom*) exit 9 ;; esac; {OBSERVE}");
    let environment = open(&Shell::stepping(&boom));
    let (mut one, mut other) = (begin(&environment), begin(&environment));
    assert_eq!(one.step("a", Stop::StopString), observed("step 1"));
    assert_eq!(one.step("b", Stop::StopString), observed("step 2"));
    unscored(other.step("boom", Stop::StopString));
    assert_eq!(one.step("c", Stop::StopString), observed("step 3"));
    unscored(begin(&environment).step("boom", Stop::StopString));
    let mut fork = one.fork().unwrap();
    assert_eq!(fork.step("d", Stop::StopString), observed("step 4"));
    assert_eq!(one.step("d", Stop::StopString), observed("step 4"));

    let own = format!("case $line in *boom*) exit 9 ;; esac; n=$$.$n; {OBSERVE}");
    let environment = open(&Shell::stepping(&own));
    let (mut one, mut other) = (begin(&environment), begin(&environment));
    one.step("a", Stop::StopString);
    unscored(other.step("boom", Stop::StopString));
    let why = unscored(one.step("b", Stop::StopString));
    assert!(why.contains("ReplayDiverged(\"turn 0, played again after a restart"), "{why}");
}

#[test]
fn a_program_that_always_fails_is_given_up() {
    let shell = Shell::stepping("exit 9");
    let mut config = shell.config();
    config.limits.restarts_max = 2;
    let environment = ExternalEnvironment::open(config).unwrap();
    for _ in 0..3 {
        unscored(begin(&environment).step("a", Stop::EndOfText));
    }
    let Err(UnscoredReason::EnvironmentFailed(why)) = environment.start(&task(), key()) else {
        panic!("it was started again")
    };
    let expected = "environment was given up after 2 restarts; last: environment exited (code 9) \
                    during `step`";
    assert_eq!(why, expected);
}

#[test]
fn a_fork_that_is_not_offered_is_the_engines_to_replay() {
    let hello = Shell::default().hello.replace("\"fork\",", "");
    let environment = open(&Shell { hello, ..Shell::default() });
    assert!(matches!(begin(&environment).fork(), Err(ForkError::Unsupported)));
    let environment = open(&Shell { fork: "exit 5".to_owned(), ..Shell::default() });
    let Err(ForkError::Failed(reason)) = begin(&environment).fork() else { panic!("it forked") };
    let expected = "environment exited (code 5) during `fork`";
    assert_eq!(reason, UnscoredReason::EnvironmentFailed(expected.to_owned()));
}

#[test]
fn a_grader_reads_the_whole_attempt_and_forks_between_its_steps() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("request");
    let keep = format!("printf '%s' \"$line\" > '{}'; ", seen.display());
    let shell = Shell { grade: keep + &Shell::default().grade, ..Shell::default() };
    let config = Config { mode: Mode::Grader, step: StepEnd::Paragraph, ..shell.config() };
    let environment = ExternalEnvironment::open(config).unwrap();
    assert_eq!(environment.stop_strings(), [".", "\n\n"]);
    let mut episode = begin(&environment);
    assert_eq!(episode.step("I add.\n\n", Stop::StopString), observed(""));
    let mut fork = episode.fork().unwrap();
    for episode in [&mut episode, &mut fork] {
        let Turn::End(Verdict::Scored { reward, parts }) = episode.step("5.", Stop::StopString)
        else {
            panic!("no verdict")
        };
        assert_eq!((reward, parts["format"]), (1.0, 0.0));
    }
    let request: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&seen).unwrap()).unwrap();
    assert_eq!(request["steps"], serde_json::json!(["I add.\n\n", "5."]));
    assert_eq!(request["task"]["answer"], "5");
    assert_eq!(request["prompt"]["user"], "2 + 3?\n");
    assert_eq!(request["stop"], "stop_string");

    // A second verdict, as a policy's text printed raw would be, takes the first one away.
    let twice = Shell::default().grade + "; " + &Shell::default().grade;
    let shell = Shell { grade: twice, ..Shell::default() };
    let config = Config { mode: Mode::Grader, ..shell.config() };
    let environment = ExternalEnvironment::open(config).unwrap();
    let why = unscored(begin(&environment).step("5", Stop::EndOfText));
    assert!(why.starts_with("environment answered twice; "), "{why}");
}

#[test]
fn a_program_that_cannot_be_used_is_the_users_to_mend() {
    let told = |config: Config| match ExternalEnvironment::open(config) {
        Err(EnvError::Data(why)) => why,
        Err(other) => other.to_string(),
        Ok(_) => panic!("it opened"),
    };
    let missing = Config { command: vec!["no-such-program".to_owned()], ..Config::default() };
    let why = told(missing);
    assert!(why.starts_with("`no-such-program`: `no-such-program` cannot be started"), "{why}");
    assert!(told(Config::default()).starts_with("`command` must be a program"));
    let config = Config { reward: (1.0, 1.0), ..Shell::default().config() };
    assert!(told(config).starts_with("`reward_min, reward_max` must be two finite numbers"));
    let good = Shell::default().hello;
    for (hello, expected) in [
        ("exit 1".to_owned(), "environment exited (code 1) during `hello`"),
        ("echo hi".to_owned(), "environment sent bytes that are not a reply: hi"),
        (good.replace("protocol\":1", "protocol\":2"), "hello: `protocol` must be 1, got: 2"),
        (good.replace("\"shell\"", "7"), "hello: `name` must be text, got: 7"),
        (
            good.replace("\"episodes\"", "\"episode\""),
            "hello: `offers` must be among `episodes`, `fork`, `grade`, `tasks`, got: `episode`",
        ),
        (
            good.replace("\"episodes\",", ""),
            "`offers` in hello must hold `episodes` for the mode `environment`",
        ),
        (
            good.replace("\"stop\":[\".\"]", "\"stop\":[\"\"]"),
            "hello: `stop` must be a list of at most 64 texts of 1 to 256 bytes, got: [\"\"]",
        ),
        (good.replace("[0,1]", "[1,0]"), "hello: `reward` must be `[least, most]`, got: [1,0]"),
        (
            good.replace("[0,1]", "[0,2]"),
            "declares rewards from 0 to 2 and the recipe from 0 to 1; set `environment.reward_min` \
             and `environment.reward_max` to the program's",
        ),
        (
            good.replace("[\"format\"]", "[\"style\"]"),
            "declares the parts [\"style\"] and the recipe [\"format\"]; set `environment.parts` \
             to the program's",
        ),
    ] {
        let why = told(Shell { hello, ..Shell::default() }.config());
        assert!(why.ends_with(expected), "{why}\nexpected: {expected}");
    }
}

#[test]
fn every_law_is_kept_by_a_good_program_and_broken_by_its_own_fault() {
    let laws = |shell: &Shell| {
        let checked = check(&shell.config(), Vec::new()).unwrap();
        let broken = checked.findings.iter().filter(|finding| finding.holds == Some(false));
        (broken.map(|finding| finding.law).collect::<Vec<_>>(), checked)
    };
    let (broken, checked) = laws(&Shell::default());
    assert_eq!(broken, [], "{checked:?}");
    assert_eq!((checked.findings.len(), checked.null), (Law::ALL.len(), Some(0.5)));
    assert!(checked.findings.iter().all(|finding| finding.holds == Some(true)));

    let hello = Shell::default().hello.replace("\"grade\",\"tasks\"", "\"grade\"");
    let (broken, checked) = laws(&Shell { hello, ..Shell::default() });
    assert_eq!(broken, [], "{checked:?}");
    let tried = checked.findings.iter().filter(|finding| finding.holds == Some(true));
    assert_eq!(tried.map(|f| f.law).collect::<Vec<_>>(), [Law::Hello, Law::Unknown]);
    assert_eq!((checked.findings.len(), checked.null), (Law::ALL.len(), None));

    let shown = |what: &str| Shell::default().step.replace("step $n", &format!("step {what}"));
    let tasks = r#"t=$((t + 1)); x="{\"id\":\"$t" y='","question":"q'
        reply "\"tasks\":[${x}a$y$t\"},${x}b${y}x$t\"},${x}c${y}y$t\"}]""#;
    let live = "if [ $n = 1 ]; then g=$((g + 1)); fi; if [ $n = 3 ]; then g=$((g - 1)); fi;";
    let never_over = Shell::default().step.replace("eval \"n_$ep=over\"; ", "");
    let unknown = Shell { unknown: "reply '\"ok\":true'".to_owned(), ..Shell::default() };
    for (law, shell) in [
        (Law::Hello, Shell { hello: "exit 1".to_owned(), ..Shell::default() }),
        (Law::Unknown, unknown),
        (Law::Judges, Shell::stepping(&JUDGE.replace("0.5", "5"))),
        (Law::Tasks, Shell { tasks: tasks.to_owned(), ..Shell::default() }),
        (Law::Repeats, Shell::stepping(&format!("g=$((g + 1)); {}", shown("$g")))),
        (Law::Apart, Shell::stepping(&format!("{live} {}", shown("$g")))),
        (Law::RepeatsAnew, Shell::stepping(&shown("$$"))),
        (Law::Ends, Shell::stepping(&never_over)),
        (
            Law::Forks,
            Shell { fork: r#"eval "n_$into=0"; reply '"ok":true'"#.to_owned(), ..Shell::default() },
        ),
    ] {
        let (broken, checked) = laws(&shell);
        assert!(broken.contains(&law), "{law:?}: {checked:?}");
    }
}
