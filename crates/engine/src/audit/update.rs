//! The trees of one update, what they earned and what was said of them.

use stepwell_store::{CommitInfo, StoredTree};
use stepwell_tree::{Credit, Key, Purpose};

use super::tree::{self, Broken};
use super::{Auditor, differs, wrong};
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::Metrics;
use crate::recipe::{self, Rl, Stage};
use crate::rollout::Grown;
use crate::stage::recredit;

/// How a stage grew its trees.
struct Grew {
    max_tokens: usize,
    temperature: f64,
    hints: bool,
}

fn grew(stage: &Stage) -> Option<Grew> {
    let own = |max_tokens, temperature, hints| Some(Grew { max_tokens, temperature, hints });
    match stage {
        Stage::Rl(s) => own(s.max_tokens, s.temperature, false),
        Stage::Preference(s) => own(s.max_tokens, s.temperature, false),
        Stage::Estimator(s) => own(s.max_tokens, s.temperature, false),
        Stage::Rejection(s) => own(s.max_tokens, s.temperature, s.hints),
        Stage::Offline(s) => own(s.max_tokens, s.temperature, false),
        Stage::Sft(_) | Stage::Evaluate(_) => None,
    }
}

impl Auditor<'_> {
    pub(super) fn grown(&mut self, commit: &CommitInfo) -> Result<(), EngineError> {
        let (index, update) = (commit.key.stage, commit.key.update);
        let place = format!("stage {index}, update {update}");
        let recipe = self.recipe;
        let stage = recipe.stage.get(index as usize);
        let Some((stage, grew)) = stage.and_then(|stage| Some((stage, grew(stage)?))) else {
            return Err(wrong(place, "the recipe has no stage there that grows trees"));
        };
        let trees = self.reader.trees(commit.head.number)?;
        let key = Key::new(recipe.seed, Purpose::Sample).with(u64::from(index)).with(update);
        for (t, stored) in trees.iter().enumerate() {
            let at =
                |(step, what): Broken| wrong(format!("{place}, tree {t}, step {}", step.0), what);
            self.one(stored, &grew, key).map_err(at)?;
        }
        match stage {
            Stage::Rl(config) => {
                let metrics = self.reader.metrics(commit.head.number)?;
                self.credit(config, &trees, &metrics, &place)
            }
            other => {
                let name = other.name();
                self.leave_out(format!("what trains in stage {index} (`{name}`): rl stages only"));
                Ok(())
            }
        }
    }

    fn one(&mut self, stored: &StoredTree, grew: &Grew, key: Key) -> Result<(), Broken> {
        let root = stepwell_tree::StepId::ROOT;
        let Some(task) = self.tasks.get(&stored.tree.task) else {
            let what = format!("task: {} is none of the recipe's", stored.tree.task);
            return Err((root, what));
        };
        let environment = self.problem.environment.as_ref();
        let (version, on_cpu) = (self.version, self.on_cpu);
        let (held, weights, learner) = &mut self.weights;
        let prompt = learner.codec().encode_opening(&environment.opening(task));
        let prompt = (!grew.hints).then_some(&prompt[..]);
        tree::tokens(stored, learner.codec(), prompt, (version, grew.max_tokens))?;
        let held = *held == version;
        if held && on_cpu {
            let tokens_max = microbatch(None, learner.model().config());
            let settings = (grew.temperature as f32, tokens_max);
            self.found.logprobs += tree::logprobs(stored, (weights, learner), settings)?;
        }
        let key = key.with_task(&stored.tree.task);
        match &self.recipe.environment {
            recipe::Environment::External(_) => {
                let what = "observations and verdicts: an `external` program may answer otherwise";
                self.leave_out(what.to_owned());
            }
            world => {
                // What a program prints may hang on the clock, on chance, or on its limits.
                let may_differ = matches!(world, recipe::Environment::Python(_));
                match tree::played(stored, environment, task, key) {
                    Ok(tree::Played { judged, unjudged }) => {
                        self.found.judged += judged;
                        if unjudged > 0 {
                            let what = "attempts without a verdict, in the record or now";
                            self.leave_out(what.to_owned());
                        }
                    }
                    Err((_, what)) if may_differ => self.leave_out(format!("programs: {what}")),
                    Err(broken) => return Err(broken),
                }
            }
        }
        if !on_cpu {
            self.leave_out("log-probs: they were computed on a GPU".to_owned());
        } else if !held {
            let what = "log-probs of trees whose weights no kept checkpoint holds";
            self.leave_out(what.to_owned());
        }
        Ok(())
    }

    /// Rewards, filters, credit and metrics of an update, from its trees.
    fn credit(
        &mut self,
        config: &Rl,
        stored: &[StoredTree],
        metrics: &Metrics,
        place: &str,
    ) -> Result<(), EngineError> {
        let has = |column: &&str| {
            let of = |StoredTree { tree, .. }: &StoredTree| {
                tree.token_column.contains_key(*column) || tree.step_column.contains_key(*column)
            };
            stored.iter().all(of)
        };
        let needs = [config.credit.needs(), config.reward.needs()];
        let mut columns = needs
            .iter()
            .flat_map(|own| own.token_columns.iter().chain(own.step_columns.iter()))
            .copied();
        if let Some(column) = columns.find(|column| !has(column)) {
            let name = config.credit.name();
            let what =
                format!("credit of `{name}`: it read the column `{column}`, which is not kept");
            self.leave_out(what);
            return Ok(());
        }
        let grown = |stored: &StoredTree| Grown { tree: stored.tree.clone(), text: Vec::new() };
        let forest: Vec<Grown> = stored.iter().map(grown).collect();
        let (again, told) = recredit(config, &forest);
        for (t, (stored, again)) in stored.iter().zip(&again).enumerate() {
            let none = Credit::none(stored.tree.len());
            let recorded = stored.credit.as_ref().unwrap_or(&none);
            tree::credit(recorded, again).map_err(|(step, what)| {
                wrong(format!("{place}, tree {t}, step {}", step.0), what)
            })?;
            self.found.credited += 1;
        }
        for (name, again) in told {
            let recorded = metrics.get(&name).copied();
            if recorded.map(f64::to_bits) != Some(again.to_bits()) {
                let what = differs(&format!("metric `{name}`"), recorded, again);
                return Err(wrong(place, what));
            }
        }
        Ok(())
    }
}
