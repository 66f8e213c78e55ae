//! The shape of the model: metadata of the three architectures in our words, every problem in one
//! list.

use super::{header::Header, rope, value::Value};
use crate::{
    config::{Config, Family, RopeScaling},
    io::error::IoError,
};

/// Architectures that are read.
const FAMILIES: [(&str, Family); 3] =
    [("llama", Family::Llama), ("qwen2", Family::Qwen2), ("qwen3", Family::Qwen3)];

/// Keys that say nothing about the arithmetic of a forward pass.
const HARMLESS: [&str; 3] =
    ["rope.scaling.finetuned", "rope.scaling.original_context_length", "tensor_data_layout"];

/// What `factors` are: the tensor by which Llama 3 files spell their rotary frequencies.
pub(super) fn read(
    file: &str,
    header: &Header,
    factors: Option<&[f32]>,
    notes: &mut Vec<String>,
) -> Result<Config, IoError> {
    let architecture = match header.metadata.get("general.architecture") {
        Some(Value::Text(name)) => name.as_str(),
        _ => "nothing",
    };
    let Some((prefix, family)) = FAMILIES.iter().find(|(name, _)| *name == architecture) else {
        let known = FAMILIES.map(|(name, _)| name).join(", ");
        let got: String = architecture.chars().take(80).collect();
        let got = got.escape_debug();
        let problem = format!("`general.architecture`: got {got}, expected one of {known}");
        return Err(IoError::problems(file, vec![problem]));
    };
    let mut fields = Fields { header, prefix, used: Vec::new(), problems: Vec::new() };
    let config = fields.config(*family, factors);
    fields.fixed(&config);
    let (mut problems, used) = (fields.problems, fields.used);
    if problems.is_empty()
        && let Err(wrong) = config.validate()
    {
        problems = wrong;
    }
    if !problems.is_empty() {
        return Err(IoError::problems(file, problems));
    }
    let own = format!("{prefix}.");
    let unused = header.metadata.keys().filter_map(|key| key.strip_prefix(&own));
    let unused = unused.filter(|key| !used.iter().any(|u| u == key) && !HARMLESS.contains(key));
    notes.extend(unused.map(|key| format!("{file}: ignored `{prefix}.{}`", key.escape_debug())));
    Ok(config)
}

struct Fields<'a> {
    header: &'a Header,
    prefix: &'a str,
    used: Vec<String>,
    problems: Vec<String>,
}

