//! A teacher's distributions in whole runs: a student comes closer to the teacher that it has, and
//! a run that is stopped goes on bit for bit.

mod common;

use std::path::{Path, PathBuf};

use common::runs::{Watch, copy, recipe, start, warm_up};
use common::told::{resumes, told};
use stepwell_engine::checkpoint::folder_files;
use stepwell_engine::observe::Metrics;
use stepwell_engine::problem::Problem;
use stepwell_engine::run;
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{Config, Model};
use stepwell_store::{RunFolder, newest_valid};
use stepwell_train::{Codec, Learner};

/// The teacher: the tiny recipe's warm-up from another seed, trained longer.
fn trained(folder: &Path) -> PathBuf {
    let text = warm_up().replace("seed = 3", "seed = 11").replace("steps = 16", "steps = 60");
    let run = folder.join("teachers_run");
    start(&text, &run, 2).unwrap();
    let run = RunFolder::open_for_writing(&run).unwrap();
    let newest = newest_valid(&run).unwrap().0.unwrap();
    let path = folder.join("teacher");
    copy(newest.folder(), &path);
    path
}

fn write(learner: &Learner, path: PathBuf) -> PathBuf {
    std::fs::create_dir(&path).unwrap();
    for (name, bytes) in folder_files(learner).unwrap() {
        std::fs::write(path.join(name), bytes).unwrap();
    }
    path
}

/// The same teacher, every token's row of the embedding and of the head another token's.
fn shuffled(teacher: &Path, folder: &Path) -> PathBuf {
    let mut loaded = stepwell_model::io::load(teacher).unwrap();
    let (name, width) = ("model.embed_tokens.weight", loaded.model.config().hidden);
    let rows = loaded.model.parameters().into_iter().find(|view| view.name() == name);
    let mut rows = rows.unwrap().to_row_major();
    rows.rotate_left(width * (loaded.tokenizer.vocabulary() / 2));
    loaded.model.set_parameter(name, &rows).unwrap();
    let codec = Codec::new(loaded.tokenizer, None).unwrap();
    write(&Learner::new(loaded.model, codec, 1), folder.join("shuffled"))
}

/// The head of the tiny recipe, without stages.
fn head() -> &'static str {
    &warm_up()[..warm_up().find("[[stage]]").unwrap()]
}

/// A supervised stage with more keys.
fn sft(steps: usize, rate: f64, more: &str) -> String {
    format!(
        "[[stage]]\n[stage.sft]\ndemonstrations = \"scripted\"\nsteps = {steps}\nbatch = 8\n\
         learning_rate = {rate:?}\ncheckpoint_every = 2\n{more}"
    )
}

/// How far the policy is from a teacher, as a stage that moves nothing measures it.
fn look(teacher: &Path) -> String {
    sft(1, 0.0, &format!("teacher = {teacher:?}\ndistill = {{ share = 1.0, beta = 0.0 }}\n"))
}

#[test]
fn a_student_comes_closer_to_its_teacher_and_not_to_one_of_shuffled_words() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained(folder.path());
    let odd = shuffled(&teacher, folder.path());
    let after = |name: &str, stage: &str| -> (f64, f64) {
        let text = format!("{}{}{stage}{}", head(), look(&teacher), look(&teacher));
        let steps = told(&text, &folder.path().join(name));
        (steps[0]["distillation"], steps.last().unwrap()["distillation"])
    };
    let distilled = |teacher: &Path, beta: f64| {
        let keys = format!("teacher = {teacher:?}\ndistill = {{ share = 1.0, beta = {beta:?} }}\n");
        sft(60, 2e-2, &keys)
    };
    for (name, beta) in [("forward", 0.0), ("middle", 0.5), ("reverse", 1.0)] {
        let (before, now) = after(name, &distilled(&teacher, beta));
        assert!(now < 0.25 * before, "{name}: {before} {now}");
    }
    // The sabotage: as near to its own teacher, and farther from the one whose words are right.
    let (before, now) = after("sabotaged", &distilled(&odd, 0.5));
    assert!(now > before, "{before} {now}");
}

