//! What answers the policy, and in the end judges it.

use crate::{Key, Stop, Task, UnscoredReason, Verdict};

/// The part of a verdict that a stricter judge gives, over data that no reward reads: recorded and
/// shown, never trained on. Where the reward rises and it does not, the policy pleases the judge.
pub const STRICT: &str = "strict";

/// What the policy reads first. Plain text: a chat template is applied by the policy's own codec.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opening {
    /// Instructions that are the same for every task; empty for models made from scratch.
    pub system: String,
    /// The task itself.
    pub user: String,
}

/// One reply of an episode.
#[derive(Clone, PartialEq, Debug)]
pub enum Turn {
    /// The episode goes on after this observation, which is never trained on in `rl` stages.
    Observation(String),
    /// The episode is over. `Verdict::Pending` is not a judgement and is refused by the engine.
    End(Verdict),
}

/// Why an episode could not be forked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForkError {
    /// The state cannot be copied: the engine replays the actions of the path instead.
    Unsupported,
    /// Copying failed.
    Failed(UnscoredReason),
}

/// One attempt at one task. Single use: it refuses to step after its end.
pub trait Episode: Send {
    /// Answers an action. `text` is what the policy wrote since the last observation, decoded;
    /// `stop` tells why it ended.
    fn step(&mut self, text: &str, stop: Stop) -> Turn;

    /// An independent copy of the state at this point (DECISIONS 9).
    fn fork(&self) -> Result<Box<dyn Episode>, ForkError>;
}

/// A world of tasks. Shared by all episodes, which hold what they need of it.
pub trait Environment: Send + Sync {
    /// The name a recipe uses.
    fn name(&self) -> &'static str;

    /// The text before the first action.
    fn opening(&self, task: &Task) -> Opening;

    /// Texts that end a step when the policy writes them.
    fn stop_strings(&self) -> Vec<String>;

    /// Range of `Verdict::Scored::reward`, inclusive.
    fn reward_range(&self) -> (f64, f64);

    /// Names of the verdict's parts, in the order reports show them; [`STRICT`] may come beside.
    fn parts(&self) -> Vec<String>;

    /// Starts an attempt. `Err` is a failure of the harness: the attempt is unscored.
    fn start(&self, task: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason>;

    /// What a finished attempt answers, in a form in which equal answers are equal texts, without
    /// looking at the reference: for SQL, the result of the final query. Votes count these.
    /// `None` where the attempt holds no answer. `text` is the last policy step.
    fn answer(&self, task: &Task, text: &str) -> Option<String>;

    /// A sentence that gives the answer away, for a policy that would else never find it (STaR);
    /// `None` where there is none to give. It stands behind the question while attempts are sampled
    /// and in nothing that trains.
    fn hint(&self, _task: &Task) -> Option<String> {
        None
    }

    /// What stands open between the policy's code and this machine, where a recipe allows that;
    /// `None` where nothing does. A run is marked with it.
    fn weakness(&self) -> Option<String> {
        None
    }
}

/// A piece of a demonstration, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// What stands there.
    pub text: String,
    /// True where an `sft` stage trains it.
    pub train: bool,
    /// True where the environment wrote it (an observation), false for prompt and demonstrator.
    pub observation: bool,
}

/// A worked attempt, for `sft` stages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Demonstration {
    /// The prompt.
    pub opening: Opening,
    /// Alternating actions and observations.
    pub segments: Vec<Segment>,
}
