//! `inspect`: one tree of a run, drawn, or the tokens of one of its steps.

use std::path::Path;
use std::process::ExitCode;

use stepwell_engine::retention::scores;
use stepwell_model::tokenizer::Tokenizer;
use stepwell_store::{CommitInfo, CommitKey, Kind, RunReader, StoredTree};
use stepwell_tree::{Origin, StepId, Stop, Task, Verdict, draw, leaves};

use super::recorded_recipe;
use crate::arguments::Inspect;
use crate::failure::input;
use crate::say::{say, width};
use crate::table::{Align, grouped, table};
use crate::visible::{both_ends, shortened, visible, visible_lines};

/// Draws.
pub(crate) fn inspect(words: &Inspect) -> anyhow::Result<ExitCode> {
    let reader = RunReader::open(&words.run)?;
    if words.checkpoint {
        say(checkpoints(&reader, &words.run)?);
        return Ok(ExitCode::SUCCESS);
    }
    let commit = commit(&reader, words)?;
    let trees = reader.trees(commit.head.number)?;
    let (index, task) = choose(&reader, &trees, words)?;
    let stored = &trees[index];
    say(header(&commit, index, &trees, &task));
    if let Some(open) = reader.weak_sandbox()? {
        say(format!("sandbox: weak: {}\n", visible(&open)));
    }
    if let Some(alarms) = alarms(&reader)? {
        say(alarms);
    }
    match words.step {
        Some(step) => say(tokens(stored, step, &words.run)?),
        None => {
            let drawing = draw(&stored.tree, stored.credit.as_ref(), |step| label(stored, step));
            say(drawing);
            let run = words.run.display();
            let (stage, update) = (commit.key.stage, commit.key.update);
            say(format!(
                "tokens of a step: stepwell inspect {run} --stage {stage} --update {update} \
                 --tree {index} --step K"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The commit whose trees are shown.
fn commit(reader: &RunReader, words: &Inspect) -> anyhow::Result<CommitInfo> {
    let Some(newest) = reader.newest(Kind::Grown)? else {
        return Err(input(format!(
            "{} has no trees yet: `rl` and `preference` stages grow them",
            words.run.display()
        )));
    };
    let stage = words.stage.unwrap_or(newest.key.stage);
    let of_stage = |info: &CommitInfo| info.key.kind == Kind::Grown && info.key.stage == stage;
    let grown: Vec<CommitInfo> = reader.commits()?.into_iter().filter(of_stage).collect();
    let Some(last) = grown.last() else {
        let with = newest.key.stage;
        return Err(input(format!("stage {stage} grew no trees; one that did: --stage {with}")));
    };
    let update = words.update.unwrap_or(last.key.update);
    let key = CommitKey { kind: Kind::Grown, stage, update, name: String::new() };
    reader.find(&key)?.ok_or_else(|| {
        input(format!("stage {stage} has no update {update}; the newest is {}", last.key.update))
    })
}

/// The tree asked for; without a word, the first that teaches something.
fn choose(
    reader: &RunReader,
    trees: &[StoredTree],
    words: &Inspect,
) -> anyhow::Result<(usize, Task)> {
    let task = |index: usize| -> anyhow::Result<Task> {
        let hash = &trees[index].tree.task;
        let missing = || input(format!("the record does not hold task {hash}"));
        reader.task(hash)?.ok_or_else(missing)
    };
    if let Some(id) = &words.task {
        for index in 0..trees.len() {
            let found = task(index)?;
            if found.id == *id {
                return Ok((index, found));
            }
        }
        let first = task(0)?.id;
        return Err(input(format!("no tree of this update is of task `{id}`; one is: `{first}`")));
    }
    let mixed = |stored: &StoredTree| {
        let rewards = stored.tree.verdict.iter().filter_map(Verdict::reward);
        let rewards: Vec<f64> = rewards.collect();
        rewards.iter().any(|reward| *reward != rewards[0])
    };
    let index = words.tree.unwrap_or_else(|| trees.iter().position(mixed).unwrap_or(0));
    if index >= trees.len() {
        return Err(input(format!("no tree {index}; this update has {}: 0..", trees.len())));
    }
    Ok((index, task(index)?))
}

fn header(commit: &CommitInfo, index: usize, trees: &[StoredTree], task: &Task) -> String {
    let tree = &trees[index].tree;
    let ends = leaves(tree);
    let rewards: Vec<f64> =
        ends.iter().filter_map(|leaf| tree.verdict[leaf.index()].reward()).collect();
    let mean = match rewards.len() {
        0 => "none could be judged".to_owned(),
        n => format!("mean reward {:.3}", rewards.iter().sum::<f64>() / n as f64),
    };
    let (flat, unique) = (tree.flat_tokens(), tree.unique_tokens());
    format!(
        "stage {}, update {}, tree {index} of {}: task `{}`\nquestion: {}\n{} leaves, {mean}; {} \
         tokens stand for {} (F/U {:.2})\n",
        commit.key.stage,
        commit.key.update,
        trees.len(),
        visible(&task.id),
        shortened(&task.question, width().saturating_sub(10)),
        ends.len(),
        grouped(unique as u64),
        grouped(flat as u64),
        flat as f64 / unique.max(1) as f64,
    )
}

/// Updates at which a guard was alarmed; nothing where none was.
fn alarms(reader: &RunReader) -> anyhow::Result<Option<String>> {
    let names = reader.metric_names()?;
    let commits = reader.commits()?;
    let mut out = String::new();
    for name in names.iter().filter(|name| name.starts_with("alarm/")) {
        let rung = reader.metric_series(name)?.into_iter().filter(|point| point.value != 0.0);
        let rung: Vec<u64> = rung.map(|point| point.commit).collect();
        let (Some(first), Some(last)) = (rung.first(), rung.last()) else { continue };
        let place = |number: &u64| {
            let key = commits.iter().find(|info| info.head.number == *number).map(|info| &info.key);
            key.map_or_else(String::new, |key| {
                format!("stage {}, update {}", key.stage, key.update)
            })
        };
        let count = rung.len();
        let (first, last) = (place(first), place(last));
        out.push_str(&format!("alarm: {name} at {count} updates, {first} to {last}\n"));
    }
    Ok(Some(out).filter(|out| !out.is_empty()))
}

/// Number, size and text of a step; `←` is what the environment answered.
fn label(stored: &StoredTree, step: StepId) -> String {
    let tokens = stored.tree.tokens(step).len();
    let text = stored.text[step.index()].as_deref().unwrap_or("(no text kept)");
    let depth = {
        let (mut depth, mut at) = (0, step);
        while at != StepId::ROOT {
            at = stored.tree.parent[at.index()];
            depth += 1;
        }
        depth
    };
    let room = width().saturating_sub(3 * depth + 34).max(24);
    let mark = match stored.tree.origin[step.index()] {
        Origin::Prompt => "prompt: ",
        Origin::Environment => "← ",
        Origin::Policy(_) | Origin::Demonstration => "",
    };
    format!("#{} ({tokens}) {mark}{}", step.0, both_ends(text, room))
}

/// Everything about one step.
fn tokens(stored: &StoredTree, step: usize, run: &Path) -> anyhow::Result<String> {
    let tree = &stored.tree;
    if step >= tree.len() {
        return Err(input(format!("no step {step}; this tree has {}: 0..", tree.len())));
    }
    let id = StepId(step as u32);
    let tokenizer = tokenizer(run);
    let sampled = tree.origin[step].is_policy();
    let credit = stored.credit.as_ref();
    let begin = tree.span[step].range().start;
    let rows: Vec<Vec<String>> = tree
        .tokens(id)
        .iter()
        .zip(tree.logprobs(id))
        .enumerate()
        .map(|(at, (token, logprob))| {
            let spelling = tokenizer.as_ref().and_then(|tokenizer| tokenizer.spelling(*token));
            let refined =
                credit.and_then(|credit| credit.token.as_ref()).map(|all| all[begin + at]);
            vec![
                at.to_string(),
                token.to_string(),
                spelling.map_or_else(String::new, |text| visible(&text)),
                if sampled { format!("{logprob:.4}") } else { String::new() },
                if sampled { format!("{:.3}", logprob.exp()) } else { String::new() },
                refined.map_or_else(String::new, |credit| format!("{credit:+.4}")),
            ]
        })
        .collect();
    let head = [
        ("place", Align::Right),
        ("id", Align::Right),
        ("spelling", Align::Left),
        ("log-prob", Align::Right),
        ("probability", Align::Right),
        ("credit", Align::Right),
    ];
    let worth = match credit.and_then(|credit| credit.step[step]) {
        Some(credit) => format!("credit {credit:+.4}"),
        None => "no credit".to_owned(),
    };
    Ok(format!(
        "step {step}: {}, {worth}{}\n{}\n\n{}",
        written(tree.origin[step], tree.stop[step]),
        verdict(&tree.verdict[step]),
        visible_lines(stored.text[step].as_deref().unwrap_or("(no text kept)")),
        table(&head, &rows)
    ))
}

/// Who wrote a step, and why it ended.
fn written(origin: Origin, stop: Stop) -> String {
    let ended = match stop {
        Stop::NotSampled => "",
        Stop::StopString => ", ended by a stop string",
        Stop::EndOfText => ", ended by the end of text",
        Stop::Length => ", ended by `max_tokens`",
        Stop::Context => ", ended by the path's limit",
    };
    match origin {
        Origin::Prompt => "the prompt".to_owned(),
        Origin::Policy(version) => format!("policy after {} updates{ended}", version.0),
        Origin::Environment => "the environment's answer".to_owned(),
        Origin::Demonstration => "a demonstration".to_owned(),
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pending => String::new(),
        Verdict::Unscored(reason) => format!(", not judged: {}", visible(&format!("{reason:?}"))),
        Verdict::Scored { reward, parts } => {
            let parts: Vec<String> =
                parts.iter().map(|(name, part)| format!("{}={part}", visible(name))).collect();
            format!(", reward {reward} ({})", parts.join(" "))
        }
    }
}

/// The tokenizer of any checkpoint: it does not change during a run.
fn tokenizer(run: &Path) -> Option<Tokenizer> {
    let folders = std::fs::read_dir(run.join("checkpoints")).ok()?;
    let mut read = folders.flatten().filter_map(|folder| {
        let bytes = std::fs::read(folder.path().join("tokenizer.json")).ok()?;
        Some(Tokenizer::from_json(&bytes).ok()?.0)
    });
    read.next()
}

fn checkpoints(reader: &RunReader, run: &Path) -> anyhow::Result<String> {
    let recipe = recorded_recipe(run)?;
    let scores = scores(reader, &recipe)?;
    let mut rows = Vec::new();
    for line in reader.lineage()? {
        let Some(number) = line.checkpoint else { continue };
        let kept = run.join("checkpoints").join(format!("{number:06}")).is_dir();
        rows.push(vec![
            number.to_string(),
            line.version.0.to_string(),
            grouped(line.commit),
            line.weights.map_or_else(String::new, |digest| digest.to_string()),
            scores.get(&number).map_or_else(String::new, |score| format!("{score:.3}")),
            if kept { "kept".to_owned() } else { String::new() },
        ]);
    }
    let head = [
        ("checkpoint", Align::Right),
        ("updates", Align::Right),
        ("commit", Align::Right),
        ("weights", Align::Left),
        (recipe.checkpoints.metric.as_str(), Align::Right),
        ("", Align::Left),
    ];
    Ok(if rows.is_empty() { "no checkpoints yet".to_owned() } else { table(&head, &rows) })
}
