//! P24: a run is computed again from its own record. The record's chain is whole in every case
//! below: what is told was found by computing again.

mod common;

use std::path::Path;

use common::runs::{start, warm_up};
use stepwell_engine::audit::{Audit, audit};
use stepwell_engine::{EngineError, run};
use stepwell_store::{
    Evaluation, Grown, Kind, Lineage, Metrics, RunFolder, RunReader, StoredTree, Updated,
};
use stepwell_tree::{Origin, PolicyVersion, StepId, Stop, Verdict, leaves};

fn text() -> String {
    format!(
        "{}[[stage]]\n[stage.rl]\nsteps = 2\ntasks = 3\nmax_tokens = 32\nlearning_rate = 1e-2\n\
         checkpoint_every = 1\ntemperature = 0.9\n\
         grow = {{ type = \"branch\", attempts = 3, branches = 2, leaves = 6 }}\n\
         credit = {{ type = \"reinforce\", baseline = {{ constant = 0.5 }} }}\n\
         reward = {{ type = \"composite\" }}\n",
        warm_up()
            .replace("checkpoint_every = 5", "checkpoint_every = 0")
            .replace("[environment]\n", "[checkpoints]\nkeep_last = 10\n[environment]\n")
    )
}

/// What is done to something, if anything is.
type Deed<'f, T> = Option<&'f dyn Fn(&mut T)>;

/// What a forger changes before it commits everything anew, with digests that fit.
#[derive(Default)]
struct Forged<'f> {
    /// The stage that is forged, in its update 1; in its first where it is the first stage.
    stage: u32,
    trees: Deed<'f, [StoredTree]>,
    metrics: Deed<'f, Metrics>,
    version: Deed<'f, PolicyVersion>,
    /// True for a record as it was before updates held a sum of the weights, which was stopped
    /// before its end.
    untold: bool,
}

/// A run with the same commits but for what was forged in update 1 of stage 1; without checkpoints,
/// whose manifests name the chain that was.
fn forge(original: &Path, to: &Path, forged: &Forged<'_>) {
    let reader = RunReader::open(original).unwrap();
    let folder = RunFolder::create(to, &reader.recipe().unwrap()).unwrap();
    let mut record = folder.record().unwrap();
    let lineage = reader.lineage().unwrap();
    for commit in reader.commits().unwrap() {
        let (number, key) = (commit.head.number, &commit.key);
        let here = (key.stage, key.update) == (forged.stage, u64::from(forged.stage.min(1)));
        let mut metrics = reader.metrics(number).unwrap();
        let row = lineage.iter().find(|row| row.commit == number).copied();
        match key.kind {
            Kind::Created => {}
            Kind::Tasks => {
                let own = reader.tasks_of(number).unwrap();
                record.commit_tasks(key.stage, &key.name, &own).unwrap();
            }
            Kind::Grown => {
                let mut stored = reader.trees(number).unwrap();
                forged.trees.iter().filter(|_| here).for_each(|forge| forge(&mut stored));
                forged.metrics.iter().filter(|_| here).for_each(|forge| forge(&mut metrics));
                let trees: Vec<_> = stored.iter().map(|s| s.tree.clone()).collect();
                let texts: Vec<_> = stored.iter().map(|s| s.text.clone()).collect();
                let credits: Vec<_> = stored.iter().map(|s| s.credit.clone().unwrap()).collect();
                let grown = Grown {
                    stage: key.stage,
                    update: key.update,
                    trees: &trees,
                    texts: &texts,
                    credits: &credits,
                    metrics: Some(&metrics),
                    timing: None,
                };
                record.commit_grown(&grown).unwrap();
            }
            Kind::Updated => {
                let row = row.unwrap();
                let mut version = row.version;
                forged.version.iter().filter(|_| here).for_each(|forge| forge(&mut version));
                let weights = row.weights.filter(|_| !forged.untold);
                let (stage, update) = (key.stage, key.update);
                let updated =
                    Updated { stage, update, version, weights, metrics: &metrics, timing: None };
                record.commit_updated(&updated).unwrap();
            }
            Kind::Evaluated => {
                let samples = reader.samples(number).unwrap();
                let evaluation = Evaluation {
                    stage: key.stage,
                    update: key.update,
                    name: &key.name,
                    metrics: &metrics,
                    samples: &samples,
                    trees: &[],
                    texts: &[],
                    timing: None,
                };
                record.commit_evaluation(&evaluation).unwrap();
            }
            Kind::Lineage => {
                let row = row.unwrap();
                let own = Lineage {
                    stage: key.stage,
                    update: key.update,
                    version: row.version,
                    checkpoint: row.checkpoint.unwrap(),
                    weights: row.weights.unwrap(),
                };
                record.commit_lineage(&own).unwrap();
            }
            Kind::Finished if forged.untold => {}
            Kind::Finished => {
                record.finish().unwrap();
            }
        }
    }
    record.close().unwrap();
}

