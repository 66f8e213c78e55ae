//! Impossible combinations of the `external` environment and of prompts of the user's own, and of
//! stages with them.

use stepwell_env::prompt::Prompted;
use stepwell_methods::Objective;
use stepwell_methods::objective::una;
use stepwell_tree::STRICT;

use super::combine::{Checker, Place, World};
use super::combine_world::{check_files, no_databases, words_only};
use super::environment::Environment;
use super::estimator::Estimator;
use super::evaluate::{Decoding, Evaluate};
use super::external::{External, ExternalMode, ExternalSource};
use super::model::Model;
use super::nearest::{list, nearest};
use super::rejection::Rejection;
use super::rl::Rl;
use super::sft::Demonstrations;

/// The environment by itself.
pub(super) fn check(external: &External, model: &Model, checker: &Checker<'_, '_>) {
    if external.command.is_empty() {
        let message = "names no program; set it to one and its arguments, like \
                       `[\"python3\", \"my_env.py\"]`";
        checker.error("environment.command", message);
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if external.variables.iter().any(|name| name.is_empty() || !name.chars().all(letter)) {
        // Not repeated: it may be the value, which nobody should see.
        let message = "must be names of variables, like `[\"API_TOKEN\"]`; a recipe holds the name \
                       of a key, not the key";
        checker.error("environment.variables", message);
    }
    if external.reward_min >= external.reward_max {
        let (least, most) = (external.reward_min, external.reward_max);
        let message = format!("must be above `reward_min` ({least}), got: {most}");
        checker.error("environment.reward_max", &message);
    }
    if let Some(twice) =
        (1..external.parts.len()).find(|at| external.parts[..*at].contains(&external.parts[*at]))
    {
        let name = external.parts[twice].escape_debug();
        checker.error("environment.parts", &format!("must name each once, got twice: `{name}`"));
    }
    if external.parts.iter().any(|part| part == STRICT) {
        let message = format!(
            "must not name `{STRICT}`, the verdict of a stricter judge, which nothing trains on; \
             give the part another name"
        );
        checker.error("environment.parts", &message);
    }
    if external.step.is_some() && external.mode == ExternalMode::Environment {
        let message = "is set, and only a grader's attempts are cut into steps; the program's stop \
                       strings end them: remove it, or set `mode = \"grader\"`";
        checker.error("environment.step", message);
    }
    match &external.source {
        ExternalSource::Files(files) => {
            no_databases(files, "external", checker);
            check_files(files, model, "tasks", "what the program answers", checker);
        }
        ExternalSource::Tasks(tasks) => {
            if tasks.train + tasks.development + tasks.held_out == 0 {
                let message = "asks for no tasks; set `train`, `development` or `held_out`";
                checker.error("environment.tasks", message);
            }
            words_only(model, "tasks", "what the program answers", checker);
        }
    }
}

/// The fields of a prompt that is put around an environment's own.
pub(super) fn check_prompt(environment: &Environment, checker: &Checker<'_, '_>) {
    let Some(prompt) = environment.prompt() else { return };
    let known = Prompted::FIELDS;
    if let Some(name) = prompt.0.fields().find(|name| !known.contains(name)) {
        let near = nearest(name, &known).map(|near| format!("; nearest: `{near}`"));
        let message = format!(
            "names the field `{name}`; known: {}{}",
            list(&known),
            near.unwrap_or_default()
        );
        checker.error("environment.prompt", &message);
    }
}

/// Demonstrations that the environment words itself stand under its own prompt.
pub(super) fn check_demonstrations(
    demonstrations: Option<Demonstrations>,
    environment: &Environment,
    place: &Place<'_, '_>,
) {
    if environment.prompt().is_some() && demonstrations.is_some() {
        let message = "are worded under the environment's own prompt, and `environment.prompt` is \
                       another; remove one of them, or set `data`";
        place.error("demonstrations", message);
    }
}

/// The range of a world's rewards, and so of `outcome`.
pub(super) fn reward_range(world: World<'_>) -> (f64, f64) {
    of(world).map_or((0.0, 1.0), |external| (external.reward_min, external.reward_max))
}

/// Credits and objectives that read chances of success need rewards that are some.
pub(super) fn check_rl(rl: &Rl, world: World<'_>, place: &Place<'_, '_>) {
    if rl.credit.reads_chances() {
        chances("credit", rl.credit.name(), world, place);
    }
    if matches!(&rl.objective, Objective::Una(una) if una.distance == una::Distance::Bce) {
        chances("objective", "una", world, place);
    }
}

/// Estimators that learn chances of success too.
pub(super) fn check_estimator(own: &Estimator, world: World<'_>, place: &Place<'_, '_>) {
    if own.estimator.reads_chances() {
        chances("estimator", own.estimator.name(), world, place);
    }
}

fn chances(key: &str, who: &str, world: World<'_>, place: &Place<'_, '_>) {
    let (least, most) = reward_range(world);
    if least < 0.0 || most > 1.0 {
        let message = format!(
            "`{who}` reads rewards as chances of success, from 0 to 1, and the program's are from \
             {least} to {most}; use another {key}, or rewards from 0 to 1"
        );
        place.say(key, message);
    }
}

/// Second tries with the answer in the prompt, which only the program knows.
pub(super) fn check_rejection(rejection: &Rejection, world: World<'_>, place: &Place<'_, '_>) {
    if rejection.hints && of(world).is_some() {
        let message = "is true, and an `external` program gives no answers away to hint at; \
                       remove it";
        place.error("hints", message);
    }
}

/// What an evaluation asks of a world that only the program knows.
pub(super) fn check_evaluate(evaluate: &Evaluate, place: &Place<'_, '_>) {
    if evaluate.shuffled_results {
        let message = "is true, and the results of an `external` program cannot be shuffled; \
                       remove it";
        place.error("shuffled_results", message);
    }
    if matches!(evaluate.decoding, Decoding::LinearVote | Decoding::TreeVote) {
        let message = format!(
            "is `{}`, and what an attempt answers is known to an `external` program only, so \
             nothing can be counted; set it to \"greedy\" or \"sample\"",
            evaluate.decoding.name()
        );
        place.error("decoding", &message);
    }
}

/// The `external` settings of a world that is one.
pub(super) fn of<'e>(world: World<'e>) -> Option<&'e External> {
    match world {
        Some(Environment::External(external)) => Some(external),
        _ => None,
    }
}
