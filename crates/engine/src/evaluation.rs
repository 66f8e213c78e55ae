//! Judges a frozen policy under a fixed budget.

use std::collections::BTreeMap;

use stepwell_methods::Grow;
use stepwell_tree::{Environment, Key, Policy, Sampling, StepId, Task, Verdict, leaves, path_to};

use crate::observe::Metrics;
use crate::rollout::{Grown, Plan, grow_forest};

/// How one answer is chosen from a tree's leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Every leaf counts: the accuracy is the mean over attempts.
    Mean,
    /// The answer that most leaves agree on; ties go to the one that comes first.
    Majority,
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
pub fn evaluate(
    policy: &mut dyn Policy,
    environment: &dyn Environment,
    tasks: &[Task],
    question: &Question<'_>,
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
    for part in tasks.chunks(TASKS_AT_ONCE) {
        let members: Vec<&Task> = part.iter().collect();
        let grown = grow_forest(policy, environment, &members, &plan, &mut on_round);
        for (task, grown) in part.iter().zip(&grown) {
            tally.add(task, grown, question.choice, environment);
        }
    }
    tally.finish(tasks.len())
}

#[derive(Default)]
struct Tally {
    outcome: Vec<f64>,
    unscored: usize,
    sampled: usize,
    unique: usize,
    flat: usize,
    leaves: usize,
    turns: usize,
    parts: BTreeMap<String, f64>,
    samples: Vec<Sample>,
}

impl Tally {
    fn add(&mut self, task: &Task, grown: &Grown, choice: Choice, environment: &dyn Environment) {
        let tree = &grown.tree;
        let ends = leaves(tree);
        let scored: Vec<StepId> = ends
            .iter()
            .copied()
            .filter(|leaf| tree.verdict[leaf.index()].reward().is_some())
            .collect();
        let sampled = |i: &usize| tree.origin[*i].is_policy();
        self.sampled += (0..tree.len()).filter(sampled).map(|i| tree.span[i].len()).sum::<usize>();
        self.turns += (0..tree.len()).filter(sampled).count();
        self.unique += tree.unique_tokens();
        self.flat += tree.flat_tokens();
        self.leaves += ends.len();
        let chosen = match choice {
            Choice::Mean => scored.clone(),
            Choice::Majority => {
                majority(&scored, |leaf| environment.answer(task, &grown.text[leaf.index()]))
                    .into_iter()
                    .collect()
            }
        };
        if chosen.is_empty() {
            self.unscored += 1;
            let first = ends[0];
            self.samples.push(sample(task, grown, first, tree.verdict[first.index()].clone()));
            return;
        }
        let share = 1.0 / chosen.len() as f64;
        let (mut outcome, mut own) = (0.0, BTreeMap::new());
        for leaf in &chosen {
            if let Verdict::Scored { reward, parts } = &tree.verdict[leaf.index()] {
                outcome += reward * share;
                for (name, part) in parts {
                    *own.entry(name.clone()).or_default() += part * share;
                }
            }
        }
        self.outcome.push(outcome);
        for (name, part) in &own {
            *self.parts.entry(name.clone()).or_default() += part;
        }
        let verdict = Verdict::Scored { reward: outcome, parts: own };
        self.samples.push(sample(task, grown, chosen[0], verdict));
    }

    fn finish(self, questions: usize) -> Evaluation {
        let judged = self.outcome.len();
        let n = judged.max(1) as f64;
        let accuracy = self.outcome.iter().sum::<f64>() / n;
        let variance = self.outcome.iter().map(|x| (x - accuracy).powi(2)).sum::<f64>() / n;
        let interval = 1.96 * (variance / n).sqrt();
        let asked = questions.max(1) as f64;
        let mut metrics = Metrics::from([
            ("accuracy".to_owned(), accuracy),
            ("accuracy_interval".to_owned(), interval),
            ("questions".to_owned(), questions as f64),
            ("unscored".to_owned(), self.unscored as f64),
            ("sampled_tokens_per_question".to_owned(), self.sampled as f64 / asked),
            ("policy_steps_per_leaf".to_owned(), self.turns as f64 / self.leaves.max(1) as f64),
            ("leaves_per_question".to_owned(), self.leaves as f64 / asked),
            ("unique_tokens".to_owned(), self.unique as f64),
            ("flat_tokens".to_owned(), self.flat as f64),
        ]);
        for (name, sum) in self.parts {
            metrics.insert(format!("part/{name}"), sum / n);
        }
        Evaluation {
            questions,
            unscored: self.unscored,
            accuracy,
            interval,
            metrics,
            samples: self.samples,
        }
    }
}

/// The first leaf of the answer that most leaves give; where none answers, the first leaf.
fn majority(leaves: &[StepId], mut answer: impl FnMut(StepId) -> Option<String>) -> Option<StepId> {
    let mut votes: BTreeMap<String, (usize, StepId)> = BTreeMap::new();
    for leaf in leaves {
        if let Some(answer) = answer(*leaf) {
            votes.entry(answer).or_insert((0, *leaf)).0 += 1;
        }
    }
    let best = votes.values().copied().reduce(|best, other| {
        let wins = other.0 > best.0 || (other.0 == best.0 && other.1 < best.1);
        if wins { other } else { best }
    });
    best.map(|(_, leaf)| leaf).or_else(|| leaves.first().copied())
}

fn sample(task: &Task, grown: &Grown, leaf: StepId, verdict: Verdict) -> Sample {
    let path = path_to(&grown.tree, leaf);
    let answer: Vec<&str> =
        path.iter().skip(1).map(|step| grown.text[step.index()].as_str()).collect();
    Sample {
        task_hash: task.hash(),
        task: task.id.clone(),
        question: task.question.clone(),
        answer: answer.join(" "),
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_wins_and_ties_go_to_the_first() {
        let leaves: Vec<StepId> = (1..6).map(StepId).collect();
        let vote = |answers: [Option<&str>; 5]| {
            majority(&leaves, |leaf| answers[leaf.index() - 1].map(str::to_owned))
        };
        assert_eq!(vote([Some("a"), Some("b"), Some("b"), None, None]), Some(StepId(2)));
        assert_eq!(vote([Some("z"), Some("b"), Some("b"), Some("z"), None]), Some(StepId(1)));
        assert_eq!(vote([None; 5]), Some(StepId(1)));
        assert_eq!(majority(&[], |_| None), None);
    }
}
