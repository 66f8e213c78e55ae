//! One attempt: programs and what they print, then a function that is tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use stepwell_sandbox::ArtifactError;
use stepwell_sandbox::python::{self, Outcome, Session, Step, grade};
use stepwell_tree::{Episode, ForkError, STRICT, Stop, Task, Turn, UnscoredReason, Verdict};

use super::config::{Config, Reward};
use super::equality;
use super::tasks::{Case, cases};
use crate::calls::{Action, Malformed, PYTHON};
use crate::exact::Exact;

/// Names of the parts, in the order reports show them.
pub const PARTS: [&str; 3] = ["format", "passed", "ran"];
/// Bytes of a program that is the answer.
pub const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// Ends an observation that was cut.
const MARK: &str = " [cut]";

/// The state of an attempt at one task.
pub(super) struct Attempt {
    config: Arc<Config>,
    function: Arc<str>,
    cases: Arc<[Case]>,
    /// Those of a stricter judge, whose verdict nothing trains on.
    held_out: Arc<[Case]>,
    /// Programs that were run so far.
    asked: u32,
    /// Those that the interpreter still remembers and what followed them: what a fork plays again.
    history: Vec<(String, String)>,
    /// The interpreter, once a program was run; a fork gets its own when it first runs one.
    session: Option<Session>,
    ended: bool,
}

/// A failure of ours, not of the program.
fn failed(error: impl ToString) -> UnscoredReason {
    UnscoredReason::EnvironmentFailed(error.to_string())
}

impl Attempt {
    /// An attempt without an interpreter. Errors: the task cannot be judged.
    pub(super) fn new(config: &Arc<Config>, task: &Task) -> Result<Attempt, String> {
        let (cases, held_out) = (cases(task, "cases")?, cases(task, "cases_held_out")?);
        let function = task.field("function").ok_or("`function` is missing")?;
        if cases.is_empty() {
            return Err("`cases` are missing".to_owned());
        }
        Ok(Attempt {
            config: Arc::clone(config),
            function: function.into(),
            cases: cases.into(),
            held_out: held_out.into(),
            asked: 0,
            history: Vec::new(),
            session: None,
            ended: false,
        })
    }

    /// Runs a program; the observation that answers it.
    fn run(&mut self, program: &str) -> Result<String, UnscoredReason> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.replayed()?,
        };
        let step = session.step(program);
        let gone = matches!(step, Step::Gone(_));
        let text = observation(step, self.config.observation_bytes_max);
        self.asked += 1;
        if gone {
            // Its variables and its workspace are gone: the next program begins anew.
            self.history.clear();
        } else {
            self.session = Some(session);
            self.history.push((program.to_owned(), text.clone()));
        }
        Ok(text)
    }

    /// A fresh interpreter in which everything of the path ran again, with the same results.
    fn replayed(&self) -> Result<Session, UnscoredReason> {
        let mut session = Session::start(&self.config.python()).map_err(failed)?;
        for (turn, (program, before)) in self.history.iter().enumerate() {
            let now = observation(session.step(program), self.config.observation_bytes_max);
            if now != *before {
                return Err(UnscoredReason::ReplayDiverged(format!(
                    "program {turn}, run again, printed {now:?}, before: {before:?}"
                )));
            }
        }
        Ok(session)
    }

    /// The program that is the answer: the text of the step, or a file of the workspace.
    fn answer(&mut self, text: &str) -> Result<Option<String>, UnscoredReason> {
        let Some(name) = &self.config.artifact else { return Ok(Some(code(text).to_owned())) };
        let session = match self.session.take() {
            Some(session) => session,
            None if self.history.is_empty() => return Ok(None),
            None => self.replayed()?,
        };
        match session.end().read(name, PROGRAM_BYTES_MAX) {
            Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
            Err(error @ ArtifactError::Failed { .. }) => Err(failed(error)),
            Err(_) => Ok(None),
        }
    }

    /// Tests a program in a jail of its own. No expected value goes in (INV-20).
    fn judge(&mut self, text: &str) -> Result<Verdict, UnscoredReason> {
        let program = self.answer(text)?;
        // Whatever the attempt left running is gone before its answer is tested.
        self.session = None;
        let Some(program) = program.filter(|program| program.len() <= PROGRAM_BYTES_MAX) else {
            return Ok(self.verdict(false, &[], &[]));
        };
        // In jails of their own: what is held out stays apart from what rewards.
        let own = self.tested(&program, &self.cases)?;
        let held_out = self.tested(&program, &self.held_out)?;
        Ok(self.verdict(true, &own, &held_out))
    }

    /// One outcome per case.
    fn tested(&self, program: &str, cases: &[Case]) -> Result<Vec<Outcome>, UnscoredReason> {
        if cases.is_empty() {
            return Ok(Vec::new());
        }
        let mut python = self.config.python();
        python.limits.cpu_seconds += u64::from(python.seconds) * cases.len() as u64;
        let inputs: Vec<Vec<Exact>> = cases.iter().map(|case| case.input.clone()).collect();
        grade(&python, program, &self.function, &inputs).map_err(failed)
    }

    /// Compares what came back with what is expected.
    fn verdict(&self, answered: bool, outcomes: &[Outcome], held_out: &[Outcome]) -> Verdict {
        let share = |count: usize| count as f64 / self.cases.len() as f64;
        let right = |(case, outcome): &(&Case, &Outcome)| {
            outcome.as_ref().is_ok_and(|value| equality::equal(&case.output, value))
        };
        let passed = self.cases.iter().zip(outcomes).filter(right).count();
        let ran = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let earned = |passed: usize, all: usize| match self.config.reward {
            Reward::All => f64::from(u8::from(passed == all)),
            Reward::Share => passed as f64 / all as f64,
        };
        let reward = earned(passed, self.cases.len());
        let values = [f64::from(u8::from(answered)), share(passed), share(ran)];
        let mut parts: BTreeMap<String, f64> =
            PARTS.iter().map(|name| (*name).to_owned()).zip(values).collect();
        if !self.held_out.is_empty() {
            let both = passed + self.held_out.iter().zip(held_out).filter(right).count();
            let strict = earned(both, self.cases.len() + self.held_out.len());
            parts.insert(STRICT.to_owned(), strict);
        }
        Verdict::Scored { reward, parts }
    }
}

