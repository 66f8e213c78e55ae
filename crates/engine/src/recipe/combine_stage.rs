//! Impossible combinations within a stage, and of a stage with the model and the world.

use stepwell_methods::{Grow, RewardConfig};

use super::combine::{Place, World};
use super::combine_external;
use super::combine_grow;
use super::combine_rewards::{compared, rewards};
use super::combine_world::lacks;
use super::environment::Environment;
use super::evaluate::{Decoding, Evaluate, Split};
use super::nearest::{list, nearest};
use super::offline::Offline;
use super::optimizer::Optimizer;
use super::preference::{Pairs, Preference};
use super::rejection::Rejection;
use super::rl::Rl;
use super::sft::{Demonstrations, Turns};
use super::stage::Stage;
use super::supervision::Supervision;
use super::{combine_control, combine_rejection, combine_rl};

/// Most attempts an update may hold.
pub(crate) const ATTEMPTS_MAX: u64 = 1 << 20;

pub(super) fn check(
    stage: &Stage,
    place: &Place<'_, '_>,
    context: Option<usize>,
    world: World<'_>,
) {
    match stage {
        Stage::Sft(sft) => {
            demonstrations(&Supervision::of(sft), place, world);
            optimizer(&sft.optimizer, sft.steps, place);
            evaluations(sft.evaluate_every, place, world);
            if sft.evaluate_every > 0 {
                tokens("evaluate_max_tokens", sft.evaluate_max_tokens, None, context, place);
            }
        }
        Stage::Rl(rl) => {
            check_sampling(rl, place);
            check_methods(rl, place, world);
            combine_grow::check_rl(rl, place);
            check_update(rl, place);
            combine_rl::check(rl, place, world);
            check_penalty(rl, context, place);
            combine_external::check_rl(rl, world, place);
            optimizer(&rl.optimizer, rl.steps * rl.epochs * rl.minibatches, place);
            tokens("max_tokens", rl.max_tokens, rl.path_tokens, context, place);
            evaluations(rl.evaluate_every, place, world);
            if let Some(why) = world.and_then(|world| lacks(world, Split::Train)) {
                place.error("", &why);
            }
        }
        Stage::Preference(preference) => {
            check_preference(preference, place, world);
            combine_control::check(preference, place);
            let steps = preference.steps * preference.epochs;
            optimizer(&preference.optimizer, steps, place);
            let Preference { max_tokens, path_tokens, .. } = *preference;
            if stage.samples() || preference.evaluate_every > 0 {
                tokens("max_tokens", max_tokens, path_tokens, context, place);
            }
            evaluations(preference.evaluate_every, place, world);
        }
        Stage::Rejection(rejection) => {
            combine_rejection::check(rejection, place, world);
            optimizer(&rejection.optimizer, rejection.steps, place);
            let Rejection { max_tokens, path_tokens, .. } = *rejection;
            tokens("max_tokens", max_tokens, path_tokens, context, place);
            evaluations(rejection.evaluate_every, place, world);
        }
        Stage::Estimator(estimator) => {
            optimizer(&estimator.optimizer, estimator.steps, place);
            if stage.samples() {
                attempts(estimator.tasks, &estimator.grow, place);
                combine_grow::check_pairs(&estimator.grow, place);
                compared(&estimator.reward, place);
                parts(&estimator.reward, place, world);
                combine_external::check_estimator(estimator, world, place);
                tokens("max_tokens", estimator.max_tokens, estimator.path_tokens, context, place);
                if let Some(why) = world.and_then(|world| lacks(world, Split::Train)) {
                    place.error("", &why);
                }
            }
        }
        Stage::Offline(offline) => {
            optimizer(&offline.optimizer, offline.steps, place);
            let Offline { max_tokens, path_tokens, .. } = *offline;
            if stage.samples() || offline.evaluate_every > 0 {
                tokens("max_tokens", max_tokens, path_tokens, context, place);
            }
            evaluations(offline.evaluate_every, place, world);
        }
        Stage::Evaluate(evaluate) => {
            check_evaluate(evaluate, place, world);
            if combine_external::of(world).is_some() {
                combine_external::check_evaluate(evaluate, place);
            }
            combine_grow::check_evaluate(evaluate, place);
            tokens("max_tokens", evaluate.max_tokens, evaluate.path_tokens, context, place);
            if let Some(why) = world.and_then(|world| lacks(world, evaluate.split)) {
                place.error("split", &why);
            }
        }
    }
}

/// Where demonstrations come from: one source, which there is, in words that it can have.
pub(super) fn demonstrations(keys: &Supervision, place: &Place<'_, '_>, world: World<'_>) {
    if keys.turns == Turns::Template && keys.data.is_none() {
        let message = "is \"template\", and only conversations of `data` have turns of their own; \
                       remove it";
        place.error("turns", message);
    }
    source(keys, place, world);
    if let Some(world) = world {
        combine_external::check_demonstrations(keys.demonstrations, world, place);
    }
}

