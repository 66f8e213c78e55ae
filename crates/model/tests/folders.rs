//! Folders that transformers wrote, read and written again.

use std::path::PathBuf;

use stepwell_model::{Family, RopeScaling, io, template::Message};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn folders_of_transformers_are_read_and_written_bit_for_bit() {
    let linear = RopeScaling::Linear { factor: 2.0 };
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 64,
    };
    let cases = [
        ("llama_tied", Family::Llama, true, RopeScaling::None),
        ("llama_untied", Family::Llama, false, llama3),
        ("qwen2", Family::Qwen2, true, linear),
        ("qwen3", Family::Qwen3, true, RopeScaling::None),
    ];
    for (name, family, tied, scaling) in cases {
        let loaded = io::load_folder(&folder(name)).unwrap();
        let config = loaded.model.config();
        assert_eq!((config.family, config.tied, config.rope_scaling), (family, tied, scaling));
        assert_eq!(loaded.notes, Vec::<String>::new(), "{name}");
        assert_eq!(loaded.tokenizer.end_of_text(), [2]);
        let files =
            io::folder_bytes(&loaded.model, &loaded.tokenizer, loaded.template.as_ref()).unwrap();
        let again = io::from_bytes(&files).unwrap();
        assert_eq!(again.model.checksum(), loaded.model.checksum());
        assert_eq!(again.model.config(), config);
        assert_eq!(again.tokenizer.to_json(), loaded.tokenizer.to_json());
        assert_eq!(again.tokenizer.end_of_text(), [2]);
        assert_eq!(again.template, loaded.template);
        assert_eq!(again.notes, Vec::<String>::new());
    }
}

/// The file's own ids: what `AutoTokenizer(...)("the other cat")` gives.
#[test]
fn text_is_encoded_as_transformers_does() {
    let loaded = io::load_folder(&folder("llama_tied")).unwrap();
    let text = "the other cat, naïve\n";
    let expected: Vec<u32> = serde_json::from_str(include_str!("fixtures/encoded.json")).unwrap();
    assert_eq!(loaded.tokenizer.encode(text), expected);
    assert_eq!(loaded.tokenizer.decode(&expected), text);
    let message = Message { role: "user", content: text };
    let ids = loaded.template.unwrap().apply(&loaded.tokenizer, &[message], true).unwrap();
    assert_eq!(ids[0], 1, "<|im_start|>");
    assert_eq!(ids.iter().filter(|id| **id == 1).count(), 2);
}
