//! Which item comes when: a pure function of the key and the place, never a consumed stream.

use stepwell_env::pairs::Comparison;
use stepwell_train::Codec;
use stepwell_tree::{Demonstration, NewStep, Origin, StepId, StepTree, Stop, Task};

pub use stepwell_methods::curriculum::epochs::batch;

/// A demonstration as a tree with one path, and the credit that trains the marked steps.
///
/// With `mask_observations` off, observations are trained too (Tool-Star's published setting).
pub fn demonstration_tree(
    codec: &Codec,
    demonstration: &Demonstration,
    mask_observations: bool,
) -> (StepTree, stepwell_tree::Credit) {
    let task = Task {
        id: String::new(),
        question: demonstration.opening.user.clone(),
        fields: Default::default(),
    };
    let mut tree = StepTree::new(task.hash(), &codec.encode_opening(&demonstration.opening));
    let mut marked = vec![false];
    let mut parent = StepId::ROOT;
    for segment in &demonstration.segments {
        let origin = if segment.observation { Origin::Environment } else { Origin::Demonstration };
        let token = codec.encode(&segment.text);
        parent = tree.push(NewStep {
            parent,
            child_index: 0,
            origin,
            stop: Stop::NotSampled,
            token: &token,
            logprob: &[],
        });
        marked.push(if segment.observation { !mask_observations } else { segment.train });
    }
    let mut credit = stepwell_tree::Credit::none(tree.len());
    for (step, marked) in credit.step.iter_mut().zip(marked) {
        *step = marked.then_some(1.0);
    }
    (tree, credit)
}

/// A pair of a file as a tree: both answers below one prompt. `end` closes each.
pub(crate) fn comparison_tree(codec: &Codec, pair: &Comparison, end: Option<u32>) -> StepTree {
    let mut tree =
        StepTree::new(comparison_task(pair).hash(), &codec.encode_opening(&pair.opening));
    for (child_index, text) in [&pair.chosen, &pair.rejected].into_iter().enumerate() {
        let mut token = codec.encode(text);
        token.extend(end);
        tree.push(NewStep {
            parent: StepId::ROOT,
            child_index: child_index as u32,
            origin: Origin::Demonstration,
            stop: Stop::NotSampled,
            token: &token,
            logprob: &[],
        });
    }
    tree
}

/// A pair as the record knows it.
pub(crate) fn comparison_task(pair: &Comparison) -> Task {
    let Comparison { opening, chosen, rejected } = pair;
    let fields = [("system", &opening.system), ("chosen", chosen), ("rejected", rejected)];
    let fields = fields.map(|(name, text)| (name.to_owned(), text.clone()));
    Task { id: String::new(), question: opening.user.clone(), fields: fields.into() }
}
