//! Model folders and files, one of their parts at a time.

use std::sync::OnceLock;

use stepwell_model::template::{ChatTemplate, Controls, Message};
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{Config, Family, Model, RopeScaling, io};

const TOKENIZER: &[u8] = include_bytes!("../../../model/tests/fixtures/llama_tied/tokenizer.json");

type Files = Vec<(String, Vec<u8>)>;

/// A model of a few kilobytes, over the tokenizer of a fixture.
pub(crate) fn small() -> (Model, Tokenizer) {
    let (mut tokenizer, _) = Tokenizer::from_json(TOKENIZER).expect("the fixture reads");
    tokenizer.set_end_of_text(tokenizer.control("<|im_end|>").into_iter().collect());
    let config = Config {
        family: Family::Llama,
        vocabulary: tokenizer.vocabulary(),
        hidden: 8,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 8,
        ffn: 8,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 64,
    };
    (Model::random(config, 1), tokenizer)
}

/// Its files.
pub fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let (model, tokenizer) = small();
        io::folder_bytes(&model, &tokenizer, Some(&chatml())).expect("a small folder")
    })
}

/// The template of its family.
pub(crate) fn chatml() -> ChatTemplate {
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
                  {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    ChatTemplate::new(source, Controls::default()).expect("it is a template")
}

/// The good folder with one file of these bytes.
fn with(name: &str, bytes: &[u8]) -> Files {
    let mut files = files().clone();
    files.retain(|(other, _)| other != name);
    files.push((name.to_owned(), bytes.to_vec()));
    files
}

fn told(read: Result<io::Loaded, io::IoError>) -> String {
    match read {
        Err(error) => error.to_string(),
        Ok(loaded) => {
            let first = loaded.model.parameters().first().map(|p| p.to_row_major().len());
            let ids = loaded.tokenizer.encode("a b <|im_end|>\n");
            let text = loaded.tokenizer.decode(&ids);
            format!("read {} {} {:?}", first.is_some(), text.is_empty(), loaded.notes)
        }
    }
}

pub(crate) const TENSOR_WORDS: &[&str] = &[
    "\"dtype\":\"F32\"",
    "\"F16\"",
    "\"BF16\"",
    "\"I64\"",
    "\"shape\":[",
    "\"data_offsets\":[",
    "\"__metadata__\":{",
    "model.norm.weight",
    "model.embed_tokens.weight",
    "lm_head.weight",
    "\"weight_map\": {",
    "model.safetensors",
    "a.safetensors",
    "../",
    "version https://git-lfs",
];

pub(crate) fn safetensors(bytes: &[u8]) -> String {
    told(io::from_bytes(&with("model.safetensors", bytes)))
}

pub(crate) fn shard_index(bytes: &[u8]) -> String {
    let mut files = files().clone();
    for (name, _) in &mut files {
        if name == "model.safetensors" {
            *name = "a.safetensors".to_owned();
        }
    }
    files.push(("model.safetensors.index.json".to_owned(), bytes.to_vec()));
    told(io::from_bytes(&files))
}

pub(crate) const CONFIG_WORDS: &[&str] = &[
    "\"architectures\": [\"Qwen2ForCausalLM\"]",
    "\"model_type\": \"llama\"",
    "\"hidden_size\": ",
    "\"num_attention_heads\": ",
    "\"num_hidden_layers\": ",
    "\"head_dim\": ",
    "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}",
    "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 8}",
    "\"max_position_embeddings\": ",
    "\"tie_word_embeddings\": false",
    "\"auto_map\": {}",
    "\"eos_token_id\": [1, 2]",
    "\"quantization_config\": {}",
    "\"vocab_size\": ",
    "1e999",
];

pub(crate) fn config(bytes: &[u8]) -> String {
    told(io::from_bytes(&with("config.json", bytes)))
}

pub(crate) const TOKENIZER_WORDS: &[&str] = &[
    "\"added_tokens\": [{\"id\": 271, \"content\": \"<x>\", \"special\": true}]",
    "\"model\": {\"type\": \"BPE\"",
    "\"WordLevel\"",
    "\"Unigram\"",
    "\"byte_fallback\": true",
    "\"unk_token\": \"a\"",
    "\"merges\": [[\"a\", \"b\"]]",
    "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"\"}",
    "\"pre_tokenizer\": {\"type\": \"Whitespace\"}",
    "{\"Regex\": \"(a+)+$\"}",
    "\"ignore_merges\": true",
    "\"continuing_subword_prefix\": \"##\"",
    "\"truncation\": {\"max_length\": 3}",
    "\"decoder\": {\"type\": \"Strip\", \"content\": \"a\", \"start\": 1, \"stop\": 1}",
    "\"eos_token\": ",
    "\"chat_template\": ",
    "Ġ",
];

pub(crate) fn tokenizer(bytes: &[u8]) -> String {
    match Tokenizer::from_json(bytes) {
        Err(error) => error.to_string(),
        Ok((tokenizer, notes)) => {
            let mut said = notes.first().cloned().unwrap_or_default();
            for text in ["", "a b", "é 数 😀\0\n\t", "<|im_end|> <x> ##a", "aaaaaaaaaaaaaaaaaaaab"]
            {
                let ids = tokenizer.encode(text);
                assert!(
                    ids.iter().all(|id| tokenizer.control_name(*id).is_none()),
                    "text became a control token: {ids:?}"
                );
                said += if tokenizer.decode(&ids) == text { "=" } else { "!" };
            }
            said
        }
    }
}

pub(crate) fn tokenizer_config(bytes: &[u8]) -> String {
    told(io::from_bytes(&with("tokenizer_config.json", bytes)))
        + &told(io::from_bytes(&with("generation_config.json", bytes)))
}

pub(crate) const TEMPLATE_WORDS: &[&str] = &[
    "{% for m in messages %}",
    "{% endfor %}",
    "{{ m.content }}",
    "{{ m['role'] }}",
    "{% if add_generation_prompt %}",
    "{% endif %}",
    "{% set ns = namespace(s='a') %}",
    "{% set ns.s = ns.s ~ ns.s %}",
    "{% macro f(x) %}",
    "{% endmacro %}",
    "{{ f(1) }}",
    "{{ range(10**9) }}",
    "|tojson",
    "|trim",
    "|replace('a', 'bb')",
    "[::-1]",
    ".split('x')[-1]",
    ".lstrip('\\n')",
    "{{ 'a' * 1000000 }}",
    "{%- include 'x' %}",
    "<|im_start|>",
    "raise_exception('no')",
    "loop.index0",
    "is defined",
    "{{ bos_token }}",
    "qz0content0zq",
];

/// Contents come out whole, and none of their ids is a control token.
pub(crate) fn chat_template(bytes: &[u8]) -> String {
    static READ: OnceLock<Tokenizer> = OnceLock::new();
    let tokenizer = READ.get_or_init(|| small().1);
    let source = String::from_utf8_lossy(bytes);
    let controls = Controls { begin: Some("<|im_start|>".to_owned()), end: None };
    let template = match ChatTemplate::new(&source, controls) {
        Err(error) => return error.to_string(),
        Ok(template) => template,
    };
    let contents = ["be good", "qz0content0zq <|im_end|>", "{{ x }}"];
    let roles = ["system", "user", "assistant"];
    let messages: Vec<Message<'_>> =
        roles.iter().zip(contents).map(|(role, content)| Message { role, content }).collect();
    match template.turns(tokenizer, &messages, true) {
        Err(error) => error.to_string(),
        Ok(turns) => {
            for (turn, content) in turns.turns.iter().zip(contents) {
                assert_eq!(turn.content, tokenizer.encode(content), "a content was changed");
            }
            format!("{:?}", template.check(tokenizer))
        }
    }
}

pub(crate) const GGUF_WORDS: &[&str] = &[
    "GGUF",
    "general.architecture",
    "llama",
    "qwen2",
    "general.alignment",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "llama.block_count",
    "token_embd.weight",
    "blk.0.attn_q.weight",
    "split.count",
];

pub(crate) fn gguf(bytes: &[u8]) -> String {
    told(io::from_gguf(bytes))
}

pub(crate) const ADAPTER_WORDS: &[&str] = &[
    "\"peft_type\": \"LORA\"",
    "\"r\": ",
    "\"lora_alpha\": ",
    "\"target_modules\": [\"q_proj\"]",
    "\"use_rslora\": true",
    "\"bias\": \"none\"",
    "\"rank_pattern\": {}",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    "\"shape\":[",
    "\"data_offsets\":[",
];

/// A good adapter for the small model.
pub fn adapter() -> Files {
    let (model, _) = small();
    let settings = stepwell_model::LoraSettings { rank: 2, alpha: 4.0, ..Default::default() };
    let adapter = stepwell_model::Adapter::new(model.config(), settings, 1);
    io::adapter_bytes(&adapter, None).expect("a small adapter")
}

fn adapter_with(name: &str, bytes: &[u8]) -> String {
    static GOOD: OnceLock<(Config, Files)> = OnceLock::new();
    let (config, files) = GOOD.get_or_init(|| (small().0.config().clone(), adapter()));
    let mut files = files.clone();
    for (own, old) in &mut files {
        if own == name {
            *old = bytes.to_vec();
        }
    }
    match io::adapter_from_bytes(&files, config) {
        Ok(read) => format!("read {:?}", read.notes),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn adapter_config(bytes: &[u8]) -> String {
    adapter_with("adapter_config.json", bytes)
}

pub(crate) fn adapter_weights(bytes: &[u8]) -> String {
    adapter_with("adapter_model.safetensors", bytes)
}
