//! P1's negative control: every value of a checkpoint's `state.json` and every file in it is
//! changed or taken away, one at a time. The run that goes on from there is refused or ends
//! elsewhere. If it ended the same, the checkpoint would hold what nobody needs, or the tests of
//! resumption could not see what is forgotten.

mod common;

use std::path::Path;

use common::runs::{Watch, copy, edit_newest, recipe};
use common::small::{head, stage};
use serde_json::Value;
use stepwell_engine::run::{self, Outcome};
use stepwell_store::{
    Checkpoint, CommitInfo, Digest, RunFolder, RunReader, newest_valid, tensors_from_bytes,
    tensors_to_bytes,
};

const FORKS: &str = "grow = { type = \"branch\", attempts = 2, leaves = 4 }\n";
const REINFORCE: &str = "credit = { type = \"reinforce\", baseline = { constant = 0.5 } }\n";
const KL: &str = "objective = { type = \"clipped\", kl = { coefficient = 0.05 } }\n";

/// A recipe, and the updates after which it is stopped.
struct Case {
    name: &'static str,
    text: String,
    stop: usize,
    /// What this stage has no use for.
    idle: &'static [&'static str],
}

/// Files that other tools read and no resumption: the recipe makes them again.
const FOR_OTHERS: [&str; 3] =
    ["chat_template.jinja", "generation_config.json", "tokenizer_config.json"];

fn cases() -> Vec<Case> {
    let plain = head("");
    let rl = |more: &[&str]| {
        let more = [&["schedule = \"cosine\"\n", FORKS], more].concat().concat();
        format!("{plain}{}", stage("rl", 4, &more))
    };
    let lora = "[model.lora]\nrank = 2\nalpha = 4\ntargets = [\"q\", \"v\"]\n";
    let estimator = "grow = { type = \"independent\", attempts = 2 }\n\
                     estimator = { type = \"prefix_value\" }";
    let reader = "credit = { type = \"effective_reward\" }\nestimator = 1\n\
                  objective = { type = \"policy_gradient\" }\n";
    let reader = stage("rl", 1, &[FORKS, reader].concat());
    let offline = "target_rate = 0.5\ntarget_every = 1\nhidden = 3\n\
                   reward = { type = \"overlong\", tokens_max = 4, tokens_soft = 2 }\n\
                   grow = { type = \"independent\", attempts = 2 }\n\
                   method = { type = \"ilql\", beta = 0.5 }";
    let overlong = "reward = { type = \"overlong\", tokens_max = 4, tokens_soft = 2 }\n";
    let own = "credit = { type = \"gae\", kl = 0.01 }\n\
               critic = { trunk = \"own\", learning_rate = 5e-3 }\n";
    let shared = "credit = { type = \"gae\" }\ncritic = { hidden = 4 }\n";
    let sasr = "plan = { type = \"sasr\", warmup = 1, mix = \"soft\" }\n\
                demonstrations = \"scripted\"\nbatch = 2\n";
    let kept = "token_budget = 100\ncurriculum = { type = \"weighted\", floor = 0.01 }\n\
                plan = { type = \"adaptive_kl\", target = 0.01, horizon = 8 }\n";
    // The policy stands still while an estimator learns, and an optimizer ends with its stage.
    let still = &["/optimizer_step", "/place/sampled_tokens", "optimizer.safetensors"];
    let case = |name, text: String, stop| {
        let idle: &[&str] = match name {
            "estimator" => still,
            // Soft mixing demonstrates in every update.
            "sasr" => &["/memory/schedule/since_demonstrations"],
            _ => &[],
        };
        Case { name, text, stop, idle }
    };
    vec![
        case("estimator", format!("{plain}{}{reader}", stage("estimator", 4, estimator)), 4),
        case("offline", format!("{plain}{}", stage("offline", 4, offline)), 4),
        case("own critic", rl(&[overlong, own]), 4),
        case("shared critic", rl(&[overlong, shared]), 4),
        case("adapter", rl(&[REINFORCE, KL]).replace("[environment]\n", &adapted(lora)), 4),
        case("sasr", rl(&[REINFORCE, sasr]), 4),
        case("memory", rl(&[REINFORCE, KL, kept]), 4),
    ]
}

/// The place of a model's adapter in a recipe.
fn adapted(lora: &str) -> String {
    format!("{lora}[environment]\n")
}

/// Where a run came out: its chain, and every file of every checkpoint that stayed.
#[derive(PartialEq, Debug)]
struct Outcomes {
    commits: Vec<CommitInfo>,
    files: Vec<(u64, String, Digest)>,
}

fn outcomes(path: &Path) -> Outcomes {
    let commits = RunReader::open(path).unwrap().commits().unwrap();
    let folder = RunFolder::open_for_writing(path).unwrap();
    let mut files = Vec::new();
    for number in 0..=commits.len() as u64 {
        let Ok(held) = Checkpoint::of(&folder, number) else { continue };
        for name in held.file_names() {
            files.push((number, name.to_owned(), Digest::of(&held.read(name).unwrap())));
        }
    }
    Outcomes { commits, files }
}

