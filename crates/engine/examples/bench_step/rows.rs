//! What peers compute: the same tokens as flat rows.

use serde_json::{Value, json};
use stepwell_methods::Objective;
use stepwell_tree::{Credit, StepId, StepTree};

use crate::training::{Training, learning_rate};
use crate::tree::tokens;
use crate::workload::{Kind, Workload};

/// Root-to-leaf rows; a token's weight is dealt out among the rows that repeat it.
pub(crate) fn training(training: &Training) -> Value {
    let trained: usize = trained(training);
    let (mut row, mut weight, mut credit, mut behaviour) = (vec![], vec![], vec![], vec![]);
    for (tree, own) in training.forest.iter().zip(&training.credit) {
        let leaves = stepwell_tree::leaves(tree);
        let paths: Vec<Vec<StepId>> =
            leaves.iter().map(|&leaf| stepwell_tree::path_to(tree, leaf)).collect();
        for path in &paths {
            let mut columns = (vec![], vec![], vec![], vec![]);
            for step in path {
                let shared = paths.iter().filter(|path| path.contains(step)).count();
                let worth = own.step[step.index()];
                let factor = worth.map_or(0.0, |_| 1.0 / (trained * shared) as f64);
                for at in tree.span[step.index()].range() {
                    columns.0.push(tree.token[at]);
                    columns.1.push(factor);
                    columns.2.push(worth.unwrap_or(0.0));
                    columns.3.push(if worth.is_some() { tree.logprob[at].min(0.0) } else { 0.0 });
                }
            }
            row.push(columns.0);
            weight.push(columns.1);
            credit.push(columns.2);
            behaviour.push(columns.3);
        }
    }
    let clipped = matches!(training.settings.objective, Objective::Clipped(_));
    json!({
        "rows": row, "weight": weight, "credit": credit, "behaviour": behaviour,
        "clipped": clipped, "learning_rate": training.settings.adamw.learning_rate,
        "trained": trained,
    })
}

fn trained(training: &Training) -> usize {
    let of = |(tree, credit): (&StepTree, &Credit)| -> usize {
        let steps = tree.span.iter().zip(&credit.step);
        steps.map(|(span, credit)| credit.map_or(0, |_| span.len())).sum()
    };
    training.forest.iter().zip(&training.credit).map(of).sum()
}

/// Prompts, and per level its tokens: how many are sampled, or which ones are observed. An
/// observation belongs to a node; the rows below the node repeat it.
pub(crate) fn sampling(workload: &Workload, vocabulary: usize) -> Value {
    let tree = &workload.tree;
    let prompts: Vec<Vec<u32>> =
        (0..tree.trees).map(|t| tokens(&[t], tree.prompt, vocabulary)).collect();
    let mut front: Vec<Vec<u64>> = (0..tree.trees).map(|t| vec![t]).collect();
    let mut levels = Vec::new();
    for level in &tree.levels {
        let children = |place: &Vec<u64>| {
            let place = place.clone();
            (0..level.children).map(move |child| [place.as_slice(), &[child]].concat())
        };
        front = front.iter().flat_map(children).collect();
        let seen = |place: &Vec<u64>| tokens(place, level.tokens, vocabulary);
        levels.push(match level.observed {
            true => json!({ "observed": front.iter().map(seen).collect::<Vec<_>>() }),
            false => json!({ "sampled": level.tokens }),
        });
    }
    json!({
        "prompts": prompts, "levels": levels, "rows": tree.leaves(),
        "grpo": workload.kind == Kind::Grpo, "learning_rate": learning_rate(workload),
    })
}