fn said(path: &Path) -> String {
    RunReader::open(path).unwrap().verify().unwrap();
    match audit(path, 2) {
        Ok(_) => "nothing".to_owned(),
        Err(error @ EngineError::Audit { .. }) => {
            assert_eq!(error.exit_code(), 3);
            error.to_string()
        }
        Err(other) => panic!("{other}"),
    }
}

/// The first policy step, observation and leaf of the first tree that has two turns.
fn turns(stored: &[StoredTree]) -> (usize, usize, usize, usize) {
    let two = |s: &StoredTree| s.tree.origin.contains(&Origin::Environment);
    let t = stored.iter().position(two).expect("no attempt has two turns");
    let tree = &stored[t].tree;
    let seen = tree.origin.iter().position(|o| *o == Origin::Environment).unwrap();
    let leaf = leaves(tree)[0].index();
    (t, tree.parent[seen].index(), seen, leaf)
}

#[test]
fn p24_a_good_run_follows_from_itself_and_each_field_that_does_not_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let good = here.join("good");
    start(&text(), &good, 2).unwrap();
    let Audit { trees, judged, credited, logprobs, checkpoints, left_out, .. } =
        audit(&good, 1).unwrap();
    assert_eq!((trees, credited, checkpoints), (6, 6, 3));
    assert!(judged >= 18 && logprobs > 300, "{judged} {logprobs}");
    assert_eq!(left_out.iter().map(String::as_str).collect::<Vec<_>>(), ["metrics of training"]);
    // It is what it was: nothing was written, and the run can go on.
    run::resume(&good, 1, &mut stepwell_engine::observe::Silent).unwrap();

    type Forge = fn(&mut [StoredTree]);
    let fields: [(&str, Forge); 16] = [
        ("tokens: ", |s| s[0].tree.token[0] ^= 1),
        ("tokens: ", |s| {
            let (t, _, seen, _) = turns(s);
            let at = s[t].tree.span[seen].range().start;
            s[t].tree.token[at] ^= 1;
        }),
        ("text: ", |s| {
            let (t, action, ..) = turns(s);
            let at = s[t].tree.span[action].range().start;
            s[t].tree.token[at] ^= 1;
        }),
        ("text: ", |s| {
            let (t, action, ..) = turns(s);
            s[t].text[action] = Some("something else".to_owned());
        }),
        ("", |s| {
            // Text and tokens together: then it is not what the environment answers.
            let (t, _, seen, _) = turns(s);
            s[t].text[seen] = Some(String::new());
            let span = s[t].tree.span[seen].range();
            assert!(!span.is_empty());
        }),
        ("version: ", |s| {
            let (t, action, ..) = turns(s);
            s[t].tree.origin[action] = Origin::Policy(PolicyVersion(3));
        }),
        ("stop: ", |s| {
            let (t, action, ..) = turns(s);
            s[t].tree.stop[action] = Stop::EndOfText;
        }),
        ("stop: ", |s| {
            let (t, action, ..) = turns(s);
            s[t].tree.stop[action] = Stop::Length;
        }),
        ("verdict: ", |s| {
            let (t, _, _, leaf) = turns(s);
            let Verdict::Scored { reward, .. } = &mut s[t].tree.verdict[leaf] else { panic!() };
            *reward = 1.0 - *reward;
        }),
        ("verdict: ", |s| {
            let (t, _, _, leaf) = turns(s);
            let Verdict::Scored { parts, .. } = &mut s[t].tree.verdict[leaf] else { panic!() };
            parts.insert("format".to_owned(), 0.25);
        }),
        ("credit: ", |s| {
            let (t, action, ..) = turns(s);
            let own = s[t].credit.as_mut().unwrap().step[action].as_mut().unwrap();
            *own = f64::from_bits(own.to_bits() ^ 1);
        }),
        ("credit: ", |s| {
            let (t, action, ..) = turns(s);
            s[t].credit.as_mut().unwrap().step[action] = None;
        }),
        ("credit of tokens: ", |s| {
            let tokens = s[0].tree.token.len();
            s[0].credit.as_mut().unwrap().token = Some(vec![0.0; tokens]);
        }),
        ("", |s| {
            // Another attempt's place: the draws' keys and the order of siblings say otherwise.
            let (t, _, _, leaf) = turns(s);
            s[t].text[leaf] = s[t].text[leaf].clone().map(|own| own + " ");
        }),
        ("verdict: ", |s| {
            let (t, _, _, leaf) = turns(s);
            s[t].tree.verdict[leaf] = Verdict::scored(0.5);
        }),
        ("", |s| {
            // A step in another's place below the prompt.
            let below: Vec<usize> =
                (1..s[0].tree.len()).filter(|&i| s[0].tree.parent[i] == StepId::ROOT).collect();
            s[0].text.swap(below[0], below[1]);
        }),
    ];
    let mut named = 0;
    for (k, (field, forge_tree)) in fields.iter().enumerate() {
        let path = here.join(format!("forged-{k}"));
        forge(&good, &path, &Forged { stage: 1, trees: Some(forge_tree), ..Forged::default() });
        let said = said(&path);
        let place = said.starts_with("stage 1, update 1, tree ") && said.contains(", step ");
        assert!(place && said.contains(field), "field {k}, {field}: {said}");
        named += 1;
    }
    assert_eq!(named, 16);
    let path = here.join("metrics");
    let reward = |metrics: &mut Metrics| *metrics.get_mut("reward").unwrap() += 0.125;
    forge(&good, &path, &Forged { stage: 1, metrics: Some(&reward), ..Forged::default() });
    assert!(said(&path).contains("metric `reward`: recorded Some("), "{}", said(&path));
    let path = here.join("version");
    let back = |version: &mut PolicyVersion| version.0 -= 3;
    forge(&good, &path, &Forged { stage: 1, version: Some(&back), ..Forged::default() });
    assert!(said(&path).contains("version: recorded"), "{}", said(&path));
    // The forger who changes nothing is not told of: what was told above was the forgery.
    let path = here.join("same");
    forge(&good, &path, &Forged::default());
    assert_eq!(said(&path), "nothing");
}

