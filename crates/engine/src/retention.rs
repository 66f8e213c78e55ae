//! Which checkpoints of a run stay: the newest, and the best by an evaluation of the record.

use std::collections::BTreeMap;

use stepwell_store::{Kind, Record, RunFolder, RunReader};

use crate::checkpoint::number;
use crate::error::EngineError;
use crate::recipe::{Best, Recipe};
use crate::session::{DEVELOPMENT, Place};

/// Removes what the recipe does not keep, and returns the numbers that are gone. Nothing is
/// remembered between calls: what a crash left undone is done by the next.
pub(crate) fn retain(
    folder: &RunFolder,
    record: &Record,
    recipe: &Recipe,
) -> Result<Vec<u64>, EngineError> {
    let own = &recipe.checkpoints;
    let ranked = match own.keep_best {
        0 => Vec::new(),
        _ => ranked(record.read(), recipe)?,
    };
    Ok(stepwell_store::retain(folder, own.keep_last, own.keep_best, &ranked)?)
}

/// Numbers of the checkpoints whose weights were judged on the development split, the best first.
fn ranked(reader: &RunReader, recipe: &Recipe) -> Result<Vec<u64>, EngineError> {
    let mut judged: Vec<(u64, f64)> = scores(reader, recipe)?.into_iter().collect();
    judged.sort_by(|a, b| {
        let (better, worse) = match recipe.checkpoints.best {
            Best::Highest => (b.1, a.1),
            Best::Lowest => (a.1, b.1),
        };
        better.total_cmp(&worse).then(a.0.cmp(&b.0))
    });
    Ok(judged.into_iter().map(|(number, _)| number).collect())
}

/// What `checkpoints.metric` says of each checkpoint, by number; those whose weights were not
/// judged on the development split while they trained are left out.
///
/// # Errors
/// Where the record cannot be read.
pub fn scores(reader: &RunReader, recipe: &Recipe) -> Result<BTreeMap<u64, f64>, EngineError> {
    let own = &recipe.checkpoints;
    let lineage: BTreeMap<u64, _> =
        reader.lineage()?.into_iter().map(|row| (row.commit, row)).collect();
    let (mut version, mut score) = (0, BTreeMap::new());
    let mut version_of = BTreeMap::new();
    for commit in reader.commits()? {
        let (place, key) = (commit.head.number, &commit.key);
        match (key.kind, lineage.get(&place)) {
            (Kind::Updated, Some(row)) => {
                version = row.version.0;
                // A checkpoint of a stop is not in the record; its number says where it was.
                let stage = (key.stage as usize).min(recipe.stage.len());
                let done = key.update as usize + 1;
                let at = number(recipe, Place { stage, done, sampled_tokens: 0 });
                version_of.insert(at, version);
            }
            (Kind::Lineage, Some(row)) => {
                version_of.extend(row.checkpoint.map(|number| (number, row.version.0)));
            }
            (Kind::Evaluated, _) if key.name == DEVELOPMENT => {
                let value = reader.metrics(place)?.get(&own.metric).copied();
                score.extend(value.filter(|value| !value.is_nan()).map(|value| (version, value)));
            }
            _ => {}
        }
    }
    let scored = version_of
        .into_iter()
        .filter_map(|(number, version)| Some((number, *score.get(&version)?)));
    Ok(scored.collect())
}
