//! A policy step by step over a pipe, through the binary alone.

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use stepwell_store::RunReader;
use support::{Said, run, stepwell, workplace};

/// What is said to these lines.
fn told(folder: &Path, words: &[&str], lines: &str) -> Said {
    let mut command = stepwell(folder, words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that ends before it has read everything closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap().into()
}

#[test]
fn steps_are_sampled_taken_and_taken_back() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    let before = RunReader::open(&here.join("r")).unwrap().head().unwrap();
    let said = told(
        here,
        &["play", "r"],
        "tasks\ntask 3\ntry 3\ntake 2\nback\ntake 0\ntry 2\ntake 1\nback\nfinish\ncredit 0\ncredit 1 all\nquit\n",
    )
    .fine();
    assert_eq!(said.err, "");
    for words in [
        "checkpoint 000010, 8 tasks of held_out",
        "\n7: `",
        "\ntask 3, `",
        "\n2: ",
        " a token)",
        "\nstep 1: ",
        "\nbefore step 1\n",
        "not done: there are no candidates; `try 4` samples some",
        "\nverdict: reward ",
        "stage 1, update 0, tree ",
        "stage 1, update 1, tree 0 of 3",
        "stage 1, update 1, tree 2 of 3",
        "credit=",
    ] {
        assert!(said.out.contains(words), "no `{words}` in:\n{}", said.out);
    }
    // The step that is taken is the candidate that was shown.
    let played = said.out.split_once("\ntask 3, ").unwrap().1;
    let after = |mark: &str| played.split_once(mark).unwrap().1.lines().take(2).collect::<Vec<_>>();
    assert_eq!(after("\n2: "), after("\nstep 1: "));
    // The same words are answered alike, and nothing of the run is changed.
    let again = |threads| {
        told(here, &["play", "r", "--threads", threads], "task 3\ntry 3\ntake 1\nfinish\n")
            .fine()
            .out
    };
    assert_eq!(again("1"), again("2"));
    assert_eq!(RunReader::open(&here.join("r")).unwrap().head().unwrap(), before);
}

#[test]
fn whole_attempts_need_no_words() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    let words = ["play", "r", "--task", "3", "--attempts", "4"];
    let said = run(here, &words).fine();
    assert_eq!(said.out.matches("\nattempt ").count(), 4, "{}", said.out);
    assert_eq!(said.out.matches("\nverdict: reward ").count(), 4, "{}", said.out);
    let attempts: Vec<&str> = said.out.split("\nattempt ").skip(1).collect();
    let texts = attempts.iter().filter_map(|text| text.split_once('\n')).map(|(_, text)| text);
    let texts: std::collections::BTreeSet<&str> = texts.collect();
    assert!(texts.len() > 1, "attempts are draws of their own:\n{}", said.out);
    let greedy = run(here, &[&words[..], &["--temperature", "0"]].concat()).fine();
    let attempts: Vec<&str> = greedy.out.split("\nattempt ").skip(1).collect();
    let steps = |text: &str| text.split_once('\n').unwrap().1.trim().to_owned();
    assert!(attempts.iter().all(|text| steps(text) == steps(attempts[0])), "{}", greedy.out);
    let other = run(here, &[&words[..], &["--seed", "9"]].concat()).fine();
    assert_ne!(other.out, said.out);
}

#[test]
fn what_cannot_be_done_is_said_and_the_next_line_is_read() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    let lines = "go\njump\nback\ntask 99999\ntask 0\ntake 1\nsay \u{1b}[2J no query here\nhelp\n\
                 credit 77\ntry 999\nfinish\nfinish\nagain\ngo\n";
    let said = told(here, &["play", "r"], lines).fine();
    for words in [
        "not done: no task; `task 0` begins with the first",
        "not done: no order `jump`; `help` lists them",
        "not done: there is no step to go back before",
        "not done: no task `99999` among the 8 of `held_out`",
        "not done: there are no candidates",
        "step 1, yours: ",
        "try [K] ",
        "not done: stage 1 has no update 77; the newest is 3",
        "not done: must be in 1..=256, got: 999",
        "not done: the attempt is over; `again` begins another, `back` goes back",
        "\nattempt 2\nstep 1: ",
    ] {
        assert!(said.out.contains(words), "no `{words}` in:\n{}", said.out);
    }
    assert!(!said.out.contains('\u{1b}'), "{:?}", said.out);
    for (words, expected) in [
        (&["play", "gone"][..], "no run in `gone`"),
        (&["play", "r", "--task", "nobody"], "no task `nobody` among the 8"),
        (&["play", "r", "--attempts", "2"], "--task"),
        (&["play", "r", "--temperature=-1", "--task", "0"], "must be in [0, 100]"),
    ] {
        let said = run(here, words);
        assert_eq!(said.code, Some(2), "{words:?}: {}", said.err);
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
    }
}
