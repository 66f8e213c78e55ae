//! Writes GGUF files, right ones and wrong ones.

use std::path::PathBuf;

use serde_json::Value;
use stepwell_model::{Family, RopeScaling, io};

/// A metadata value as the file types it.
#[derive(Clone)]
pub(crate) enum Item {
    U32(u32),
    F32(f32),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
    /// A type number and whatever follows it.
    Raw(u32, Vec<u8>),
}

/// A tensor; sides from the innermost out.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) sides: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
    /// Said in place of where the data lies.
    pub(crate) offset: Option<u64>,
}

#[derive(Clone)]
pub(crate) struct File {
    pub(crate) version: u32,
    pub(crate) alignment: usize,
    pub(crate) items: Vec<(String, Item)>,
    pub(crate) tensors: Vec<Tensor>,
    /// Said in place of the true numbers of tensors and items.
    pub(crate) counts: (Option<u64>, Option<u64>),
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_array(out: &mut Vec<u8>, kind: u32, count: usize) {
    out.extend(9_u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((count as u64).to_le_bytes());
}

impl Item {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::U32(value) => {
                out.extend(4_u32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Self::F32(value) => {
                out.extend(6_u32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Self::Text(text) => {
                out.extend(8_u32.to_le_bytes());
                put_text(out, text);
            }
            Self::Texts(list) => {
                put_array(out, 8, list.len());
                list.iter().for_each(|text| put_text(out, text));
            }
            Self::Ints(list) => {
                put_array(out, 5, list.len());
                out.extend(list.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::Floats(list) => {
                put_array(out, 6, list.len());
                out.extend(list.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::Raw(kind, bytes) => {
                out.extend(kind.to_le_bytes());
                out.extend(bytes);
            }
        }
    }
}

impl File {
    pub(crate) fn set(&mut self, key: &str, item: Item) {
        self.remove(key);
        self.items.push((key.to_owned(), item));
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.items.retain(|(other, _)| other != key);
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    /// Bytes before the list of tensors.
    pub(crate) fn metadata_end(&self) -> usize {
        let alone = Self { tensors: Vec::new(), ..self.clone() };
        alone.head().len()
    }

    fn head(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.counts.0.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.counts.1.unwrap_or(self.items.len() as u64).to_le_bytes());
        for (key, item) in &self.items {
            put_text(&mut out, key);
            item.put(&mut out);
        }
        out
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.head();
        let mut data = Vec::new();
        for tensor in &self.tensors {
            data.resize(data.len().next_multiple_of(self.alignment), 0);
            put_text(&mut out, &tensor.name);
            out.extend((tensor.sides.len() as u32).to_le_bytes());
            out.extend(tensor.sides.iter().flat_map(|side| side.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.bytes);
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(data);
        out
    }
}

pub(crate) fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A folder of the fixtures as a converter would write it.
pub(crate) fn of_folder(name: &str) -> File {
    of(&io::load_folder(&folder(name)).unwrap())
}

/// A model as a converter would write it.
pub(crate) fn of(loaded: &io::Loaded) -> File {
    let mut file = File {
        version: 3,
        alignment: 32,
        items: Vec::new(),
        tensors: Vec::new(),
        counts: (None, None),
    };
    shape(&mut file, loaded);
    vocabulary(&mut file, loaded);
    weights(&mut file, loaded);
    file
}

fn shape(file: &mut File, loaded: &io::Loaded) {
    let config = loaded.model.config();
    let prefix = match config.family {
        Family::Llama => "llama",
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
    };
    file.set("general.architecture", Item::Text(prefix.to_owned()));
    file.set("general.languages", Item::Texts(vec!["en".to_owned()]));
    let sizes = [
        ("block_count", config.layers),
        ("context_length", config.context),
        ("embedding_length", config.hidden),
        ("feed_forward_length", config.ffn),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocabulary),
    ];
    for (key, size) in sizes {
        file.set(&format!("{prefix}.{key}"), Item::U32(size as u32));
    }
    let epsilon = Item::F32(config.norm_epsilon as f32);
    file.set(&format!("{prefix}.attention.layer_norm_rms_epsilon"), epsilon);
    file.set(&format!("{prefix}.rope.freq_base"), Item::F32(config.rope_base as f32));
    if let RopeScaling::Linear { factor } = config.rope_scaling {
        file.set(&format!("{prefix}.rope.scaling.type"), Item::Text("linear".to_owned()));
        file.set(&format!("{prefix}.rope.scaling.factor"), Item::F32(factor as f32));
    }
}

fn vocabulary(file: &mut File, loaded: &io::Loaded) {
    let document: Value = serde_json::from_slice(loaded.tokenizer.to_json()).unwrap();
    let mut tokens = vec![String::new(); loaded.tokenizer.vocabulary()];
    for (token, id) in document["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let mut types = vec![1; tokens.len()];
    for added in document["added_tokens"].as_array().unwrap() {
        types[added["id"].as_u64().unwrap() as usize] = 3;
    }
    let merges = document["model"]["merges"].as_array().unwrap();
    let merges = merges
        .iter()
        .map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
    file.set("tokenizer.ggml.model", Item::Text("gpt2".to_owned()));
    file.set("tokenizer.ggml.pre", Item::Text("gpt-2".to_owned()));
    file.set("tokenizer.ggml.tokens", Item::Texts(tokens));
    file.set("tokenizer.ggml.token_type", Item::Ints(types));
    file.set("tokenizer.ggml.merges", Item::Texts(merges.collect()));
    file.set("tokenizer.ggml.eos_token_id", Item::U32(loaded.tokenizer.end_of_text()[0]));
    let template = loaded.template.as_ref().unwrap().source();
    file.set("tokenizer.chat_template", Item::Text(template.to_owned()));
}

fn weights(file: &mut File, loaded: &io::Loaded) {
    let config = loaded.model.config();
    for parameter in loaded.model.parameters() {
        let name = parameter.name();
        let shape = parameter.shape();
        let mut values = parameter.to_row_major();
        let turned = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
        if config.family == Family::Llama && turned {
            values = interleaved(&values, shape[1], config.head_dim);
        }
        file.tensors.push(Tensor {
            name: stored(name),
            sides: shape.iter().rev().map(|side| *side as u64).collect(),
            kind: 0,
            bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            offset: None,
        });
    }
}

/// As llama.cpp's converter turns `[head, 2, pair, column]` into `[head, pair, 2, column]`.
fn interleaved(values: &[f32], columns: usize, head_dim: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let mut out = Vec::new();
    for head in values.chunks_exact(head_dim * columns) {
        let row = |index: usize| &head[index * columns..(index + 1) * columns];
        for pair in 0..half {
            out.extend(row(pair));
            out.extend(row(half + pair));
        }
    }
    out
}

fn stored(name: &str) -> String {
    let changes = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    changes.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// The divisors that a converter writes for Llama 3's rule, by its own formula.
pub(crate) fn llama3_factors(base: f64, head_dim: usize, factor: f64, context: f64) -> Vec<f32> {
    let (low, high) = (1.0, 4.0);
    let divisor = |pair: usize| {
        let frequency = 1.0 / base.powf(2.0 * pair as f64 / head_dim as f64);
        let wavelength = std::f64::consts::TAU / frequency;
        if wavelength < context / high {
            1.0
        } else if wavelength > context / low {
            factor as f32
        } else {
            let smooth = (context / wavelength - low) / (high - low);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        }
    };
    (0..head_dim / 2).map(divisor).collect()
}

pub(crate) fn factors_tensor(factors: &[f32]) -> Tensor {
    Tensor {
        name: "rope_freqs.weight".to_owned(),
        sides: vec![factors.len() as u64],
        kind: 0,
        bytes: factors.iter().flat_map(|value| value.to_le_bytes()).collect(),
        offset: None,
    }
}