/// Under the weights of the recipe's seed, which need no checkpoint.
#[test]
fn p24_a_log_prob_is_compared_with_the_weights_that_gave_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = text();
    let (head, _) = text.split_once("[[stage]]\n[stage.sft]").unwrap();
    let (_, rl) = text.split_once("[[stage]]\n[stage.rl]").unwrap();
    let good = folder.path().join("good");
    start(&format!("{head}[[stage]]\n[stage.rl]{rl}"), &good, 2).unwrap();
    let path = folder.path().join("forged");
    let forge_tree: &dyn Fn(&mut [StoredTree]) = &|stored| {
        let tree = &mut stored[2].tree;
        let at = tree.span[1].range().start;
        tree.logprob[at] = f32::from_bits(tree.logprob[at].to_bits() + 1);
    };
    forge(&good, &path, &Forged { trees: Some(forge_tree), ..Forged::default() });
    let said = said(&path);
    assert!(said.starts_with("stage 0, update 0, tree 2, step 1: log-prob: recorded -"), "{said}");
}

/// Under the weights of a checkpoint, which were trained: every tree that follows one is compared,
/// each of its sampled tokens, and none with the weights of the seed.
#[test]
fn p24_log_probs_are_those_of_a_checkpoints_weights() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    start(&text(), &good, 2).unwrap();
    let reader = RunReader::open(&good).unwrap();
    let mut sampled = 0;
    for commit in reader.commits().unwrap().iter().filter(|c| c.key.kind == Kind::Grown) {
        for stored in reader.trees(commit.head.number).unwrap() {
            let tree = &stored.tree;
            let own = (0..tree.len()).filter(|&i| tree.origin[i].is_policy());
            let version = |i: usize| match tree.origin[i] {
                Origin::Policy(version) => version.0,
                _ => 0,
            };
            own.for_each(|i| {
                assert!(version(i) > 0, "a tree of untrained weights shows nothing here");
                sampled += tree.span[i].len() as u64;
            });
        }
    }
    assert_eq!(audit(&good, 1).unwrap().logprobs, sampled);
    // Without the checkpoints there is nothing to compare with, and it says so.
    for entry in std::fs::read_dir(good.join("checkpoints")).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    let Audit { logprobs, left_out, .. } = audit(&good, 1).unwrap();
    assert_eq!(logprobs, 0);
    assert!(left_out.iter().any(|what| what.starts_with("log-probs of trees")), "{left_out:?}");
}

