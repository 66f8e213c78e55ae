//! Rewards that need a column, and rewards of steps that nothing would read.

use stepwell_methods::RewardConfig;

use super::combine::Place;
use super::rl::Rl;

/// Of a stage of reinforcement.
pub(super) fn rewards(rl: &Rl, place: &Place<'_, '_>) {
    if rl.reward.pays_steps() && !rl.credit.reads_step_rewards() {
        let message = format!(
            "`{}` reads what stands at the end of an attempt, and `{}` pays steps; use `credit = \
             {{ type = \"reinforce\" }}`, or `gae` or `n_step` with a critic",
            rl.credit.name(),
            rl.reward.name()
        );
        place.say("credit", message);
    }
}

/// Of a stage that compares or keeps whole attempts by their rewards.
pub(super) fn compared(reward: &RewardConfig, place: &Place<'_, '_>) {
    columns(reward, place);
    if reward.pays_steps() {
        let message = format!(
            "`{}` pays steps, and this stage looks at what stands at the end of an attempt; use \
             `reward = {{ type = \"outcome\" }}`",
            reward.name()
        );
        place.say("reward", message);
    }
}

/// Of a stage that fills no column before its rewards.
pub(super) fn columns(reward: &RewardConfig, place: &Place<'_, '_>) {
    let needs = reward.needs();
    for column in needs.step_columns.iter().chain(needs.token_columns) {
        let message = format!(
            "`{}` needs the column `{column}`, which nothing fills before it; use `reward = {{ type \
             = \"outcome\" }}`",
            reward.name()
        );
        place.say("reward", message);
    }
}
