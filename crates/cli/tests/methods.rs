//! `methods` lists what a recipe can choose from and tells of one of them.

mod support;

use support::{TINY, run, workplace};

#[test]
fn the_list_names_every_kind() {
    let folder = workplace();
    let said = run(folder.path(), &["methods"]).fine();
    assert_eq!(said.err, "");
    for (kind, name) in
        [("grow", "branch"), ("reward", "gated"), ("credit", "backup"), ("objective", "clipped")]
    {
        let row = said.out.lines().find(|row| row.split_whitespace().take(2).eq([kind, name]));
        assert!(row.is_some_and(|row| row.split_whitespace().count() > 2), "{}", said.out);
    }
}

#[test]
fn a_method_tells_its_paper_its_control_and_its_keys() {
    let folder = workplace();
    let said = run(folder.path(), &["methods", "progress"]).fine();
    for text in ["progress (credit)\n", "Paper: PAV", "Control: `alpha = 0`", "\n  alpha: α, "] {
        assert!(said.out.contains(text), "{text}\n{}", said.out);
    }
    assert!(said.out.lines().all(|line| line.chars().count() <= 100), "{}", said.out);
}

#[test]
fn the_defaults_it_tells_are_what_a_recipe_reads() {
    let folder = workplace();
    for name in ["anchor_group", "backup", "gpg", "reinforce_plus_plus"] {
        let said = run(folder.path(), &["methods", name]).fine();
        let line = said.out.lines().find_map(|line| line.strip_prefix("  credit = "));
        let told = format!("stage[1].rl.credit={}", line.expect("the line for a recipe"));
        let bare = format!("stage[1].rl.credit={{ type = \"{name}\" }}");
        let shown = |set: &str| {
            run(folder.path(), &["recipe", "show", "tiny.toml", "--set", set]).fine().out
        };
        assert_eq!(shown(&told), shown(&bare));
        assert!(shown(&told).contains(name));
    }
    assert!(TINY.contains("[stage.rl]"));
}

#[test]
fn a_run_trains_with_every_reward_and_every_credit_that_is_listed() {
    let folder = workplace();
    let list = run(folder.path(), &["methods"]).fine().out;
    let mut trained = 0;
    for row in list.lines() {
        let mut word = row.split_whitespace();
        let (Some(kind @ ("reward" | "credit")), Some(name)) = (word.next(), word.next()) else {
            continue;
        };
        let method = format!("stage[1].rl.{kind}={{ type = \"{name}\" }}");
        let mut words =
            vec!["train", "tiny.toml", "--threads", "1", "--run", name, "--set", &method];
        for short in
            ["stage[0].sft.steps=1", "stage[0].sft.evaluate_every=0", "stage[0].sft.warmup_steps=0"]
        {
            words.extend(["--set", short]);
        }
        for short in
            ["stage[1].rl.steps=1", "stage[1].rl.evaluate_every=0", "stage[1].rl.warmup_steps=0"]
        {
            words.extend(["--set", short]);
        }
        // Two read the companions of attempts, which their own way of growing makes.
        match name {
            "remax" => words.extend(["--set", "stage[1].rl.grow={ type = \"greedy_baseline\" }"]),
            "monte_carlo" => {
                words
                    .extend(["--set", "stage[1].rl.grow={ type = \"continuations\", leaves = 9 }"]);
            }
            // Steps are paid: a credit that reads it, and contributions that need no estimator.
            "attribution" => words.extend([
                "--set",
                "stage[1].rl.reward={ type = \"attribution\", contributions = \"uniform\" }",
                "--set",
                "stage[1].rl.credit={ type = \"reinforce\" }",
            ]),
            _ => {}
        }
        let said = run(folder.path(), &words);
        match name {
            // These read what another model says, and ask for it by name.
            "effective_reward" => assert!(said.err.contains("[stage.estimator]"), "{}", said.err),
            "reverse_kl" => assert!(said.err.contains("teacher = \"folder\""), "{}", said.err),
            _ => {
                said.fine();
                trained += 1;
            }
        }
    }
    assert!(trained >= 20, "{trained} methods were listed");
}

#[test]
fn an_unknown_method_is_the_users_input() {
    let folder = workplace();
    let said = run(folder.path(), &["methods", "backupp"]);
    assert_eq!(said.code, Some(2));
    let expected = "error: no method `backupp`; known: `adaptive_kl`, `cosine`, ";
    assert!(said.err.starts_with(expected), "{}", said.err);
}
