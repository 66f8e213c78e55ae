//! `config.json`: read with every problem in one list, written so that transformers, vLLM and
//! llama.cpp's converter read it.

use serde_json::{Map, Value, json};

use super::error::IoError;
use crate::config::{Config, Family, RopeScaling};

/// What `config.json` says, in our words.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// Ids that end a text; empty if the file names none.
    pub(crate) end_of_text: Vec<u32>,
    /// What was ignored, and why.
    pub(crate) notes: Vec<String>,
}

const FILE: &str = "config.json";

/// Names of the families: architecture, `model_type`, ours.
const FAMILIES: [(&str, &str, Family); 3] = [
    ("LlamaForCausalLM", "llama", Family::Llama),
    ("Qwen2ForCausalLM", "qwen2", Family::Qwen2),
    ("Qwen3ForCausalLM", "qwen3", Family::Qwen3),
];

pub(crate) fn parse(bytes: &[u8]) -> Result<Settings, IoError> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|wrong| IoError::damaged(FILE, format!("not valid JSON: {wrong}")))?;
    let Value::Object(map) = value else {
        return Err(IoError::damaged(FILE, "expected a JSON object".to_owned()));
    };
    let mut fields = Fields { map: &map, problems: Vec::new() };
    let family = fields.family();
    let config = fields.config(family);
    fields.fixed(family);
    let end_of_text = ids(map.get("eos_token_id"));
    let mut problems = fields.problems;
    if problems.is_empty()
        && let Err(wrong) = config.validate()
    {
        problems = wrong;
    }
    if !problems.is_empty() {
        return Err(IoError::problems(FILE, problems));
    }
    Ok(Settings { config, end_of_text, notes: notes(&map) })
}

/// An id or a list of ids, as `eos_token_id` of config.json and generation_config.json.
pub(crate) fn ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}

fn notes(map: &Map<String, Value>) -> Vec<String> {
    ["auto_map", "trust_remote_code"]
        .into_iter()
        .filter(|name| map.contains_key(*name))
        .map(|name| format!("{FILE}: ignored `{name}`: this program runs no model code"))
        .collect()
}

