//! What a finished attempt is worth: the outcome and its named parts, each a plain number.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_tree::STRICT;

use super::answer::{Answer, Lost};
use super::config::{Config, Explore};
use super::database::{Database, Twin};
use super::entities;
use super::equality::Comparison;
use super::observation;
use super::store::Store;

/// Names of the parts, in the order reports show them.
pub const PARTS: [&str; 5] = ["format", "exact", "exec", "entity", "explore"];

/// An attempt as the judge sees it.
pub(super) struct Finished<'a> {
    /// The answer, where there is one.
    pub(super) answer: Option<&'a str>,
    /// Exploratory queries that were run, in order.
    pub(super) queries: &'a [String],
    /// True where the markup is right from start to end.
    pub(super) well_formed: bool,
}

/// How the answer's result compares with the gold query's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Match {
    /// Equal on the database and on its twin.
    Equal,
    /// It ran and differs on one of them.
    Different,
    /// It did not run.
    Failed,
}

/// The reward and the parts of an attempt whose gold query runs.
pub(super) fn judge(
    finished: &Finished<'_>,
    gold: &str,
    database: &Database,
    config: &Config,
) -> Result<(f64, BTreeMap<String, f64>), Lost> {
    let truth = |holds: bool| f64::from(u8::from(holds));
    let outcome =
        finished.answer.map(|answer| compare(answer, gold, database, config)).transpose()?;
    let reward = truth(outcome == Some(Match::Equal));
    let exec = match outcome {
        Some(Match::Failed) => f64::from(config.exec_error_penalty),
        _ => reward,
    };
    let exact = finished.answer.is_some_and(|sql| entities::same_text(sql, gold, config.exact));
    let named = |sql: &str| -> Result<BTreeSet<String>, Lost> {
        Ok(entities::of(sql, &*database.original().query(sql)?, database.names()))
    };
    let entity = match finished.answer {
        Some(answer) => entities::overlap(&named(answer)?, &named(gold)?, config.entity),
        None => 0.0,
    };
    let explore = explore(finished.queries, gold, database, config.explore)?;
    let values = [truth(finished.well_formed), truth(exact), exec, entity, explore];
    let mut parts: BTreeMap<String, f64> =
        PARTS.iter().map(|name| (*name).to_owned()).zip(values).collect();
    if config.twins_held_out > 0 {
        let holds = match finished.answer {
            Some(answer) if reward > 0.0 => holds_elsewhere(answer, gold, database, config)?,
            _ => false,
        };
        parts.insert(STRICT.to_owned(), truth(holds));
    }
    Ok((reward, parts))
}

/// True where an answer equals gold on every held-out database on which gold runs.
fn holds_elsewhere(
    answer: &str,
    gold: &str,
    database: &Database,
    config: &Config,
) -> Result<bool, Lost> {
    let comparison = Comparison::of(gold, config.result_compare);
    for store in database.held_out(config.twins_held_out)? {
        if let Ok(expected) = &store.query(gold)?.outcome {
            match &store.query(answer)?.outcome {
                Ok(answer) if comparison.equal(answer, expected) => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

fn compare(answer: &str, gold: &str, database: &Database, config: &Config) -> Result<Match, Lost> {
    let comparison = Comparison::of(gold, config.result_compare);
    let equal_on = |store: &Store| -> Result<bool, Lost> {
        Ok(match (&store.query(answer)?.outcome, &store.query(gold)?.outcome) {
            (Ok(answer), Ok(gold)) => comparison.equal(answer, gold),
            _ => false,
        })
    };
    let twin_agrees = || match database.twin_for(gold, comparison)? {
        _ if stepwell_mutant::planted(23) => Ok(true),
        Twin::Differs(twin) | Twin::Same(twin) => equal_on(twin),
        Twin::Missing => Ok(true),
    };
    if database.original().query(answer)?.outcome.is_err() {
        Ok(Match::Failed)
    } else if equal_on(database.original())? && twin_agrees()? {
        Ok(Match::Equal)
    } else {
        Ok(Match::Different)
    }
}

/// The exploration measure, in [0, 1]; 0 where nothing was asked.
fn explore(
    queries: &[String],
    gold: &str,
    database: &Database,
    measure: Explore,
) -> Result<f64, Lost> {
    if queries.is_empty() {
        return Ok(0.0);
    }
    let answers: Vec<_> =
        queries.iter().map(|sql| database.original().query(sql)).collect::<Result<_, Lost>>()?;
    Ok(match measure {
        Explore::Any => {
            let found = |answer: &Answer| answer.outcome.as_ref().is_ok_and(|t| !t.rows.is_empty());
            f64::from(u8::from(answers.iter().any(|answer| found(answer))))
        }
        Explore::Fraction => {
            let ran = queries.iter().zip(&answers).filter(|(_, answer)| answer.outcome.is_ok());
            let distinct: BTreeSet<String> = ran.map(|(sql, _)| entities::normal(sql)).collect();
            distinct.len() as f64 / queries.len() as f64
        }
        Explore::Coverage => coverage(queries, &answers, gold, database)?,
    })
}

/// Share of the gold query's names and literals that the queries or their results hold.
fn coverage(
    queries: &[String],
    answers: &[std::sync::Arc<Answer>],
    gold: &str,
    database: &Database,
) -> Result<f64, Lost> {
    let mut wanted = entities::of(gold, &*database.original().query(gold)?, database.names());
    wanted.extend(entities::literals(gold));
    if wanted.is_empty() {
        return Ok(1.0);
    }
    let mut seen = BTreeSet::new();
    for (sql, answer) in queries.iter().zip(answers) {
        if let Ok(table) = &answer.outcome {
            seen.extend(entities::of(sql, answer, database.names()));
            seen.extend(entities::literals(sql));
            seen.extend(table.rows.iter().flatten().map(|c| observation::cell(c).to_lowercase()));
        }
    }
    Ok(wanted.intersection(&seen).count() as f64 / wanted.len() as f64)
}