/// Weights that are not those of the version that the record names, in a checkpoint whose manifest
/// fits.
#[test]
fn p24_weights_of_another_version_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    start(&text(), &good, 2).unwrap();
    let log = folder.path().join("log");
    common::runs::copy(&good, &log);
    let number = |run: &Path| {
        let mut all: Vec<String> = std::fs::read_dir(run.join("checkpoints"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    };
    let all = number(&log);
    assert_eq!(all.len(), 3, "{all:?}");
    {
        // The files of the stage's end under the name of the update before.
        let run = RunFolder::open_for_writing(&log).unwrap();
        let held =
            |name: &String| stepwell_store::Checkpoint::of(&run, name.parse().unwrap()).unwrap();
        let (one, other) = (held(&all[1]), held(&all[0]));
        let own = |name: &&str| !["state.json", "manifest.json"].contains(name);
        let read = |name: &str| (name.to_owned(), other.read(name).unwrap());
        let files: Vec<_> = other.file_names().filter(own).map(read).collect();
        let (state, head) = (one.state().unwrap(), one.last_commit());
        std::fs::remove_dir_all(one.folder()).unwrap();
        let mut contents: Vec<(&str, stepwell_store::Content<'_>)> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), stepwell_store::Content::Bytes(bytes)))
            .collect();
        stepwell_store::Checkpoint::write(
            &run,
            all[1].parse().unwrap(),
            &mut contents,
            &state,
            head,
        )
        .unwrap();
    }
    let error = audit(&log, 1).unwrap_err().to_string();
    assert!(error.starts_with(&format!("checkpoint {}: weights: recorded", all[1])), "{error}");
}

/// A run that was recorded before updates held a sum of the weights, and lost its checkpoints: it
/// is grown again and compared with what it holds, and goes on with sums.
#[test]
fn p12_a_record_without_sums_of_weights_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let (good, old) = (folder.path().join("good"), folder.path().join("old"));
    start(&text(), &good, 2).unwrap();
    forge(&good, &old, &Forged { untold: true, ..Forged::default() });
    let sums = |path: &Path| {
        let lineage = RunReader::open(path).unwrap().lineage().unwrap();
        lineage.iter().filter(|row| row.checkpoint.is_none() && row.weights.is_some()).count()
    };
    assert!(sums(&good) > 0 && sums(&old) == 0);
    run::resume(&old, 2, &mut stepwell_engine::observe::Silent).unwrap();
    assert_eq!(sums(&old), 0, "rows that are there never change");
    let weights = |path: &Path| {
        let lineage = RunReader::open(path).unwrap().lineage().unwrap();
        lineage.into_iter().rfind(|row| row.checkpoint.is_some()).unwrap().weights
    };
    assert_eq!(weights(&old), weights(&good));
    audit(&old, 2).unwrap();
}

/// Task files that were edited since are the user's: the record is blamed for nothing.
#[test]
fn p24_edited_task_files_are_not_the_records_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.jsonl");
    let task = |id: &str, count: u32| {
        format!(
            "{{\"id\":\"{id}\",\"question\":\"A box holds {count} pens. How many do 5 hold?\",\
             \"answer\":\"{}\"}}\n",
            5 * count
        )
    };
    let tasks = task("a", 12) + &task("b", 7);
    std::fs::write(&file, &tasks).unwrap();
    let text = format!(
        "seed = 3\n[model.scratch]\nhidden = 24\nlayers = 1\nheads = 2\ncontext = 200\n\
         [environment]\ntype = \"calculator\"\n[environment.files]\ntrain = \"{}\"\n[[stage]]\n\
         [stage.rl]\nsteps = 1\ntasks = 2\nmax_tokens = 16\nlearning_rate = 1e-3\n\
         grow = {{ type = \"independent\", attempts = 2 }}\n\
         credit = {{ type = \"reinforce\", baseline = {{ constant = 0.5 }} }}\n",
        file.display()
    );
    let run = folder.path().join("run");
    start(&text, &run, 2).unwrap();
    audit(&run, 2).unwrap();
    let place = file.display();
    for (edited, expect) in [
        (
            task("a", 13) + &task("b", 7),
            "1 recorded tasks are gone or changed and 1 are new, first: `a`",
        ),
        (task("b", 7), "1 recorded tasks are gone or changed and 0 are new, first: `a`"),
        (
            tasks.clone() + &task("c", 9),
            "0 recorded tasks are gone or changed and 1 are new, first: `c`",
        ),
    ] {
        std::fs::write(&file, edited).unwrap();
        let error = audit(&run, 2).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        let said = error.to_string();
        let begins = format!("{place}: not the tasks that the run began with: {expect}; ");
        assert!(said.starts_with(&begins), "{said}");
    }
    std::fs::write(&file, &tasks).unwrap();
    audit(&run, 2).unwrap();
}

