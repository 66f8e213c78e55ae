//! Impossible combinations of a preference stage's control.

use super::combine::Place;
use super::preference::Preference;

pub(super) fn check(preference: &Preference, place: &Place<'_, '_>) {
    let default = Preference::default().control_share;
    if preference.control.is_none() && preference.control_share != default {
        let message = format!(
            "is {} and there is no control; set `control = \"swapped\"` or remove it",
            preference.control_share
        );
        place.error("control_share", &message);
    }
}
