//! Attempts of the policy's own as demonstrations, and what a hint may and may not touch.
//!
//! A hint is in the prompt while an attempt is sampled. What trains is put together anew: the
//! prompt is the environment's own opening of the task, which has never seen a hint, and below it
//! stand the steps of the path. An attempt whose own words speak of a hint, or quote it, is not
//! kept: it would teach the policy to claim what it was not told. (What an observation says comes
//! from the environment, whose episode was started with the task alone.)

use stepwell_tree::{
    Credit, Environment, Episode, Key, NewStep, Opening, Origin, StepId, StepTree, Stop, Task,
    UnscoredReason, path_to,
};

/// An environment whose openings give the answer away.
pub(super) struct Hinted<'e>(pub(super) &'e dyn Environment);

/// The opening of a task with its hint; `None` where the environment has none to give.
pub(crate) fn hinted(environment: &dyn Environment, task: &Task) -> Option<Opening> {
    let hint = environment.hint(task)?;
    let opening = environment.opening(task);
    Some(Opening { user: format!("{}\n{hint}", opening.user), ..opening })
}

impl Environment for Hinted<'_> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn opening(&self, task: &Task) -> Opening {
        hinted(self.0, task).unwrap_or_else(|| self.0.opening(task))
    }

    fn stop_strings(&self) -> Vec<String> {
        self.0.stop_strings()
    }

    fn reward_range(&self) -> (f64, f64) {
        self.0.reward_range()
    }

    fn parts(&self) -> Vec<String> {
        self.0.parts()
    }

    fn start(&self, task: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        self.0.start(task, key)
    }

    fn answer(&self, task: &Task, text: &str) -> Option<String> {
        self.0.answer(task, text)
    }

    fn hint(&self, task: &Task) -> Option<String> {
        self.0.hint(task)
    }
}

/// True where an attempt's own words speak of a hint or quote what it says: what stands behind its
/// `Hint:`, where it has one.
pub(super) fn speaks_of_hint(tree: &StepTree, text: &[String], leaf: StepId, hint: &str) -> bool {
    let own = path_to(tree, leaf).into_iter().filter(|s| tree.origin[s.index()].is_policy());
    let hint = hint.to_lowercase();
    let content = hint.strip_prefix("hint:").unwrap_or(&hint).trim();
    let quotes = |words: &str| !content.is_empty() && words.contains(content);
    own.map(|s| text[s.index()].to_lowercase())
        .any(|words| words.contains("hint") || quotes(&words))
}

/// An attempt as a demonstration below a prompt: the policy's steps train, observations do not.
pub(super) fn demonstrated(tree: &StepTree, leaf: StepId, prompt: &[u32]) -> (StepTree, Credit) {
    let mut own = StepTree::new(tree.task, prompt);
    let mut marks = vec![None];
    let mut parent = StepId::ROOT;
    for step in path_to(tree, leaf).into_iter().skip(1) {
        let policy = tree.origin[step.index()].is_policy();
        parent = own.push(NewStep {
            parent,
            child_index: 0,
            origin: if policy { Origin::Demonstration } else { Origin::Environment },
            stop: Stop::NotSampled,
            token: tree.tokens(step),
            logprob: &[],
        });
        marks.push(policy.then_some(1.0));
    }
    (own, Credit { step: marks, token: None })
}

/// The credit by which a record shows what was kept of a tree: 1 on the policy's steps of the kept
/// paths.
pub(super) fn marked(tree: &StepTree, kept: &[StepId]) -> Credit {
    let mut credit = Credit::none(tree.len());
    for step in kept.iter().flat_map(|leaf| path_to(tree, *leaf)) {
        if tree.origin[step.index()].is_policy() {
            credit.step[step.index()] = Some(1.0);
        }
    }
    credit
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::parse;

    fn tree() -> StepTree {
        parse(
            "0 -  prompt q h h h
             1 0  policy a a
             2 1  environment o
             3 2  policy b      r=1
             4 2  policy c      r=0",
        )
    }

    #[test]
    fn a_demonstration_has_the_prompt_it_is_given_and_trains_the_policys_steps() {
        let tree = tree();
        let (own, credit) = demonstrated(&tree, StepId(3), &['q' as u32]);
        let text: Vec<char> = own.token.iter().filter_map(|t| char::from_u32(*t)).collect();
        assert_eq!(text, ['q', 'a', 'a', 'o', 'b']);
        assert_eq!(credit.step, [None, Some(1.0), None, Some(1.0)]);
        assert!(own.origin.iter().all(|origin| !origin.is_policy()));
        assert_eq!(marked(&tree, &[StepId(3)]).step, [None, Some(1.0), None, Some(1.0), None]);
        own.check().unwrap();
    }

    #[test]
    fn an_attempt_that_speaks_of_its_hint_is_known() {
        let tree = tree();
        let said = |a: &str, o: &str, b: &str| {
            let text = ["q", a, o, b, ""].map(str::to_owned);
            speaks_of_hint(&tree, &text, StepId(3), "Hint: the answer is 7")
        };
        assert!(!said("look", "a Hint of rain", "seven"));
        assert!(said("as the HINT says", "", "7"));
        assert!(!said("look", "the answer is 7", "so it is 7"));
        assert!(said("look", "", "so The answer is 7"));
    }
}
