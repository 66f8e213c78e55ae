//! The prompt tells nothing about what only a look at the rows should tell.

use super::*;
use crate::sql::world::attribute::{ATTRIBUTES, STYLES};
use crate::sql::world::question::Kind;
use crate::sql::world::trace::Script;

/// Counts of outcomes per context.
struct Counts(BTreeMap<String, Vec<f64>>);

impl Counts {
    fn add(&mut self, context: String, outcome: usize, outcomes: usize) {
        self.0.entry(context).or_insert_with(|| vec![0.0; outcomes])[outcome] += 1.0;
    }

    /// Fails where outcomes are not uniform within contexts: Pearson's statistic summed over
    /// contexts against five deviations of its distribution. Contexts seen rarely are pooled out.
    fn assert_uniform(&self, what: &str) {
        let (mut statistic, mut freedom) = (0.0, 0.0);
        for counts in self.0.values() {
            let expected = counts.iter().sum::<f64>() / counts.len() as f64;
            if expected < 5.0 {
                continue;
            }
            statistic += counts.iter().map(|n| (n - expected).powi(2) / expected).sum::<f64>();
            freedom += counts.len() as f64 - 1.0;
        }
        assert!(freedom > 10.0, "{what}: too few contexts");
        let limit = freedom + 5.0 * (2.0_f64 * freedom).sqrt();
        assert!(statistic < limit, "{what}: {statistic} with {freedom} degrees of freedom");
    }
}

#[test]
fn style_and_column_do_not_follow_from_the_prompt() {
    let config = WorldConfig { train_databases: 6000, questions: 2, ..WorldConfig::default() };
    let world = build(&config);
    let counts = || Counts(BTreeMap::new());
    let (mut by_columns, mut by_words, mut by_table) = (counts(), counts(), counts());
    let (mut real_by_columns, mut real_by_kind) = (counts(), counts());
    for (plan, question, task) in asked(&world) {
        let condition = &question.conditions[0];
        let feature = &plan.schema.features[condition.feature];
        let names = plan.schema.candidates(condition.feature);
        let table = &plan.schema.tables[feature.table];
        let word = ATTRIBUTES[feature.attribute].word;
        by_columns.add(names.join(" "), feature.style, STYLES);
        let spoken = &condition.wording(&plan.schema).spoken;
        // Fitness is decided on results, which could favour a style: the question's words too.
        by_words.add(format!("{:?} {word} {spoken}", question.kind), feature.style, STYLES);
        by_table.add(format!("{word} {}", table.columns.len()), feature.style, STYLES);
        if names.len() == 2 {
            let place = usize::from(names[1] == plan.schema.real(condition.feature));
            real_by_columns.add(names.join(" "), place, 2);
            let such = task.question.contains("where");
            real_by_kind.add(format!("{:?} {such}", question.kind), place, 2);
        }
    }
    by_columns.assert_uniform("style given the column names");
    by_words.assert_uniform("style given the question");
    by_table.assert_uniform("style given the table's width");
    real_by_columns.assert_uniform("real column given both names in order");
    real_by_kind.assert_uniform("real column given the question");
}

#[test]
fn a_leak_would_be_seen() {
    let mut counts = Counts(BTreeMap::new());
    for draw in 0..6000 {
        let context = draw % 20;
        let style = if draw % 7 == 0 { context % 3 } else { draw / 20 % 3 };
        counts.add(context.to_string(), style, STYLES);
    }
    assert!(std::panic::catch_unwind(|| counts.assert_uniform("leak")).is_err());
}

#[test]
fn scripts_are_followed_as_often_as_the_mix_says() {
    let mix = TraceMix::default();
    let draws = 40_000;
    for (kind, careful) in [(Kind::Count, 0.70), (Kind::List, 0.25), (Kind::Largest, 0.25)] {
        let mut seen: BTreeMap<Script, f64> = BTreeMap::new();
        for draw in 0..draws {
            let key = Key::new(draw, Purpose::Demonstration);
            *seen.entry(mix.script(key, kind)).or_default() += 1.0 / draws as f64;
        }
        let careless = 1.0 - careful;
        for (script, share) in [
            (Script::Careful, careful),
            (Script::Blind, 0.55 * careless),
            (Script::Useless, 0.35 * careless),
            (Script::Slip, 0.10 * careless),
        ] {
            // Four deviations of a share over 40,000 draws are at most 0.01.
            assert!((seen[&script] - share).abs() < 0.01, "{kind:?} {script:?}: {seen:?}");
        }
    }
}
