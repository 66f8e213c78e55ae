//! Settings that are each allowed and together impossible. Every message names what to change.

use stepwell_methods::Grow;
use stepwell_methods::estimator::SCORE;
use toml::de::DeValue;

use super::document::locate;
use super::environment::Environment;
use super::evaluate::Decoding;
use super::model::{Lora, Model, Scratch};
use super::nearest::list;
use super::scorer::ScorerConfig;
use super::section::Notes;
use super::stage::Stage;
use super::{
    Draft, checkpoints, combine_columns, combine_stage, combine_world, critic, distill, estimator,
    judge, offline, trust_region,
};

/// Notes every impossible combination of a recipe. Silent about tables that already hold an error:
/// their defaults stand in for what the author meant.
pub(super) fn check(draft: &Draft, tree: &DeValue<'_>, notes: &Notes) {
    let broken = notes.errors.borrow().iter().map(|problem| problem.key.clone()).collect();
    let checker = Checker { tree, notes, broken };
    if let (Model::Scratch(scratch), true) = (&draft.model, checker.sound("model")) {
        shape(scratch, &checker);
    }
    if let (Some(lora), true) = (&draft.lora, checker.sound("model.lora")) {
        adapter(lora, matches!(draft.model, Model::Scratch(_)), &checker);
    }
    if checker.sound("environment") {
        combine_world::check(&draft.environment, &draft.model, &checker);
        if checker.sound("checkpoints") {
            checkpoints::check(&draft.checkpoints, &draft.environment, &draft.stage, &checker);
        }
    }
    for (index, stage) in draft.stage.iter().enumerate() {
        let path = format!("stage[{index}]");
        let Some(stage) = stage.as_ref().filter(|_| checker.sound(&path)) else { continue };
        let place = Place { checker: &checker, path: format!("{path}.{}", stage.name()) };
        let context = match &draft.model {
            Model::Scratch(scratch) if checker.sound("model") => Some(scratch.context),
            _ => None,
        };
        let world = checker.sound("environment").then_some(&draft.environment);
        combine_stage::check(stage, &place, context, world);
        let (device, before) = (draft.compute.device, &draft.stage[..index]);
        match stage {
            Stage::Rl(rl) => {
                critic::check(rl, device, &place);
                combine_columns::check(rl, device, before, &place);
                trust_region::check(rl, &draft.compute, &place);
                distill::check_rl(rl, &place);
            }
            Stage::Preference(own) => judge::check(own, device, &place),
            Stage::Sft(sft) => distill::check_sft(sft, device, &place),
            Stage::Estimator(own) => estimator::check(own, device, &place),
            Stage::Offline(own) => offline::check(own, device, before, (&place, world)),
            Stage::Evaluate(own) => {
                offline::check_led(own, before, &place);
                if let ScorerConfig::Estimator(scorer) = own.picker() {
                    // A beam with progress reads chances; picking and a plain beam any score.
                    let progress = matches!(own.search(), Grow::Beam(beam) if beam.alpha > 0.0);
                    let searches = own.decoding == Decoding::Search;
                    let column = (searches && progress).then_some(SCORE);
                    estimator::check_use(("scorer", scorer.stage), before, column, &place);
                }
            }
            _ => {}
        }
        let fresh = matches!(draft.model, Model::Scratch(_)) && checker.sound("stage");
        let trained = before.iter().any(|s| !matches!(s, Some(Stage::Evaluate(_))));
        let shown = matches!(stage, Stage::Rl(rl) if rl.plan.reads_demonstrations());
        if stage.samples() && fresh && !trained && !shown {
            place.warn(
                "",
                "starts from random weights, whose attempts are hardly ever right; \
                put a `[stage.sft]` before it",
            );
        }
    }
}

/// What a check of one table needs to complain.
pub(super) struct Checker<'c, 'd> {
    tree: &'c DeValue<'d>,
    notes: &'c Notes,
    broken: Vec<String>,
}

impl Checker<'_, '_> {
    /// True where nothing at or below a path was wrong so far.
    pub(super) fn sound(&self, path: &str) -> bool {
        !self.broken.iter().any(|key| key.starts_with(path))
    }

    /// `` `key` message ``, at the key's line or that of the nearest table above it.
    pub(super) fn error(&self, key: &str, message: &str) {
        self.notes.error(locate(self.tree, key), key, format!("`{key}` {message}"));
    }

    pub(super) fn warn(&self, key: &str, message: &str) {
        self.notes.warn(locate(self.tree, key), key, format!("`{key}` {message}"));
    }
}

/// A stage's table.
pub(super) struct Place<'c, 'd> {
    checker: &'c Checker<'c, 'd>,
    path: String,
}

impl Place<'_, '_> {
    fn key(&self, name: &str) -> String {
        if name.is_empty() { self.path.clone() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn error(&self, name: &str, message: &str) {
        self.checker.error(&self.key(name), message);
    }

    /// A sentence of its own, which names the keys it is about.
    pub(super) fn say(&self, name: &str, message: String) {
        let key = self.key(name);
        self.checker.notes.error(locate(self.checker.tree, &key), key, message);
    }

    pub(super) fn warn(&self, name: &str, message: &str) {
        self.checker.warn(&self.key(name), message);
    }
}

/// The shape of a new model.
fn shape(scratch: &Scratch, checker: &Checker<'_, '_>) {
    let Scratch { hidden, heads, .. } = *scratch;
    let kv_heads = scratch.kv_heads.unwrap_or(heads);
    let head_dim = scratch.head_dim.unwrap_or(hidden / heads);
    let key = |name: &str| format!("model.scratch.{name}");
    let is_default =
        locate(checker.tree, &key("head_dim")) == locate(checker.tree, "model.scratch");
    if is_default && !hidden.is_multiple_of(heads) {
        let message = format!("must divide `hidden` ({hidden}), got: {heads}; or set `head_dim`");
        checker.error(&key("heads"), &message);
    } else if !head_dim.is_multiple_of(2) || !(2..=1024).contains(&head_dim) {
        let message = format!(
            "must be even and in 2..=1024, got: {head_dim}; it is `hidden / heads` unless set"
        );
        checker.error(&key("head_dim"), &message);
    }
    if !heads.is_multiple_of(kv_heads) {
        let message = format!("must divide `heads` ({heads}), got: {kv_heads}");
        checker.error(&key("kv_heads"), &message);
    }
}

/// An adapter's targets, each known and named once.
fn adapter(lora: &Lora, fresh: bool, checker: &Checker<'_, '_>) {
    let key = "model.lora.targets";
    let known = stepwell_model::Target::ALL.map(stepwell_model::Target::word);
    if lora.targets.is_empty() {
        checker.error(key, &format!("must name at least one of {}", list(&known)));
    }
    for (index, target) in lora.targets.iter().enumerate() {
        if !known.contains(&target.as_str()) {
            let got = target.escape_debug();
            checker.error(key, &format!("must be among {}, got: `{got}`", list(&known)));
        } else if lora.targets[..index].contains(target) {
            checker.error(key, &format!("must name each once, got twice: `{target}`"));
        }
    }
    if fresh {
        checker.warn(
            "model.lora",
            "freezes random weights, which then never learn; take it out, or start from `model.path`",
        );
    }
}

/// The world as stages need it; `None` where it could not be read.
pub(super) type World<'s> = Option<&'s Environment>;
