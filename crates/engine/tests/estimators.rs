//! The `estimator` stage and what later stages make of it: stopped, killed and resumed it is the
//! same run; the policy stands still while an estimator learns.

mod common;

use std::path::Path;

use common::runs::{Watch, end, finish, recipe, start, warm_up};
use common::told::told;
use stepwell_engine::checkpoint;
use stepwell_engine::judge::judge;
use stepwell_engine::recipe::{Decoding, Evaluate};
use stepwell_engine::run::{self, Outcome};

/// Behind the warm-up of 16 steps: values of prefixes, contributions, comparisons of a file, and
/// stages that read the first two.
const STAGES: &str = r#"
[[stage]]
[stage.estimator]
steps = 3
tasks = 4
max_tokens = 40
checkpoint_every = 1
grow = { type = "branch", attempts = 3, branches = 2, leaves = 6 }
estimator = { type = "prefix_value" }
[[stage]]
[stage.estimator]
steps = 2
tasks = 3
max_tokens = 40
trunk = "frozen"
hidden = 8
reward = { type = "composite" }
estimator = { type = "progress" }
[[stage]]
[stage.estimator]
steps = 2
batch = 3
pairs = "PAIRS"
estimator = { type = "bradley_terry" }
[[stage]]
[stage.rl]
steps = 2
tasks = 4
max_tokens = 40
learning_rate = 1e-2
checkpoint_every = 1
grow = { type = "branch", attempts = 3, branches = 2, leaves = 6 }
credit = { type = "effective_reward" }
objective = { type = "policy_gradient" }
estimator = 1
[[stage]]
[stage.rl]
steps = 2
tasks = 4
max_tokens = 40
learning_rate = 1e-2
grow = { type = "independent", attempts = 3 }
reward = { type = "attribution" }
credit = { type = "gae" }
estimator = 2
[[stage]]
[stage.evaluate]
questions = 4
max_tokens = 40
decoding = "best_of_n"
leaves = 3
scorer = { type = "estimator", stage = 1, aggregator = "min" }
[[stage]]
[stage.evaluate]
questions = 2
max_tokens = 40
decoding = "search"
grow = { type = "beam" }
scorer = { type = "estimator", stage = 1 }
"#;

const PAIRS: &str = "\
{\"prompt\": \"status ?\", \"chosen\": \"check status\", \"rejected\": \"guess status : open\"}
{\"prompt\": \"price ?\", \"chosen\": \"look\", \"rejected\": \"guess new_status : open\"}
{\"prompt\": \"size ?\", \"chosen\": \"check size\", \"rejected\": \"guess size : C\"}
";

fn with(folder: &Path) -> String {
    let file = folder.join("pairs.jsonl");
    std::fs::write(&file, PAIRS).unwrap();
    warm_up().to_owned() + &STAGES.replace("PAIRS", file.to_str().unwrap())
}

#[test]
fn p01_a_stop_or_a_kill_anywhere_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = with(folder.path());
    let whole = folder.path().join("whole");
    let copies = folder.path().join("copies");
    let mut watch = Watch { copy: Some((whole.clone(), copies)), ..Watch::default() };
    run::start(&recipe(&text), &whole, 2, &mut watch).unwrap();
    assert_eq!(watch.steps, 16 + 3 + 2 + 2 + 2 + 2);
    let expected = end(&whole);
    for k in [17, 18, 20, 22, 24, 26] {
        let path = folder.path().join(k.to_string());
        let mut stop = Watch { stop_after: Some(k), ..Watch::default() };
        let outcome = run::start(&recipe(&text), &path, 1, &mut stop).unwrap();
        assert_eq!((outcome, stop.steps), (Outcome::Stopped, k));
        assert_eq!(finish(&path, 2).unwrap(), expected, "stopped at {k}");
    }
    let late = watch.copies.len() / 2;
    for (k, killed) in watch.copies.iter().enumerate().skip(late).step_by(4) {
        assert_eq!(finish(killed, 1 + k % 3).unwrap(), expected, "killed at event {k}");
    }
    assert_eq!(checkpoint::learners(&recipe(&text)), 4, "the policy and three estimators");
    let names: Vec<String> = expected.files.into_iter().map(|(name, _)| name).collect();
    for stage in [1, 2, 3] {
        let held = |part: &str| names.contains(&format!("estimator-{stage}.{part}.safetensors"));
        assert!(held("weights") && held("heads") && !held("optimizer"), "{names:?}");
    }
}

#[test]
fn a_finished_run_is_asked_again_with_its_own_verifier() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    start(&with(folder.path()), &path, 2).unwrap();
    let base = Evaluate { questions: 4, leaves: 3, max_tokens: 40, ..Evaluate::default() };
    let ask = |path: &Path, set: &[&str]| {
        let set: Vec<String> = set.iter().map(|pair| (*pair).to_owned()).collect();
        judge(path, None, (std::slice::from_ref(&base), &set), Some(5), 2, &mut Watch::default())
    };
    let picked = |stage: u8| {
        let scorer = format!("scorer={{type = \"estimator\", stage = {stage}}}");
        let [(config, evaluation)] = &ask(&path, &["decoding=best_of_n", &scorer]).unwrap()[..]
        else {
            panic!("one evaluation was asked for")
        };
        assert_eq!((config.decoding, evaluation.questions), (Decoding::BestOfN, 4));
        let answers = evaluation.samples.iter().map(|sample| sample.answer.clone());
        (answers.collect::<Vec<_>>(), evaluation.metrics["sampled_tokens_per_question"])
    };
    let (values, tokens) = picked(1);
    assert_eq!(picked(1), (values.clone(), tokens), "the same question, another answer");
    // Another estimator picks among the same attempts.
    let (contributions, same) = picked(2);
    assert!(same == tokens && contributions != values, "{values:?}");
    let search = ["decoding=search", "grow={type = \"beam\"}", "scorer.type=estimator"];
    ask(&path, &[&search[..], &["scorer.stage=1"]].concat()).unwrap();

    let refused = |path: &Path, set: &[&str]| ask(path, set).unwrap_err().to_string();
    let other = ["decoding=best_of_n", "scorer.type=estimator", "scorer.stage=0"];
    let said = refused(&path, &other);
    assert!(said.starts_with("--set: `scorer") && said.contains("stage[0]"), "{said}");
    let said = refused(&path, &["decodings=greedy"]);
    assert!(said.contains("--set: ") && said.contains("did you mean `decoding`"), "{said}");
    // A checkpoint before the estimator's stage.
    let early = folder.path().join("early");
    let mut stop = Watch { stop_after: Some(10), ..Watch::default() };
    run::start(&recipe(&with(folder.path())), &early, 1, &mut stop).unwrap();
    let said = refused(&early, &[&other[..2], &["scorer.stage=1"]].concat());
    assert!(said.contains("holds no `estimator-1`, only: none"), "{said}");
}

