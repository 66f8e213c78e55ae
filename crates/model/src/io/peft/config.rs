//! `adapter_config.json`: read with every problem in one list, written so that PEFT reads it.

use serde_json::{Map, Value, json};

use super::CONFIG;
use crate::{
    adapter::{LoraSettings, Target},
    io::{error::IoError, settings::pretty},
};

/// What the file says, in our words.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) settings: LoraSettings,
    pub(super) base: Option<String>,
    pub(super) notes: Vec<String>,
}

/// Fields of variants of LoRA that compute something else; unset in plain LoRA.
const VARIANTS: [&str; 19] = [
    "use_rslora",
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "fan_in_fan_out",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "layer_replication",
    "exclude_modules",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
];

/// Fields that change nothing once the adapter is trained.
const HARMLESS: [&str; 20] = [
    "peft_type",
    "peft_version",
    "task_type",
    "r",
    "lora_alpha",
    "target_modules",
    "base_model_name_or_path",
    "bias",
    "lora_dropout",
    "init_lora_weights",
    "inference_mode",
    "auto_mapping",
    "revision",
    "layers_pattern",
    "ensure_weight_tying",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "corda_config",
    "eva_config",
];

pub(super) fn parse(bytes: &[u8]) -> Result<Read, IoError> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|wrong| IoError::damaged(CONFIG, format!("not valid JSON: {wrong}")))?;
    let Value::Object(map) = value else {
        return Err(IoError::damaged(CONFIG, "expected a JSON object".to_owned()));
    };
    let mut fields = Fields { map: &map, problems: Vec::new(), notes: Vec::new() };
    fields.kind();
    fields.variants();
    fields.dropout();
    let settings = fields.settings();
    let base = map.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned);
    let Fields { mut problems, notes, .. } = fields;
    if problems.is_empty()
        && let Err(wrong) = settings.validate()
    {
        problems = wrong;
    }
    if problems.is_empty() {
        Ok(Read { settings, base, notes })
    } else {
        Err(IoError::problems(CONFIG, problems))
    }
}

struct Fields<'a> {
    map: &'a Map<String, Value>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl<'a> Fields<'a> {
    /// The value, `null` counting as absent.
    fn set(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Fields with one value that is read.
    fn kind(&mut self) {
        for (name, expected, absent) in
            [("peft_type", "LORA", false), ("task_type", "CAUSAL_LM", true), ("bias", "none", true)]
        {
            match self.set(name) {
                Some(value) if value == expected => {}
                None if absent => {}
                None => self.problems.push(format!("`{name}` is missing: expected {expected}")),
                Some(got) => {
                    self.problems.push(format!("`{name}`: got {got}, expected {expected}"))
                }
            }
        }
        let Some(initial) = self.set("init_lora_weights") else { return };
        let kept = ["gaussian", "orthogonal", "eva"];
        if !initial.is_boolean() && !initial.as_str().is_some_and(|way| kept.contains(&way)) {
            self.problems.push(format!(
                "`init_lora_weights`: got {initial}, which changes the base's weights; expected \
                 true, false or one of {}: convert the adapter to plain LoRA with PEFT",
                kept.join(", ")
            ));
        }
    }

    fn variants(&mut self) {
        for (name, value) in self.map {
            let unset = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Object(map) => map.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => false,
            };
            if unset || HARMLESS.contains(&name.as_str()) {
                continue;
            }
            if VARIANTS.contains(&name.as_str()) {
                self.problems.push(format!(
                    "`{name}`: got {value}, expected it unset: only plain LoRA is computed here"
                ));
            } else {
                self.notes.push(format!("{CONFIG}: ignored `{}`", name.escape_debug()));
            }
        }
    }

    fn dropout(&mut self) {
        let Some(value) = self.set("lora_dropout") else { return };
        match value.as_f64() {
            Some(0.0) => {}
            Some(rate) => self.notes.push(format!(
                "{CONFIG}: ignored `lora_dropout` {rate}: this program trains without dropout"
            )),
            None => {
                self.problems.push(format!("`lora_dropout`: got {value}, expected a number"));
            }
        }
    }

    fn settings(&mut self) -> LoraSettings {
        let default = LoraSettings::default();
        let rank = self.number("r", "a whole number", |value| {
            value.as_u64().and_then(|rank| usize::try_from(rank).ok())
        });
        let alpha = self.number("lora_alpha", "a number", Value::as_f64);
        let targets = self.targets();
        LoraSettings {
            rank: rank.unwrap_or(default.rank),
            alpha: alpha.unwrap_or(default.alpha),
            targets,
        }
    }

    fn number<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let found = self.set(name);
        let number = found.and_then(read);
        if number.is_none() {
            let got = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
            self.problems.push(format!("`{name}`: got {got}, expected {expected}"));
        }
        number
    }

    /// Names of modules in any order; a pattern would have to be matched as PEFT does.
    fn targets(&mut self) -> Vec<Target> {
        let known = || Target::ALL.map(Target::module).join(", ");
        let list = match self.set("target_modules") {
            Some(Value::String(all)) if all == "all-linear" => return Target::ALL.to_vec(),
            Some(Value::Array(list)) => list.as_slice(),
            other => {
                let got = other.map_or_else(|| "nothing".to_owned(), Value::to_string);
                self.problems
                    .push(format!("`target_modules`: got {got}, expected a list of {}", known()));
                return Target::ALL.to_vec();
            }
        };
        let mut targets = Vec::new();
        for entry in list {
            let name = entry.as_str().unwrap_or_default();
            match Target::ALL.into_iter().find(|t| t.module() == name || t.place() == name) {
                Some(target) => targets.push(target),
                None => self.problems.push(format!(
                    "`target_modules`: got {entry}, expected names among {}",
                    known()
                )),
            }
        }
        targets.sort_unstable();
        targets
    }
}

/// The file for an adapter that this program wrote.
pub(super) fn write(settings: &LoraSettings, base: Option<&str>) -> Vec<u8> {
    let modules = Target::ALL.into_iter().filter(|target| settings.targets.contains(target));
    // PEFT expects a whole number here, and other readers insist on it.
    let alpha = match settings.alpha {
        whole if whole.fract() == 0.0 => json!(whole as u64),
        part => json!(part),
    };
    pretty(&json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": null,
        "inference_mode": true,
        "r": settings.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": modules.map(Target::module).collect::<Vec<_>>(),
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
        "layers_to_transform": null,
        "layers_pattern": null,
        "rank_pattern": {},
        "alpha_pattern": {},
    }))
}
