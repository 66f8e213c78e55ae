//! A small simulator: one number decides where the world hangs, crashes or answers garbage, where
//! the disk fails, in which order answers arrive, and when the process dies. Growing, credit,
//! record and checkpoints are the real ones; weights are a number, and training is a hash.
//!
//! Whatever the faults, the run must end as the one with the same world and no deaths: the same
//! chain, the same weights, every update trained once and in order. Each seed runs twice, with the
//! same trace.

mod common;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use common::policy::Shuffled;
use common::world::{Fork, task};
use stepwell_engine::rollout::{Grown, Plan, grow_forest};
use stepwell_methods::grow::branch;
use stepwell_methods::{CreditConfig, Grow, RewardConfig};
use stepwell_store::{
    Checkpoint, Content, Digest, Lineage, Record, RunFolder, Updated, newest_valid,
};
use stepwell_tree::{
    Credit, Environment, Episode, ForkError, Key, Opening, PolicyVersion, Purpose, Sampling,
    StepTree, Stop, Task, Turn, UnscoredReason, Verdict, leaves, recursive_mean,
};

const SEEDS: u64 = 12;
/// With `STEPWELL_LONG=1`.
const LONG_SEEDS: u64 = 1000;
const UPDATES: u64 = 5;
const GROW: Grow =
    Grow::Branch(branch::Config { attempts: 3, branches: 2, leaves: 8, tokens: None });

/// What happens to an attempt follows from its episode's key and words, never from arrival.
#[derive(Clone)]
struct Faulty {
    key: Key,
    fork: Fork,
}

#[derive(Clone)]
struct Attempt {
    world: Faulty,
    key: Key,
    said: Vec<String>,
}

fn failed(why: &str) -> UnscoredReason {
    UnscoredReason::EnvironmentFailed(why.to_owned())
}

impl Episode for Attempt {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        self.said.push(text.to_owned());
        let words = self.said.iter().flat_map(|said| said.bytes());
        let place = words.fold(self.world.key, |key, byte| key.with(u64::from(byte)));
        let draw = place.uniform();
        if draw < 0.04 {
            return Turn::End(Verdict::Unscored(failed("did not answer in time")));
        }
        if draw < 0.08 {
            return Turn::End(Verdict::Unscored(failed("exited (signal 9)")));
        }
        if self.said.len() == 3 || stop == Stop::Context {
            let parts = BTreeMap::new();
            let reward = match draw {
                d if d < 0.12 => f64::NAN,
                d if d < 0.16 => f64::INFINITY,
                d => f64::from(u8::from(d > 0.6)),
            };
            return Turn::End(Verdict::Scored { reward, parts });
        }
        Turn::Observation(format!("[{}]", self.key.with(7).bits() % 10))
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        let again = self.key.with(self.said.len() as u64).uniform();
        match self.world.fork {
            Fork::Fails if again < 0.2 => Err(ForkError::Failed(failed("no more processes"))),
            Fork::Unsupported => Err(ForkError::Unsupported),
            _ => Ok(Box::new(self.clone())),
        }
    }
}

impl Environment for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn opening(&self, task: &Task) -> Opening {
        Opening { system: String::new(), user: task.question.clone() }
    }

    fn stop_strings(&self) -> Vec<String> {
        Vec::new()
    }

    fn reward_range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn parts(&self) -> Vec<String> {
        Vec::new()
    }

    fn start(&self, _: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        if self.key.with(key.bits()).uniform() < 0.05 {
            return Err(failed("cannot start"));
        }
        Ok(Box::new(Attempt { world: self.clone(), key, said: Vec::new() }))
    }

    fn answer(&self, _: &Task, _: &str) -> Option<String> {
        None
    }
}

/// What trains: a number that remembers what made it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
struct Weights {
    sum: u64,
    version: u64,
    trained: Vec<u64>,
}

