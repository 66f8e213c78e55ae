//! Going on from a place in a finished tree: lines to the end, under draws of their own.

use stepwell_methods::{Run, decisions};
use stepwell_tree::{
    Environment, Key, NewStep, Policy, PrefixId, StepId, StepTree, Task, UnscoredReason, path_to,
};

use super::episode::Attempt;
use super::{Grown, Live, Manner, Plan, Rollout};

/// A place in a finished tree, the prompt or an observation.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The task that the tree attempts.
    pub task: &'a Task,
    /// The tree.
    pub tree: &'a StepTree,
    /// `[N]` the text of each of its steps.
    pub text: &'a [String],
    /// Where to go on.
    pub at: StepId,
    /// The key that the tree was grown under, the task not yet in it: worlds that draw are started
    /// with it again.
    pub grown_under: Key,
}

/// Goes on `lines` times from each place, to the end: per place a tree of its path and the lines.
/// Episodes are started afresh and the path is played again; where that does not repeat its
/// observations the lines are unscored. Draws follow from `plan.key` and the place, so a place that
/// is asked for twice gives the same lines; `plan.grow` is not read.
pub fn continue_from(
    policy: &mut dyn Policy,
    environment: &dyn Environment,
    starts: &[Start<'_>],
    lines: u32,
    plan: &Plan<'_>,
) -> Vec<Grown> {
    let tasks: Vec<&Task> = starts.iter().map(|start| start.task).collect();
    let grow = stepwell_methods::Grow::Independent(Default::default());
    let plan = Plan { grow: &grow, ..plan.clone() };
    let mut rollout = Rollout::new(policy, environment, &tasks, &plan);
    let paths: Vec<Vec<StepId>> =
        starts.iter().map(|start| path_to(start.tree, start.at)).collect();
    let prefixes = compute(rollout.policy, starts, &paths);
    for (t, (start, path)) in starts.iter().zip(&paths).enumerate() {
        let (tree, text) = copy(start, path);
        let at = StepId(tree.len() as u32 - 1);
        rollout.trees.push(tree);
        rollout.texts.push(text);
        let key = path_key(plan.key, start, path);
        let length = path.iter().map(|step| start.tree.span[step.index()].len()).sum();
        rollout.users.insert(prefixes[t], lines);
        for child_index in 0..lines {
            let own = key.with(u64::from(child_index));
            rollout.submit(Live {
                tree: t,
                parent: at,
                child_index,
                key: own,
                path: decisions(start.tree, start.at),
                prefix: prefixes[t],
                length,
                manner: Manner { sampling: plan.sampling, run: Run::ToTheEnd, single: true },
                attempt: attempt(environment, start, path, own),
            });
        }
    }
    rollout.decode(&mut |_| {});
    rollout.finish()
}

/// The keys and values of every path; a prompt that several places share is computed once.
fn compute(policy: &mut dyn Policy, starts: &[Start<'_>], paths: &[Vec<StepId>]) -> Vec<PrefixId> {
    let mut prompts: Vec<&[u32]> =
        starts.iter().map(|start| start.tree.tokens(StepId::ROOT)).collect();
    prompts.sort();
    prompts.dedup();
    let batch: Vec<_> = prompts.iter().map(|prompt| (None, prompt.to_vec())).collect();
    let shared = policy.extend(&batch);
    let rest = |(start, path): (&Start<'_>, &Vec<StepId>)| {
        let prompt = start.tree.tokens(StepId::ROOT);
        let own = prompts.binary_search(&prompt).expect("every prompt is among them");
        let tokens = path[1..].iter().flat_map(|step| start.tree.tokens(*step));
        (Some(shared[own]), tokens.copied().collect())
    };
    let batch: Vec<(_, Vec<u32>)> = starts.iter().zip(paths).map(rest).collect();
    let prefixes = policy.extend(&batch);
    shared.into_iter().for_each(|prefix| policy.release(prefix));
    prefixes
}

/// The path as a tree of its own; places among siblings stay what they were.
fn copy(start: &Start<'_>, path: &[StepId]) -> (StepTree, Vec<String>) {
    let tree = start.tree;
    let mut copied = StepTree::new(tree.task, tree.tokens(StepId::ROOT));
    for (parent, step) in path[1..].iter().enumerate() {
        let i = step.index();
        copied.push(NewStep {
            parent: StepId(parent as u32),
            child_index: tree.child_index[i],
            origin: tree.origin[i],
            stop: tree.stop[i],
            token: tree.tokens(*step),
            logprob: if tree.origin[i].is_policy() { tree.logprobs(*step) } else { &[] },
        });
    }
    (copied, path.iter().map(|step| start.text[step.index()].clone()).collect())
}

/// Names the draws below a place, by its path as a rollout would.
fn path_key(key: Key, start: &Start<'_>, path: &[StepId]) -> Key {
    let policy = path.iter().map(|step| step.index()).filter(|&i| start.tree.origin[i].is_policy());
    let key = key.with_task(&start.tree.task);
    policy.fold(key, |key, i| key.with(u64::from(start.tree.child_index[i])))
}

fn attempt(
    environment: &dyn Environment,
    start: &Start<'_>,
    path: &[StepId],
    own: Key,
) -> Result<Attempt, UnscoredReason> {
    let Start { task, tree, text, at, grown_under } = *start;
    match path.get(1) {
        None => Attempt::start(environment, task, own),
        Some(first) => {
            let child = u64::from(tree.child_index[first.index()]);
            let key = grown_under.with_task(&tree.task).with(child);
            Attempt::again(environment, task, key, tree, text, at)
        }
    }
}