struct Fields<'a> {
    map: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl Fields<'_> {
    fn family(&mut self) -> Family {
        let architecture = self.map.get("architectures").and_then(|list| list.get(0));
        let kind = self.map.get("model_type");
        let named = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let (architecture, kind) = (named(architecture), named(kind));
        let found = FAMILIES.iter().find(|(name, model_type, _)| match &architecture {
            Some(architecture) => architecture == name,
            None => kind.as_deref() == Some(model_type),
        });
        if let Some((_, _, family)) = found {
            return *family;
        }
        let got = architecture.or(kind).unwrap_or_else(|| "nothing".to_owned());
        let known = FAMILIES.map(|(name, _, _)| name).join(", ");
        self.problems
            .push(format!("`architectures`: got {}, expected one of {known}", got.escape_debug()));
        Family::Llama
    }

    fn config(&mut self, family: Family) -> Config {
        let hidden = self.size("hidden_size", None);
        let heads = self.size("num_attention_heads", None);
        let kv_default = (family == Family::Llama).then_some(heads);
        let head_default = match family {
            // transformers' own default for Qwen3 when the field is absent.
            Family::Qwen3 => Some(128),
            _ => Some(self.head_width(hidden, heads)),
        };
        Config {
            family,
            vocabulary: self.size("vocab_size", None),
            hidden,
            layers: self.size("num_hidden_layers", None),
            heads,
            kv_heads: self.size("num_key_value_heads", kv_default),
            head_dim: self.size("head_dim", head_default),
            ffn: self.size("intermediate_size", None),
            rope_base: self.rope_number("rope_theta").unwrap_or(10_000.0),
            rope_scaling: self.scaling(),
            norm_epsilon: self.number(self.map.get("rms_norm_eps"), "rms_norm_eps").unwrap_or(1e-6),
            tied: self.flag("tie_word_embeddings"),
            context: self.size("max_position_embeddings", None),
        }
    }

    /// The width of a head where the file leaves it to be derived.
    fn head_width(&mut self, hidden: usize, heads: usize) -> usize {
        let stated = self.map.get("head_dim").is_some_and(|value| !value.is_null());
        if stated || heads == 0 || hidden.is_multiple_of(heads) {
            // No heads at all are told by the shape's own rules.
            return hidden / heads.max(1);
        }
        self.problems.push(format!(
            "`num_attention_heads`: got {heads}, expected a divisor of `hidden_size` ({hidden}) \
             where there is no `head_dim`"
        ));
        2
    }

    /// A whole number; `null` counts as absent, as in transformers.
    fn size(&mut self, name: &str, default: Option<usize>) -> usize {
        let found = self.map.get(name).filter(|value| !value.is_null());
        match (found, default) {
            (None, Some(default)) => default,
            (None, None) => {
                self.problems.push(format!("`{name}` is missing: expected a whole number"));
                1
            }
            (Some(value), _) => {
                let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
                size.unwrap_or_else(|| {
                    self.problems.push(format!("`{name}`: got {value}, expected a whole number"));
                    1
                })
            }
        }
    }

    fn number(&mut self, value: Option<&Value>, name: &str) -> Option<f64> {
        let value = value.filter(|value| !value.is_null())?;
        let number = value.as_f64();
        if number.is_none() {
            self.problems.push(format!("`{name}`: got {value}, expected a number"));
        }
        number
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.map.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => *flag,
            Some(value) => {
                self.problems.push(format!("`{name}`: got {value}, expected true or false"));
                false
            }
        }
    }

    /// transformers 5 gathers rotary fields in `rope_parameters`; before, `rope_theta` stood
    /// at the top and the rest in `rope_scaling`.
    fn rope(&self, name: &str) -> Option<&Value> {
        let inside = |group: &str| self.map.get(group).and_then(|group| group.get(name));
        inside("rope_parameters").or_else(|| inside("rope_scaling"))
    }

    fn rope_number(&mut self, name: &str) -> Option<f64> {
        let value = self.rope(name).or_else(|| self.map.get(name)).cloned();
        self.number(value.as_ref(), name)
    }

    fn scaling(&mut self) -> RopeScaling {
        let kind = self.rope("rope_type").or_else(|| self.rope("type")).cloned();
        let mut field = |name: &str| {
            self.rope_number(name).unwrap_or_else(|| {
                self.problems.push(format!("`rope_scaling.{name}` is missing: expected a number"));
                2.0
            })
        };
        match kind.as_ref().and_then(Value::as_str) {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: field("factor") },
            Some("llama3") => RopeScaling::Llama3 {
                factor: field("factor"),
                low_frequency_factor: field("low_freq_factor"),
                high_frequency_factor: field("high_freq_factor"),
                original_context: field("original_max_position_embeddings") as usize,
            },
            Some(other) => {
                self.problems.push(format!(
                    "`rope_scaling.rope_type`: got {}, expected default, linear or llama3",
                    other.escape_debug()
                ));
                RopeScaling::None
            }
        }
    }

    /// Fields that would change the arithmetic, with the only value this program computes.
    fn fixed(&mut self, family: Family) {
        let mut fixed = vec![
            ("hidden_act", json!("silu")),
            ("mlp_bias", json!(false)),
            ("use_sliding_window", json!(false)),
            ("partial_rotary_factor", json!(1.0)),
            ("quantization_config", Value::Null),
        ];
        // Qwen2 has its biases whatever the field says; the others must not have any.
        if family != Family::Qwen2 {
            fixed.push(("attention_bias", json!(false)));
        }
        for (name, expected) in fixed {
            let Some(got) = self.map.get(name).filter(|value| !value.is_null()) else { continue };
            // 1 and 1.0 are one number.
            let equal_numbers = got.is_number() && got.as_f64() == expected.as_f64();
            if *got != expected && !equal_numbers {
                self.problems.push(format!("`{name}`: got {got}, expected {expected}"));
            }
        }
    }
}

/// The file for a model that this program wrote.
pub(crate) fn write(config: &Config, end_of_text: &[u32]) -> Vec<u8> {
    let (architecture, kind) = FAMILIES
        .iter()
        .find(|(_, _, family)| *family == config.family)
        .map_or(("", ""), |(architecture, kind, _)| (*architecture, *kind));
    let ends = match end_of_text {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    };
    let document = json!({
        "architectures": [architecture],
        "model_type": kind,
        "torch_dtype": "float32",
        "vocab_size": config.vocabulary,
        "hidden_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_base,
        "rope_scaling": scaling_json(&config.rope_scaling),
        "tie_word_embeddings": config.tied,
        "attention_bias": config.family == Family::Qwen2,
        "attention_dropout": 0.0,
        "max_position_embeddings": config.context,
        "bos_token_id": null,
        "eos_token_id": ends,
        "use_cache": true,
    });
    pretty(&document)
}

/// JSON as people read it, with a newline at the end.
pub(crate) fn pretty(document: &Value) -> Vec<u8> {
    format!("{document:#}\n").into_bytes()
}

fn scaling_json(scaling: &RopeScaling) -> Value {
    match *scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor,
            high_frequency_factor,
            original_context,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_frequency_factor,
            "high_freq_factor": high_frequency_factor,
            "original_max_position_embeddings": original_context,
        }),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