/// How often each kind of fault struck, over all seeds.
#[derive(Default, Debug, PartialEq, Eq, Clone)]
struct Struck(BTreeMap<&'static str, u64>);

struct Sim<'a> {
    seed: u64,
    folder: &'a Path,
    /// False for the run that nobody kills.
    deadly: bool,
    /// Lives so far: part of every fault's key, so that the next life meets others.
    life: u64,
    trace: Vec<String>,
    struck: Struck,
    version_seen: u64,
}

/// A life ends.
struct Dead;

impl Sim<'_> {
    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    /// True where a fault strikes here, in this life; never after many.
    fn strikes(&mut self, fault: &'static str, update: u64, chance: f64) -> bool {
        if !self.deadly || self.life > 12 {
            return false;
        }
        let name =
            fault.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let key = Key::new(self.seed, Purpose::Control).with(self.life).with(update).with(name);
        let strikes = key.uniform() < chance;
        if strikes {
            *self.struck.0.entry(fault).or_default() += 1;
            self.note(format!("life {}, update {update}: {fault}", self.life));
        }
        strikes
    }

    fn grow(&self, update: u64, version: u64) -> Vec<Grown> {
        let world = Key::new(self.seed, Purpose::World).with(update);
        let fork = [Fork::Clones, Fork::Unsupported, Fork::Fails][self.seed as usize % 3];
        let tasks = ["one", "two", "three"].map(task);
        let tasks: Vec<&Task> = tasks.iter().collect();
        let key = Key::new(self.seed, Purpose::Sample).with(update);
        let (sampling, max_tokens) = (Sampling::FULL, 4);
        let plan = Plan { grow: &GROW, sampling, max_tokens, path_tokens: None, key };
        // Answers arrive in another order in every life.
        let mut policy = Shuffled::new(self.seed * 100 + self.life);
        policy.version = PolicyVersion(version);
        let grown = grow_forest(&mut policy, &Faulty { key: world, fork }, &tasks, &plan, |_| {});
        assert_eq!(policy.held(), 0, "prefixes that nobody will use stay in memory");
        grown
    }

    /// From the newest whole checkpoint to the end, or to the next death.
    fn live(&mut self, credit: &CreditConfig) -> Result<(Weights, Digest), Dead> {
        let run = match self.life {
            0 => RunFolder::create(self.folder, "seed = 1\n").unwrap(),
            _ => RunFolder::open_for_writing(self.folder).unwrap(),
        };
        let mut record = run.record().unwrap();
        record.commit_tasks(0, "train", &["one", "two", "three"].map(task)).unwrap();
        let (newest, skipped) = newest_valid(&run).unwrap();
        for checkpoint in &skipped {
            self.note(format!("skipped {}", checkpoint.name));
        }
        let mut weights = match newest {
            None => Weights { sum: 1, version: 0, trained: Vec::new() },
            Some(newest) => {
                record.read().require(&newest.name(), newest.last_commit()).unwrap();
                let bytes = newest.read("weights.bin").unwrap();
                let weights: Weights = serde_json::from_value(newest.state().unwrap()).unwrap();
                assert_eq!(bytes, weights.sum.to_le_bytes(), "weights of another checkpoint");
                weights
            }
        };
        self.note(format!("life {} from version {}", self.life, weights.version));
        while weights.version < UPDATES {
            self.update(&run, &mut record, &mut weights, credit)?;
        }
        record.finish().unwrap();
        let head = record.head().digest;
        record.read().verify().unwrap();
        Ok((weights, head))
    }

    fn update(
        &mut self,
        run: &RunFolder,
        record: &mut Record,
        weights: &mut Weights,
        credit: &CreditConfig,
    ) -> Result<(), Dead> {
        let update = weights.trained.len() as u64;
        let stored = record.read().grown(0, update).unwrap();
        let forest: Vec<Grown> = match stored {
            Some(stored) => stored
                .into_iter()
                .map(|own| Grown {
                    tree: own.tree,
                    text: own.text.into_iter().map(Option::unwrap).collect(),
                })
                .collect(),
            None => self.grow(update, weights.version),
        };
        let trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
        let credits = credit.credit(&trees, &RewardConfig::Outcome.reward(&trees));
        check(&trees, &credits, weights.version);
        if self.strikes("death before the trees are committed", update, 0.15) {
            return Err(Dead);
        }
        let texts: Vec<Vec<Option<String>>> =
            forest.iter().map(|own| own.text.iter().cloned().map(Some).collect()).collect();
        let (stage, timing) = (0, None);
        record
            .commit_grown(&stepwell_store::Grown {
                stage,
                update,
                trees: &trees,
                texts: &texts,
                credits: &credits,
                metrics: None,
                timing,
            })
            .unwrap();
        if self.strikes("death before training", update, 0.15) {
            return Err(Dead);
        }
        let trained = trees.iter().zip(&credits).flat_map(|(tree, credit)| {
            (0..tree.len()).filter(|&i| credit.step[i].is_some()).flat_map(|i| {
                let worth = credit.step[i].unwrap_or_default().to_bits();
                tree.tokens(stepwell_tree::StepId(i as u32))
                    .iter()
                    .map(move |t| worth ^ u64::from(*t))
            })
        });
        let sum = trained.fold(Key::new(weights.sum, Purpose::Control), Key::with).bits();
        weights.sum = sum;
        weights.version += 1;
        weights.trained.push(update);
        assert!(weights.version > 0 && weights.trained.len() as u64 == weights.version);
        if self.strikes("death after training", update, 0.15) {
            return Err(Dead);
        }
        let version = PolicyVersion(weights.version);
        let metrics = BTreeMap::from([("loss".to_owned(), sum as f64)]);
        let sums = Some(Digest::of(&sum.to_le_bytes()));
        let updated = Updated { stage, update, version, weights: sums, metrics: &metrics, timing };
        record.commit_updated(&updated).unwrap();
        self.version_seen = self.version_seen.max(weights.version);
        if self.strikes("death before the checkpoint", update, 0.15) {
            return Err(Dead);
        }
        self.checkpoint(run, record, weights, update)
    }

    /// A checkpoint every other update. The disk may be full in the middle of a file, or a bit of
    /// what was written may turn over before the next life.
    fn checkpoint(
        &mut self,
        run: &RunFolder,
        record: &mut Record,
        weights: &Weights,
        update: u64,
    ) -> Result<(), Dead> {
        if update.is_multiple_of(2) && update + 1 < UPDATES {
            return Ok(());
        }
        let bytes = weights.sum.to_le_bytes();
        let number = weights.version;
        let lineage = Lineage {
            stage: 0,
            update: number,
            version: PolicyVersion(number),
            checkpoint: number,
            weights: Digest::of(&bytes),
        };
        record.commit_lineage(&lineage).unwrap();
        let full = self.strikes("a full disk", update, 0.3);
        let mut write = |out: &mut dyn io::Write| {
            out.write_all(&bytes[..3])?;
            if full {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            out.write_all(&bytes[3..])
        };
        let state = serde_json::to_value(weights).unwrap();
        let mut files = [("weights.bin", Content::Writer(&mut write))];
        let written = Checkpoint::write(run, number, &mut files, &state, record.head());
        if full {
            let error = written.unwrap_err();
            assert_eq!(error.exit_code(), 3, "{error}");
            return Err(Dead);
        }
        let folder = written.unwrap().folder().to_owned();
        if self.strikes("a bit that turns over on the disk", update, 0.2) {
            let path = folder.join("weights.bin");
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[(self.seed % 8) as usize] ^= 1;
            std::fs::write(path, bytes).unwrap();
            return Err(Dead);
        }
        if self.strikes("death after the checkpoint", update, 0.15) { Err(Dead) } else { Ok(()) }
    }
}

