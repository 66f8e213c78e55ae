//! Judges a frozen policy under a fixed budget.

mod figures;
mod tally;

pub use figures::{bootstrap, counts, majority, majority_at, pass_at};

use stepwell_methods::Grow;
use stepwell_tree::{Environment, Key, Policy, Sampling, StepId, Task, Verdict, leaves};

use crate::observe::Metrics;
use crate::rollout::{Grown, Plan, search_forest};
use crate::scorer::{Prefix, Scorer};
use tally::{Judge, Tally};

/// How one answer is chosen from a tree's leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Every leaf counts: the accuracy is the mean over attempts.
    Mean,
    /// The answer that most leaves agree on; ties go to the one that comes first.
    Majority,
    /// The answer that a scorer values most; ties go to the one that comes first.
    Best,
}

/// What is asked of a policy.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Where candidates come from.
    pub grow: &'a Grow,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of one step.
    pub max_tokens: usize,
    /// Most tokens on a path; `None`: the policy's context.
    pub path_tokens: Option<usize>,
    /// How an answer is chosen.
    pub choice: Choice,
    /// Names the draws.
    pub key: Key,
    /// Resamples of the bootstrap interval over tasks; 0 is none.
    pub resamples: usize,
    /// Names the resamples.
    pub bootstrap: Key,
}

/// One question and the answer that counts.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The task's identity.
    pub task_hash: stepwell_tree::TaskHash,
    /// The task's id.
    pub task: String,
    /// What was asked.
    pub question: String,
    /// The text after the prompt of the chosen attempt; of the first where several count.
    pub answer: String,
    /// What was said of it; the mean where several attempts count.
    pub verdict: Verdict,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Tasks asked.
    pub questions: usize,
    /// Tasks that could not be judged; they are in no mean.
    pub unscored: usize,
    /// Share of right answers among the judged, in [0, 1].
    pub accuracy: f64,
    /// Half the width of a 95 % interval on the accuracy (normal approximation over tasks).
    pub interval: f64,
    /// Everything measured, `accuracy` included.
    pub metrics: Metrics,
    /// One per question, in order.
    pub samples: Vec<Sample>,
}

/// Trees grown at once: bounds the memory of an evaluation.
const TASKS_AT_ONCE: usize = 256;

/// Asks every task once and judges the chosen answer.
///
/// Panics where the question's choice or method reads scores and there is no scorer.
pub fn evaluate(
    policy: &mut dyn Policy,
    environment: &dyn Environment,
    tasks: &[Task],
    question: &Question<'_>,
    mut scorer: Option<&mut (dyn Scorer + '_)>,
    mut on_round: impl FnMut(usize),
) -> Evaluation {
    let mut tally = Tally::default();
    let plan = Plan {
        grow: question.grow,
        sampling: question.sampling,
        max_tokens: question.max_tokens,
        path_tokens: question.path_tokens,
        key: question.key,
    };
    let judge = Judge { environment, question, top: environment.reward_range().1 };
    for part in tasks.chunks(TASKS_AT_ONCE) {
        let members: Vec<&Task> = part.iter().collect();
        let own = scorer.as_deref_mut();
        let grown = search_forest(policy, environment, &members, &plan, own, &mut on_round);
        let best = match (question.choice, scorer.as_deref_mut()) {
            (Choice::Best, Some(scorer)) => best(part, &grown, scorer),
            (Choice::Best, None) => panic!("the best answer is picked by a scorer: give it one"),
            _ => vec![None; part.len()],
        };
        for ((task, grown), best) in part.iter().zip(&grown).zip(best) {
            tally.add(task, grown, best, &judge);
        }
    }
    tally.scored = scorer.map_or(0, |scorer| scorer.sampled_tokens());
    tally.finish(tasks.len(), question)
}

/// Leaves of a tree that have a verdict.
fn judged(grown: &Grown) -> Vec<StepId> {
    let tree = &grown.tree;
    let scored = |leaf: &StepId| tree.verdict[leaf.index()].reward().is_some();
    leaves(tree).into_iter().filter(scored).collect()
}

/// Of every tree the judged leaf that a scorer values most, the first of equals; one without a
/// value comes after all that have one.
fn best(tasks: &[Task], forest: &[Grown], scorer: &mut dyn Scorer) -> Vec<Option<StepId>> {
    let ends: Vec<Vec<StepId>> = forest.iter().map(judged).collect();
    let mut asked = Vec::new();
    for ((task, Grown { tree, text }), ends) in tasks.iter().zip(forest).zip(&ends) {
        asked.extend(ends.iter().map(|&step| Prefix { task, tree, text, step }));
    }
    let mut score = scorer.score(&asked).into_iter();
    let mut pick = |ends: Vec<StepId>| {
        let mut best: Option<(f64, StepId)> = None;
        for leaf in ends {
            let score = score.next().flatten().filter(|score| score.is_finite());
            let score = score.unwrap_or(f64::NEG_INFINITY);
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, leaf));
            }
        }
        best.map(|(_, leaf)| leaf)
    };
    ends.into_iter().map(&mut pick).collect()
}