/// The stricter judge's part is in the record, in its figures and in evaluations, is computed again
/// by `check`, and changes no weight: no reward can read it.
#[test]
fn p24_a_stricter_verdict_is_recorded_and_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, strict] = ["plain", "strict"].map(|name| folder.path().join(name));
    let evaluate = "[[stage]]\n[stage.evaluate]\nquestions = 4\nmax_tokens = 24\n";
    let before = text() + evaluate;
    let text = before.replace("max_interactions = 2", "max_interactions = 2\ntwins_held_out = 2");
    assert_ne!(text, before);
    start(&before, &plain, 2).unwrap();
    start(&text, &strict, 2).unwrap();
    let reader = RunReader::open(&strict).unwrap();
    let mut told = 0;
    for commit in reader.commits().unwrap() {
        if !matches!(commit.key.kind, Kind::Grown | Kind::Evaluated) {
            continue;
        }
        let metrics = reader.metrics(commit.head.number).unwrap();
        let reward = metrics.get("reward").or(metrics.get("accuracy")).unwrap();
        let gap = reward - metrics["part/strict"];
        assert!((metrics["strict_gap"] - gap).abs() < 1e-12 && gap >= 0.0, "{metrics:?}");
        told += 1;
    }
    assert_eq!(told, 3);
    let weights = |run: &Path| {
        let lineage = RunReader::open(run).unwrap().lineage().unwrap();
        lineage.iter().filter_map(|row| row.weights).collect::<Vec<_>>()
    };
    assert_eq!(weights(&strict), weights(&plain));
    assert!(audit(&strict, 2).unwrap().judged >= 18);
    let own = "reward = { type = \"composite\", weights = { strict = 1.0 }, gated = [] }";
    let read = text.replace("reward = { type = \"composite\" }", own);
    assert_ne!(read, text);
    let errors = stepwell_engine::recipe::Recipe::parse(&read, "r.toml").unwrap_err();
    assert!(errors[0].to_string().contains("reads the part `strict`, which `sql`"), "{errors:?}");
}
