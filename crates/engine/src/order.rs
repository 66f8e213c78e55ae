//! Which item comes when: a pure function of the key and the place, never a consumed stream.

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