fn source(keys: &Supervision, place: &Place<'_, '_>, world: World<'_>) {
    match (keys.demonstrations, &keys.data) {
        (Some(_), Some(_)) => {
            place.error("data", "and `demonstrations` are both set; keep one of them");
        }
        (None, None) => {
            let message = "needs demonstrations; no earlier stage makes any: set \
                           `demonstrations = \"scripted\"` or `data = \"file.jsonl\"`";
            place.error("", message);
        }
        (Some(demonstrations), None) => {
            let files = world.is_some_and(|world| !world.is_scripted());
            let steps = world.is_none_or(|world| matches!(world, Environment::Calculator(_)));
            match demonstrations {
                Demonstrations::Scripted if files => {
                    let message = "needs `environment.world`, whose script knows the answers; set \
                                   `data` where tasks come from `environment.files`";
                    place.error("demonstrations", message);
                }
                Demonstrations::GoldSteps if !(steps && (files || world.is_none())) => {
                    let message = "is \"gold_steps\", which needs `environment.files` of the environment \
                                   `calculator`, whose tasks have steps; set it to \"scripted\" \
                                   where tasks are generated";
                    place.error("demonstrations", message);
                }
                _ => {}
            }
        }
        (None, Some(_)) => {}
    }
}

fn warm(temperature: f64, place: &Place<'_, '_>) {
    if temperature == 0.0 {
        let message = "is 0: training needs temperature > 0 (greedy samples carry no gradient \
                       signal); set it to 1";
        place.error("temperature", message);
    }
}

fn check_preference(preference: &Preference, place: &Place<'_, '_>, world: World<'_>) {
    warm(preference.temperature, place);
    if let Pairs::File(_) = &preference.pairs {
        return;
    }
    let leaves = preference.grow.leaves_max();
    if leaves < 2 {
        let message = format!(
            "makes trees of {leaves} attempt: siblings need two; raise it, or take pairs from a \
             file: `pairs = {{ type = \"file\", path = ... }}`"
        );
        place.error(fewest(&preference.grow), &message);
    }
    combine_grow::check_pairs(&preference.grow, place);
    attempts(preference.tasks, &preference.grow, place);
    compared(&preference.reward, place);
    parts(&preference.reward, place, world);
    if let Some(why) = world.and_then(|world| lacks(world, Split::Train)) {
        place.error("", &why);
    }
}

/// The key that holds the number of leaves down: a budget of one leaf, or a single line.
fn fewest(grow: &Grow) -> &'static str {
    match grow {
        Grow::Branch(config) if config.branches > 1 => "grow.leaves",
        Grow::ForkAtEntropy(config) if config.branches > 1 => "grow.leaves",
        Grow::Mcts(_) => "grow.simulations",
        _ => "grow.attempts",
    }
}

fn check_sampling(rl: &Rl, place: &Place<'_, '_>) {
    warm(rl.temperature, place);
    let truncates = |key: &str, value: String, full: &str| {
        let message = format!(
            "sampling truncates (`{key} = {value}`) but `objective` assumes the full \
             distribution; set `{key} = {full}`"
        );
        place.say(key, message);
    };
    if rl.top_p < 1.0 {
        truncates("top_p", format!("{:?}", rl.top_p), "1");
    }
    if rl.top_k > 0 {
        truncates("top_k", rl.top_k.to_string(), "0");
    }
}

fn check_methods(rl: &Rl, place: &Place<'_, '_>, world: World<'_>) {
    let credit = rl.credit.name();
    let needs = rl.credit.needs();
    let leaves = rl.grow.leaves_max();
    if leaves < needs.attempts_min {
        let key = fewest(&rl.grow);
        let message = format!(
            "`{credit}` compares siblings and needs `{key}` \u{2265} {}, got: {leaves}; use \
             `reinforce` for single attempts",
            needs.attempts_min
        );
        place.say(key, message);
    }
    if rl.credit.compares_update() && rl.tasks as u64 * u64::from(leaves) < 2 {
        let message = format!(
            "`{credit}` compares the attempts of an update and needs two of them, got: 1; raise \
             `tasks` or the attempts of `grow`"
        );
        place.say("tasks", message);
    }
    rewards(rl, place);
    if rl.credit.reads_chances() && !rl.reward.is_chance() {
        let message = format!(
            "`{credit}` reads rewards as chances of success, from 0 to 1, and needs `reward = \
             {{ type = \"outcome\" }}`, got: `{}`",
            rl.reward.name()
        );
        place.say("reward", message);
    }
    parts(&rl.reward, place, world);
}

