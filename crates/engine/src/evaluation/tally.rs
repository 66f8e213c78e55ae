//! Adds up what trees say, task by task.

use std::collections::BTreeMap;

use stepwell_methods::Grow;
use stepwell_tree::{Environment, STRICT, StepId, Task, Verdict, leaves, path_to};

use super::{Choice, Evaluation, Question, Sample, judged};
use super::{bootstrap, counts, majority, majority_at, pass_at};
use crate::observe::Metrics;
use crate::rollout::Grown;
use crate::stage::STRICT_GAP;

/// Who judges, and what was asked.
pub(super) struct Judge<'a> {
    pub(super) environment: &'a dyn Environment,
    pub(super) question: &'a Question<'a>,
    /// The reward of a right answer.
    pub(super) top: f64,
}

#[derive(Default)]
pub(super) struct Tally {
    outcome: Vec<f64>,
    unscored: usize,
    sampled: usize,
    unique: usize,
    flat: usize,
    leaves: usize,
    turns: usize,
    /// Tokens that a scorer's own continuations took.
    pub(super) scored: u64,
    /// By name: sum over tasks whose verdicts have it, and their number.
    parts: BTreeMap<String, (f64, usize)>,
    /// Sum over tasks that a stricter judge judged of what they earned beyond its verdict.
    strict_gap: f64,
    /// Attempts that took so many policy steps, and the sum of their outcomes.
    depth: BTreeMap<usize, (usize, f64)>,
    /// Sum over tasks, and their number, of a curve's point at so many attempts.
    pass: BTreeMap<usize, (usize, f64)>,
    majority: BTreeMap<usize, (usize, f64)>,
    samples: Vec<Sample>,
}

impl Tally {
    pub(super) fn add(
        &mut self,
        task: &Task,
        grown: &Grown,
        best: Option<StepId>,
        judge: &Judge<'_>,
    ) {
        let tree = &grown.tree;
        let sampled = |i: &usize| tree.origin[*i].is_policy();
        self.sampled += (0..tree.len()).filter(sampled).map(|i| tree.span[i].len()).sum::<usize>();
        self.turns += (0..tree.len()).filter(sampled).count();
        self.unique += tree.unique_tokens();
        self.flat += tree.flat_tokens();
        self.leaves += leaves(tree).len();
        let scored = judged(grown);
        let answer = |leaf: &StepId| judge.environment.answer(task, &grown.text[leaf.index()]);
        let independent = matches!(judge.question.grow, Grow::Independent(own) if own.attempts > 1);
        let votes = judge.question.choice == Choice::Majority || independent;
        let answers: Vec<Option<String>> =
            if votes { scored.iter().map(answer).collect() } else { Vec::new() };
        let chosen = match judge.question.choice {
            Choice::Mean => scored.clone(),
            Choice::Best => best.into_iter().collect(),
            Choice::Majority => {
                let first = majority(answers.iter().map(Option::as_deref));
                first.map(|place| scored[place]).into_iter().collect()
            }
        };
        if chosen.is_empty() {
            self.unscored += 1;
            let first = leaves(tree)[0];
            self.samples.push(sample(task, grown, first, tree.verdict[first.index()].clone()));
            return;
        }
        self.depths(grown, &scored);
        if independent {
            self.curves(grown, &scored, answers, judge.top);
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
            let (sum, count) = self.parts.entry(name.clone()).or_default();
            (*sum, *count) = (*sum + part, *count + 1);
        }
        self.strict_gap += own.get(STRICT).map_or(0.0, |strict| outcome - strict);
        let verdict = Verdict::Scored { reward: outcome, parts: own };
        self.samples.push(sample(task, grown, chosen[0], verdict));
    }

    fn depths(&mut self, grown: &Grown, scored: &[StepId]) {
        let tree = &grown.tree;
        for leaf in scored {
            let path = path_to(tree, *leaf);
            let steps = path.iter().filter(|step| tree.origin[step.index()].is_policy()).count();
            let (count, sum) = self.depth.entry(steps).or_default();
            *count += 1;
            *sum += tree.verdict[leaf.index()].reward().unwrap_or(0.0);
        }
    }

    /// Points of pass@k and maj@k of one task, whose attempts share the prompt only.
    fn curves(&mut self, grown: &Grown, scored: &[StepId], answers: Vec<Option<String>>, top: f64) {
        let reward = |leaf: &StepId| grown.tree.verdict[leaf.index()].reward().unwrap_or(0.0);
        let right = scored.iter().filter(|leaf| reward(leaf) >= top).count();
        let attempts: Vec<(Option<String>, f64)> =
            answers.into_iter().zip(scored.iter().map(reward)).collect();
        let add = |curve: &mut BTreeMap<usize, (usize, f64)>, k, point: Option<f64>| {
            let (count, sum) = curve.entry(k).or_default();
            *count += usize::from(point.is_some());
            *sum += point.unwrap_or(0.0);
        };
        for k in counts(leaves(&grown.tree).len()) {
            add(&mut self.pass, k, pass_at(scored.len(), right, k));
            add(&mut self.majority, k, majority_at(&attempts, k));
        }
    }

    pub(super) fn finish(self, questions: usize, question: &Question<'_>) -> Evaluation {
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
        for (name, (sum, count)) in &self.parts {
            metrics.insert(format!("part/{name}"), sum / *count as f64);
            if name == STRICT {
                metrics.insert(STRICT_GAP.to_owned(), self.strict_gap / *count as f64);
            }
        }
        self.beyond_the_mean(question, asked, &mut metrics);
        Evaluation {
            questions,
            unscored: self.unscored,
            accuracy,
            interval,
            metrics,
            samples: self.samples,
        }
    }

    fn beyond_the_mean(&self, question: &Question<'_>, asked: f64, metrics: &mut Metrics) {
        let (resamples, key) = (question.resamples, question.bootstrap);
        if let Some((low, high)) = bootstrap(&self.outcome, resamples, key) {
            metrics.insert("accuracy_low".to_owned(), low);
            metrics.insert("accuracy_high".to_owned(), high);
        }
        for (steps, (count, sum)) in &self.depth {
            metrics.insert(format!("depth/{steps}/attempts"), *count as f64);
            metrics.insert(format!("depth/{steps}/accuracy"), sum / *count as f64);
        }
        for (name, curve) in [("pass_at", &self.pass), ("majority_at", &self.majority)] {
            for (k, (count, sum)) in curve.iter().filter(|(_, (count, _))| *count > 0) {
                metrics.insert(format!("{name}/{k}"), sum / *count as f64);
            }
        }
        if self.scored > 0 {
            let tokens = self.scored as f64 / asked;
            metrics.insert("scorer_tokens_per_question".to_owned(), tokens);
        }
    }
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
