//! Rows as trees, verdicts and credits: what `encode` wrote, bit for bit.

use std::collections::BTreeMap;

use stepwell_tree::{
    Credit, Origin, PolicyVersion, Span, StepId, StepTree, TaskHash, UnscoredReason, Verdict,
};

use crate::commit::Sample;
use crate::encode::STOPS;
use crate::error::{Result, StoreError};
use crate::table::Row;

/// A tree as it was committed.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredTree {
    /// The tree.
    pub tree: StepTree,
    /// What its steps are worth, where the stage gave credit.
    pub credit: Option<Credit>,
    /// `[N]` the steps decoded, where texts were kept.
    pub text: Vec<Option<String>>,
}

/// The rows of a commit's trees, by table.
pub(crate) struct ForestRows {
    pub(crate) tree: Vec<Row>,
    pub(crate) column: Vec<Row>,
    pub(crate) step: Vec<Row>,
    pub(crate) verdict: Vec<Row>,
    pub(crate) credit: Vec<Row>,
}

/// Puts the trees together and checks them: nothing uses a tree that breaks an invariant.
pub(crate) fn forest(rows: &ForestRows) -> Result<Vec<StoredTree>> {
    let mut trees = Vec::with_capacity(rows.tree.len());
    for row in &rows.tree {
        let mut tree = StepTree::new(TaskHash(row.hash("task")?), &[]);
        clear_steps(&mut tree);
        trees.push(StoredTree { tree, credit: None, text: Vec::new() });
    }
    for row in &rows.step {
        push_step(row, tree_of(&mut trees, row)?)?;
    }
    for row in &rows.verdict {
        let verdict = verdict(row)?;
        *at(&mut tree_of(&mut trees, row)?.tree.verdict, row)? = verdict;
    }
    for row in &rows.column {
        let tree = &mut tree_of(&mut trees, row)?.tree;
        let columns = match row.text("axis")? {
            "step" => &mut tree.step_column,
            _ => &mut tree.token_column,
        };
        columns.insert(row.text("name")?.to_owned(), row.numbers("value")?);
    }
    for row in &rows.tree {
        let stored = tree_of(&mut trees, row)?;
        stored.credit = credit_frame(row, stored.tree.len())?;
    }
    for row in &rows.credit {
        let stored = tree_of(&mut trees, row)?;
        let missing = || row.invalid("step", "no credit: the tree has none");
        let credit = stored.credit.as_mut().ok_or_else(missing)?;
        *at(&mut credit.step, row)? = Some(row.number("value")?);
    }
    for (row, stored) in rows.tree.iter().zip(&trees) {
        let broken = |v: stepwell_tree::Violation| {
            StoreError::corrupt(format!("{}, step {}", row.place(), v.step.0), v.what)
        };
        stored.tree.check().map_err(broken)?;
    }
    Ok(trees)
}

/// A new tree holds its prompt; the prompt comes from its row like every other step.
fn clear_steps(tree: &mut StepTree) {
    tree.parent.clear();
    tree.child_index.clear();
    tree.span.clear();
    tree.origin.clear();
    tree.stop.clear();
    tree.verdict.clear();
}

fn tree_of<'t>(trees: &'t mut [StoredTree], row: &Row) -> Result<&'t mut StoredTree> {
    let number = row.index("tree")? as usize;
    trees.get_mut(number).ok_or_else(|| row.invalid("tree", "a tree of the commit"))
}

fn at<'c, T>(column: &'c mut [T], row: &Row) -> Result<&'c mut T> {
    let step = row.index("step")? as usize;
    column.get_mut(step).ok_or_else(|| row.invalid("step", "a step of the tree"))
}

fn push_step(row: &Row, stored: &mut StoredTree) -> Result<()> {
    let tree = &mut stored.tree;
    if row.index("step")? as usize != tree.len() {
        return Err(row.invalid("step", "the next step of the tree"));
    }
    let origin = match row.text("origin")? {
        "prompt" => Origin::Prompt,
        "policy" => Origin::Policy(PolicyVersion(row.integer("version")?)),
        "environment" => Origin::Environment,
        "demonstration" => Origin::Demonstration,
        _ => return Err(row.invalid("origin", "an origin")),
    };
    tree.parent.push(StepId(row.index("parent")?));
    tree.child_index.push(row.index("child_index")?);
    tree.origin.push(origin);
    tree.stop.push(row.word("stop", &STOPS)?);
    tree.verdict.push(Verdict::Pending);
    let begin = tree.token.len() as u32;
    tree.token.extend(row.numbers::<u32>("tokens")?);
    tree.logprob.extend(row.numbers::<f32>("logprobs")?);
    tree.span.push(Span { begin, end: tree.token.len() as u32 });
    stored.text.push(row.text_or_null("text")?.map(str::to_owned));
    Ok(())
}

fn credit_frame(row: &Row, steps: usize) -> Result<Option<Credit>> {
    let mut credit = Credit::none(steps);
    match row.text("credit")? {
        "absent" => return Ok(None),
        "token" => credit.token = Some(row.numbers("token_credit")?),
        _ => {}
    }
    Ok(Some(credit))
}

/// A verdict from the columns that `verdict` and `sample` share.
pub(crate) fn verdict(row: &Row) -> Result<Verdict> {
    if row.text("outcome")? == "scored" {
        let parts: BTreeMap<String, f64> = serde_json::from_str(row.text("parts")?)
            .map_err(|_| row.invalid("parts", "numbers by name"))?;
        return Ok(Verdict::Scored { reward: row.number("reward")?, parts });
    }
    let detail = || Ok::<_, StoreError>(row.text("detail")?.to_owned());
    Ok(Verdict::Unscored(match row.text("reason")? {
        "gold_failed" => UnscoredReason::GoldFailed(detail()?),
        "environment_failed" => UnscoredReason::EnvironmentFailed(detail()?),
        "replay_diverged" => UnscoredReason::ReplayDiverged(detail()?),
        "interrupted" => UnscoredReason::Interrupted,
        "abandoned" => UnscoredReason::Abandoned,
        _ => return Err(row.invalid("reason", "a reason")),
    }))
}

pub(crate) fn sample(row: &Row) -> Result<Sample> {
    Ok(Sample {
        task: TaskHash(row.hash("task")?),
        answer: row.text("answer")?.to_owned(),
        verdict: verdict(row)?,
    })
}
