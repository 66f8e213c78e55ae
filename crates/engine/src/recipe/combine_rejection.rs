//! Impossible combinations of a `rejection` stage.

use super::combine::{Place, World};
use super::combine_external;
use super::combine_grow;
use super::combine_rewards::compared;
use super::combine_stage::{attempts, parts};
use super::combine_world::lacks;
use super::evaluate::Split;
use super::rejection::Rejection;

pub(super) fn check(rejection: &Rejection, place: &Place<'_, '_>, world: World<'_>) {
    let leaves = rejection.grow.leaves_max();
    if rejection.temperature == 0.0 && leaves > 1 {
        let message = format!(
            "is 0: `grow` would repeat one attempt {leaves} times; raise it, or grow one attempt"
        );
        place.error("temperature", &message);
    }
    let threshold = rejection.threshold;
    let (least, most) = combine_external::reward_range(world);
    if rejection.reward.is_chance() && threshold > most {
        let message = format!(
            "is {threshold}, and the reward `{}` gives at most {most}: nothing would be kept; \
             lower it",
            rejection.reward.name()
        );
        place.error("threshold", &message);
    }
    if rejection.reward.is_chance() && threshold <= least {
        let message = format!("is {threshold}: every attempt is kept, right or not");
        place.warn("threshold", &message);
    }
    if rejection.restart && rejection.rounds == 1 {
        let message = "is true and changes nothing: the stage has one round, which starts from \
                       these weights anyway; raise `rounds`";
        place.warn("restart", message);
    }
    combine_grow::check_pairs(&rejection.grow, place);
    compared(&rejection.reward, place);
    combine_external::check_rejection(rejection, world, place);
    attempts(rejection.tasks_at_once, &rejection.grow, place);
    parts(&rejection.reward, place, world);
    if let Some(why) = world.and_then(|world| lacks(world, Split::Train)) {
        place.error("", &why);
    }
}
