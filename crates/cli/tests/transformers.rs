//! What is exported means the same elsewhere: transformers finds the log-probabilities that the
//! record holds.

mod support;

use std::path::Path;
use std::process::Command;

use support::{TINY, run, skipped};

#[test]
fn transformers_computes_the_log_probabilities_of_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if skipped(here, "transformers", "transformers_computes_the_log_probabilities_of_the_record") {
        return;
    }
    // The trees were written by the very weights that are exported.
    let frozen = TINY.replace("tasks = 3\n", "tasks = 3\nlearning_rate = 0.0\n");
    for family in ["llama", "qwen2", "qwen3"] {
        let recipe = frozen.replace("hidden = 16", &format!("family = \"{family}\"\nhidden = 16"));
        std::fs::write(here.join("recipe.toml"), recipe).unwrap();
        let (trees, model) = (format!("{family}.jsonl"), format!("{family}-model"));
        run(here, &["train", "recipe.toml", "--run", family]).fine();
        run(here, &["export", family, "--format", "huggingface", &model]).fine();
        run(here, &["export", family, "--format", "jsonl", &trees]).fine();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_record.py");
        let python = Command::new("python3")
            .arg(script)
            .args([&model, &trees])
            .current_dir(here)
            .output()
            .unwrap();
        let (out, err) = (&python.stdout, &python.stderr);
        let said = String::from_utf8_lossy(out) + String::from_utf8_lossy(err);
        assert!(python.status.success(), "{family}: {said}");
        println!("{family}: {said}");
    }
}
