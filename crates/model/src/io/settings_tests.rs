use super::*;
use crate::testing::tiny;

/// A good file with `changes` laid over it; `null` removes.
fn changed(changes: &Value) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(&write(&tiny(Family::Llama), &[2])).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        document[name] = value.clone();
    }
    document.to_string().into_bytes()
}

#[test]
fn what_is_written_is_read() {
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 64,
    };
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        for rope_scaling in [RopeScaling::None, RopeScaling::Linear { factor: 2.0 }, llama3] {
            let config = Config { rope_scaling, tied: family == Family::Llama, ..tiny(family) };
            let read = parse(&write(&config, &[2, 3])).unwrap();
            assert_eq!(read.config, config);
            assert_eq!(read.end_of_text, [2, 3]);
        }
    }
}

#[test]
fn every_bad_field_is_named_in_one_list() {
    let cases = [
        (json!({ "num_attention_heads": 0 }), "`heads` must lie in 1..=1024: 0"),
        (json!({ "vocab_size": 1_000_000_000_000_u64 }), "`vocabulary` must lie in"),
        (
            json!({ "num_hidden_layers": -1 }),
            "`num_hidden_layers`: got -1, expected a whole number",
        ),
        (json!({ "rope_theta": 0.0 }), "`rope_base` must be finite and above 1: 0"),
        (json!({ "rope_theta": "NaN" }), "`rope_theta`: got \"NaN\", expected a number"),
        (json!({ "num_key_value_heads": 3 }), "`heads` must be a multiple of `kv_heads` (3): 4"),
        (json!({ "hidden_size": null }), "`hidden_size` is missing: expected a whole number"),
        (json!({ "hidden_act": "gelu" }), "`hidden_act`: got \"gelu\", expected \"silu\""),
        (json!({ "attention_bias": true }), "`attention_bias`: got true, expected false"),
        (
            json!({ "architectures": ["MambaForCausalLM"] }),
            "`architectures`: got MambaForCausalLM, expected one of LlamaForCausalLM, \
             Qwen2ForCausalLM, Qwen3ForCausalLM",
        ),
        (
            json!({ "rope_scaling": { "rope_type": "yarn", "factor": 2.0 } }),
            "`rope_scaling.rope_type`: got yarn, expected default, linear or llama3",
        ),
        (
            json!({ "rope_scaling": { "type": "linear" } }),
            "`rope_scaling.factor` is missing: expected a number",
        ),
    ];
    for (changes, expected) in cases {
        let message = parse(&changed(&changes)).unwrap_err().to_string();
        assert!(message.contains(expected), "{changes}: {message}");
    }
    let two = parse(&changed(&json!({ "hidden_act": "gelu", "vocab_size": "x" }))).unwrap_err();
    assert_eq!(
        two.to_string(),
        "`config.json` has 2 problems:\n  `vocab_size`: got \"x\", expected a whole number\n  \
         `hidden_act`: got \"gelu\", expected \"silu\""
    );
}

#[test]
fn model_code_is_ignored_and_said_so() {
    let read = parse(&changed(&json!({ "auto_map": { "AutoModel": "x.py" } }))).unwrap();
    assert_eq!(read.notes, ["config.json: ignored `auto_map`: this program runs no model code"]);
}
