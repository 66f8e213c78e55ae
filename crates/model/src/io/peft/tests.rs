//! Adapters return bit for bit, and every misfit has a name.

use serde_json::{Value, json};

use super::*;
use crate::{
    adapter::{LoraSettings, Target},
    config::Family,
    testing::{noise, tiny},
};

fn adapter() -> Adapter {
    let targets = vec![Target::Value, Target::Query];
    let settings = LoraSettings { rank: 3, alpha: 6.0, targets };
    let mut adapter = Adapter::new(&tiny(Family::Llama), settings, 4);
    let names: Vec<(String, usize)> = adapter
        .parameters()
        .iter()
        .map(|view| (view.name().to_owned(), view.shape().iter().product()))
        .collect();
    for (stream, (name, count)) in names.into_iter().enumerate() {
        let values: Vec<f32> = (0..count).map(|i| noise(stream as u64, i)).collect();
        adapter.set_parameter(&name, &values).unwrap();
    }
    adapter
}

fn files() -> Vec<(String, Vec<u8>)> {
    adapter_bytes(&adapter(), Some("models/base")).unwrap()
}

/// The message when `change` was made to the config.
fn refused(change: impl Fn(&mut Value)) -> String {
    let mut files = files();
    let mut config: Value = serde_json::from_slice(&files[0].1).unwrap();
    change(&mut config);
    files[0].1 = config.to_string().into_bytes();
    adapter_from_bytes(&files, &tiny(Family::Llama)).unwrap_err().to_string()
}

#[test]
fn an_adapter_returns_bit_for_bit() {
    let read = adapter_from_bytes(&files(), &tiny(Family::Llama)).unwrap();
    assert_eq!(read.base.as_deref(), Some("models/base"));
    assert_eq!(read.notes, Vec::<String>::new());
    let targets = vec![Target::Query, Target::Value];
    assert_eq!(*read.adapter.settings(), LoraSettings { rank: 3, alpha: 6.0, targets });
    for (read, written) in read.adapter.parameters().iter().zip(adapter().parameters()) {
        assert_eq!(read.to_row_major(), written.to_row_major(), "{}", read.name());
    }
    assert_eq!(adapter_bytes(&read.adapter, Some("models/base")).unwrap(), files());
}

#[test]
fn what_is_not_plain_lora_is_refused_by_name() {
    for (name, value) in [
        ("peft_type", json!("IA3")),
        ("task_type", json!("SEQ_CLS")),
        ("bias", json!("all")),
        ("use_rslora", json!(true)),
        ("use_dora", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("rank_pattern", json!({ "q_proj": 8 })),
        ("layers_to_transform", json!([0])),
        ("init_lora_weights", json!("pissa")),
        ("lora_dropout", json!("some")),
        ("target_modules", json!(["q_proj", "conv1"])),
        ("target_modules", json!(".*q_proj")),
        ("r", json!(-3)),
        ("r", json!(null)),
        ("lora_alpha", json!("six")),
    ] {
        let message = refused(|config| config[name] = value.clone());
        assert!(message.contains(&format!("`{name}`")), "{name}: {message}");
        assert!(message.contains("adapter_config.json"), "{name}: {message}");
    }
    assert!(refused(|config| config["r"] = json!(1000)).contains("`rank` must lie in"));
    assert!(refused(|config| config["lora_alpha"] = json!(0)).contains("`alpha` must lie in"));
    assert!(refused(|config| config["target_modules"] = json!([])).contains("`targets` is empty"));
}

#[test]
fn what_only_concerns_training_is_noted() {
    let mut files = files();
    let mut config: Value = serde_json::from_slice(&files[0].1).unwrap();
    config["lora_dropout"] = json!(0.05);
    config["a_new_field"] = json!(1);
    files[0].1 = config.to_string().into_bytes();
    let notes = adapter_from_bytes(&files, &tiny(Family::Llama)).unwrap().notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("`a_new_field`") && notes[1].contains("`lora_dropout` 0.05"));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let rank = refused(|config| config["r"] = json!(4));
    assert!(rank.contains("q_proj.lora_A.weight` has shape [3, 40], expected [4, 40]"), "{rank}");
    let more = refused(|config| config["target_modules"] = json!(["q_proj", "v_proj", "up_proj"]));
    assert!(more.contains("layers.1.mlp.up_proj.lora_B.weight` is missing"), "{more}");
    let fewer = refused(|config| config["target_modules"] = json!(["q_proj"]));
    assert!(fewer.contains("v_proj.lora_A.weight` is unexpected"), "{fewer}");
    let wider = Config { hidden: 48, ..tiny(Family::Llama) };
    let wider = adapter_from_bytes(&files(), &wider).unwrap_err().to_string();
    assert!(wider.contains("has shape [3, 40], expected [3, 48]"), "{wider}");
}

#[test]
fn damaged_and_missing_files_are_named() {
    let config = tiny(Family::Llama);
    let refused = |files: &[(String, Vec<u8>)]| adapter_from_bytes(files, &config).unwrap_err();
    let whole = files();
    assert!(refused(&whole[..1]).to_string().contains("`adapter_model.safetensors` is missing"));
    assert!(refused(&whole[1..]).to_string().contains("`adapter_config.json` is missing"));
    let pickle = [whole[0].clone(), ("adapter_model.bin".to_owned(), vec![1])];
    assert!(refused(&pickle).to_string().contains("pickle"));
    let mut broken = whole.clone();
    let end = broken[1].1.len();
    broken[1].1[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused(&broken).to_string().contains("1 non-finite values"), "{}", refused(&broken));
    broken[1].1.truncate(end - 1);
    assert!(refused(&broken).to_string().contains("truncated"));
}
