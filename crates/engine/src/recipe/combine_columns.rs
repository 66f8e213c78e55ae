//! Columns that credit and reward read, and what fills them.

use stepwell_methods::credit::reverse_kl::TEACHER;
use stepwell_methods::estimator::{CONTRIBUTION, SCORE};
use stepwell_methods::reward::attribution::GROUNDED;

use super::combine::Place;
use super::compute::Device;
use super::distill;
use super::estimator::check_use;
use super::rl::Rl;
use super::stage::Stage;

/// Every column is filled: values by a critic, references by frozen weights, both without a word;
/// what an estimator or a teacher gives must be named.
pub(super) fn check(rl: &Rl, device: Device, before: &[Option<Stage>], place: &Place<'_, '_>) {
    let (credit, reward) = (rl.credit.needs(), rl.reward.needs());
    let steps = credit.step_columns.iter().chain(reward.step_columns);
    if reward.step_columns.contains(&GROUNDED) {
        let message = format!(
            "`{}` pays actions that the environment could carry out, which no environment here \
             tells; set `beta = 0`, or name a part of its verdict in `grounding`",
            rl.reward.name()
        );
        place.say("reward", message);
    }
    let known = |column: &&&'static str| [SCORE, CONTRIBUTION].contains(*column);
    let read: Vec<&str> = steps.filter(known).copied().collect();
    match rl.estimator {
        Some(index) => {
            for column in &read {
                check_use(("estimator", index), before, Some(column), place);
            }
            if read.is_empty() {
                let message = "is named, and neither `credit` nor `reward` reads what it fills; \
                               take it out";
                place.error("estimator", message);
            }
        }
        None => {
            for column in read {
                let (key, name) = match credit.step_columns.contains(&column) {
                    true => ("credit", rl.credit.name()),
                    false => ("reward", rl.reward.name()),
                };
                let message = format!(
                    "`{name}` reads the column `{column}`, which an estimator fills; put a \
                     `[stage.estimator]` before this stage and name it, `estimator = 1` (stages \
                     count from 0)"
                );
                place.say(key, message);
            }
        }
    }
    let read = credit.token_columns.contains(&TEACHER);
    let taught = read || rl.distill.share.is_some();
    match &rl.teacher {
        None if read => {
            let message = format!(
                "`{}` reads the log-probabilities of a teacher; name its model, `teacher = \
                 \"folder\"`",
                rl.credit.name()
            );
            place.say("credit", message);
        }
        Some(_) if !taught => {
            let message = "is named, and neither `credit` nor `distill` reads it; take it out, or \
                           set `distill = { share = 1.0 }` or `credit = { type = \"reverse_kl\" }`";
            place.error("teacher", message);
        }
        Some(_) if device == Device::Cuda => distill::on_processor(place),
        _ => {}
    }
}
