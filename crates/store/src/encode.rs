//! Trees, verdicts, credits and numbers as rows.

use stepwell_tree::{Credit, Origin, StepId, StepTree, Stop, Verdict};

use crate::cell::{Cell, to_blob};
use crate::commit::{Metrics, Sample};
use crate::table::{CREDIT, METRIC, Row, SAMPLE, STEP, TREE, TREE_COLUMN, Table, VERDICT};

pub(crate) const STOPS: [(&str, Stop); 5] = [
    ("not_sampled", Stop::NotSampled),
    ("stop_string", Stop::StopString),
    ("end_of_text", Stop::EndOfText),
    ("length", Stop::Length),
    ("context", Stop::Context),
];

/// Trees with what belongs to them.
#[derive(Clone, Copy)]
pub(crate) struct Forest<'a> {
    pub(crate) trees: &'a [StepTree],
    pub(crate) texts: &'a [Vec<Option<String>>],
    pub(crate) credits: &'a [Credit],
}

impl Forest<'_> {
    /// Says what could not be read back as it was handed over.
    pub(crate) fn check(&self) -> Result<(), String> {
        let counts = [("texts", self.texts.len()), ("credits", self.credits.len())];
        for (what, count) in counts {
            if count != 0 && count != self.trees.len() {
                let trees = self.trees.len();
                return Err(format!("got {count} {what}, expected none or one per tree: {trees}"));
            }
        }
        for (number, tree) in self.trees.iter().enumerate() {
            self.check_tree(number, tree).map_err(|what| format!("tree {number}: {what}"))?;
        }
        Ok(())
    }

    fn check_tree(&self, number: usize, tree: &StepTree) -> Result<(), String> {
        tree.check().map_err(|broken| format!("step {}: {}", broken.step.0, broken.what))?;
        let ordered = tree.depth_first().iter().enumerate().all(|(i, step)| step.index() == i);
        if !ordered {
            return Err("steps are not in canonical order; commit `tree.canonical()`".to_owned());
        }
        let (steps, tokens) = (tree.len(), tree.token.len());
        if let Some(text) = self.texts.get(number).filter(|text| text.len() != steps) {
            return Err(format!("got {} texts, expected one per step: {steps}", text.len()));
        }
        let Some(credit) = self.credits.get(number) else { return Ok(()) };
        if credit.step.len() != steps {
            let got = credit.step.len();
            return Err(format!("got {got} step credits, expected one per step: {steps}"));
        }
        match &credit.token {
            Some(token) if token.len() != tokens => {
                let got = token.len();
                Err(format!("got {got} token credits, expected one per token: {tokens}"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn rows(&self, commit: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        for (number, tree) in self.trees.iter().enumerate() {
            let place = [integer(commit), integer(number as u64)];
            let credit = self.credits.get(number);
            rows.push(tree_row(&place, tree, credit));
            column_rows(&place, tree, &mut rows);
            let text = self.texts.get(number);
            for i in 0..tree.len() {
                rows.push(step_row(&place, tree, i, text.and_then(|text| text[i].as_deref())));
            }
            rows.extend((0..tree.len()).filter_map(|i| verdict_row(&place, tree, i)));
            rows.extend(credit.into_iter().flat_map(|credit| credit_rows(&place, credit)));
        }
        rows
    }
}

pub(crate) fn integer(number: u64) -> Cell {
    Cell::Integer(i64::try_from(number).expect("no counter of a run reaches 2^63"))
}

fn row(table: &'static Table, place: &[Cell], rest: impl IntoIterator<Item = Cell>) -> Row {
    Row::new(table, place.iter().cloned().chain(rest).collect())
}

fn tree_row(place: &[Cell], tree: &StepTree, credit: Option<&Credit>) -> Row {
    let (kind, token) = match credit {
        None => ("absent", Cell::Null),
        Some(Credit { token: None, .. }) => ("step", Cell::Null),
        Some(Credit { token: Some(token), .. }) => ("token", Cell::Blob(to_blob(token))),
    };
    row(&TREE, place, [Cell::Blob(tree.task.0.to_vec()), Cell::text(kind), token])
}

fn column_rows(place: &[Cell], tree: &StepTree, rows: &mut Vec<Row>) {
    for (axis, columns) in [("step", &tree.step_column), ("token", &tree.token_column)] {
        for (name, column) in columns {
            let value = Cell::Blob(to_blob(column));
            rows.push(row(&TREE_COLUMN, place, [Cell::text(axis), Cell::text(name), value]));
        }
    }
}

fn step_row(place: &[Cell], tree: &StepTree, i: usize, text: Option<&str>) -> Row {
    let (origin, version) = match tree.origin[i] {
        Origin::Prompt => ("prompt", Cell::Null),
        Origin::Policy(version) => ("policy", integer(version.0)),
        Origin::Environment => ("environment", Cell::Null),
        Origin::Demonstration => ("demonstration", Cell::Null),
    };
    let stop = STOPS.iter().find(|(_, stop)| *stop == tree.stop[i]);
    let step = StepId(i as u32);
    let cells = [
        integer(i as u64),
        integer(u64::from(tree.parent[i].0)),
        integer(u64::from(tree.child_index[i])),
        Cell::text(origin),
        version,
        Cell::text(stop.expect("every stop has its word").0),
        Cell::Blob(to_blob(tree.tokens(step))),
        Cell::Blob(to_blob(tree.logprobs(step))),
        Cell::optional(text.map(Cell::text)),
    ];
    row(&STEP, place, cells)
}

/// `outcome, reward, reward_shown, parts, reason, detail`; `None` where nothing was judged.
fn verdict_cells(verdict: &Verdict) -> Option<[Cell; 6]> {
    use stepwell_tree::UnscoredReason as Reason;
    match verdict {
        Verdict::Pending => None,
        Verdict::Scored { reward, parts } => Some([
            Cell::text("scored"),
            Cell::Blob(to_blob(&[*reward])),
            Cell::shown(*reward),
            // Finite numbers return from JSON bit for bit; a verdict's parts are finite.
            Cell::Text(serde_json::to_string(parts).expect("a map of names always serialises")),
            Cell::Null,
            Cell::Null,
        ]),
        Verdict::Unscored(reason) => {
            let detail = match reason {
                Reason::GoldFailed(detail)
                | Reason::EnvironmentFailed(detail)
                | Reason::ReplayDiverged(detail) => Cell::text(detail),
                Reason::Interrupted | Reason::Abandoned => Cell::Null,
            };
            let label = Cell::text(reason.label());
            Some([Cell::text("unscored"), Cell::Null, Cell::Null, Cell::Null, label, detail])
        }
    }
}

fn verdict_row(place: &[Cell], tree: &StepTree, i: usize) -> Option<Row> {
    let cells = verdict_cells(&tree.verdict[i])?;
    Some(row(&VERDICT, place, [integer(i as u64)].into_iter().chain(cells)))
}

fn credit_rows(place: &[Cell], credit: &Credit) -> Vec<Row> {
    // A step without a row was never judged, which is not a credit of 0 (INV-12).
    let judged = credit.step.iter().enumerate().filter_map(|(i, value)| Some((i, (*value)?)));
    judged
        .map(|(i, value)| {
            let cells = [integer(i as u64), Cell::Blob(to_blob(&[value])), Cell::shown(value)];
            row(&CREDIT, place, cells)
        })
        .collect()
}

pub(crate) fn metric_rows(commit: u64, metrics: &Metrics) -> Vec<Row> {
    let row_of = |(name, value): (&String, &f64)| {
        let cells = [Cell::text(name), Cell::Blob(to_blob(&[*value])), Cell::shown(*value)];
        row(&METRIC, &[integer(commit)], cells)
    };
    metrics.iter().map(row_of).collect()
}

/// `Err` names the sample that was not judged.
pub(crate) fn sample_rows(commit: u64, samples: &[Sample]) -> Result<Vec<Row>, String> {
    let row_of = |(position, sample): (usize, &Sample)| {
        let unjudged = || format!("sample {position}: got a pending verdict, expected a judgement");
        let verdict = verdict_cells(&sample.verdict).ok_or_else(unjudged)?;
        let task = Cell::Blob(sample.task.0.to_vec());
        let cells = [integer(position as u64), task, Cell::text(&sample.answer)];
        Ok(row(&SAMPLE, &[integer(commit)], cells.into_iter().chain(verdict)))
    };
    samples.iter().enumerate().map(row_of).collect()
}
