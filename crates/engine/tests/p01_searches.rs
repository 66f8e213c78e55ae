//! P1 and P2 for stages that grow in rounds, grow companions, or ask a scorer: stop or kill a run
//! anywhere, resume it with any threads, and the record and the weights are the same.

mod common;

use common::runs::{Watch, end, finish, recipe, start, warm_up};
use stepwell_engine::run::{self, Outcome};
use stepwell_store::RunReader;

/// A short supervised stage, then one of reinforcement and one of evaluation.
fn text(rl: &str, evaluate: &str) -> String {
    format!(
        "{}[[stage]]\n[stage.rl]\nsteps = 2\ntasks = 3\nmax_tokens = 32\nlearning_rate = 1e-2\n\
         checkpoint_every = 1\n{rl}\n[[stage]]\n[stage.evaluate]\nquestions = 3\nleaves = 4\n\
         max_tokens = 24\n{evaluate}\n",
        warm_up().replace("checkpoint_every = 5", "checkpoint_every = 0")
    )
}

/// Runs it whole, stopped at every update, killed at every event of the last stages, and with other
/// numbers of threads. The metrics of the last update.
fn undisturbed(text: &str) -> impl Fn(&str) -> f64 + use<> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole");
    let copies = folder.path().join("copies");
    let mut watch = Watch { copy: Some((path.clone(), copies)), ..Watch::default() };
    let outcome = run::start(&recipe(text), &path, 2, &mut watch).unwrap();
    assert_eq!((outcome, watch.steps), (Outcome::Finished, 18));
    let expected = end(&path);
    let other = folder.path().join("other");
    start(text, &other, 5).unwrap();
    assert_eq!(end(&other), expected, "threads change something");
    for k in [16, 17] {
        let path = folder.path().join(k.to_string());
        let mut watch = Watch { stop_after: Some(k), ..Watch::default() };
        run::start(&recipe(text), &path, 2, &mut watch).unwrap();
        assert_eq!(finish(&path, 1).unwrap(), expected, "stopped at {k}");
    }
    let late = watch.copies.len().saturating_sub(9);
    for (k, killed) in watch.copies.iter().enumerate().skip(late) {
        assert_eq!(finish(killed, 1 + k % 3).unwrap(), expected, "killed at event {k}");
    }
    let reader = RunReader::open(&path).unwrap();
    move |name: &str| {
        let series = reader.metric_series(name).unwrap();
        let _ = &folder;
        series.last().unwrap_or_else(|| panic!("no metric `{name}`")).value
    }
}

#[test]
fn continuations_and_the_credit_of_their_means() {
    let rl = "grow = { type = \"continuations\", attempts = 2, rollouts = 2, leaves = 6 }\n\
              credit = { type = \"monte_carlo\" }";
    let evaluate = "decoding = \"best_of_n\"\nscorer = { type = \"continuations\", rollouts = 2 }";
    let metric = undisturbed(&text(rl, evaluate));
    assert_eq!(metric("leaves"), 6.0, "attempts of three trees");
    assert!(metric("companion_leaves") >= 6.0);
    assert!(metric("companion_tokens") < metric("sampled_tokens"));
    // Continuations are neither trained nor computed: what is computed is less than what was grown.
    assert!(metric("computed_tokens") < metric("unique_tokens"));
    assert!(metric("trained_tokens") <= metric("sampled_tokens") - metric("companion_tokens"));
    assert_eq!(metric("logprob_gap"), 0.0);
}

#[test]
fn continuations_that_train_by_rounds_of_tokens() {
    let rl = "grow = { type = \"continuations\", attempts = 1, rollouts = 3, tokens = 40 }\n\
              credit = { type = \"monte_carlo\", train_continuations = true }";
    let metric = undisturbed(&text(rl, "decoding = \"sample\""));
    assert!(metric("trained_tokens") > metric("sampled_tokens") - metric("companion_tokens"));
    assert_eq!(metric("logprob_gap"), 0.0);
    assert!(metric("pass_at/4") >= metric("pass_at/1"));
}

#[test]
fn lines_up_to_the_first_pit() {
    let rl = "grow = { type = \"first_pit\", attempts = 2, rollouts = 2, extra = 1, leaves = 9 }\n\
              credit = { type = \"monte_carlo\" }";
    let metric = undisturbed(&text(rl, "decoding = \"linear_vote\""));
    assert_eq!((metric("leaves"), metric("logprob_gap")), (6.0, 0.0));
    assert!((1.0..=27.0).contains(&metric("companion_leaves")));
}

#[test]
fn a_greedy_baseline_and_forks_where_entropy_rose() {
    let rl = "grow = { type = \"greedy_baseline\", attempts = 3 }\ncredit = { type = \"remax\" }";
    let search = "decoding = \"search\"\ngrow = { type = \"fork_at_entropy\", threshold = -9 }\n\
                  scorer = { type = \"continuations\", rollouts = 1 }";
    let metric = undisturbed(&text(rl, search));
    assert_eq!((metric("leaves"), metric("companion_leaves")), (9.0, 3.0));
    // Greedy steps train nothing, so every ratio of the first step is 1.
    assert_eq!((metric("logprob_gap"), metric("ratio_max")), (0.0, 1.0));
    assert_eq!(metric("trained_tokens"), metric("sampled_tokens") - metric("companion_tokens"));
}

#[test]
fn simulations_and_a_beam() {
    let rl = "grow = { type = \"mcts\", simulations = 6, children = 2, selection = \"puct\" }\n\
              credit = { type = \"sibling\" }";
    let search = "decoding = \"search\"\ngrow = { type = \"beam\", width = 2, candidates = 2 }\n\
                  scorer = { type = \"continuations\", rollouts = 2 }";
    let metric = undisturbed(&text(rl, search));
    assert!(metric("leaves") <= 18.0 && metric("leaves") > 6.0, "{}", metric("leaves"));
    assert_eq!(metric("logprob_gap"), 0.0);
    assert!(metric("scorer_tokens_per_question") > 0.0);
}
