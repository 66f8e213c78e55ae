//! Evaluations side by side, and the difference on the tasks that both sides answered.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use stepwell_engine::recipe::{Decoding, Evaluate, Recipe, Stage};
use stepwell_store::{Kind, Metrics, RunReader};
use stepwell_tree::TaskHash;

use super::Side;
use crate::paired::{Finding, Interval, PAIRS_MIN, interval};
use crate::table::{Align, grouped, table};

/// An evaluation.
pub(super) struct Judged {
    /// What was asked how: equal in two runs where they may be compared.
    label: String,
    metrics: Metrics,
    /// Outcomes of the tasks that could be judged.
    outcome: BTreeMap<TaskHash, f64>,
}

/// The evaluations of a run. Those of one kind are counted from the last: runs of different length
/// have their ends in common.
pub(super) fn read(reader: &RunReader, recipe: &Recipe) -> anyhow::Result<Vec<Judged>> {
    let mut found: Vec<Judged> = Vec::new();
    for commit in reader.commits()? {
        if commit.key.kind != Kind::Evaluated {
            continue;
        }
        let number = commit.head.number;
        let outcome = reader.samples(number)?;
        let outcome = outcome.into_iter();
        let outcome = outcome.filter_map(|s| Some((s.task, s.verdict.reward()?))).collect();
        let metrics = reader.metrics(number)?;
        let label = match recipe.stage.get(commit.key.stage as usize) {
            Some(Stage::Evaluate(own)) => label(own),
            // The newest look is what counts; the others are points of the curve.
            _ => {
                let label = "development, greedy, while training".to_owned();
                found.retain(|other| other.label != label);
                label
            }
        };
        found.push(Judged { label, metrics, outcome });
    }
    let labels: Vec<String> = found.iter().map(|judged| judged.label.clone()).collect();
    for (i, judged) in found.iter_mut().enumerate() {
        let later = labels[i + 1..].iter().filter(|label| **label == labels[i]).count();
        judged.label += &before_the_last(later);
    }
    Ok(found)
}

/// How many of a kind come later.
pub(super) fn before_the_last(later: usize) -> String {
    match later {
        0 => String::new(),
        1 => ", the one before the last".to_owned(),
        more => format!(", {more} before the last"),
    }
}

pub(super) fn label(own: &Evaluate) -> String {
    let mut label = format!("{}, {}", own.split.name(), own.decoding.name());
    match own.decoding {
        Decoding::Greedy => {}
        Decoding::Search => label += &format!(" at {}", own.temperature),
        _ => label += &format!(" of {} at {}", own.leaves, own.temperature),
    }
    match own.decoding {
        Decoding::TreeVote => label += &format!(", branches {}", own.branches),
        Decoding::Search => label += &format!(", grow {}", settings(&own.search())),
        _ => {}
    }
    if matches!(own.decoding, Decoding::BestOfN | Decoding::Search) {
        label += &format!(", scorer {}", settings(&own.picker()));
    }
    if own.shuffled_results {
        label += ", results shuffled";
    }
    label
}

/// A method and its settings: `continuations (best_of 1, rollouts 20)`.
fn settings(method: &impl Serialize) -> String {
    let Ok(Value::Object(mut table)) = serde_json::to_value(method) else { return String::new() };
    let name = match table.remove("type") {
        Some(Value::String(name)) => name,
        _ => String::new(),
    };
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let each: Vec<String> =
        table.iter().map(|(key, value)| format!("{key} {}", shown(value))).collect();
    if each.is_empty() { name } else { format!("{name} ({})", each.join(", ")) }
}

/// A table, and a sentence per pair of runs.
pub(super) fn tell(sides: &[Side]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    for judged in sides.iter().flat_map(|side| &side.judged) {
        if !labels.contains(&judged.label.as_str()) {
            labels.push(&judged.label);
        }
    }
    if labels.is_empty() {
        return "evaluations: none yet\n".to_owned();
    }
    let head: Vec<(&str, Align)> = std::iter::once(("accuracy", Align::Left))
        .chain(sides.iter().map(|side| (side.name.as_str(), Align::Right)))
        .collect();
    let of = |side: &Side, label: &str| side.judged.iter().position(|j| j.label == label);
    let row = |label: &&str| {
        let cell = |side: &Side| {
            let judged = of(side, label).map(|at| &side.judged[at].metrics);
            judged.map_or_else(String::new, |metrics| {
                let get = |name: &str| metrics.get(name).copied().unwrap_or(f64::NAN);
                let count = grouped(get("questions") as u64);
                format!("{:.3} ± {:.3} of {count}", get("accuracy"), get("accuracy_interval"))
            })
        };
        std::iter::once((*label).to_owned()).chain(sides.iter().map(cell)).collect()
    };
    let mut text = table(&head, &labels.iter().map(row).collect::<Vec<_>>());
    text.push_str("\ndifferences on the same tasks, with 95 % intervals of a paired bootstrap:\n");
    let mut shown = false;
    for label in &labels {
        for (i, side) in sides.iter().enumerate().skip(1) {
            let both = of(&sides[0], label).zip(of(side, label));
            let Some((first, other)) = both else { continue };
            let said = difference(&sides[0].judged[first], &side.judged[other], &side.name);
            let against = if i > 0 { &sides[0].name } else { "" };
            text.push_str(&format!("  {label}: {} - {against}: {said}\n", side.name));
            shown = true;
        }
    }
    if !shown {
        text.push_str("  no evaluation is of the same kind in two of them\n");
    }
    text + "they are about these trainings: whether another seed would say the same, `stepwell \
            sweep` tells\n"
}

