//! What a sweep found: mean and standard error over seeds, and every run's figure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stepwell_engine::recipe::{Recipe, Stage};
use stepwell_store::write_file;

use super::plan::Member;
use crate::arguments::Sweep;
use crate::failure::input;
use crate::history::History;
use crate::paired::mean_and_error;
use crate::say::complain;
use crate::table::{Align, table};

/// The table's name, and the beginning of its first line; the metric follows.
const TABLE: &str = "sweep.csv";
const HEAD: &str = "run,seed,";

/// A run's figure and where it was measured.
struct Figure {
    value: f64,
    source: String,
}

/// The table of an earlier call, `sweep.csv` in the folder of the runs.
#[derive(Default)]
pub(super) struct Earlier {
    metric: String,
    /// A run's name, and its row.
    rows: Vec<(String, String)>,
}

/// Reads what an earlier call wrote. Refuses a file that this command did not write, before a run
/// begins.
pub(super) fn earlier(out: &Path) -> anyhow::Result<Earlier> {
    let path = out.join(TABLE);
    if !path.exists() {
        return Ok(Earlier::default());
    }
    let read = || -> Option<Earlier> {
        let text = std::fs::read_to_string(&path).ok()?;
        let mut lines = text.lines();
        let metric = lines.next()?.strip_prefix(HEAD)?.to_owned();
        let row = |line: &str| {
            let (name, rest) = line.split_once(',')?;
            let (seed, value) = rest.split_once(',')?;
            seed.parse::<u64>().ok()?;
            value.parse::<f64>().ok()?;
            Some((name.to_owned(), line.to_owned()))
        };
        Some(Earlier { metric, rows: lines.map(row).collect::<Option<_>>()? })
    };
    read().ok_or_else(|| {
        input(format!(
            "`{}` is no table of a sweep, and would be overwritten; move it, or choose another \
             folder",
            path.display()
        ))
    })
}

/// The table; the same numbers go to `sweep.csv` in the folder of the runs, where rows of runs that
/// are not asked for now stay.
pub(super) fn tell(words: &Sweep, members: &[Member]) -> anyhow::Result<String> {
    let mut source = String::new();
    let mut arms: Vec<(&Member, BTreeMap<u64, f64>)> = Vec::new();
    let mut lines = format!("{HEAD}{}\n", words.metric);
    for member in members {
        let history = History::read(&words.out.join(&member.name))?;
        let Some(figure) = figure(&member.recipe, &history, &words.metric) else {
            let known = names(&history);
            return Err(input(format!(
                "`{}` measures no `{}`; its metrics: {}",
                words.out.join(&member.name).display(),
                words.metric,
                known.join(", ")
            )));
        };
        source = figure.source;
        lines.push_str(&format!("{},{},{:?}\n", member.name, member.seed, figure.value));
        match arms.last_mut().filter(|(first, _)| first.settings == member.settings) {
            Some((_, values)) => drop(values.insert(member.seed, figure.value)),
            None => arms.push((member, [(member.seed, figure.value)].into())),
        }
    }
    let earlier = earlier(&words.out)?;
    if earlier.metric == words.metric {
        let asked = |name: &String| members.iter().any(|member| member.name == *name);
        for (name, row) in earlier.rows.iter().filter(|(name, _)| !asked(name)) {
            match words.out.join(name).is_dir() {
                true => lines.push_str(&format!("{row}\n")),
                false => complain("warning", format!("`{name}` is gone, and so its row")),
            }
        }
    } else if !earlier.rows.is_empty() {
        complain("warning", format!("{TABLE} held `{}`, and is written anew", earlier.metric));
    }
    write_file(&words.out.join(TABLE), lines.as_bytes())?;
    let head = format!("{} {source}, mean and standard error over seeds\n", words.metric);
    Ok(head + &rows(&arms) + &format!("table: {}\n", words.out.join(TABLE).display()))
}

/// A row per combination of settings. The last column is the difference from the first row, seed by
/// seed: what two rows share of a seed's luck does not count.
fn rows(arms: &[(&Member, BTreeMap<u64, f64>)]) -> String {
    let head = [
        ("settings", Align::Left),
        ("runs", Align::Right),
        ("mean", Align::Right),
        ("±", Align::Right),
        ("by seed", Align::Left),
        ("from the first row", Align::Right),
    ];
    let error = |error: Option<f64>| error.map_or_else(String::new, |e| format!("{e:.4}"));
    let first = &arms[0].1;
    let row = |(at, (member, values)): (usize, &(&Member, BTreeMap<u64, f64>))| {
        let all: Vec<f64> = values.values().copied().collect();
        let (mean, spread) = mean_and_error(&all).unwrap_or((f64::NAN, None));
        let settings: Vec<String> =
            member.settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let each: Vec<String> =
            values.iter().map(|(seed, value)| format!("{seed}: {value:.3}")).collect();
        let pairs = values.iter().filter_map(|(seed, value)| Some(value - first.get(seed)?));
        let from_first = match mean_and_error(&pairs.collect::<Vec<_>>()) {
            Some((mean, Some(error))) if at > 0 => format!("{mean:+.4} ± {error:.4}"),
            Some((mean, None)) if at > 0 => format!("{mean:+.4}"),
            _ => String::new(),
        };
        vec![
            settings.join(", "),
            all.len().to_string(),
            format!("{mean:.4}"),
            error(spread),
            each.join("  "),
            from_first,
        ]
    };
    table(&head, &arms.iter().enumerate().map(row).collect::<Vec<_>>())
}

/// Of the last evaluation stage that looks; else of the last look at the development split; else of
/// the last updates.
fn figure(recipe: &Recipe, history: &History, metric: &str) -> Option<Figure> {
    let sees = |stage: usize| match recipe.stage.get(stage) {
        Some(Stage::Evaluate(own)) => !own.shuffled_results,
        _ => false,
    };
    let judged = |wanted: &dyn Fn(usize) -> bool| {
        let newest = history.judged.iter().rev().filter(|judged| wanted(judged.stage));
        newest.filter_map(|j| Some((j.stage, *j.metrics.get(metric)?))).next()
    };
    if let Some((stage, value)) = judged(&sees)
        && let Some(Stage::Evaluate(own)) = recipe.stage.get(stage)
    {
        let source = format!("on {}, {}", own.split.name(), own.decoding.name());
        return Some(Figure { value, source });
    }
    let evaluates = |stage: usize| matches!(recipe.stage.get(stage), Some(Stage::Evaluate(_)));
    if let Some((_, value)) = judged(&|stage| !evaluates(stage)) {
        return Some(Figure { value, source: "on development, greedy".to_owned() });
    }
    let trained = (0..recipe.stage.len()).rev();
    let value = trained.filter_map(|stage| settled(history, stage, metric)).next()?;
    Some(Figure { value, source: "over the last tenth of updates".to_owned() })
}

fn settled(history: &History, stage: usize, metric: &str) -> Option<f64> {
    let has = history.updates.iter().any(|u| u.stage == stage && u.metrics.contains_key(metric));
    has.then(|| history.settled(stage, metric)).flatten()
}

fn names(history: &History) -> Vec<String> {
    let judged = history.judged.iter().flat_map(|judged| judged.metrics.keys());
    let updates = history.updates.iter().flat_map(|update| update.metrics.keys());
    let names: BTreeSet<&String> = judged.chain(updates).collect();
    names.iter().map(|name| format!("`{name}`")).collect()
}
