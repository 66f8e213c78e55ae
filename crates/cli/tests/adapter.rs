//! An adapter from recipe to export, through the binary alone.

mod support;

use std::fs;

use stepwell_model::io;
use support::{TINY, contents, run, workplace};

/// The tiny recipe on a base from a folder, with an adapter.
fn recipe() -> String {
    let scratch = "[model.scratch]\nhidden = 16\nlayers = 1\nheads = 2\n";
    assert!(TINY.contains(scratch), "the tiny recipe has another model");
    let adapted = "[model]\npath = \"base\"\n[model.lora]\nrank = 2\nalpha = 4\n\
                   targets = [\"q\", \"v\", \"up\"]\n";
    TINY.replace(scratch, adapted)
}

#[test]
fn an_adapter_is_checked_trained_judged_and_exported_both_ways() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "full"]).fine();
    run(here, &["export", "full", "--format", "huggingface", "base"]).fine();
    fs::write(here.join("lora.toml"), recipe()).unwrap();

    let said = run(here, &["recipe", "check", "lora.toml"]).fine();
    assert!(said.out.contains(", of which 256 train"), "{}", said.out);
    let said = run(here, &["recipe", "show", "lora.toml"]).fine();
    assert!(said.out.contains("[model.lora]") && said.out.contains("alpha / rank"), "{}", said.out);

    let base = contents(&here.join("base"));
    run(here, &["train", "lora.toml", "--run", "r"]).fine();
    run(here, &["train", "lora.toml", "--run", "again", "--threads", "1"]).fine();
    let checkpoints = |run: &str| contents(&here.join(run).join("checkpoints"));
    assert!(checkpoints("r") == checkpoints("again"), "threads changed the adapter");
    assert!(contents(&here.join("base")) == base, "the base was written to");
    run(here, &["resume", "r"]).fine();
    run(here, &["eval", "r", "--questions", "2"]).fine();

    run(here, &["export", "r", "--format", "peft", "new/folder/adapter"]).fine();
    run(here, &["export", "r", "--format", "huggingface", "merged"]).fine();
    run(here, &["export", "r", "--merge", "by_word"]).fine();
    assert!(contents(&here.join("by_word")) == contents(&here.join("merged")));
    let mut model = io::load_folder(&here.join("base")).unwrap().model;
    let before = model.checksum();
    let read = io::load_adapter(&here.join("new/folder/adapter"), model.config()).unwrap();
    assert_eq!(read.base.as_deref(), Some("base"));
    read.adapter.merge_into(&mut model).unwrap();
    assert_ne!(model.checksum(), before, "the adapter says something");
    let merged = io::load_folder(&here.join("merged")).unwrap().model;
    assert_eq!(merged.checksum(), model.checksum());
    let said = run(here, &["export", "full", "--format", "peft", "no/thing"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("has no `[model.lora]`"), "{}", said.err);
    assert!(!here.join("no").exists());
}

#[test]
fn a_run_whose_base_has_changed_says_so() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "full"]).fine();
    run(here, &["export", "full", "--format", "huggingface", "base"]).fine();
    fs::write(here.join("lora.toml"), recipe()).unwrap();
    run(here, &["train", "lora.toml", "--run", "r"]).fine();
    run(here, &["export", "r", "--format", "huggingface", "other"]).fine();
    fs::rename(here.join("base"), here.join("away")).unwrap();
    let said = run(here, &["eval", "r"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("`base` cannot be read"), "{}", said.err);
    fs::rename(here.join("other"), here.join("base")).unwrap();
    for words in [&["eval", "r"][..], &["resume", "r"], &["export", "r", "--format", "peft", "a"]] {
        let said = run(here, words);
        assert_eq!(said.code, Some(2), "{words:?}");
        assert!(said.err.contains("the base `base` has checksum "), "{}", said.err);
        assert!(said.err.contains("put the weights back"), "{}", said.err);
    }
}
