//! A recipe's list of stages.

use serde::Serialize;
use stepwell_model::Config;
use toml::de::DeValue;

use super::checkpoints::Rhythm;
use super::estimator::Estimator;
use super::evaluate::Evaluate;
use super::macros::{Entry, Settings};
use super::nearest::{list, nearest};
use super::offline::Offline;
use super::preference::{PairFile, Pairs, Preference};
use super::rejection::Rejection;
use super::repeat::repeat_of;
use super::rl::Rl;
use super::section::Section;
use super::setting::shown;
use super::sft::Sft;
use crate::microbatch::microbatch;

/// One part of a run; what stands before it has finished when it starts.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "a recipe holds a few stages, and none is moved often"
)]
pub enum Stage {
    /// Cross-entropy on demonstrations.
    Sft(Sft),
    /// Reinforcement learning on trees.
    Rl(Rl),
    /// Preference optimisation on pairs of answers.
    Preference(Preference),
    /// Cross-entropy on the stage's own attempts that were right.
    Rejection(Rejection),
    /// A learner beside the policy learns what steps are worth.
    Estimator(Estimator),
    /// What each token is worth is learned from a log.
    Offline(Offline),
    /// A frozen policy is judged.
    Evaluate(Evaluate),
}

/// Most stages of a recipe.
pub(crate) const STAGES_MAX: usize = 256;
const KNOWN: [&str; 7] =
    ["sft", "rl", "preference", "rejection", "estimator", "offline", "evaluate"];

impl Stage {
    /// The word a recipe uses.
    pub fn name(&self) -> &'static str {
        match self {
            Stage::Sft(_) => "sft",
            Stage::Rl(_) => "rl",
            Stage::Preference(_) => "preference",
            Stage::Rejection(_) => "rejection",
            Stage::Estimator(_) => "estimator",
            Stage::Offline(_) => "offline",
            Stage::Evaluate(_) => "evaluate",
        }
    }

    /// Updates that it commits; of an evaluation the one that it is.
    pub(crate) fn updates(&self) -> usize {
        match self {
            Stage::Sft(sft) => sft.steps,
            Stage::Rl(rl) => rl.steps,
            Stage::Preference(preference) => preference.steps,
            Stage::Rejection(rejection) => rejection.rounds * rejection.steps,
            Stage::Estimator(estimator) => estimator.steps,
            Stage::Offline(offline) => offline.steps,
            Stage::Evaluate(_) => 1,
        }
    }

    /// Most tokens that it computes at once for a training step of a model of this shape; `None`
    /// where it trains nothing.
    pub fn microbatch_tokens(&self, model: &Config) -> Option<usize> {
        match self {
            Stage::Sft(sft) => Some(microbatch(sft.microbatch_tokens, model)),
            Stage::Rl(rl) => Some(microbatch(rl.microbatch_tokens, model)),
            Stage::Preference(own) => Some(microbatch(own.microbatch_tokens, model)),
            Stage::Rejection(own) => Some(microbatch(own.microbatch_tokens, model)),
            Stage::Estimator(own) => Some(microbatch(own.microbatch_tokens, model)),
            Stage::Offline(own) => Some(microbatch(own.microbatch_tokens, model)),
            Stage::Evaluate(_) => None,
        }
    }

    /// The file of pairs that it trains on, where there is one.
    pub(crate) fn pair_file(&self) -> Option<PairFile> {
        match self {
            Stage::Preference(Preference { pairs: Pairs::File(file), .. }) => Some(file.clone()),
            Stage::Estimator(own) => own.pair_file(),
            _ => None,
        }
    }

    /// The model that it learns from, where there is one.
    pub(crate) fn teacher(&self) -> Option<&str> {
        match self {
            Stage::Sft(sft) => sft.teacher.as_deref(),
            Stage::Rl(rl) => rl.teacher.as_deref(),
            _ => None,
        }
    }

    /// The model that labels its pairs, where there is one.
    pub(crate) fn judge(&self) -> Option<&str> {
        match self {
            Stage::Preference(preference) => preference.judge.path.as_deref(),
            _ => None,
        }
    }

    /// True where it compares whole distributions with that model's.
    pub(crate) fn distils(&self) -> bool {
        match self {
            Stage::Sft(sft) => sft.distill.share.is_some(),
            Stage::Rl(rl) => rl.distill.share.is_some(),
            _ => false,
        }
    }

    /// True where it trains on what the policy itself writes, in this stage.
    pub fn samples(&self) -> bool {
        match self {
            Stage::Rl(_) | Stage::Rejection(_) => true,
            Stage::Estimator(own) => own.pairs.is_none(),
            Stage::Offline(own) => own.log.is_none(),
            Stage::Preference(preference) => matches!(preference.pairs, Pairs::Siblings(_)),
            Stage::Sft(_) | Stage::Evaluate(_) => false,
        }
    }

    /// True where the policy is another one after it, or at least its heads are.
    pub(crate) fn moves_policy(&self) -> bool {
        !matches!(self, Stage::Estimator(_) | Stage::Evaluate(_))
    }

    /// True where it compares with the weights as it found them, or returns to them.
    pub fn reads_reference(&self) -> bool {
        match self {
            Stage::Rl(rl) => [rl.objective.needs(), rl.credit.needs(), rl.reward.needs()]
                .iter()
                .any(|needs| needs.token_columns.contains(&"reference_logprob")),
            Stage::Preference(preference) => preference.loss.reads_reference(),
            Stage::Rejection(rejection) => rejection.restart,
            Stage::Sft(_) | Stage::Estimator(_) | Stage::Offline(_) | Stage::Evaluate(_) => false,
        }
    }

    /// When it is evaluated and written; `None` where it trains nothing.
    pub(crate) fn rhythm(&self) -> Option<Rhythm> {
        macro_rules! rhythm {
            ($own:expr, $max_tokens:ident) => {
                Rhythm {
                    steps: self.updates(),
                    checkpoint_every: $own.checkpoint_every,
                    evaluate_every: $own.evaluate_every,
                    evaluate_questions: $own.evaluate_questions,
                    evaluate_max_tokens: $own.$max_tokens,
                }
            };
        }
        Some(match self {
            Stage::Sft(own) => rhythm!(own, evaluate_max_tokens),
            Stage::Rl(own) => rhythm!(own, max_tokens),
            Stage::Preference(own) => rhythm!(own, max_tokens),
            Stage::Rejection(own) => rhythm!(own, max_tokens),
            Stage::Offline(own) => rhythm!(own, max_tokens),
            // The policy stands still.
            Stage::Estimator(own) => Rhythm {
                steps: own.steps,
                checkpoint_every: own.checkpoint_every,
                evaluate_every: 0,
                evaluate_questions: 0,
                evaluate_max_tokens: 0,
            },
            Stage::Evaluate(_) => return None,
        })
    }

    pub(super) fn write(&self, index: usize, out: &mut Vec<Entry>) {
        let section = format!("stage[{index}].{}", self.name());
        match self {
            Stage::Sft(sft) => sft.write(&section, out),
            Stage::Rl(rl) => rl.write(&section, out),
            Stage::Preference(preference) => preference.write(&section, out),
            Stage::Rejection(rejection) => rejection.write(&section, out),
            Stage::Estimator(estimator) => estimator.write(&section, out),
            Stage::Offline(offline) => offline.write(&section, out),
            Stage::Evaluate(evaluate) => evaluate.write(&section, out),
        }
    }

    fn read(stage: &Section<'_>) -> Option<Stage> {
        let found = stage.keys();
        for (name, offset) in &found {
            if !KNOWN.contains(name) {
                let near = nearest(name, &KNOWN).map(|near| format!("; nearest: `{near}`"));
                let (name, near) = (name.escape_debug(), near.unwrap_or_default());
                let message = format!("unknown stage `{name}`; known: {}{near}", list(&KNOWN));
                stage.notes.error(*offset, &stage.path, message);
            }
        }
        let named: Vec<&str> =
            found.iter().map(|(n, _)| *n).filter(|n| KNOWN.contains(n)).collect();
        if found.is_empty() || named.len() > 1 {
            let got = if named.is_empty() { "nothing".to_owned() } else { list(&named) };
            let (path, known) = (&stage.path, list(&KNOWN));
            let message = format!("`{path}` must hold exactly one of {known}; found: {got}");
            stage.notes.error(stage.offset, path, message);
        }
        let name = KNOWN.into_iter().find(|name| Some(name) == named.first())?;
        let table = stage.child(name)?;
        let read = match name {
            "sft" => Stage::Sft(Sft::read(&table, Sft::default())),
            "rl" => Stage::Rl(Rl::read(&table, Rl::default())),
            "preference" => Stage::Preference(Preference::read(&table, Preference::default())),
            "rejection" => Stage::Rejection(Rejection::read(&table, Rejection::default())),
            "estimator" => Stage::Estimator(Estimator::read(&table, Estimator::default())),
            "offline" => Stage::Offline(Offline::read(&table, Offline::default())),
            _ => Stage::Evaluate(Evaluate::read(&table, Evaluate::default())),
        };
        table.finish();
        Some(read)
    }
}

