//! Runs side by side, through the binary alone.

mod support;

use stepwell_store::{Kind, RunReader};
use support::{run, workplace};

/// Enough questions for an interval.
const MORE: [&str; 4] =
    ["--set", "environment.world.held_out_databases=4", "--set", "stage[2].evaluate.questions=16"];

#[test]
fn recipes_evaluations_and_curves_lie_side_by_side() {
    let folder = workplace();
    let here = folder.path();
    let train = |name: &str, more: &[&str]| {
        let words = [&["train", "tiny.toml", "--run", name][..], &MORE, more].concat();
        run(here, &words).fine();
    };
    train("a", &[]);
    train("b", &["--set", "seed=4", "--set", "stage[1].rl.steps=3"]);
    train("c", &["--set", "stage[2].evaluate.questions=4"]);
    // Every question's outcome is in the record: 4 of each look, 16 of the last.
    let reader = RunReader::open(&here.join("a")).unwrap();
    let judged = reader.commits().unwrap();
    let judged = judged.iter().filter(|commit| commit.key.kind == Kind::Evaluated);
    let kept: Vec<usize> =
        judged.map(|commit| reader.samples(commit.head.number).unwrap().len()).collect();
    assert_eq!(kept, [4, 4, 16]);

    let said = run(here, &["compare", "a", "b"]).fine();
    let row = |name: &str| said.out.lines().find(|line| line.starts_with(name)).unwrap_or("");
    assert_eq!(row("seed").split_whitespace().collect::<Vec<_>>(), ["seed", "3", "4"]);
    let steps: Vec<&str> = row("rl.steps").split_whitespace().collect();
    assert_eq!(steps, ["rl.steps", "4", "3"]);
    assert!(row("held_out, greedy").contains(" of 16"), "{}", said.out);
    for words in [
        "  held_out, greedy: b - a: ",
        "over 16 tasks: ",
        "  development, greedy, while training: b - a: 4 tasks in common, fewer than 10",
        "up to updates  reward a  reward b",
        "up to sampled tokens  reward a",
        "whether another seed would say the same, `stepwell sweep` tells",
    ] {
        assert!(said.out.contains(words), "no `{words}` in:\n{}", said.out);
    }
    // Three updates are the range that both have.
    let rows = said.out.lines().skip_while(|line| !line.trim_start().starts_with("up to updates"));
    let first: Vec<&str> =
        rows.skip(1).take(3).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(first, ["1", "2", "3"]);

    let said = run(here, &["compare", "a", "a", "c"]).fine();
    assert!(said.out.contains("c - a: 4 tasks in common, fewer than 10"), "{}", said.out);
    assert!(said.out.contains("+0.000 [+0.000, +0.000] over 16 tasks: no difference shown"));
    let said = run(here, &["compare", "a", "a"]).fine();
    assert!(said.out.starts_with("recipes: the same, with the same seed"), "{}", said.out);

    let said = run(here, &["compare", "a"]);
    assert_eq!(said.code, Some(2));
    let said = run(here, &["compare", "a", "gone"]);
    assert_eq!((said.code, said.err.contains("no run in `gone`")), (Some(2), true));
}

#[test]
fn a_run_without_rewards_has_no_curve() {
    let folder = workplace();
    let here = folder.path();
    let text = support::TINY;
    let supervised = &text[..text.find("[[stage]]\n[stage.rl]").unwrap()];
    std::fs::write(here.join("sft.toml"), supervised).unwrap();
    run(here, &["train", "sft.toml", "--run", "s"]).fine();
    run(here, &["train", "tiny.toml", "--run", "t"]).fine();
    let said = run(here, &["compare", "t", "s"]).fine();
    assert!(said.out.contains("curves: s has no update with rewards"), "{}", said.out);
    assert!(said.out.contains("not there"), "{}", said.out);
}
