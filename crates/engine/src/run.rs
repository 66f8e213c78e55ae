//! The loop: a recipe's stages in order, from the start or from a checkpoint.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use stepwell_model::{ActivationPlan, io};
use stepwell_store::{Closing, Record, RunFolder};
use stepwell_train::{Device, Learner, Reference};
use stepwell_tree::Task;

use crate::checkpoint::{self, Occasion};
use crate::companion::{CRITIC, Companions};
use crate::conversation::comparison_task;
use crate::error::EngineError;
use crate::memory::Memory;
use crate::observe::{Event, Observer};
use crate::problem::{Problem, template_task};
use crate::recipe::{Recipe, Stage};
use crate::retention;
use crate::session::{Flow, Place, Session};
use crate::stage;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every stage is done.
    Finished,
    /// A stop was asked for; a checkpoint holds the place, and `resume` goes on.
    Stopped,
}

/// Starts a run in an empty or new folder. Everything that can be refused is refused before the
/// folder is made.
///
/// # Errors
/// Where an input is wrong, the disk fails, a number is not finite, or judging fails too often.
pub fn start(
    recipe: &Recipe,
    path: &Path,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Outcome, EngineError> {
    let problem = Problem::build(recipe)?;
    let learner = problem.learner(recipe, threads)?;
    problem.require_fit(recipe, &learner)?;
    let (taught, judges) = (teachers(recipe, &learner)?, stage::known_judges(&recipe.stage)?);
    let said = problem.notes.iter().chain(problem.model_notes()).cloned();
    for note in said.chain(device_note(recipe)) {
        observer.event(Event::Note(note));
    }
    let weak = problem.environment.weakness();
    let folder = RunFolder::create_marked(path, &recipe.to_toml(), weak.as_deref())?;
    let bytes = checkpoint::bytes(learner.model()) * checkpoint::learners(recipe)
        + checkpoint::head_bytes(recipe, learner.model()) as u64;
    folder.require_space(bytes, "one checkpoint")?;
    let mut record = folder.record()?;
    commit_data(&mut record, recipe, &problem, [&taught, &judges])?;
    let place = Place::default();
    let (recipe, problem, folder) = (recipe, &problem, &folder);
    let (reference, companions, memory) = (None, Companions::new(), Memory::default());
    run_stages(Session {
        recipe,
        problem,
        folder,
        record,
        learner,
        reference,
        teacher: None,
        judge: None,
        companions,
        place,
        memory,
        observer,
    })
}

/// Goes on with a run that was stopped, from its newest whole checkpoint; from the start where it
/// has none. The weights that come out are the same, bit for bit, as without the stop.
///
/// # Errors
/// As [`start`], and where the record or every checkpoint is damaged.
pub fn resume(
    path: &Path,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Outcome, EngineError> {
    let folder = RunFolder::open_for_writing(path)?;
    let name = path.join("recipe.toml").display().to_string();
    let checked = Recipe::parse(folder.recipe(), &name).map_err(EngineError::Recipe)?;
    let recipe = &checked.recipe;
    let problem = &Problem::build(recipe)?;
    let mut record = folder.record()?;
    let mut learner = problem.learner(recipe, threads)?;
    let (taught, judges) = (teachers(recipe, &learner)?, stage::known_judges(&recipe.stage)?);
    commit_data(&mut record, recipe, problem, [&taught, &judges])?;
    let restored = checkpoint::restore(&folder, &record, &mut learner)?;
    for note in restored.notes.iter().cloned().chain(device_note(recipe)) {
        observer.event(Event::Note(note));
    }
    retention::retain(&folder, &record, recipe)?;
    let checkpoint::Restored { place, reference, companions, memory, .. } = restored;
    let folder = &folder;
    run_stages(Session {
        recipe,
        problem,
        folder,
        record,
        learner,
        reference,
        teacher: None,
        judge: None,
        companions,
        place,
        memory,
        observer,
    })
}

/// Commits what the run is about to use, so that a resumed run notices other data.
fn commit_data(
    record: &mut Record,
    recipe: &Recipe,
    problem: &Problem,
    models: [&[(u32, Task)]; 2],
) -> Result<(), EngineError> {
    for (name, models) in ["teacher", "judge"].into_iter().zip(models) {
        for (stage, model) in models {
            record.commit_tasks(*stage, name, std::slice::from_ref(model))?;
        }
    }
    for (name, tasks) in problem.splits() {
        record.commit_tasks(0, name, tasks)?;
    }
    if let Some(template) = template_task(recipe)? {
        record.commit_tasks(0, "chat_template", &[template])?;
    }
    for (index, stage) in recipe.stage.iter().enumerate() {
        if let Some(shown) = problem.shown(stage) {
            record.commit_tasks(index as u32, "demonstrations", &shown)?;
        }
        if let Some(file) = stage.pair_file() {
            let pairs = problem.pairs(&file.path).iter().map(comparison_task);
            record.commit_tasks(index as u32, "pairs", &pairs.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Which device computes, where it is not the processor.
fn device_note(recipe: &Recipe) -> Option<String> {
    let device = recipe.compute.device.of_train();
    let found = (device != Device::Cpu).then(|| device.probe().ok()).flatten()?;
    Some(format!("device: {found}"))
}

fn run_stages(mut session: Session<'_>) -> Result<Outcome, EngineError> {
    let stages = &session.recipe.stage;
    while session.place.stage < stages.len() {
        let stage = &stages[session.place.stage];
        begin(&mut session, stage)?;
        let flow = match stage {
            Stage::Sft(config) => stage::sft(&mut session, config)?,
            Stage::Rl(config) => stage::rl(&mut session, config)?,
            Stage::Preference(config) => stage::preference(&mut session, config)?,
            Stage::Rejection(config) => stage::rejection(&mut session, config)?,
            Stage::Estimator(config) => stage::estimator(&mut session, config)?,
            Stage::Offline(config) => stage::offline(&mut session, config)?,
            Stage::Evaluate(config) => stage::evaluate(&mut session, config)?,
        };
        if flow == Flow::Stopped {
            return end(session, Outcome::Stopped);
        }
        session.place = Place { stage: session.place.stage + 1, ..Place::default() };
        if !matches!(stage, Stage::Evaluate(_)) {
            session.reference = None;
            session.teacher = None;
            session.judge = None;
            session.companions.remove(CRITIC);
            // What an offline stage taught leads evaluations, until the policy moves on.
            if stage.moves_policy() && !matches!(stage, Stage::Offline(_)) {
                session.learner.detach_heads();
            }
            session.memory = Memory::default();
            session.learner.reset_optimizer()?;
            session.checkpoint(Occasion::Planned)?;
        }
    }
    session.record.finish()?;
    end(session, Outcome::Finished)
}

/// Announces a stage and, at its very start, freezes the reference that it needs.
fn begin(session: &mut Session<'_>, stage: &Stage) -> Result<(), EngineError> {
    if stage.moves_policy() && session.place.done == 0 {
        session.learner.detach_heads();
    }
    if stage.reads_reference() && session.reference.is_none() {
        session.reference = Some(Reference::of(session.learner.model()));
    }
    if let Stage::Rl(config) = stage {
        stage::prepare_critic(session, config)?;
    }
    let taught = |path| teacher(&session.learner, path, stage.distils());
    let taught = stage.teacher().map(taught).transpose()?;
    session.teacher = taught.map(Arc::new);
    session.judge = stage::bench(stage, session.learner.threads())?;
    session.seal(session.place.done)?;
    let config = session.learner.model().config();
    if let (Some(budget), Some(tokens)) =
        (session.recipe.compute.activation_bytes(), stage.microbatch_tokens(config))
    {
        let plan = ActivationPlan::new(config, tokens, Some(budget));
        let over =
            if plan.bytes > budget { ", more than the budget: it needs that much" } else { "" };
        session.observer.event(Event::Note(format!("{plan}{over}")));
    }
    let (kind, steps) = (stage.name(), stage.updates());
    let (stage, done) = (session.place.stage, session.place.done);
    session.observer.event(Event::StageStarted { stage, kind, done, steps });
    Ok(())
}

/// The teachers of all stages, each as the record knows it: by a hash of its weights. One that
/// several stages name is read once for each use of it.
fn teachers(recipe: &Recipe, learner: &Learner) -> Result<Vec<(u32, Task)>, EngineError> {
    let (mut known, mut read) = (Vec::new(), BTreeMap::new());
    for (index, stage) in recipe.stage.iter().enumerate() {
        let Some(path) = stage.teacher() else { continue };
        let question = match read.entry((path, stage.distils())) {
            Entry::Occupied(before) => String::clone(before.get()),
            Entry::Vacant(place) => {
                let Reference::Weights(model) = teacher(learner, path, stage.distils())? else {
                    continue;
                };
                place.insert(format!("{:016x}", model.checksum())).clone()
            }
        };
        let task = Task { id: path.to_owned(), question, fields: Default::default() };
        known.push((index as u32, task));
    }
    Ok(known)
}

/// The model of a folder or file, which must speak the policy's tokens; where its whole
/// distributions are read, they must be as wide as the policy's.
fn teacher(learner: &Learner, path: &str, distils: bool) -> Result<Reference, EngineError> {
    let wrong = |what: String| EngineError::Input(format!("teacher `{path}`: {what}"));
    let loaded = io::load(Path::new(path)).map_err(|e| wrong(e.to_string()))?;
    let own = learner.codec().tokenizer();
    let (got, expected) = (loaded.tokenizer.vocabulary(), own.vocabulary());
    let differs = |id: &u32| own.spelling(*id) != loaded.tokenizer.spelling(*id);
    if got != expected {
        return Err(wrong(format!(
            "has a vocabulary of {got} tokens, the policy of {expected}; a teacher speaks the \
             policy's tokens: take one with the same tokenizer"
        )));
    }
    if let Some(id) = (0..own.vocabulary() as u32).find(differs) {
        return Err(wrong(format!(
            "token {id} is another one than the policy's; take a teacher with the same tokenizer"
        )));
    }
    let (got, expected) = (loaded.model.config().vocabulary, learner.model().config().vocabulary);
    if distils && got != expected {
        return Err(wrong(format!(
            "its distributions are {got} wide, the policy's {expected}: the same tokens, padded to \
             another `vocab_size`; `distill` compares them whole: take a teacher of `vocab_size` \
             {expected}, or leave `distill` out and follow it token by token"
        )));
    }
    let (got, expected) = (loaded.model.config().context, learner.model().config().context);
    if got < expected {
        return Err(wrong(format!(
            "reads paths of {got} tokens, the policy's have up to {expected}; take a teacher with \
             as long a context, or lower the policy's"
        )));
    }
    Ok(Reference::Weights(Box::new(loaded.model)))
}

fn end(session: Session<'_>, outcome: Outcome) -> Result<Outcome, EngineError> {
    let closing = session.record.close()?;
    if closing == Closing::SideFilesStay {
        let note = "a reader holds the record: run.sqlite-wal stays beside run.sqlite; keep both";
        session.observer.event(Event::Note(note.to_owned()));
    }
    Ok(outcome)
}