fn difference(first: &Judged, other: &Judged, name: &str) -> String {
    let pairs = first.outcome.iter().filter_map(|(task, a)| Some(other.outcome.get(task)? - a));
    let pairs: Vec<f64> = pairs.collect();
    match interval(&pairs) {
        None => {
            let n = pairs.len();
            format!("{n} tasks in common, fewer than {PAIRS_MIN}: too few to tell")
        }
        Some(found) => sentence(found, name),
    }
}

fn sentence(found: Interval, name: &str) -> String {
    let verdict = match found.finding() {
        Finding::None => "no difference shown".to_owned(),
        Finding::Higher => format!("{name} is better"),
        Finding::Lower => format!("{name} is worse"),
    };
    let Interval { mean, low, high, pairs } = found;
    format!("{mean:+.3} [{low:+.3}, {high:+.3}] over {} tasks: {verdict}", grouped(pairs as u64))
}

#[cfg(test)]
mod tests {
    use stepwell_engine::recipe::{Learned, ScorerConfig};

    use super::*;

    fn judged(outcome: impl Iterator<Item = (u8, f64)>) -> Judged {
        let outcome = outcome.map(|(task, reward)| (TaskHash([task; 32]), reward)).collect();
        Judged { label: "held_out, greedy".to_owned(), metrics: Metrics::new(), outcome }
    }

    #[test]
    fn what_an_answer_is_picked_by_is_in_the_label() {
        let of = |decoding| Evaluate { decoding, ..Evaluate::default() };
        assert_eq!(label(&of(Decoding::Greedy)), "held_out, greedy");
        assert_eq!(label(&of(Decoding::Sample)), "held_out, sample of 8 at 0.8");
        assert_eq!(label(&of(Decoding::TreeVote)), "held_out, tree_vote of 8 at 0.8, branches 2");
        let best = of(Decoding::BestOfN);
        let said = "held_out, best_of_n of 8 at 0.8, scorer continuations (best_of 1, rollouts 20)";
        assert_eq!(label(&best), said);
        let learned = Learned { stage: 1, ..Learned::default() };
        let best = Evaluate { scorer: Some(ScorerConfig::Estimator(learned)), ..best };
        let said = "held_out, best_of_n of 8 at 0.8, scorer estimator (aggregator last, stage 1)";
        assert_eq!(label(&best), said);
        let search = Evaluate { decoding: Decoding::Search, ..best };
        let said = label(&search);
        assert!(said.starts_with("held_out, search at 0.8, grow branch ("), "{said}");
        assert!(
            said.contains("leaves 8") && said.ends_with("(aggregator last, stage 1)"),
            "{said}"
        );
    }

    #[test]
    fn tasks_are_paired_by_what_they_are() {
        // The second run answered tasks 10.. of the first, in another order, and all of them.
        let first = judged((0..40).map(|task| (task, 0.0)));
        let other = judged((10..60).rev().map(|task| (task, 1.0)));
        let said = difference(&first, &other, "b");
        assert_eq!(said, "+1.000 [+1.000, +1.000] over 30 tasks: b is better");
        assert_eq!(
            difference(&other, &first, "a"),
            "-1.000 [-1.000, -1.000] over 30 tasks: a is worse"
        );
        let same = difference(&first, &first, "a");
        assert_eq!(same, "+0.000 [+0.000, +0.000] over 40 tasks: no difference shown");
        let few = judged((38..50).map(|task| (task, 1.0)));
        assert_eq!(
            difference(&first, &few, "b"),
            "2 tasks in common, fewer than 10: too few to tell"
        );
    }
}
