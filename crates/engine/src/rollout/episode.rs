//! An attempt's side of a rollout: its episode, a second one at the same point, its verdict.

use stepwell_tree::{
    Environment, Episode, ForkError, Key, StepId, StepTree, Stop, Task, Turn, UnscoredReason,
    Verdict, path_to,
};

/// An episode and the key it was started with: that of its first branch. Forks keep it.
pub(super) struct Attempt {
    pub(super) episode: Box<dyn Episode>,
    key: Key,
}

impl Attempt {
    pub(super) fn start(
        environment: &dyn Environment,
        task: &Task,
        key: Key,
    ) -> Result<Attempt, UnscoredReason> {
        Ok(Attempt { episode: environment.start(task, key)?, key })
    }

    /// A second attempt at the same point: a fork, or the path `at` the boundary played again.
    pub(super) fn fork(
        &self,
        environment: &dyn Environment,
        task: &Task,
        tree: &StepTree,
        text: &[String],
        at: StepId,
    ) -> Result<Attempt, UnscoredReason> {
        match self.copy() {
            Some(copied) => copied,
            None => Attempt::again(environment, task, self.key, tree, text, at),
        }
    }

    /// A copy of the episode; `None` where its world cannot make one.
    pub(super) fn copy(&self) -> Option<Result<Attempt, UnscoredReason>> {
        match self.episode.fork() {
            Ok(episode) => Some(Ok(Attempt { episode, key: self.key })),
            Err(ForkError::Failed(reason)) => Some(Err(reason)),
            Err(ForkError::Unsupported) => None,
        }
    }

    /// The path `at` a boundary played again, in an episode started as the path's was.
    pub(super) fn again(
        environment: &dyn Environment,
        task: &Task,
        key: Key,
        tree: &StepTree,
        text: &[String],
        at: StepId,
    ) -> Result<Attempt, UnscoredReason> {
        let mut attempt = Attempt::start(environment, task, key)?;
        replay(attempt.episode.as_mut(), tree, text, at)?;
        Ok(attempt)
    }

    /// The key its episode was started with.
    pub(super) fn key(&self) -> Key {
        self.key
    }
}

/// Plays the actions of a path into a fresh episode, which must answer with the same bytes.
fn replay(
    episode: &mut dyn Episode,
    tree: &StepTree,
    text: &[String],
    at: StepId,
) -> Result<(), UnscoredReason> {
    let path = path_to(tree, at);
    for (turn, pair) in path[1..].chunks_exact(2).enumerate() {
        let (action, observation) = (pair[0].index(), pair[1].index());
        let got = match episode.step(&text[action], tree.stop[action]) {
            Turn::Observation(got) if got == text[observation] => continue,
            Turn::End(Verdict::Unscored(reason)) => return Err(reason),
            Turn::Observation(got) => format!("{got:?}"),
            Turn::End(verdict) => format!("the end with {verdict:?}"),
        };
        return Err(UnscoredReason::ReplayDiverged(format!(
            "turn {turn}, replayed, gave {}, expected: {}",
            short(&got),
            short(&format!("{:?}", text[observation]))
        )));
    }
    Ok(())
}

/// The verdict on an attempt whose path has no room for another step: the environment judges it as
/// it stands; one that would go on gives its lowest reward.
pub(crate) fn cut_short(episode: &mut dyn Episode, environment: &dyn Environment) -> Verdict {
    match episode.step("", Stop::Context) {
        Turn::End(verdict) => judgement(verdict),
        Turn::Observation(_) => Verdict::scored(environment.reward_range().0),
    }
}

/// The verdict of an environment where it is one: what is not finite is a failure to judge.
pub(crate) fn judgement(verdict: Verdict) -> Verdict {
    assert!(verdict != Verdict::Pending, "an environment ended an episode without a verdict");
    match &verdict {
        Verdict::Scored { reward, parts }
            if !reward.is_finite() || parts.values().any(|part| !part.is_finite()) =>
        {
            let what = format!("a verdict is not finite: {}", short(&format!("{verdict:?}")));
            Verdict::Unscored(UnscoredReason::EnvironmentFailed(what))
        }
        _ => verdict,
    }
}

/// Enough of a text to recognise it by.
fn short(text: &str) -> String {
    const CHARACTERS: usize = 200;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}
