//! A model that says which answer of a pair is the better (RLAIF).

use super::combine::Place;
use super::compute::Device;
use super::macros::{choices, settings};
use super::nearest::list;
use super::preference::{Pairs, Preference};
use super::prompt::PromptText;
use super::setting::Limit;

/// What a judge's template may name; it must name the last two.
pub(crate) const FIELDS: [&str; 3] = ["prompt", "first", "second"];

choices! {
    /// In which orders a judge is shown a pair.
    pub enum Orders {
        /// As it is, and with the places changed: a weakness for a place cancels.
        Both = "both",
        /// In one, which a draw by its two answers decides: the control.
        One = "one",
    }
}

settings! {
    /// A model that labels pairs, in place of whoever did.
    pub struct Judge {
        /// Its folder or GGUF file; its tokenizer may be another than the policy's. Default: none,
        /// and pairs are as they come.
        path: Option<String> = None, Limit::Any;
        /// What it reads, with the fields `{prompt}`, all that stands before both answers,
        /// `{first}` and `{second}`. The option comes next: where the model has a chat template
        /// this is a message of the user, and the option begins the answer to it, so end with a
        /// request; where it has none the option goes on this very text.
        template: Option<PromptText> = None, Limit::Any;
        /// What it says where the first answer is the better, and where the second is; a token of
        /// its tokenizer each.
        options: Vec<String> = vec!["A".to_owned(), "B".to_owned()], Limit::Any;
        /// In which orders it is shown a pair.
        orders: Orders = Orders::Both, Limit::Any;
        /// Least probability of both options together, in each order; below it a pair has no label
        /// and trains nothing.
        mass_min: f64 = 0.1, Limit::Real(0.0, 1.0);
    }
}

/// What cannot go with a judge.
pub(super) fn check(preference: &Preference, device: Device, place: &Place<'_, '_>) {
    let own = &preference.judge;
    if own.path.is_none() {
        if *own != Judge::default() {
            let message = "has no `path`, without which nobody is asked; set it, or take the \
                           table out";
            place.warn("judge", message);
        }
        return;
    }
    match &own.template {
        None => {
            let message = "needs `template`, what it reads: `template = \"... {prompt} ... \
                           {first} ... {second} ...\"`";
            place.error("judge", message);
        }
        Some(template) => {
            let given: Vec<&str> = template.0.fields().collect();
            if let Some(odd) = given.iter().find(|name| !FIELDS.contains(name)) {
                let message = format!("names the field `{odd}`; known: {}", list(&FIELDS));
                place.error("judge.template", &message);
            }
            if let Some(missing) = FIELDS[1..].iter().find(|name| !given.contains(name)) {
                let message = format!(
                    "must name the field `{{{missing}}}`: a judge that does not read both answers \
                     compares nothing"
                );
                place.error("judge.template", &message);
            }
        }
    }
    match &own.options[..] {
        [first, second] if first == second => {
            let message =
                format!("must be two different texts, got twice: `{}`", first.escape_debug());
            place.error("judge.options", &message);
        }
        [_, _] => {}
        other => {
            let message = format!("must be two texts, got: {}", other.len());
            place.error("judge.options", &message);
        }
    }
    if !matches!(preference.pairs, Pairs::File(_)) {
        let message = "labels pairs of a file, and these are of siblings, which verdicts compare; \
                       set `pairs = { type = \"file\", path = \"pairs.jsonl\" }`";
        place.error("judge", message);
    }
    if device == Device::Cuda {
        let message = "is computed on the processor only; set `model.compute.device = \"cpu\"`";
        place.error("judge", message);
    }
}
