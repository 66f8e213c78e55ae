//! P18 on a terminal: what is drawn fits, is taken away again, and nothing else moves the cursor;
//! without one, lines alone. Ctrl-C that is typed there ends a run as a signal does.

mod support;

use support::refused::harmless;
use support::terminal::{Shown, Typed, on_terminal, stretches};
use support::{TINY, run, workplace};

const TRAIN: [&str; 4] = ["train", "tiny.toml", "--run", "r"];

/// Those of the bar: it has a stage, and of twelve characters what is done and what is left.
fn bars(shown: &Shown) -> Vec<String> {
    let is_bar = |text: &String| text.starts_with("stage ") && text.contains("/4");
    let all = stretches(&shown.bytes).into_iter();
    all.filter(is_bar).filter(|text| !text.contains(" step ") && !text.contains(':')).collect()
}

#[test]
fn a_bar_is_drawn_within_the_width_and_taken_away() {
    let place = workplace();
    for columns in [40, 60, 120] {
        let shown = on_terminal(place.path(), &TRAIN, columns, &[], &[]);
        let all = String::from_utf8_lossy(&shown.bytes).into_owned();
        assert_eq!(shown.code, Some(0), "{all}");
        let bars = bars(&shown);
        assert!(bars.len() >= 3, "{columns} columns: {bars:?} of\n{all:?}");
        for stage in ["stage 1/3 sft", "stage 2/3 rl"] {
            assert!(bars.iter().any(|bar| bar.starts_with(stage)), "no {stage}: {bars:?}");
        }
        assert!(bars.iter().any(|bar| bar.contains('\u{2501}')), "nothing is done: {bars:?}");
        for bar in &bars {
            let wide = bar.chars().count();
            assert!(wide <= usize::from(columns), "{wide} of {columns} columns: {bar:?}");
        }
        // What was drawn last is erased before the summary, which has lines of its own.
        let last = all.rfind(bars.last().unwrap().as_str()).unwrap();
        let after = &all[last..];
        let (erased, next) = (after.find("\x1b[2K"), after.find("next:"));
        assert!(erased.is_some() && next.is_some() && erased < next, "{after:?}");
        assert!(!all.contains("step 4/4"), "a log's line on a terminal:\n{all}");
        std::fs::remove_dir_all(place.path().join("r")).unwrap();
    }
}

#[test]
fn without_a_terminal_and_on_one_that_only_prints() {
    let place = workplace();
    let here = place.path();
    on_terminal(here, &TRAIN, 80, &[], &[]);
    for words in [&["inspect", "r"][..], &["eval", "r"], &["runs", "."], &["--help"], &["nonsense"]]
    {
        let shown = on_terminal(here, words, 80, &[], &[]);
        let all = String::from_utf8(shown.bytes).unwrap().replace("\r\n", "\n");
        harmless(&all);
        assert_eq!(shown.code, Some(if words == ["nonsense"] { 2 } else { 0 }), "{all}");
    }
    let dumb = ["train", "tiny.toml", "--run", "dumb"];
    let shown = on_terminal(here, &dumb, 80, &[("TERM", "dumb")], &[]);
    let lines = String::from_utf8(shown.bytes).unwrap().replace("\r\n", "\n");
    harmless(&lines);
    let piped = run(here, &["train", "tiny.toml", "--run", "piped"]).fine();
    harmless(&(piped.out.clone() + &piped.err));
    for said in [&lines, &piped.out] {
        assert!(said.contains("stage 2/3 rl step 4/4  reward "), "{said}");
    }
}

#[test]
fn ctrl_c_on_the_terminal_ends_well_and_the_run_goes_on() {
    let place = workplace();
    let here = place.path();
    let long = TINY.replace("steps = 4", "steps = 150").replace("_every = 2", "_every = 75");
    std::fs::write(here.join("long.toml"), long).unwrap();
    let words = ["train", "long.toml", "--run", "r"];
    let typed = [Typed { after: "stage 1/3 sft", bytes: b"\x03" }];
    let shown = on_terminal(here, &words, 80, &[], &typed);
    let all = String::from_utf8_lossy(&shown.bytes).into_owned();
    assert_eq!(shown.code, Some(130), "{all}");
    let last = stretches(&shown.bytes).pop().unwrap();
    assert_eq!(last, "stopped: to go on: stepwell resume r", "{all}");
    assert!(all.contains("stopping: finishing this step"), "{all}");
    let said = run(here, &["resume", "r"]).fine();
    assert!(said.out.contains(", going on at step "), "{}", said.out);
}
