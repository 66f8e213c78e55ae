//! Runs of tiny recipes through the engine, stopped and copied on the way.

use std::path::{Path, PathBuf};

use stepwell_engine::EngineError;
use stepwell_engine::observe::{Event, Observer};
use stepwell_engine::recipe::Recipe;
use stepwell_engine::run::{self, Outcome};
use stepwell_store::{Checkpoint, Content, Digest, RunFolder, RunReader, newest_valid};

/// Every kind of stage, a reference model, branched trees, a checkpoint after every rl update.
pub(crate) const TINY: &str = r#"
seed = 3
[model.scratch]
hidden = 24
layers = 1
heads = 2
context = 200
[environment]
type = "sql"
max_interactions = 2
[environment.world]
train_databases = 6
development_databases = 1
held_out_databases = 2
questions = 2
[[stage]]
[stage.sft]
demonstrations = "scripted"
steps = 16
batch = 8
learning_rate = 2e-2
warmup_steps = 1
checkpoint_every = 5
[[stage]]
[stage.rl]
steps = 3
tasks = 4
epochs = 2
minibatches = 2
max_tokens = 40
learning_rate = 1e-2
schedule = "cosine"
checkpoint_every = 1
evaluate_every = 2
evaluate_questions = 2
grow = { type = "branch", attempts = 2, branches = 2, leaves = 6 }
credit = { type = "reinforce", baseline = { constant = 0.5 } }
objective = { type = "clipped", kl = { estimator = "k3", coefficient = 0.01 } }
[[stage]]
[stage.evaluate]
questions = 3
decoding = "tree_vote"
leaves = 3
max_tokens = 24
"#;

/// The head of [`TINY`] up to the end of its supervised stage, for stages of a test's own.
pub(crate) fn warm_up() -> &'static str {
    let end = TINY.find("[[stage]]\n[stage.rl]").expect("reinforcement follows");
    &TINY[..end]
}

pub(crate) fn recipe(text: &str) -> Recipe {
    match Recipe::parse(text, "tiny.toml") {
        Ok(checked) => checked.recipe,
        Err(errors) => panic!("{errors:#?}"),
    }
}

/// Where a run came out: the head of its record, and every file of its newest checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct End {
    pub(crate) commits: u64,
    pub(crate) head: Digest,
    pub(crate) files: Vec<(String, Digest)>,
}

pub(crate) fn end(path: &Path) -> End {
    let reader = RunReader::open(path).unwrap();
    reader.verify().unwrap();
    let head = reader.head().unwrap();
    let (newest, skipped) = newest_valid(&RunFolder::open_for_writing(path).unwrap()).unwrap();
    assert!(skipped.is_empty(), "{skipped:?}");
    let newest = newest.unwrap();
    let file = |name: &str| (name.to_owned(), Digest::of(&newest.read(name).unwrap()));
    End { commits: head.number, head: head.digest, files: newest.file_names().map(file).collect() }
}

/// Counts what it hears, asks for a stop after some steps, and copies the folder on the way.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) stop_after: Option<usize>,
    pub(crate) steps: usize,
    pub(crate) leaves: f64,
    pub(crate) sampling: usize,
    /// The run's folder, and where its copies go.
    pub(crate) copy: Option<(PathBuf, PathBuf)>,
    pub(crate) copies: Vec<PathBuf>,
}

impl Observer for Watch {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Step { metrics, .. } => {
                self.steps += 1;
                self.leaves += metrics.get("leaves").copied().unwrap_or_default();
            }
            // Once in a while in the middle of growing trees, too.
            Event::Sampling { .. } => {
                self.sampling += 1;
                if !self.sampling.is_multiple_of(97) {
                    return;
                }
            }
            _ => {}
        }
        if let Some((from, to)) = &self.copy {
            let to = to.join(self.copies.len().to_string());
            copy(from, &to);
            self.copies.push(to);
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop_after.is_some_and(|k| self.steps >= k)
    }
}

/// Writes the newest checkpoint again with what `edit` makes of its state and of its other files.
pub(crate) fn edit_newest(
    path: &Path,
    edit: impl FnOnce(&mut serde_json::Value, &mut Vec<(String, Vec<u8>)>),
) {
    let run = RunFolder::open_for_writing(path).unwrap();
    let newest = newest_valid(&run).unwrap().0.unwrap();
    let mut state = newest.state().unwrap();
    let own = |name: &&str| !["state.json", "manifest.json"].contains(name);
    let read = |name: &str| (name.to_owned(), newest.read(name).unwrap());
    let mut files: Vec<_> = newest.file_names().filter(own).map(read).collect();
    edit(&mut state, &mut files);
    std::fs::remove_dir_all(newest.folder()).unwrap();
    let mut contents: Vec<(&str, Content<'_>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), Content::Bytes(bytes))).collect();
    let (number, head) = (newest.number(), newest.last_commit());
    Checkpoint::write(&run, number, &mut contents, &state, head).unwrap();
}

/// What a kill leaves behind: the files as they are between two system calls. The index of the
/// write-ahead log is shared memory and is not there after a crash of the machine.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else if !name.to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

pub(crate) fn start(text: &str, path: &Path, threads: usize) -> Result<Watch, EngineError> {
    let mut watch = Watch::default();
    let outcome = run::start(&recipe(text), path, threads, &mut watch)?;
    assert_eq!(outcome, Outcome::Finished);
    Ok(watch)
}

pub(crate) fn finish(path: &Path, threads: usize) -> Result<End, EngineError> {
    let outcome = run::resume(path, threads, &mut Watch::default())?;
    assert_eq!(outcome, Outcome::Finished);
    Ok(end(path))
}