impl Fields<'_> {
    fn config(&mut self, family: Family, factors: Option<&[f32]>) -> Config {
        let hidden = self.size("embedding_length", None);
        let heads = self.size("attention.head_count", None);
        let whole = heads > 0 && hidden.is_multiple_of(heads.max(1));
        let head_dim = self.size("attention.key_length", whole.then(|| hidden / heads.max(1)));
        let rope_base = self.number("rope.freq_base").unwrap_or(10_000.0);
        let context = self.size("context_length", None);
        let norm_epsilon = self.number("attention.layer_norm_rms_epsilon").unwrap_or_else(|| {
            let key = self.key("attention.layer_norm_rms_epsilon");
            self.problems.push(format!("`{key}` is missing: expected a number"));
            1e-5
        });
        let mut config = Config {
            family,
            vocabulary: self.vocabulary(),
            hidden,
            layers: self.size("block_count", None),
            heads,
            kv_heads: self.size("attention.head_count_kv", Some(heads)),
            head_dim,
            ffn: self.size("feed_forward_length", None),
            rope_base,
            rope_scaling: self.scaling(),
            norm_epsilon,
            tied: self.header.tensor("output.weight").is_none(),
            context,
        };
        if let Some(factors) = factors {
            self.factors(&mut config, factors);
        }
        config
    }

    /// Rows of the embedding; the list of tokens where there is none, so that its absence is told
    /// among the tensors.
    fn vocabulary(&mut self) -> usize {
        let rows = self.header.tensor("token_embd.weight").and_then(|entry| entry.shape.first());
        let tokens = match self.header.metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Texts(tokens)) => Some(tokens.len()),
            _ => None,
        };
        let rows = rows.and_then(|rows| usize::try_from(*rows).ok());
        let rows = rows.or(tokens).unwrap_or(1);
        let stated = self.size("vocab_size", Some(rows));
        if stated != rows {
            let key = self.key("vocab_size");
            self.problems.push(format!("`{key}`: got {stated}, expected the embedding's {rows}"));
        }
        rows
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn find(&mut self, name: &str) -> Option<&Value> {
        self.used.push(name.to_owned());
        self.header.metadata.get(&self.key(name))
    }

    fn size(&mut self, name: &str, default: Option<usize>) -> usize {
        let problem = match (self.find(name), default) {
            (Some(Value::Whole(size)), _) => match usize::try_from(*size) {
                Ok(size) => return size,
                Err(_) => format!("got {size}, expected a whole number"),
            },
            (Some(other), _) => format!("got {}, expected a whole number", other.shown()),
            (None, Some(default)) => return default,
            (None, None) => "it is missing: expected a whole number".to_owned(),
        };
        self.problems.push(format!("`{}`: {problem}", self.key(name)));
        1
    }

    fn number(&mut self, name: &str) -> Option<f64> {
        let problem = match self.find(name)? {
            Value::Number(number) => return Some(*number),
            Value::Whole(number) => return Some(*number as f64),
            other => format!("got {}, expected a number", other.shown()),
        };
        self.problems.push(format!("`{}`: {problem}", self.key(name)));
        None
    }

    fn scaling(&mut self) -> RopeScaling {
        let kind = match self.find("rope.scaling.type") {
            None => "none".to_owned(),
            Some(Value::Text(kind)) => kind.clone(),
            Some(other) => other.shown(),
        };
        // Before `rope.scaling.*`, linear scaling was one number.
        let old = self.number("rope.scale_linear");
        let factor = self.number("rope.scaling.factor").or(old);
        match (kind.as_str(), factor) {
            ("linear", Some(factor)) => RopeScaling::Linear { factor },
            ("linear", None) => {
                let key = self.key("rope.scaling.factor");
                self.problems.push(format!("`{key}` is missing: expected a number"));
                RopeScaling::None
            }
            ("none", _) => match old {
                Some(factor) if factor != 1.0 => RopeScaling::Linear { factor },
                _ => RopeScaling::None,
            },
            (other, _) => {
                let (key, other) = (self.key("rope.scaling.type"), other.escape_debug());
                self.problems.push(format!("`{key}`: got {other}, expected none or linear"));
                RopeScaling::None
            }
        }
    }

    fn factors(&mut self, config: &mut Config, factors: &[f32]) {
        let stated = match self.find("rope.scaling.original_context_length") {
            Some(Value::Whole(size)) => usize::try_from(*size).ok(),
            _ => None,
        };
        if config.rope_scaling != RopeScaling::None {
            let problem = "`rope_freqs.weight`: got it beside `rope.scaling`, expected one of them";
            self.problems.push(problem.to_owned());
            return;
        }
        match rope::recognise(factors, config, stated) {
            Some(scaling) => config.rope_scaling = scaling,
            None => self.problems.push(
                "`rope_freqs.weight`: its factors are not those of Llama 3's rule (factor, 1, 4, \
                 a power of two as original context); convert the model to safetensors instead"
                    .to_owned(),
            ),
        }
    }

    /// Keys that would change the arithmetic, with the only value this program computes.
    fn fixed(&mut self, config: &Config) {
        let head = config.head_dim as i128;
        let whole = [
            ("attention.value_length", head),
            ("rope.dimension_count", head),
            ("expert_count", 0),
            ("expert_used_count", 0),
            ("attention.clamp_kqv", 0),
        ];
        for (name, expected) in whole {
            self.expect(name, &Value::Whole(expected));
        }
        for name in ["attention.scale", "logit_scale", "embedding_scale", "residual_scale"] {
            if let Some(got) = self.find(name).map(Value::shown) {
                let key = self.key(name);
                self.problems.push(format!("`{key}`: got {got}, expected no such key"));
            }
        }
        self.expect("attention.causal", &Value::Flag(true));
        self.expect("use_parallel_residual", &Value::Flag(false));
        let window = self.size("attention.sliding_window", Some(0));
        if window != 0 && window < config.context {
            let key = self.key("attention.sliding_window");
            let context = config.context;
            self.problems.push(format!("`{key}`: got {window}, expected none below {context}"));
        }
    }

    fn expect(&mut self, name: &str, expected: &Value) {
        let Some(got) = self.find(name) else { return };
        if got != expected {
            let (key, got, expected) = (self.key(name), self.shown(name), expected.shown());
            self.problems.push(format!("`{key}`: got {got}, expected {expected}"));
        }
    }

    fn shown(&self, name: &str) -> String {
        self.header.metadata.get(&self.key(name)).map_or_else(String::new, Value::shown)
    }
}
