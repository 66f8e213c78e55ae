//! One whole GRPO step: sample, judge, credit, update.

use std::time::Instant;

use stepwell_methods::credit::group_mean;
use stepwell_methods::objective::clipped;
use stepwell_methods::{Aggregation, CreditConfig, Objective, RewardConfig};
use stepwell_model::{Decoder, Prefix};
use stepwell_train::{Learner, UpdateReport};
use stepwell_tree::{Key, NewStep, Origin, StepId, StepTree, Stop, Verdict};

use crate::sampling::{finish, request};
use crate::training::{learning_rate, settings};
use crate::tree::{task, tokens};
use crate::workload::Workload;
use crate::{Outcome, THREADS};

/// What a step did.
pub(crate) struct Step {
    /// Of every attempt, by tree.
    pub(crate) tokens: Vec<Vec<u32>>,
    /// Seconds until the last token was sampled.
    pub(crate) sampled: f64,
    pub(crate) report: UpdateReport,
}

/// Grows one tree per prompt with the attempts of the workload's only level, and trains on them.
pub(crate) fn step(learner: &mut Learner, workload: &Workload, key: Key) -> Outcome<Step> {
    let start = Instant::now();
    let forest = grow(learner, workload, key);
    let sampled = start.elapsed().as_secs_f64();
    let rewards = RewardConfig::Outcome.reward(&forest);
    // The divisor's summand is TRL's.
    let config = group_mean::Config { epsilon: 1e-4, ..group_mean::Config::default() };
    let credit = CreditConfig::GroupMean(config).credit(&forest, &rewards);
    let aggregation = Aggregation::TokenMean;
    let clipped = clipped::Config { aggregation, ..clipped::Config::default() };
    let rate = learning_rate(workload);
    let settings = settings(Objective::Clipped(clipped), rate, true);
    let report = learner.update(&forest, &credit, &settings, key)?;
    let attempts = |tree: &StepTree| -> Vec<Vec<u32>> {
        (1..tree.len()).map(|s| tree.tokens(StepId(s as u32)).to_vec()).collect()
    };
    Ok(Step { tokens: forest.iter().flat_map(attempts).collect(), sampled, report })
}

fn grow(learner: &Learner, workload: &Workload, key: Key) -> Vec<StepTree> {
    let (model, shape) = (learner.model(), &workload.tree);
    let (attempts, length) = (shape.leaves_each(), shape.levels[0].tokens);
    let vocabulary = model.config().vocabulary;
    let prompts: Vec<(Option<Prefix>, Vec<u32>)> =
        (0..shape.trees).map(|t| (None, tokens(&[t], shape.prompt, vocabulary))).collect();
    let mut decoder = Decoder::new(THREADS);
    let prefixes = decoder.extend_many(model, &prompts);
    for (t, prefix) in prefixes.iter().enumerate() {
        for attempt in 0..attempts {
            decoder.begin(t as u64 * attempts + attempt, prefix, request(length, false));
        }
    }
    let done = finish(&mut decoder, model, key);
    let mut forest = Vec::new();
    for ((_, prompt), done) in prompts.iter().zip(done.chunks(attempts as usize)) {
        let mut tree = StepTree::new(task().hash(), prompt);
        for (child_index, done) in done.iter().enumerate() {
            let leaf = tree.push(NewStep {
                parent: StepId::ROOT,
                child_index: child_index as u32,
                origin: Origin::Policy(learner.version()),
                stop: Stop::Length,
                token: &done.tokens,
                logprob: &done.logprobs,
            });
            tree.judge(leaf, Verdict::scored(reward(&done.tokens)));
        }
        forest.push(tree);
    }
    forest
}

/// The share of even tokens: any judge would do, this one costs nothing.
fn reward(tokens: &[u32]) -> f64 {
    let even = tokens.iter().filter(|token| *token % 2 == 0).count();
    even as f64 / tokens.len().max(1) as f64
}
