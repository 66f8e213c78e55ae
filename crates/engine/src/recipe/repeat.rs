//! `[stage.repeat]`: stages that run in turn, several times over, each time from where the last
//! one ended.
//!
//! ```toml
//! [[stage]]
//! [stage.repeat]
//! times = 2
//! [[stage.repeat.stage]]
//! [stage.repeat.stage.rl]
//! [[stage.repeat.stage]]
//! [stage.repeat.stage.preference]
//! ```
//!
//! It is unrolled before anything else is read: a run knows `rl`, `preference`, `rl`, `preference`,
//! each with an index, a reference and draws of its own. A stage that names another of the same
//! `repeat` by index names that of its own round; indices are those of the unrolled list.

use std::ops::Range;
use std::sync::LazyLock;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::{Notes, Section};
use super::setting::{Limit, shown};
use super::stage::STAGES_MAX;

type Item<'d> = Spanned<DeValue<'d>>;

/// Puts the stages of every `repeat` in its place. One that is wrong is noted and stays.
pub(super) fn unroll(tree: &mut DeValue<'_>, notes: &Notes) {
    let DeValue::Table(top) = tree else { return };
    let Some(stages) = top.get_mut("stage") else { return };
    let DeValue::Array(items) = stages.get_mut() else { return };
    // Too many to begin with: whoever reads them says so.
    if items.len() > STAGES_MAX || !items.iter().any(|item| repeat_of(item).is_some()) {
        return;
    }
    let mut unrolled: Vec<Item<'_>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(table) = repeat_of(item) else {
            unrolled.push(item.clone());
            continue;
        };
        let section = Section::new(notes, format!("stage[{index}]"), item.span().start, table);
        let (Some(times), body) = (times(&section), body(table)) else {
            unrolled.push(item.clone());
            continue;
        };
        let first = unrolled.len();
        let made = times * body.len();
        if first + made > STAGES_MAX {
            let key = section.key("repeat");
            let message = format!(
                "`{key}` makes {made} stages behind {first}; a recipe has 1..={STAGES_MAX} in all"
            );
            notes.error(section.offset_of("repeat"), key, message);
            return;
        }
        let own = first..first + body.len();
        for round in 0..times {
            let by = round * body.len();
            unrolled.extend(body.iter().cloned().map(|stage| further(stage, &own, by)));
        }
    }
    let unrolled = unrolled.into_iter().collect();
    *stages.get_mut() = DeValue::Array(unrolled);
}

/// The table of a stage that is a `repeat`.
pub(super) fn repeat_of<'t, 'd>(item: &'t Item<'d>) -> Option<&'t DeTable<'d>> {
    match item.get_ref() {
        DeValue::Table(table) if table.contains_key("repeat") => Some(table),
        _ => None,
    }
}

/// The stages of a `repeat`; none where there is no list of them.
fn body<'t, 'd>(stage: &'t DeTable<'d>) -> &'t [Item<'d>] {
    let repeat = stage.get("repeat").map(Spanned::get_ref);
    let Some(DeValue::Table(repeat)) = repeat else { return &[] };
    match repeat.get("stage").map(Spanned::get_ref) {
        Some(DeValue::Array(items)) => items,
        _ => &[],
    }
}

/// How often the stages of a `repeat` run. What is wrong with it is noted.
fn times(stage: &Section<'_>) -> Option<usize> {
    let error = |at: usize, key: &str, message: String| -> Option<usize> {
        stage.notes.error(at, key, format!("`{key}` {message}"));
        None
    };
    if let Some((other, at)) = stage.keys().into_iter().find(|(name, _)| *name != "repeat") {
        let other = other.chars().take(80).collect::<String>().escape_debug().to_string();
        let message = "stands beside `repeat`; give it a `[[stage]]` of its own".to_owned();
        return error(at, &stage.key(&other), message);
    }
    let repeat = stage.child("repeat")?;
    let times = repeat.setting("times", 0_usize, Limit::Whole(1, STAGES_MAX as u64));
    let stages = repeat.take("stage");
    let (at, path, key) = (repeat.offset, repeat.path.clone(), repeat.key("stage"));
    let set = repeat.has("times");
    repeat.finish();
    if !set {
        return error(at, &path, "has no `times`; say how often its stages run".to_owned());
    }
    let items: &[Item<'_>] = match stages.map(|value| (value.get_ref(), value.span().start)) {
        None => &[],
        Some((DeValue::Array(items), _)) => items,
        Some((other, at)) => {
            let got = shown(other);
            let message =
                format!("must be an array of tables; write `[[stage.repeat.stage]]`, got: {got}");
            return error(at, &key, message);
        }
    };
    if let Some(inner) = items.iter().find(|item| repeat_of(item).is_some()) {
        let message = "holds a further `repeat`; write its stages out".to_owned();
        return error(inner.span().start, &key, message);
    }
    if items.is_empty() {
        return error(
            at,
            &path,
            "has no stages; write `[[stage.repeat.stage]]` and below it one of them".to_owned(),
        );
    }
    // A number of rounds that is wrong was noted when it was read.
    (times > 0).then_some(times)
}

/// A stage of a later round: what it names of its own `repeat` stands further on.
fn further<'d>(mut stage: Item<'d>, own: &Range<usize>, by: usize) -> Item<'d> {
    let DeValue::Table(table) = stage.get_mut() else { return stage };
    for (_, kind) in table.iter_mut() {
        let DeValue::Table(settings) = kind.get_mut() else { continue };
        for (name, value) in settings.iter_mut() {
            match (name.get_ref().as_ref(), value.get_mut()) {
                ("estimator" | "log", index @ DeValue::Integer(_)) => shift(index, own, by),
                ("scorer", DeValue::Table(scorer)) => {
                    if let Some(index) = scorer.get_mut("stage") {
                        shift(index.get_mut(), own, by);
                    }
                }
                _ => {}
            }
        }
    }
    stage
}

/// The digits of every index: what is parsed must outlive the recipe's text.
static DIGITS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..STAGES_MAX).map(|index| index.to_string()).collect());

fn shift(index: &mut DeValue<'_>, own: &Range<usize>, by: usize) {
    let DeValue::Integer(digits) = &*index else { return };
    let named = usize::from_str_radix(&digits.as_str().replace('_', ""), digits.radix());
    let Some(named) = named.ok().filter(|named| own.contains(named)) else { return };
    let shifted = DIGITS.get(named + by).and_then(|text| DeValue::parse(text).ok());
    if let Some(shifted) = shifted {
        *index = shifted.into_inner();
    }
}

/// A key without the index of its stage: what the rounds of a `repeat` have in common.
pub(super) fn without_index(key: &str) -> &str {
    match key.strip_prefix("stage[").and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => rest,
        None => key,
    }
}