impl Episode for Attempt {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        if self.ended {
            return Turn::End(Verdict::Unscored(failed("the attempt is over: start another one")));
        }
        let may_ask = self.asked < self.config.max_interactions;
        let unscored = |reason| Turn::End(Verdict::Unscored(reason));
        match PYTHON.parse(text) {
            Ok(Action::Call(program)) if stop == Stop::StopString && may_ask => {
                match self.run(code(&program)) {
                    Ok(observation) => Turn::Observation(observation),
                    Err(reason) => {
                        self.ended = true;
                        unscored(reason)
                    }
                }
            }
            Ok(Action::Answer(answer)) => {
                self.ended = true;
                self.judge(&answer).map_or_else(unscored, Turn::End)
            }
            // Neither, or a call past the limit: the end without an answer.
            Ok(Action::Call(_)) | Err(_) => {
                self.ended = true;
                self.session = None;
                Turn::End(self.verdict(false, &[], &[]))
            }
        }
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        Ok(Box::new(Attempt {
            config: Arc::clone(&self.config),
            function: Arc::clone(&self.function),
            cases: Arc::clone(&self.cases),
            held_out: Arc::clone(&self.held_out),
            asked: self.asked,
            history: self.history.clone(),
            session: None,
            ended: self.ended,
        }))
    }
}

/// What is said of a step's text: its markup and the program in it. For tests that invent steps.
pub fn told_of_step(text: &str) -> String {
    match PYTHON.parse(text) {
        Err(fault) => format!("{fault:?}"),
        Ok(Action::Call(program)) => format!("call {}", code(&program).is_empty()),
        Ok(Action::Answer(program)) => format!("answer {}", code(&program).is_empty()),
    }
}

/// What is said of bytes as an interpreter's reply to a step, and to a case. For tests that invent
/// replies.
///
/// # Panics
/// Where the observation is longer than it may be, could be taken for markup, or a value equals
/// what it is not.
pub fn told_of_reply(reply: &[u8]) -> String {
    const BYTES_MAX: usize = 100;
    let shown = observation(python::step_of(reply), BYTES_MAX);
    let inner = shown.strip_prefix(" <result>").and_then(|own| own.strip_suffix("</result>\n"));
    let inner = inner.expect("an observation stands between its tags");
    assert!(inner.len() <= BYTES_MAX, "{} bytes of an observation", inner.len());
    assert_eq!(PYTHON.parse(inner), Err(Malformed::NoAction), "an observation became markup");
    let value = match python::outcome(reply) {
        None => return format!("no outcome, {:?}", inner.len().checked_ilog2()),
        Some(Err(error)) => return format!("error {}", error.is_empty()),
        Some(Ok(value)) => value,
    };
    let known = ["null", "true", "5", "1.5", "\"a\"", "[]", "[5]", "{}", "{\"a\": 5}"];
    let equal = known.iter().filter(|known| {
        let known: Exact = serde_json::from_str(known).expect("a value");
        equality::equal(&known, &value)
    });
    let equal: Vec<&&str> = equal.collect();
    assert!(equal.len() <= 1, "{value:?} equals {equal:?}");
    format!("value {equal:?}")
}

/// A program without the fence that chat models put around it.
pub(super) fn code(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```") else { return text };
    let inner = inner.strip_prefix("python").unwrap_or(inner);
    let inner = inner.strip_suffix("```").unwrap_or(inner);
    inner.trim_start_matches([' ', '\r']).trim_start_matches('\n').trim_end()
}

/// A text that cannot be taken for markup, of at most so many bytes, marked where it was `cut` or
/// is.
fn bounded(text: &str, cut: bool, bytes_max: usize) -> String {
    let mut text = PYTHON.neutral(text);
    if cut || text.len() > bytes_max {
        let room = bytes_max.saturating_sub(MARK.len());
        text.truncate(text.floor_char_boundary(room));
        text += MARK;
    }
    text
}

/// What the policy reads back, at most so many bytes between the tags.
fn observation(step: Step, bytes_max: usize) -> String {
    let text = match step {
        Step::Ran { text, cut, error } => {
            // An error is never lost to what was printed before it.
            let error = bounded(&error.unwrap_or_default(), false, bytes_max / 2);
            let room = bytes_max - error.len() - usize::from(!error.is_empty());
            let lines = [bounded(text.trim_end(), cut, room), error];
            lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
        }
        Step::Gone(why) => format!("{why}; its variables are gone"),
    };
    let text = if text.is_empty() { "no output".to_owned() } else { text };
    format!(" <result>{text}</result>\n")
}