/// Every part that a reward reads is one that the world gives.
pub(super) fn parts(reward: &RewardConfig, place: &Place<'_, '_>, world: World<'_>) {
    let Some(world) = world else { return };
    let known = world.parts();
    for part in reward.parts() {
        if !known.contains(&part.as_str()) {
            let near = nearest(&part, &known).map(|near| format!("; nearest: `{near}`"));
            let message = format!(
                "reads the part `{}`, which `{}` does not give; known: {}{}",
                part.escape_debug(),
                world.name(),
                if known.is_empty() { "none".to_owned() } else { list(&known) },
                near.unwrap_or_default()
            );
            place.error("reward", &message);
        }
    }
}

fn check_update(rl: &Rl, place: &Place<'_, '_>) {
    let Rl { tasks, minibatches, .. } = *rl;
    if minibatches > tasks {
        let message = format!(
            "must be at most `tasks` ({tasks}), got: {minibatches}; a tree is in one minibatch"
        );
        place.error("minibatches", &message);
    }
    attempts(tasks + rl.refill, &rl.grow, place);
}

pub(super) fn attempts(tasks: usize, grow: &Grow, place: &Place<'_, '_>) {
    let attempts = tasks as u64 * u64::from(grow.leaves_max());
    if attempts > ATTEMPTS_MAX {
        let message = format!(
            "makes {attempts} attempts per update, expected at most {ATTEMPTS_MAX}; lower it or \
             the leaves of `grow`"
        );
        place.error("tasks", &message);
    }
}

/// A penalty for length that no path can be long enough for.
fn check_penalty(rl: &Rl, context: Option<usize>, place: &Place<'_, '_>) {
    let (RewardConfig::Overlong(config), Some(room)) = (&rl.reward, rl.path_tokens.or(context))
    else {
        return;
    };
    let free = config.tokens_max.saturating_sub(config.tokens_soft);
    if free >= room as u64 {
        let message = format!(
            "subtracts nothing: its penalty begins beyond {free} sampled tokens, and a path has \
             room for {room}; lower `tokens_max`"
        );
        place.warn("reward", &message);
    }
}

fn check_evaluate(evaluate: &Evaluate, place: &Place<'_, '_>, world: World<'_>) {
    let Evaluate { decoding, leaves, branches, .. } = *evaluate;
    let name = decoding.name();
    if evaluate.shuffled_results
        && let Some(Environment::MathAnswer(_) | Environment::Python(_)) = world
    {
        let name = world.map_or("", Environment::name);
        let message =
            format!("is true, and `{name}` shows no results that could be shuffled; remove it");
        place.error("shuffled_results", &message);
    }
    if decoding != Decoding::Greedy && evaluate.temperature == 0.0 {
        let message = format!(
            "is 0: `{name}` would repeat one attempt; raise it or set `decoding = \"greedy\"`"
        );
        place.error("temperature", &message);
    }
    let votes = matches!(decoding, Decoding::LinearVote | Decoding::TreeVote);
    if votes && leaves < 2 {
        let message =
            format!("is 1: one attempt has nothing to vote on; `{name}` needs at least 2");
        place.error("leaves", &message);
    } else if decoding == Decoding::TreeVote && branches > leaves {
        let message =
            format!("must be at most `leaves` ({leaves}), got: {branches}; raise `leaves`");
        place.error("branches", &message);
    }
    if decoding == Decoding::TreeVote && branches < 2 {
        let message = "is 1: such a tree never branches; set it to 2 or more, or \
                       `decoding = \"linear_vote\"`";
        place.error("branches", message);
    }
}

fn optimizer(optimizer: &Optimizer, steps: usize, place: &Place<'_, '_>) {
    if optimizer.learning_rate == 0.0 {
        place.warn("learning_rate", "is 0: the weights will not move");
    }
    if optimizer.warmup_steps >= steps && optimizer.warmup_steps > 0 {
        let warmup = optimizer.warmup_steps;
        let message = format!(
            "is {warmup} and the stage takes {steps} optimizer steps: the learning rate never \
             reaches its highest value before the last"
        );
        place.warn("warmup_steps", &message);
    }
}

fn tokens(
    key: &str,
    max: usize,
    path: Option<usize>,
    context: Option<usize>,
    place: &Place<'_, '_>,
) {
    if let (Some(path), Some(context)) = (path, context.filter(|c| path.is_some_and(|p| p > *c))) {
        let message = format!("exceeds the model's context ({context}), got: {path}");
        place.error("path_tokens", &message);
        return;
    }
    let (room, what) = match path {
        Some(path) => (path, "`path_tokens`"),
        None => (context.unwrap_or(usize::MAX), "the model's context"),
    };
    // The prompt is not known yet, but it has a token.
    if max >= room {
        let message = format!("leaves no room for a prompt: got {max}, and {what} is {room}");
        place.error(key, &message);
    }
}

fn evaluations(every: usize, place: &Place<'_, '_>, world: World<'_>) {
    if let (true, Some(why)) = (every > 0, world.and_then(|world| lacks(world, Split::Development)))
    {
        place.error("evaluate_every", &why);
    }
}