#[test]
fn an_estimator_of_pairs_learns_them_while_the_policy_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pairs.jsonl");
    std::fs::write(&file, PAIRS).unwrap();
    let stage = format!(
        "[[stage]]\n[stage.estimator]\nsteps = 20\nbatch = 3\nlearning_rate = 1e-2\npairs = {file:?}\n\
         estimator = {{ type = \"bradley_terry\" }}\n"
    );
    let text = warm_up().to_owned() + &stage;
    let path = folder.path().join("run");
    let steps = told(&text, &path);
    let own = &steps[16..];
    // A fresh head says 0 of both: the loss is ln 2.
    assert!((own[0]["loss"] - std::f64::consts::LN_2).abs() < 1e-6, "{:?}", own[0]);
    assert!(own[19]["loss"] < 0.2 * own[0]["loss"], "{:?}", own[19]);
    assert_eq!(own[19]["estimator/pair_accuracy"], 1.0);
    // The policy is that of the warm-up alone.
    let alone = folder.path().join("alone");
    start(warm_up(), &alone, 2).unwrap();
    let weights = |path: &Path| {
        let files = end(path).files;
        files.into_iter().find(|(name, _)| name == "model.safetensors").unwrap()
    };
    assert_eq!(weights(&path), weights(&alone));
}

#[test]
fn a_teacher_is_followed_and_another_tokenizer_is_refused() {
    use checkpoint::folder_files;
    use stepwell_engine::problem::Problem;
    use stepwell_model::tokenizer::Tokenizer;
    use stepwell_model::{Config, Model};
    use stepwell_train::{Codec, Learner};
    let folder = tempfile::tempdir().unwrap();
    // The teacher: the same shape from another seed.
    let other = recipe(&warm_up().replace("seed = ", "seed = 1"));
    let problem = Problem::build(&other).unwrap();
    let teacher = problem.learner(&other, 1).unwrap();
    let path = folder.path().join("teacher");
    std::fs::create_dir(&path).unwrap();
    for (name, bytes) in folder_files(&teacher).unwrap() {
        std::fs::write(path.join(name), bytes).unwrap();
    }
    let stage = |path: &Path| {
        format!(
            "[[stage]]\n[stage.rl]\nsteps = 12\ntasks = 8\nmax_tokens = 12\nlearning_rate = 1e-2\n\
             teacher = {path:?}\ngrow = {{ type = \"independent\", attempts = 4 }}\n\
             credit = {{ type = \"reverse_kl\" }}\nobjective = {{ type = \"policy_gradient\" }}\n"
        )
    };
    let text = warm_up().to_owned() + &stage(&path);
    let run = folder.path().join("run");
    let steps = told(&text, &run);
    assert_eq!(steps.len(), 28);
    // Stopped and resumed, the teacher is read again.
    let stopped = folder.path().join("stopped");
    let mut stop = Watch { stop_after: Some(20), ..Watch::default() };
    run::start(&recipe(&text), &stopped, 1, &mut stop).unwrap();
    assert_eq!(finish(&stopped, 2).unwrap(), end(&run));
    let config = teacher.model().config().clone();
    let words: Vec<String> = (0..config.vocabulary - 3).map(|k| format!("word{k}")).collect();
    let tokenizer = Tokenizer::from_words(words).unwrap();
    let shape = Config { vocabulary: tokenizer.vocabulary(), ..config };
    let stranger = Learner::new(Model::random(shape, 1), Codec::new(tokenizer, None).unwrap(), 1);
    let odd = folder.path().join("odd");
    std::fs::create_dir(&odd).unwrap();
    for (name, bytes) in folder_files(&stranger).unwrap() {
        std::fs::write(odd.join(name), bytes).unwrap();
    }
    let text = warm_up().to_owned() + &stage(&odd);
    let said = start(&text, &folder.path().join("refused"), 1).err().unwrap().to_string();
    assert!(said.contains("same tokenizer"), "{said}");
    let missing = warm_up().to_owned() + &stage(&folder.path().join("nobody"));
    let said = start(&missing, &folder.path().join("none"), 1).err().unwrap().to_string();
    assert!(said.contains("teacher") && said.contains("nobody"), "{said}");
}