/// What was done to a checkpoint.
#[derive(Clone, Debug)]
enum Edit {
    /// The value at this place of `state.json` is another.
    State(String, Value),
    Removed(String),
    /// Every number of a file of tensors is zero.
    Zeroed(String),
}

impl Edit {
    /// The place in `state.json`, or the file.
    fn place(&self) -> &str {
        match self {
            Edit::State(place, _) | Edit::Removed(place) | Edit::Zeroed(place) => place,
        }
    }
}

/// Every value below `value` changed in one place: a number by one, a text by a letter, a list to
/// nothing.
fn edits(at: &str, value: &Value, into: &mut Vec<Edit>) {
    let mut put = |new: Value| into.push(Edit::State(at.to_owned(), new));
    match value {
        Value::Null => {}
        Value::Bool(held) => put((!held).into()),
        // Tokens are compared with a budget: past it.
        Value::Number(n) if at.ends_with("sampled_tokens") => {
            put((n.as_u64().unwrap() + 999).into())
        }
        // The bits of a real number: another exponent.
        Value::Number(n) if n.as_u64().is_some_and(|n| n > 1 << 60) => {
            put((n.as_u64().unwrap() ^ (1 << 53)).into());
        }
        Value::Number(n) => put((n.as_u64().unwrap() + 1).into()),
        Value::String(held) => put(format!("{held}0").into()),
        Value::Array(held) => {
            if !held.is_empty() {
                put(Value::Array(Vec::new()));
            }
            let objects = held.iter().enumerate().filter(|(_, item)| item.is_object());
            objects.for_each(|(i, item)| edits(&format!("{at}/{i}"), item, into));
        }
        Value::Object(held) => {
            held.iter().for_each(|(name, item)| edits(&format!("{at}/{name}"), item, into));
        }
    }
}

/// Everything that can be done to the newest checkpoint of a run.
fn all_edits(path: &Path) -> Vec<Edit> {
    let folder = RunFolder::open_for_writing(path).unwrap();
    let newest = newest_valid(&folder).unwrap().0.unwrap();
    let mut all = Vec::new();
    edits("", &newest.state().unwrap(), &mut all);
    for name in newest.file_names().filter(|name| *name != "state.json") {
        all.push(Edit::Removed(name.to_owned()));
        if name.ends_with(".safetensors") {
            all.push(Edit::Zeroed(name.to_owned()));
        }
    }
    all
}

/// Writes the newest checkpoint again, edited; `None`: as it is.
fn rewrite(path: &Path, edit: Option<&Edit>) {
    edit_newest(path, |state, files| match edit {
        None => {}
        Some(Edit::State(at, new)) => *state.pointer_mut(at).unwrap() = new.clone(),
        Some(Edit::Removed(name)) => files.retain(|file| file.0 != *name),
        Some(Edit::Zeroed(name)) => {
            let file = files.iter_mut().find(|file| file.0 == *name).unwrap();
            let mut tensors = tensors_from_bytes(&file.1).unwrap();
            tensors.iter_mut().for_each(|(_, _, numbers)| numbers.fill(0.0));
            file.1 = tensors_to_bytes(&tensors).unwrap();
        }
    });
}

/// Goes on from the stopped run with an edited checkpoint: where it comes out, or why it does not.
fn gone_on(stopped: &Path, edit: Option<&Edit>) -> Result<Outcomes, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    copy(stopped, &path);
    rewrite(&path, edit);
    match run::resume(&path, 1, &mut Watch::default()) {
        Ok(outcome) => {
            assert_eq!(outcome, Outcome::Finished);
            Ok(outcomes(&path))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn p01_every_ingredient_of_every_kind_of_checkpoint_is_needed() {
    let (mut refused, mut elsewhere, mut without) = (0, 0, Vec::new());
    for Case { name, text, stop, idle } in cases() {
        let folder = tempfile::tempdir().unwrap();
        let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
        run::start(&recipe(&text), &whole, 1, &mut Watch::default()).unwrap();
        let mut watch = Watch { stop_after: Some(stop), ..Watch::default() };
        let outcome = run::start(&recipe(&text), &stopped, 1, &mut watch).unwrap();
        assert_eq!((outcome, watch.steps), (Outcome::Stopped, stop), "{name}");
        let expected = outcomes(&whole);
        assert_eq!(gone_on(&stopped, None).as_ref(), Ok(&expected), "{name}: written again");
        for edit in all_edits(&stopped) {
            match gone_on(&stopped, Some(&edit)) {
                Err(_) => refused += 1,
                Ok(got) if got != expected => elsewhere += 1,
                Ok(_) if [&FOR_OTHERS[..], idle].concat().contains(&edit.place()) => {}
                Ok(_) => without.push(format!("{name}: {edit:?}")),
            }
        }
    }
    println!("{refused} refused, {elsewhere} elsewhere");
    assert!(without.is_empty(), "the same end without:\n{}", without.join("\n"));
    assert!(refused > 20 && elsewhere > 40, "{refused} refused, {elsewhere} elsewhere");
}
