//! One writer per run: an advisory lock on the file `lock`, which tells who holds it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Result, StoreError};

/// Held while the file is open; the kernel lets go when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunLock {
    pub(crate) fn take(path: &Path) -> Result<RunLock> {
        let failed = |e| StoreError::io("lock", path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match try_exclusive(&file) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StoreError::InUse { holder: holder(&mut file) });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // Who holds it is a courtesy to the next process; the lock itself is the kernel's.
        file.set_len(0).map_err(failed)?;
        let me = description();
        file.write_all(me.as_bytes()).map_err(failed)?;
        Ok(RunLock { _file: file })
    }
}

/// Tries for a tenth of a second: `is_held` takes the lock too, for an instant.
fn try_exclusive(file: &File) -> Result<(), Errno> {
    for _ in 0..10 {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => sleep(Duration::from_millis(10)),
            taken => return taken,
        }
    }
    Err(Errno::WOULDBLOCK)
}

/// True while some process holds the lock.
pub(crate) fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

/// Who holds the lock; `None` where nobody does.
pub(crate) fn holder_of(path: &Path) -> Option<String> {
    is_held(path).then(|| File::open(path).map_or_else(|_| unnamed(), |mut file| holder(&mut file)))
}

fn unnamed() -> String {
    "another process".to_owned()
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(1000).read_to_string(&mut text);
    match (read, text.trim()) {
        (Ok(_), text) if !text.is_empty() => text.to_owned(),
        _ => unnamed(),
    }
}

/// `pid 4121 on host h since 2026-11-23 12:04 UTC`
fn description() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("pid {} on host {host} since {}\n", std::process::id(), minute_utc(now))
}

/// Seconds since 1970 as a date and time, by the proleptic Gregorian calendar (Hinnant's
/// `civil_from_days`).
fn minute_utc(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let minute = seconds % 86_400 / 60;
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_795_479_840, "2026-11-24 00:24 UTC"),
        ] {
            assert_eq!(minute_utc(seconds), text);
        }
    }

    #[test]
    fn the_second_holder_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!is_held(&path));
        let lock = RunLock::take(&path).unwrap();
        assert!(is_held(&path));
        let error = RunLock::take(&path).unwrap_err().to_string();
        let me = format!("run is in use by pid {} on host ", std::process::id());
        assert!(error.starts_with(&me), "{error}");
        assert!(error.contains(" since 2") && error.ends_with("choose another folder"), "{error}");
        drop(lock);
        RunLock::take(&path).unwrap();
    }
}
