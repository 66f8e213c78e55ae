//! One training step on a forest.

use stepwell_methods::objective::{clipped, cross_entropy};
use stepwell_methods::{Aggregation, Objective};
use stepwell_model::AdamWSettings;
use stepwell_train::{Learner, Settings, UpdateReport};
use stepwell_tree::{Credit, Key, Purpose, StepTree};

use crate::tree::number;
use crate::workload::{Kind, Workload};
use crate::{Outcome, shapes};

/// A forest, its credit, and how it is trained.
pub(crate) struct Training {
    pub(crate) forest: Vec<StepTree>,
    pub(crate) credit: Vec<Credit>,
    pub(crate) settings: Settings,
}

impl Training {
    /// One forward, backward and optimizer step.
    pub(crate) fn update(&self, learner: &mut Learner) -> Outcome<UpdateReport> {
        let key = Key::new(1, Purpose::Sample);
        Ok(learner.update(&self.forest, &self.credit, &self.settings, key)?)
    }
}

/// The workload's forest, its behaviour log-probabilities near those of the learner's weights.
pub(crate) fn training(workload: &Workload, learner: &mut Learner) -> Outcome<Training> {
    let sft = workload.kind == Kind::Sft;
    let vocabulary = shapes::config(&workload.model)?.vocabulary;
    let forest = workload.tree.forest(vocabulary, sft, workload.flat);
    let (mut forest, credit): (Vec<StepTree>, Vec<Credit>) = forest.into_iter().unzip();
    check_counts(workload, &forest)?;
    if !sft {
        set_behaviour(&mut forest, learner)?;
    }
    let aggregation = Aggregation::TokenMean;
    let objective = if sft {
        Objective::CrossEntropy(cross_entropy::Config { aggregation })
    } else {
        Objective::Clipped(clipped::Config { aggregation, ..clipped::Config::default() })
    };
    let rate = learning_rate(workload);
    Ok(Training { forest, credit, settings: settings(objective, rate, false) })
}

/// The U and F that every table prints are those of the trees themselves.
fn check_counts(workload: &Workload, forest: &[StepTree]) -> Outcome<()> {
    let unique: usize = forest.iter().map(StepTree::unique_tokens).sum();
    let flat: usize = forest.iter().map(StepTree::flat_tokens).sum();
    let (got, tree) = ((unique as u64, flat as u64), &workload.tree);
    let expected = (if workload.flat { tree.flat() } else { tree.unique() }, tree.flat());
    if got != expected {
        return Err(format!("U and F of the forest: got {got:?}, expected {expected:?}").into());
    }
    Ok(())
}

/// Behaviour near the policy: every ratio has a value of its own.
fn set_behaviour(forest: &mut [StepTree], learner: &mut Learner) -> Outcome<()> {
    let now = stepwell_train::Reference::of(learner.model());
    learner.fill_reference(forest, &now, 1.0, 32_768)?;
    for tree in forest {
        let now = tree.token_column.remove("reference_logprob").ok_or("no reference column")?;
        for s in (0..tree.len()).filter(|&s| tree.origin[s].is_policy()) {
            for at in tree.span[s].range() {
                let shift = 0.1 * number(&[u64::from(tree.token[at]), 3]) as f32;
                tree.logprob[at] = now[at] + shift;
            }
        }
    }
    Ok(())
}

/// Small models take larger steps; a GRPO step takes a small one, so that the rewards stay apart.
pub(crate) fn learning_rate(workload: &Workload) -> f64 {
    match (workload.kind, workload.model.as_str()) {
        (Kind::Grpo, _) => 1e-6,
        (_, "job" | "tiny") => 1e-3,
        _ => 1e-4,
    }
}

/// What both sides train with.
pub(crate) fn settings(objective: Objective, learning_rate: f64, on_policy: bool) -> Settings {
    let adamw =
        AdamWSettings { learning_rate, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.0 };
    Settings {
        objective,
        value: None,
        distillation: None,
        max_tokens: 64,
        temperature: 1.0,
        adamw,
        gradient_clip: 1.0,
        epochs: 1,
        minibatches: 1,
        tokens_max: 32_768,
        on_policy,
    }
}
