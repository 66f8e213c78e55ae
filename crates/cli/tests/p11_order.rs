//! P10, P11: by the trace of a real process, what is acknowledged has been synced, and so has every
//! name on the way to it, a checkpoint has its name when all of it has been, and none is removed
//! before a newer one is there for good.

mod support;

use std::collections::BTreeSet;

use support::faults::{Call, EFFECTS, cannot_inject, traced};
use support::whole::crash_place;

/// What would be lost if the power went now, and what was done too early.
#[derive(Default)]
struct Disk {
    /// The folder that the run folder is in.
    around: String,
    /// Files with bytes that no sync followed.
    dirty: BTreeSet<String>,
    /// Folders in which a name was made, changed or removed since their last sync: below the run
    /// folder, [`RUN`] itself, and the folder that it is [`AROUND`].
    unsettled: BTreeSet<String>,
    /// Checkpoints that have their names, and those that have them for good.
    named: BTreeSet<String>,
    settled: BTreeSet<String>,
    /// True once the log of the record has bytes.
    logged: bool,
    renamed: usize,
    acknowledged: usize,
    wrong: Vec<String>,
}

/// The run folder among folders.
const RUN: &str = "";
/// The folder that the run folder is in.
const AROUND: &str = "..";

/// The part of a path below the run folder, where it is there.
fn below(text: &str) -> Option<String> {
    let at = text.find("whole/")? + "whole/".len();
    let end = text[at..].find(['>', '"']).map_or(text.len(), |end| at + end);
    Some(text[at..end].to_owned())
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned()
}

impl Disk {
    fn see(&mut self, call: &Call) {
        let text = call.arguments.as_str();
        let first = text.split([',', ')']).next().unwrap_or_default();
        match (call.name.as_str(), below(first)) {
            ("write" | "pwrite64" | "ftruncate", Some(path)) => self.written(path),
            ("fsync" | "fdatasync", Some(path)) => self.synced(&path),
            ("fsync", None) if first.ends_with("/whole>") => self.synced(RUN),
            ("fsync", None) if first.ends_with(&format!("<{}>", self.around)) => {
                self.synced(AROUND);
            }
            ("rename", Some(from)) => {
                let to = text.split_once(", ").and_then(|(_, to)| below(to));
                self.moved(&from, &to.expect("both names are in the run folder"));
            }
            ("mkdir", Some(path)) => drop(self.unsettled.insert(parent(&path))),
            ("mkdir", None) if first == "\"whole\"" => drop(self.unsettled.insert(AROUND.into())),
            _ => {}
        }
    }

    fn written(&mut self, path: String) {
        if path == "metrics.jsonl" {
            self.acknowledged += 1;
            if self.dirty.contains("run.sqlite-wal") {
                self.wrong.push(format!("acknowledgement {} before its sync", self.acknowledged));
            }
            for (folder, what) in [(RUN, "the run folder"), (AROUND, "the folder around it")] {
                if self.unsettled.contains(folder) {
                    let n = self.acknowledged;
                    self.wrong.push(format!("acknowledgement {n} before a sync of {what}"));
                }
            }
        }
        if path == "run.sqlite-wal" && self.unsettled.contains("checkpoints") {
            self.wrong.push("a commit before the folder of checkpoints was synced".to_owned());
        }
        // The first bytes of a file come with its name.
        let is_log = path == "run.sqlite-wal";
        if path.contains("tmp-") && !self.dirty.contains(&path) || is_log && !self.logged {
            self.unsettled.insert(parent(&path));
        }
        self.logged |= is_log;
        self.dirty.insert(path);
    }

    fn synced(&mut self, path: &str) {
        self.dirty.remove(path);
        self.unsettled.remove(path);
        if path == "checkpoints" {
            self.settled.append(&mut self.named);
        }
    }

    fn moved(&mut self, from: &str, to: &str) {
        self.renamed += 1;
        let inside = |path: &&String| *path == from || path.starts_with(&format!("{from}/"));
        let open: Vec<&String> = self.dirty.iter().chain(&self.unsettled).filter(inside).collect();
        if !open.is_empty() && !to.contains("tmp-") {
            self.wrong.push(format!("`{to}` has its name before a sync of {open:?}"));
        }
        self.unsettled.insert(parent(to));
        if to.starts_with("checkpoints/tmp-remove") {
            if !self.settled.iter().any(|name| name.as_str() > from) {
                self.wrong.push(format!("`{from}` is removed, and nothing newer is settled"));
            }
        } else if to.starts_with("checkpoints/") {
            self.named.insert(to.to_owned());
        }
    }
}

#[test]
fn nothing_is_acknowledged_named_or_removed_before_its_sync() {
    if cannot_inject("nothing_is_acknowledged_named_or_removed_before_its_sync") {
        return;
    }
    let place = crash_place();
    let words = ["train", "crash.toml", "--run", "whole", "--threads", "1"];
    let around = place.path().canonicalize().unwrap().display().to_string();
    let mut disk = Disk { around, ..Disk::default() };
    traced(place.path(), &words, &EFFECTS).iter().for_each(|call| disk.see(call));
    assert!(disk.wrong.is_empty(), "{:#?}", disk.wrong);
    // 4 files of their own, 6 checkpoints and what was removed of them; 15 commits with metrics.
    assert!(
        disk.renamed >= 12 && disk.acknowledged >= 15,
        "{} {}",
        disk.renamed,
        disk.acknowledged
    );
}
