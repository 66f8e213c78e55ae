//! A run that nothing disturbed, and how others compare with it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use stepwell_store::RunReader;

use super::contents;

/// A short run of every kind of effect: three training stages, trees that fork, a reference, a
/// curriculum's table, an estimator, checkpoints that come and go, evaluations.
pub(crate) const CRASH: &str = include_str!("crash.toml");

/// A folder with the recipe `crash.toml`.
pub(crate) fn crash_place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("crash.toml"), CRASH).unwrap();
    folder
}

/// Says where a run differs from the one that nothing disturbed: in its chain of digests, a file of
/// a checkpoint (weights, optimizer, state), the lines of its metrics.
pub(crate) fn difference(run: &Path, whole: &Path) -> Result<(), String> {
    let [own, expected] = [run, whole].map(|run| {
        let reader = RunReader::open(run).map_err(|e| e.to_string())?;
        reader.verify().map_err(|e| e.to_string())?;
        reader.commits().map_err(|e| e.to_string())
    });
    let (own, expected) = (own?, expected?);
    if own != expected {
        let same = own.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        return Err(format!("the records part at commit {same} of {}", expected.len()));
    }
    let files = |run: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = contents(&run.join("checkpoints"));
        for name in ["recipe.toml", "metrics.jsonl"] {
            files.push((name.into(), std::fs::read(run.join(name)).unwrap_or_default()));
        }
        files
    };
    let (own, expected) = (files(run), files(whole));
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<String> {
        files.iter().map(|(name, _)| name.display().to_string()).collect()
    };
    if names(&own) != names(&expected) {
        return Err(format!("files: {:?}, expected {:?}", names(&own), names(&expected)));
    }
    match own.iter().zip(&expected).find(|(a, b)| a.1 != b.1) {
        Some(((name, _), _)) => Err(format!("`{}` differs", name.display())),
        None => Ok(()),
    }
}

/// What a run acknowledged is there: every commit that its `metrics.jsonl` tells of, which is
/// written after the commit is on the disk. The record verifies, whatever happened.
pub(crate) fn acknowledged_is_kept(run: &Path) -> Result<u64, String> {
    let reader = RunReader::open(run).map_err(|e| format!("opening: {e}"))?;
    reader.verify().map_err(|e| format!("verifying: {e}"))?;
    let head = reader.head().map_err(|e| e.to_string())?.number;
    let told = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    // A line that a kill cut short is no line.
    let newest = told.lines().filter_map(line).filter_map(|line| line["commit"].as_u64()).max();
    match newest.is_none_or(|newest| newest <= head) {
        true => Ok(head),
        false => Err(format!("commit {newest:?} was acknowledged, the record ends at {head}")),
    }
}

/// Tries every case, two at a time, and fails with all that went wrong.
#[track_caller]
pub(crate) fn try_all<C: Sync>(cases: &[C], one: impl Fn(&C) -> Result<(), String> + Sync) {
    let (next, failed) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = one(case) {
                        failed.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