/// What must hold of every update's trees, recomputed from nothing but them.
fn check(trees: &[StepTree], credits: &[Credit], version: u64) {
    for (tree, credit) in trees.iter().zip(credits) {
        tree.check().unwrap();
        assert!(tree.policy_version().is_none_or(|own| own == PolicyVersion(version)));
        let judged = |verdict: &Verdict| match verdict {
            Verdict::Scored { reward, .. } => Some(*reward),
            Verdict::Pending | Verdict::Unscored(_) => None,
        };
        let value = recursive_mean(tree, |step| judged(&tree.verdict[step.index()]));
        for leaf in leaves(tree) {
            assert_ne!(tree.verdict[leaf.index()], Verdict::Pending);
            assert!(judged(&tree.verdict[leaf.index()]).is_none_or(f64::is_finite));
        }
        for (i, own) in credit.step.iter().enumerate() {
            assert!(own.is_none_or(f64::is_finite));
            let may = tree.origin[i].is_policy() && value[i].is_some();
            assert!(own.is_none() || may, "step {i} was never judged and has credit");
        }
    }
}

/// Lives until the run is done; what it came to.
fn simulate(seed: u64, folder: &Path, deadly: bool) -> (Weights, Digest, Vec<String>, Struck) {
    let (trace, struck) = (Vec::new(), Struck::default());
    let mut sim = Sim { seed, folder, deadly, life: 0, trace, struck, version_seen: 0 };
    let credit = CreditConfig::Sibling(Default::default());
    loop {
        match sim.live(&credit) {
            Ok((weights, head)) => {
                assert_eq!(weights.trained, (0..UPDATES).collect::<Vec<_>>(), "seed {seed}");
                assert_eq!(sim.version_seen, UPDATES);
                return (weights, head, sim.trace, sim.struck);
            }
            Err(Dead) => sim.life += 1,
        }
        assert!(sim.life < 100, "seed {seed}: no progress though faults have stopped");
    }
}

