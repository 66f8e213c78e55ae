//! What happens to the write-ahead log of a run that was not closed (P10; row 92): SQLite's recovery
//! ends at the first damaged frame without an error, so what is left is a beginning of the record.
//! A beginning shorter than the newest checkpoint needs is named, and a longer one is gone on with.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::fs;
use std::path::PathBuf;

use stepwell_store::{
    Checkpoint, CommitInfo, Content, Head, RunFolder, RunReader, StoreError, newest_valid,
};
use support::*;

const HEADER: usize = 32;
/// A header of 24 bytes and a page.
const FRAME: usize = 24 + 4096;

/// A run of three updates, a checkpoint and one update more, as a kill left it.
struct Killed {
    _place: tempfile::TempDir,
    dead: PathBuf,
    log: Vec<u8>,
    commits: Vec<CommitInfo>,
    /// What the checkpoint builds on.
    needed: Head,
}

fn killed() -> Killed {
    let place = tempfile::tempdir().unwrap();
    let (live, dead) = (place.path().join("live"), place.path().join("dead"));
    let (folder, mut record) = small_run(&live, 3);
    let needed = record.head();
    let files = &mut [("weights.safetensors", Content::Bytes(&[7; 64]))];
    Checkpoint::write(&folder, 3, files, &serde_json::json!({}), needed).unwrap();
    grow(&mut record, 3).unwrap();
    update(&mut record, 3).unwrap();
    copy_folder(&live, &dead);
    let log = fs::read(dead.join("run.sqlite-wal")).unwrap();
    assert!((log.len() - HEADER).is_multiple_of(FRAME), "{} bytes are no frames", log.len());
    Killed { _place: place, dead, log, commits: record.read().commits().unwrap(), needed }
}

impl Killed {
    fn frames(&self) -> usize {
        (self.log.len() - HEADER) / FRAME
    }

    /// What a reader finds with this log: how many commits, all of them those of the run, or why
    /// the checkpoint cannot be gone on with.
    fn judged(&self, log: &[u8], what: &str) -> Result<usize, StoreError> {
        fs::write(self.dead.join("run.sqlite-wal"), log).unwrap();
        let _ = fs::remove_file(self.dead.join("run.sqlite-shm"));
        self.seen(what)
    }

    fn seen(&self, what: &str) -> Result<usize, StoreError> {
        let reader = RunReader::open(&self.dead)?;
        reader.verify()?;
        let commits = reader.commits()?;
        let required = reader.require("checkpoint 000003", self.needed);
        if let Err(error @ StoreError::Truncated { .. }) = &required {
            let short = commits.len() as u64 <= self.needed.number;
            assert!(short, "{what}: {} commits, and {error}", commits.len());
        }
        required?;
        assert!(self.commits.starts_with(&commits), "{what}: another history, no error");
        Ok(commits.len())
    }

    /// Goes on from a log without its last bytes, to the same end.
    fn gone_on(&self) {
        let left = self.judged(&self.log[..self.log.len() - 100], "cut").unwrap();
        assert_eq!(left, self.commits.len() - 1);
        let folder = RunFolder::open_for_writing(&self.dead).unwrap();
        assert_eq!(newest_valid(&folder).unwrap().0.unwrap().last_commit(), self.needed);
        let mut record = folder.record().unwrap();
        grow(&mut record, 3).unwrap();
        update(&mut record, 3).unwrap();
        assert_eq!(record.read().commits().unwrap(), self.commits);
    }
}

/// `step` where a sample will do, 1 where every case is asked for.
fn every(step: usize) -> usize {
    if std::env::var_os("STEPWELL_LONG").is_some() { 1 } else { step }
}

#[test]
fn row_92_a_flip_in_any_frame_is_named_or_costs_what_came_after_the_checkpoint() {
    let run = killed();
    assert_eq!(run.judged(&run.log, "whole").unwrap(), run.commits.len());
    let (mut named, mut shorter) = (0, 0);
    for frame in 0..run.frames() {
        // Its page, its commit mark, its salt, its checksum, and bytes of its content.
        for at in [3, 7, 9, 17, 24, 1000 + frame % 2000, FRAME - 1] {
            let mut log = run.log.clone();
            log[HEADER + frame * FRAME + at] ^= 1 << (frame % 8);
            let what = format!("frame {frame}, byte {at}");
            match run.judged(&log, &what) {
                Err(StoreError::Truncated { .. }) => named += 1,
                Err(error) => panic!("{what}: {error}"),
                Ok(left) => {
                    assert!(left < run.commits.len(), "{what}: the flip was not seen");
                    shorter += 1;
                }
            }
        }
    }
    assert!(named > 50 && shorter > 10, "{named} named, {shorter} shorter");
    run.gone_on();
}

#[test]
fn row_92_a_cut_anywhere_is_named_or_costs_what_came_after_the_checkpoint() {
    let run = killed();
    let last_two = run.log.len() - 2 * FRAME;
    let frames = (0..run.frames()).map(|frame| HEADER + frame * FRAME);
    let cuts = frames.chain((last_two..run.log.len()).step_by(every(97))).chain([0, 1, 31]);
    let (mut named, mut shorter) = (0, 0);
    for cut in cuts {
        match run.judged(&run.log[..cut], &format!("cut at {cut}")) {
            Err(StoreError::Truncated { .. }) => named += 1,
            Err(error) => panic!("cut at {cut}: {error}"),
            Ok(_) => shorter += 1,
        }
    }
    assert!(named > 10 && shorter > 10, "{named} named, {shorter} shorter");
    run.gone_on();
}

#[test]
fn row_92_the_log_of_another_run_is_no_part_of_this_one() {
    let run = killed();
    let other = run.dead.with_file_name("other");
    // Whole, it is a record as good as any, but not the one that the checkpoint builds on.
    let (_folder, record) = small_run(&other, 4);
    let foreign = fs::read(other.join("run.sqlite-wal")).unwrap();
    drop(record);
    let mut swapped = run.log.clone();
    let half = HEADER + run.frames() / 2 * FRAME;
    let end = foreign.len().min(swapped.len());
    swapped[half..end].copy_from_slice(&foreign[half..end]);
    for (log, what) in [(&foreign, "another's"), (&swapped, "half of another's")] {
        match run.judged(log, what) {
            Ok(_) => panic!("{what}: nothing is missing"),
            Err(StoreError::OtherRecord { .. }) => assert_eq!(what, "another's"),
            Err(error) => assert!(matches!(error, StoreError::Truncated { .. }), "{error}"),
        }
    }
    // The index of the log is made again, whatever stands in its place.
    let shm = run.dead.join("run.sqlite-shm");
    for garbage in [vec![], vec![0; 32_768], vec![0xa5; 32_768], vec![0xff; 100]] {
        fs::write(run.dead.join("run.sqlite-wal"), &run.log).unwrap();
        fs::write(&shm, &garbage).unwrap();
        assert_eq!(run.seen("garbage beside it").unwrap(), run.commits.len());
    }
    run.gone_on();
}