/// Reads `[[stage]]`. `None` stands where a stage could not be read, so that indices stay.
pub(super) fn read_all(top: &Section<'_>) -> Vec<Option<Stage>> {
    let notes = top.notes;
    let Some(value) = top.take("stage") else {
        notes.error(
            top.offset,
            "stage",
            "the recipe has no stages; write `[[stage]]` and below it \
            one of `[stage.sft]`, `[stage.rl]`, `[stage.preference]`, `[stage.rejection]`, \
            `[stage.estimator]`, `[stage.offline]`, `[stage.evaluate]`",
        );
        return Vec::new();
    };
    let DeValue::Array(items) = value.get_ref() else {
        let message = "`stage` must be an array of tables; write `[[stage]]`".to_owned()
            + &format!(", got: {}", shown(value.get_ref()));
        notes.error(top.offset_of("stage"), "stage", message);
        return Vec::new();
    };
    if items.is_empty() || items.len() > STAGES_MAX {
        let message = format!("a recipe must have 1..={STAGES_MAX} stages, got: {}", items.len());
        notes.error(value.span().start, "stage", message);
        return Vec::new();
    }
    let one = |(index, item): (usize, &toml::Spanned<DeValue<'_>>)| {
        let path = format!("stage[{index}]");
        let DeValue::Table(table) = item.get_ref() else {
            let message = format!("`{path}` must be a table, got: {}", shown(item.get_ref()));
            notes.error(item.span().start, &path, message);
            return None;
        };
        // What is wrong with one that could not be unrolled has been said.
        if repeat_of(item).is_some() {
            return None;
        }
        Stage::read(&Section::new(notes, path, item.span().start, table))
    };
    items.iter().enumerate().map(one).collect()
}