#[test]
fn whatever_fails_and_whenever_it_dies_the_run_is_the_same() {
    let place = tempfile::tempdir().unwrap();
    let mut struck = BTreeMap::new();
    let (mut lives, mut unscored) = (0, 0);
    let seeds = if std::env::var_os("STEPWELL_LONG").is_some() { LONG_SEEDS } else { SEEDS };
    for seed in 1..=seeds {
        let at = |name: &str| place.path().join(format!("{seed}-{name}"));
        let (weights, head, _, none) = simulate(seed, &at("calm"), false);
        assert_eq!(none, Struck::default());
        let first = simulate(seed, &at("a"), true);
        let again = simulate(seed, &at("b"), true);
        assert_eq!(first.2, again.2, "seed {seed}: two runs of one seed have two traces");
        assert_eq!((&first.0, first.1), (&weights, head), "seed {seed}: {:#?}", first.2);
        lives += first.2.iter().filter(|line| line.contains(" from version ")).count();
        first.3.0.iter().for_each(|(fault, count)| *struck.entry(*fault).or_insert(0) += count);
        let run = stepwell_store::RunReader::open(&at("a")).unwrap();
        for update in 0..UPDATES {
            for stored in run.grown(0, update).unwrap().unwrap() {
                let failed = |verdict: &&Verdict| matches!(verdict, Verdict::Unscored(_));
                unscored += stored.tree.verdict.iter().filter(failed).count();
            }
        }
    }
    // A fault that never strikes tests nothing.
    assert_eq!(struck.len(), 7, "{struck:?}");
    assert!(struck.values().all(|count| *count > 1), "{struck:?}");
    assert!(lives as u64 > 2 * seeds && unscored > 100, "{lives} lives, {unscored} unscored");
    let faults: u64 = struck.values().sum();
    println!("{seeds} seeds, {lives} lives, {faults} faults, {unscored} attempts unscored");
}
