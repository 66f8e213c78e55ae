//! Impossible combinations of what an `rl` stage's updates are made of.

use stepwell_methods::credit::reinforce;
use stepwell_methods::objective::una;
use stepwell_methods::{CreditConfig, Filter, Objective, Schedule};

use super::combine::{Place, World};
use super::combine_stage::demonstrations;
use super::rl::Rl;

pub(super) fn check(rl: &Rl, place: &Place<'_, '_>, world: World<'_>) {
    check_filter(rl, place);
    check_plan(rl, place, world);
    check_score(rl, place);
}

/// An objective that reads credit as the score of an attempt.
fn check_score(rl: &Rl, place: &Place<'_, '_>) {
    let Objective::Una(una) = &rl.objective else { return };
    let plain = CreditConfig::Reinforce(reinforce::Config::default());
    if rl.credit != plain {
        let message = "is not the score itself, which the objective `una` regresses on; set \
                       `credit = { type = \"reinforce\" }`, without a baseline";
        place.error("credit", message);
    }
    if una.distance == una::Distance::Bce && !rl.reward.is_chance() {
        let message = format!(
            "is `{}`, and `una` with `distance = \"bce\"` needs chances from 0 to 1; set `reward = \
             {{ type = \"outcome\" }}` or `distance = \"mse\"`",
            rl.reward.name()
        );
        place.error("reward", &message);
    }
}

fn check_filter(rl: &Rl, place: &Place<'_, '_>) {
    if rl.refill > 0 && rl.filter.is_empty() {
        let message = format!(
            "is {} and no tree is dropped; name what drops trees, `filter = [{{ type = \
             \"drop_uniform\" }}]`, or set it to 0",
            rl.refill
        );
        place.error("refill", &message);
    }
    let needs = rl.reward.needs();
    if rl.refill > 0 && !(needs.step_columns.is_empty() && needs.token_columns.is_empty()) {
        let message = format!(
            "is {}, and what the reward `{}` reads is filled once an update's trees are all there; \
             set it to 0, or use `reward = {{ type = \"outcome\" }}`",
            rl.refill,
            rl.reward.name()
        );
        place.error("refill", &message);
    }
    let compares = rl.filter.iter().any(|filter| matches!(filter, Filter::DropUniform(_)));
    if compares && rl.grow.leaves_max() < 2 {
        let message = "holds `drop_uniform`, and trees of one attempt have no difference: all \
                       would be dropped; raise the attempts of `grow` or take it out";
        place.error("filter", message);
    }
}

fn check_plan(rl: &Rl, place: &Place<'_, '_>, world: World<'_>) {
    let plan = rl.plan.name();
    let keys = &rl.supervision;
    let given = keys.demonstrations.is_some() || keys.data.is_some();
    match (rl.plan.reads_demonstrations(), given) {
        (true, true) => demonstrations(keys, place, world),
        (true, false) => {
            let message = format!(
                "is `{plan}`, which trains on demonstrations too; set `demonstrations = \
                 \"scripted\"` or `data = \"file.jsonl\"` beside it"
            );
            place.error("plan", &message);
        }
        (false, true) => {
            let key = if keys.data.is_some() { "data" } else { "demonstrations" };
            let message = format!(
                "is set, and `plan` (`{plan}`) trains on no demonstrations; remove it or set `plan \
                 = {{ type = \"sasr\" }}`"
            );
            place.error(key, &message);
        }
        (false, false) => {}
    }
    if rl.plan.moves_kl() && rl.objective.kl_coefficient() == 0.0 {
        let message = format!(
            "is `{plan}`, which moves the coefficient of a KL, and `objective` has none to begin \
             with; set `kl = {{ coefficient = 0.1 }}` in `objective`"
        );
        place.error("plan", &message);
    }
    check_length(rl, place);
}

/// Plans that the stage is too short for.
fn check_length(rl: &Rl, place: &Place<'_, '_>) {
    let steps = rl.steps as u64;
    let (key, count, what) = match &rl.plan {
        Schedule::Sasr(config) if config.warmup >= steps => {
            ("warmup", config.warmup, "its gate never opens")
        }
        Schedule::Staged(config) if config.first_updates >= steps => {
            ("first_updates", config.first_updates, "the other loss never comes")
        }
        Schedule::Shuffled(config) if config.demonstrations > steps => {
            ("demonstrations", config.demonstrations, "so many updates there are not")
        }
        _ => return,
    };
    let message = format!("is {count} and the stage has {steps} `steps`: {what}; lower it");
    place.error(&format!("plan.{key}"), &message);
}
