//! A finished run on one screen.

use stepwell_engine::recipe::{Recipe, Stage};

use crate::history::History;
use crate::plot::Curves;
use crate::table::{Align, duration, grouped, table};

/// One line per stage.
pub(crate) fn stages(recipe: &Recipe, history: &History) -> String {
    let head = [
        ("stage", Align::Left),
        ("steps", Align::Right),
        ("reward", Align::Right),
        ("loss", Align::Right),
        ("accuracy", Align::Right),
        ("on", Align::Left),
        ("sampled tokens", Align::Right),
        ("time", Align::Right),
    ];
    let rows = recipe.stage.iter().enumerate().map(|(index, stage)| {
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.3}"));
        let judged = history.newest_judged(index);
        let accuracy = judged.map_or_else(String::new, |judged| {
            let get = |name: &str| judged.metrics.get(name).copied().unwrap_or(f64::NAN);
            format!("{:.3} ± {:.3}", get("accuracy"), get("accuracy_interval"))
        });
        let on = match (stage, judged) {
            (_, None) => String::new(),
            (Stage::Evaluate(config), _) => {
                let blind = if config.shuffled_results { ", results shuffled" } else { "" };
                format!("{}, {}{blind}", config.split.name(), config.decoding.name())
            }
            _ => "development, greedy".to_owned(),
        };
        let tokens = history.sampled_tokens.get(index).filter(|tokens| **tokens > 0.0);
        vec![
            format!("{} {}", index + 1, stage.name()),
            match history.steps(index) {
                0 => String::new(),
                steps => grouped(steps as u64),
            },
            number(history.settled(index, "reward")),
            number(history.settled(index, "loss")),
            accuracy,
            on,
            tokens.map_or_else(String::new, |tokens| grouped(*tokens as u64)),
            history.seconds.get(index).map_or_else(String::new, |s| duration(*s)),
        ]
    });
    table(&head, &rows.collect::<Vec<_>>())
}

/// Reward and accuracy over the optimizer steps of the whole run. What was answered without looking
/// is a yardstick and no point of the curve.
pub(crate) fn curves(recipe: &Recipe, history: &History) -> Curves {
    let blind = |stage: usize| match recipe.stage.get(stage) {
        Some(Stage::Evaluate(evaluate)) => evaluate.shuffled_results,
        _ => false,
    };
    let begins =
        |at: &usize| *at > 0 && history.updates[*at].stage != history.updates[*at - 1].stage;
    let borders = (0..history.updates.len()).filter(begins).map(|at| at as f64).collect();
    Curves {
        reward: history.series("reward"),
        accuracy: history.accuracies(|stage| !blind(stage)),
        borders,
    }
}
