//! `eval`: a run's policy is judged again, outside its record.

use std::process::ExitCode;

use stepwell_engine::evaluation::Evaluation;
use stepwell_engine::judge::judge;
use stepwell_engine::observe::{Event, Observer};
use stepwell_engine::problem::Problem;
use stepwell_engine::recipe::{Decoding, Evaluate, Recipe, Split, Stage};

use super::recorded_recipe;
use crate::arguments::{DecodingWord, Eval, SplitWord};
use crate::interrupt::STOPPED;
use crate::progress::samples;
use crate::say::{complain, say};
use crate::table::{Align, grouped, table};

/// Judges.
pub(crate) fn eval(words: &Eval) -> anyhow::Result<ExitCode> {
    let recipe = recorded_recipe(&words.run)?;
    let settings = settings(words, &recipe);
    // Nothing is written, so there is nothing to finish: Ctrl-C ends at once.
    let _ = ctrlc::set_handler(|| std::process::exit(i32::from(STOPPED)));
    let (seed, threads) = (words.seed, words.threads.count());
    let asked = (&settings[..], &words.set[..]);
    let results = judge(&words.run, words.checkpoint, asked, seed, threads, &mut Notes)?;
    say(compared(&results));
    if let Some(guess) = guess_level(&recipe, results[0].0.split) {
        say(format!("guess level by construction, of a policy that cannot look: {guess:.3}"));
    }
    if let [(_, one)] = &results[..] {
        say("samples:");
        say(samples(one));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says only what a person should read.
struct Notes;

impl Observer for Notes {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Note(text) = event {
            complain("note", text);
        }
    }

    fn stop_requested(&self) -> bool {
        false
    }
}

/// One evaluation, or two with as many leaves.
fn settings(words: &Eval, recipe: &Recipe) -> Vec<Evaluate> {
    let decodings: &[Decoding] = match words.decoding {
        DecodingWord::Greedy => &[Decoding::Greedy],
        DecodingWord::Sample => &[Decoding::Sample],
        DecodingWord::LinearVote => &[Decoding::LinearVote],
        DecodingWord::TreeVote => &[Decoding::TreeVote],
        DecodingWord::Compare => &[Decoding::LinearVote, Decoding::TreeVote],
    };
    let split = split(words.split);
    let (max_tokens, path_tokens) = room(recipe);
    let one = |decoding: &Decoding| Evaluate {
        split,
        questions: words.questions as usize,
        decoding: *decoding,
        leaves: words.leaves as usize,
        branches: words.branches as usize,
        temperature: words.temperature,
        max_tokens,
        path_tokens,
        shuffled_results: words.shuffled_results,
        ..Evaluate::default()
    };
    decodings.iter().map(one).collect()
}

pub(super) fn split(word: SplitWord) -> Split {
    match word {
        SplitWord::HeldOut => Split::HeldOut,
        SplitWord::Development => Split::Development,
        SplitWord::Train => Split::Train,
    }
}

/// As long as the recipe's last stage lets a step and a path be.
pub(super) fn room(recipe: &Recipe) -> (usize, Option<usize>) {
    let of = |stage: &Stage| match stage {
        Stage::Evaluate(evaluate) => Some((evaluate.max_tokens, evaluate.path_tokens)),
        Stage::Rl(rl) => Some((rl.max_tokens, rl.path_tokens)),
        Stage::Preference(p) => stage.samples().then_some((p.max_tokens, p.path_tokens)),
        Stage::Estimator(own) => stage.samples().then_some((own.max_tokens, own.path_tokens)),
        Stage::Rejection(rejection) => Some((rejection.max_tokens, rejection.path_tokens)),
        Stage::Offline(own) => Some((own.max_tokens, own.path_tokens)),
        Stage::Sft(sft) => Some((sft.evaluate_max_tokens, None)),
    };
    let default = Evaluate::default();
    recipe.stage.iter().rev().find_map(of).unwrap_or((default.max_tokens, default.path_tokens))
}

/// What a policy gets that answers without looking, where the world knows.
fn guess_level(recipe: &Recipe, split: Split) -> Option<f64> {
    Problem::build(recipe).ok()?.guess_level(split)
}

fn compared(results: &[(Evaluate, Evaluation)]) -> String {
    let head = [
        ("decoding", Align::Left),
        ("split", Align::Left),
        ("questions", Align::Right),
        ("leaves", Align::Right),
        ("accuracy", Align::Right),
        ("sampled tokens", Align::Right),
        ("F/U", Align::Right),
        ("not judged", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|(config, result)| {
            let get = |name: &str| result.metrics.get(name).copied().unwrap_or(0.0);
            let tokens = get("sampled_tokens_per_question") * result.questions as f64;
            vec![
                config.decoding.name().to_owned(),
                config.split.name().to_owned(),
                grouped(result.questions as u64),
                format!("{:.1}", get("leaves_per_question")),
                format!("{:.3} ± {:.3}", result.accuracy, result.interval),
                grouped(tokens.round() as u64),
                format!("{:.2}", get("flat_tokens") / get("unique_tokens").max(1.0)),
                match result.unscored {
                    0 => String::new(),
                    unscored => grouped(unscored as u64),
                },
                if config.shuffled_results { "results shuffled".into() } else { String::new() },
            ]
        })
        .collect();
    table(&head, &rows)
}
