//! A run that trains an adapter: the same laws as for all weights, and the base stands still.

mod common;

use common::runs::{TINY, Watch, end, finish, recipe, start};
use stepwell_engine::checkpoint;
use stepwell_engine::judge::{newest_adapter, newest_policy};
use stepwell_engine::problem::Problem;
use stepwell_engine::recipe::Recipe;
use stepwell_engine::run::{self, Outcome};
use stepwell_model::io;
use stepwell_store::{RunFolder, newest_valid};

/// The tiny recipe with an adapter on some projections. Its base is random, so that the run says
/// nothing about learning; it has a reference model, forks and checkpoints.
fn adapted() -> String {
    let lora = "[model.lora]\nrank = 4\nalpha = 8\ntargets = [\"q\", \"v\", \"down\"]\n";
    TINY.replace("[environment]\n", &format!("{lora}[environment]\n"))
}

fn files(path: &std::path::Path) -> Vec<String> {
    end(path).files.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn p01_a_stop_anywhere_changes_nothing_and_checkpoints_hold_no_base() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    start(&adapted(), &whole, 2).unwrap();
    let expected = end(&whole);
    let names = files(&whole);
    assert!(names.contains(&"adapter_model.safetensors".to_owned()), "{names:?}");
    assert!(names.contains(&"adapter_config.json".to_owned()), "{names:?}");
    assert!(!names.contains(&"model.safetensors".to_owned()), "{names:?}");
    for k in [1, 6, 16, 17, 18] {
        let path = folder.path().join(k.to_string());
        let mut watch = Watch { stop_after: Some(k), ..Watch::default() };
        let outcome = run::start(&recipe(&adapted()), &path, 2, &mut watch).unwrap();
        assert_eq!((outcome, watch.steps), (Outcome::Stopped, k));
        if k == 17 {
            // In the middle of the stage that compares with a reference, which is an adapter too.
            let run = RunFolder::open_for_writing(&path).unwrap();
            let newest = newest_valid(&run).unwrap().0.unwrap();
            let read = |name| stepwell_store::tensors_from_bytes(&newest.read(name).unwrap());
            let frozen = read("reference.safetensors").unwrap();
            assert_eq!(frozen.len(), 6);
            assert!(frozen.iter().all(|(name, ..)| name.contains("lora_")));
            assert_ne!(frozen, read("adapter_model.safetensors").unwrap(), "it has moved on");
        }
        assert_eq!(finish(&path, 1).unwrap(), expected, "stopped at {k}");
    }
}

#[test]
fn the_base_stands_still_and_the_export_is_base_and_adapter_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    start(&adapted(), &path, 2).unwrap();
    let recipe = recipe(&adapted());
    let fresh = Problem::build(&recipe).unwrap().learner(&recipe, 1).unwrap();
    let (_, files) = newest_adapter(&path).unwrap();
    let adapter = io::adapter_from_bytes(&files, fresh.model().config()).unwrap().adapter;
    let mut trained = fresh.model().clone();
    trained.attach(adapter).unwrap();
    assert_ne!(trained.checksum(), fresh.model().checksum(), "the adapter was trained");
    let (_, files) = newest_policy(&path).unwrap();
    let merged = io::from_bytes(&files).unwrap().model;
    assert!(merged.adapter().is_none());
    assert_eq!(merged.checksum(), trained.merged().checksum());
    // A run that trains everything has none to give.
    let path = folder.path().join("full");
    start(TINY, &path, 2).unwrap();
    let refused = newest_adapter(&path).unwrap_err().to_string();
    assert!(refused.contains("has no `[model.lora]`"), "{refused}");
}

#[test]
fn another_base_is_refused_with_both_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("base");
    // A folder as a base: the random model of the tiny recipe, saved.
    let scratch = recipe(TINY);
    let learner = Problem::build(&scratch).unwrap().learner(&scratch, 1).unwrap();
    let save = |learner: &stepwell_train::Learner| {
        std::fs::create_dir_all(&model).unwrap();
        for (name, bytes) in checkpoint::folder_files(learner).unwrap() {
            std::fs::write(model.join(name), bytes).unwrap();
        }
    };
    save(&learner);
    let from = adapted();
    let begin = from.find("[model.scratch]").unwrap();
    let after = from.find("[model.lora]").unwrap();
    let text = format!("seed = 3\n[model]\npath = {model:?}\n{}", &from[after..]);
    assert!(begin < after);
    let path = folder.path().join("run");
    let mut watch = Watch { stop_after: Some(3), ..Watch::default() };
    run::start(&recipe(&text), &path, 2, &mut watch).unwrap();
    let (_, files) = newest_adapter(&path).unwrap();
    let config = String::from_utf8(files[0].1.clone()).unwrap();
    assert!(config.contains(&format!("{model:?}")), "the adapter names its base: {config}");
    let other = recipe(&TINY.replace("seed = 3", "seed = 4"));
    save(&Problem::build(&other).unwrap().learner(&other, 1).unwrap());
    let refused = run::resume(&path, 2, &mut Watch::default()).unwrap_err().to_string();
    assert!(refused.contains("the base `") && refused.contains("trained on one with checksum"));
    let sum = |learner: &stepwell_train::Learner| format!("{:016x}", learner.model().checksum());
    assert!(refused.contains(&sum(&learner)), "{refused}");
    save(&learner);
    assert!(finish(&path, 2).is_ok(), "the right base is accepted again");
}

#[test]
fn the_table_reads_writes_and_names_its_mistakes() {
    let checked = Recipe::parse(&adapted(), "tiny.toml").unwrap();
    let lora = checked.recipe.lora.clone().unwrap();
    assert_eq!((lora.rank, lora.alpha, lora.targets.len()), (4, 8.0, 3));
    assert_eq!(lora.settings().scale(), 2.0);
    assert!(checked.warnings.iter().any(|w| w.message.contains("freezes random weights")));
    for text in [checked.recipe.to_toml(), checked.recipe.to_commented_toml()] {
        assert_eq!(Recipe::parse(&text, "again.toml").unwrap().recipe, checked.recipe);
    }
    let defaults = TINY.replace("[environment]\n", "[model.lora]\n[environment]\n");
    let all = recipe(&defaults).lora.unwrap();
    assert_eq!((all.rank, all.alpha, all.targets.len()), (16, 32.0, 7));
    for (line, expected) in [
        ("rank = 0", "`model.lora.rank` must be in 1..=256, got: 0"),
        ("alpha = 0", "`model.lora.alpha` must be in (0, 1000000], got: 0"),
        ("targets = [\"q_proj\"]", "`model.lora.targets` must be among `q`, `k`, `v`, `o`"),
        ("targets = []", "`model.lora.targets` must name at least one of"),
        ("targets = [\"q\", \"q\"]", "`model.lora.targets` must name each once"),
        ("ranks = 8", "unknown key `model.lora.ranks`; did you mean `rank`?"),
    ] {
        let text =
            TINY.replace("[environment]\n", &format!("[model.lora]\n{line}\n[environment]\n"));
        let errors = Recipe::parse(&text, "tiny.toml").unwrap_err();
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(said.len() == 1 && said[0].contains(expected), "{line}: {said:?}");
    }
}
