//! Which growing, credit and picking go together.

use stepwell_methods::{CreditConfig, Grow};

use super::combine::Place;
use super::evaluate::{Decoding, Evaluate};
use super::rl::Rl;

/// Companions and the credit that reads them.
pub(super) fn check_rl(rl: &Rl, place: &Place<'_, '_>) {
    let (grow, credit) = (rl.grow.name(), rl.credit.name());
    match rl.credit.needs_grow() {
        needed @ [first, ..] if !needed.contains(&grow) => {
            let message = format!(
                "`{credit}` reads the companions that `grow = {{ type = \"{first}\" }}` grows, got: \
                 `{grow}`; set that `grow`, or another credit"
            );
            place.say("grow", message);
        }
        [] if rl.grow.needs_credit().is_some() => {
            let message = format!(
                "`{credit}` would take the companions of `{grow}` for attempts; set `credit = {{ \
                 type = \"{}\" }}`, or another `grow`",
                rl.grow.needs_credit().unwrap_or_default()
            );
            place.say("credit", message);
        }
        _ => {}
    }
    refuse_beam(&rl.grow, place);
    if !rl.credit.needs_grow().is_empty() && matches!(rl.credit, CreditConfig::Permuted(_)) {
        let message = "`permuted` would deal the credit of attempts to their companions, which are \
                       not trained; compare with the control that `stepwell methods` names";
        place.say("credit", message.to_owned());
    }
}

/// Leaves that were chosen by a score are no sample of the policy.
fn refuse_beam(grow: &Grow, place: &Place<'_, '_>) {
    if matches!(grow, Grow::Beam(_)) {
        let message = "is `beam`, which keeps what a scorer values: no sample to train on; use \
                       `mcts` or `branch`, and `beam` in a stage of evaluation";
        place.error("grow", message);
    }
}

/// What is compared, kept or learned from as attempts comes from trees of attempts.
pub(super) fn check_pairs(grow: &Grow, place: &Place<'_, '_>) {
    refuse_beam(grow, place);
    if grow.needs_credit().is_some() {
        let message =
            format!("is `{}`, whose companions are no attempts; use `branch`", grow.name());
        place.error("grow", &message);
    }
}

/// What `search` and `best_of_n` read, and that nothing else sets it.
pub(super) fn check_evaluate(evaluate: &Evaluate, place: &Place<'_, '_>) {
    let Evaluate { decoding, leaves, ref grow, ref scorer, .. } = *evaluate;
    let picks = matches!(decoding, Decoding::BestOfN | Decoding::Search);
    let got = decoding.name();
    if decoding != Decoding::Search && grow.is_some() {
        let message = format!(
            "is read where `decoding = \"search\"`, got: \"{got}\"; set that, or take `grow` out"
        );
        place.error("grow", &message);
    }
    if !picks && scorer.is_some() {
        let message = format!(
            "is read where `decoding` is \"best_of_n\" or \"search\", got: \"{got}\"; set one of \
             them, or take `scorer` out"
        );
        place.error("scorer", &message);
    }
    if decoding == Decoding::BestOfN && leaves < 2 {
        let message = "is 1: one attempt leaves nothing to pick; `best_of_n` needs at least 2";
        place.error("leaves", message);
    }
    let (Decoding::Search, Some(grow)) = (decoding, grow) else { return };
    if grow.needs_credit().is_some() {
        let message = format!(
            "is `{}`, which grows companions to judge attempts by for training; use `branch`",
            grow.name()
        );
        place.error("grow", &message);
    } else if grow.leaves_max() < 2 {
        place.error("grow", "makes trees of 1 attempt, which leaves nothing to pick; raise it");
    }
}