/// Both stages with a teacher; in the second some updates are on demonstrations.
fn both(teacher: &Path) -> String {
    let keys = format!("teacher = {teacher:?}\ndistill = {{ share = 0.7, beta = 0.2 }}\n");
    let rl = format!(
        "[[stage]]\n[stage.rl]\nsteps = 5\ntasks = 3\nmax_tokens = 40\nlearning_rate = 1e-2\n\
         batch = 4\nminibatches = 2\ncheckpoint_every = 2\ndemonstrations = \"scripted\"\n\
         plan = {{ type = \"shuffled\", demonstrations = 2 }}\n\
         grow = {{ type = \"branch\", attempts = 2, branches = 2, leaves = 4 }}\n\
         credit = {{ type = \"reinforce\" }}\n{keys}"
    );
    format!("{}{}{rl}", head(), sft(5, 2e-2, &keys))
}

#[test]
fn a_run_with_a_teacher_resumes_bit_for_bit_and_knows_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained(folder.path());
    let text = both(&teacher);
    let (_, steps) = resumes(&text, folder.path(), &[3, 7]);
    assert_eq!(steps.len(), 10);
    let has = |metrics: &Metrics, name: &str| metrics.get(name).is_some_and(|x| *x > 0.0);
    assert!(steps[..5].iter().all(|m| has(m, "distillation")));
    let (own, shown) = ("distillation", "demonstration_distillation");
    let mut updates = [0, 0];
    for metrics in &steps[5..] {
        // Of one or of the other, as the plan has it.
        let on_trees = metrics["plan/reinforcement"] > 0.0;
        assert_eq!([has(metrics, own), has(metrics, shown)], [on_trees, !on_trees], "{metrics:#?}");
        updates[usize::from(on_trees)] += 1;
    }
    assert_eq!(updates, [2, 3]);
    // Another teacher at the same place is noticed.
    let path = folder.path().join("another");
    let mut stop = Watch { stop_after: Some(3), ..Watch::default() };
    run::start(&recipe(&text), &path, 1, &mut stop).unwrap();
    let odd = shuffled(&teacher, folder.path());
    copy(&odd, &teacher);
    let said = run::resume(&path, 1, &mut Watch::default()).err().unwrap().to_string();
    assert!(said.contains("teacher"), "{said}");
}

#[test]
fn a_teacher_of_other_words_and_none_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let own = recipe(&format!("{}{}", head(), sft(1, 0.1, "")));
    let shape = Problem::build(&own).unwrap().learner(&own, 1).unwrap().model().config().clone();
    let words: Vec<String> = (0..shape.vocabulary - 3).map(|k| format!("word{k}")).collect();
    let tokenizer = Tokenizer::from_words(words).unwrap();
    let shape = Config { vocabulary: tokenizer.vocabulary(), ..shape };
    let stranger = Learner::new(Model::random(shape, 1), Codec::new(tokenizer, None).unwrap(), 1);
    let odd = write(&stranger, folder.path().join("odd"));
    let run = folder.path().join("run");
    // The policy's tokens, and rows behind them that no token has.
    let policy = Problem::build(&own).unwrap().learner(&own, 1).unwrap();
    let tokenizer = Tokenizer::from_json(policy.codec().tokenizer().to_json()).unwrap().0;
    let wide = policy.model().config().clone();
    let wide = Config { vocabulary: wide.vocabulary + 8, ..wide };
    let wide = Learner::new(Model::random(wide, 1), Codec::new(tokenizer, None).unwrap(), 1);
    let wide = write(&wide, folder.path().join("wide"));
    for (path, expected) in [
        (odd, "same tokenizer"),
        (wide, "padded to another `vocab_size`"),
        (folder.path().join("nobody"), "nobody"),
    ] {
        let keys = format!("teacher = {path:?}\ndistill = {{ share = 1.0 }}\n");
        let text = format!("{}{}", head(), sft(2, 0.1, &keys));
        let said = start(&text, &run, 1).err().unwrap().to_string();
        assert!(said.contains("teacher") && said.contains(expected), "{said}");
        assert!(!run.exists());
    }
}
