//! A record as JSON lines. Numbers that are not finite become null: JSON has none.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use stepwell_tree::{StepId, Task, UnscoredReason, Verdict};

use super::words;
use crate::commit::CommitInfo;
use crate::decode::StoredTree;
use crate::error::{Result, StoreError};
use crate::reader::RunReader;

/// What a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lines {
    /// One tree, its steps inside.
    Trees,
    /// One step.
    Steps,
}

/// Writes every tree of the run, in the order of commits, and returns the number of lines.
pub fn export_jsonl(reader: &RunReader, lines: Lines, out: &mut dyn Write) -> Result<u64> {
    let mut written = 0;
    for info in reader.commits()? {
        for (number, stored) in reader.trees(info.head.number)?.iter().enumerate() {
            let task = reader.task(&stored.tree.task)?;
            let steps: Vec<StepLine<'_>> =
                (0..stored.tree.len()).map(|i| step(stored, i)).collect();
            match lines {
                Lines::Trees => {
                    put(&tree(&info, number, stored, task.as_ref(), Some(&steps)), out)?
                }
                Lines::Steps => steps.iter().try_for_each(|step| {
                    put(
                        &InTree { tree: tree(&info, number, stored, task.as_ref(), None), step },
                        out,
                    )
                })?,
            }
            written += if lines == Lines::Trees { 1 } else { steps.len() as u64 };
        }
    }
    Ok(written)
}

fn put(line: &impl Serialize, out: &mut dyn Write) -> Result<()> {
    serde_json::to_writer(&mut *out, line)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .map_err(|error| StoreError::Export { what: error.to_string() })
}

#[derive(Serialize)]
struct TreeLine<'a> {
    commit: u64,
    kind: &'static str,
    stage: u32,
    update: u64,
    tree: usize,
    task: String,
    task_id: Option<&'a str>,
    question: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_credit: Option<&'a [f64]>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    token_column: &'a BTreeMap<String, Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<&'a [StepLine<'a>]>,
}

#[derive(Serialize)]
struct InTree<'a> {
    #[serde(flatten)]
    tree: TreeLine<'a>,
    #[serde(flatten)]
    step: &'a StepLine<'a>,
}

#[derive(Serialize)]
struct StepLine<'a> {
    step: usize,
    parent: u32,
    child_index: u32,
    origin: &'static str,
    version: Option<u64>,
    stop: &'static str,
    text: Option<&'a str>,
    tokens: &'a [u32],
    logprobs: &'a [f32],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    columns: BTreeMap<&'a str, f32>,
    verdict: Option<VerdictLine<'a>>,
    credit: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum VerdictLine<'a> {
    Scored { reward: f64, parts: &'a BTreeMap<String, f64> },
    Unscored { reason: &'static str, detail: Option<&'a str> },
}

fn tree<'a>(
    info: &CommitInfo,
    number: usize,
    stored: &'a StoredTree,
    task: Option<&'a Task>,
    steps: Option<&'a [StepLine<'a>]>,
) -> TreeLine<'a> {
    static NO_COLUMNS: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let whole = steps.is_some(); // columns over all tokens make no sense on the line of one step
    let token_credit = stored.credit.as_ref().and_then(|credit| credit.token.as_deref());
    TreeLine {
        commit: info.head.number,
        kind: info.key.kind.word(),
        stage: info.key.stage,
        update: info.key.update,
        tree: number,
        task: words::task(stored.tree.task),
        task_id: task.map(|task| task.id.as_str()),
        question: task.map(|task| task.question.as_str()),
        token_credit: token_credit.filter(|_| whole),
        token_column: if whole { &stored.tree.token_column } else { &NO_COLUMNS },
        steps,
    }
}

fn step(stored: &StoredTree, i: usize) -> StepLine<'_> {
    let tree = &stored.tree;
    let id = StepId(i as u32);
    let (origin, version) = words::origin(tree.origin[i]);
    StepLine {
        step: i,
        parent: tree.parent[i].0,
        child_index: tree.child_index[i],
        origin,
        version,
        stop: words::stop(tree.stop[i]),
        text: stored.text[i].as_deref(),
        tokens: tree.tokens(id),
        logprobs: tree.logprobs(id),
        columns: tree.step_column.iter().map(|(name, c)| (name.as_str(), c[i])).collect(),
        verdict: verdict(&tree.verdict[i]),
        credit: stored.credit.as_ref().and_then(|credit| credit.step[i]),
    }
}

fn verdict(verdict: &Verdict) -> Option<VerdictLine<'_>> {
    match verdict {
        Verdict::Pending => None,
        Verdict::Scored { reward, parts } => Some(VerdictLine::Scored { reward: *reward, parts }),
        Verdict::Unscored(reason) => {
            let detail = match reason {
                UnscoredReason::GoldFailed(detail)
                | UnscoredReason::EnvironmentFailed(detail)
                | UnscoredReason::ReplayDiverged(detail) => Some(detail.as_str()),
                UnscoredReason::Interrupted | UnscoredReason::Abandoned => None,
            };
            Some(VerdictLine::Unscored { reason: reason.label(), detail })
        }
    }
}
