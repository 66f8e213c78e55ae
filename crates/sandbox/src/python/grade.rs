//! Tests a function that a program defines, and tells whose fault it is where nothing comes back.
//!
//! | what happened | whose it is |
//! |---|---|
//! | the interpreter exited, closed its pipes, said what is no reply | the program's |
//! | the wall clock ran out, the processor time as well | the program's |
//! | the wall clock ran out in sleep | the program's |
//! | it was never handed over; the jail's launcher was killed | the machine's |
//! | a signal ended it; it is stopped by one | not clear: a program can do both to itself |
//! | the wall clock ran out, half of it without a processor | not clear: others, or its children |
//!
//! What is not the program's own is tried once more in a fresh jail. What then is still the
//! machine's has no outcome. What is still not clear is settled by a control: where a program of
//! ours lives through the same, the stranger does it to itself. Where the stranger waited for a
//! processor, ours needs one for most of its time.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use thiserror::Error;

use super::{Outcome, Python, Session, Value, value};
use crate::jail::{DEATH, Usage};
use crate::pipe::{Stuck, poll_until};

/// How often a program is tested that may not be to blame.
const TRIES: usize = 2;
/// How often a waiting engine looks up. What it sleeps longer than twice that, it stood still
/// itself, and so perhaps did everybody: that is not counted.
const BEAT: Duration = Duration::from_millis(250);

/// A program that could not be tested, through no fault of its own: nobody is judged on that.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("the program could not be tested: {0}")]
pub struct Untested(String);

/// What came of one test.
struct Tried {
    /// One per case.
    outcomes: Vec<Outcome>,
    whose: Whose,
}

/// Whose doing an end is.
enum Whose {
    /// The program's; the last case's outcome, too.
    Own,
    /// The program's, unless somebody else did it.
    Unclear(String),
    /// The program's, too, unless the machine is as busy for others.
    Starved(String),
    /// Not the program's.
    Lost(String),
}

/// Runs a program that defines `function` in a fresh interpreter and calls it with the arguments
/// of every case, each a list. One outcome per case, in order; once the interpreter is gone, or a
/// case took too long, the rest have none.
///
/// # Errors
/// It could not be tested, twice, for a reason that is not its own.
pub fn grade<Case: Serialize>(
    python: &Python,
    code: &str,
    function: &str,
    cases: &[Case],
) -> Result<Vec<Outcome>, Untested> {
    let mut tried = test(python, code, function, cases);
    for _ in 1..TRIES {
        if !matches!(tried.whose, Whose::Own) {
            tried = test(python, code, function, cases);
        }
    }
    let (why, computes) = match tried.whose {
        Whose::Own => return Ok(tried.outcomes),
        Whose::Lost(why) => return Err(Untested(why)),
        Whose::Unclear(why) => (why, 0.0),
        Whose::Starved(why) => (why, CONTROL_SHARE * f64::from(python.seconds)),
    };
    match test(python, CONTROL, "f", &[[computes]]) {
        Tried { outcomes, whose: Whose::Own } if outcomes == [Ok(Value::Bool(true))] => {
            Ok(tried.outcomes)
        }
        _ => Err(Untested(format!("{why}, and a program of ours did not live either"))),
    }
}

/// A program without any fault, which computes for so many seconds.
const CONTROL: &str = "import time\ndef f(seconds):\n    end = time.process_time() + seconds\n    \
                       while time.process_time() < end: pass\n    return True";
/// Of the processor time that a case may use: a busy machine is one where that cannot be had.
const CONTROL_SHARE: f64 = 0.7;

fn test(python: &Python, code: &str, function: &str, cases: &[impl Serialize]) -> Tried {
    let mut outcomes = Vec::with_capacity(cases.len());
    let request = Request { r#do: "grade", code, function, cases, seconds: python.seconds };
    let whose = match Session::start(python) {
        Ok(session) => session.tested(&request, &mut outcomes),
        Err(error) => Whose::Lost(error.to_string()),
    };
    outcomes.resize(cases.len(), Err("the program gave no output".to_owned()));
    Tried { outcomes, whose }
}

/// What the driver is told.
#[derive(Serialize)]
struct Request<'a, Case> {
    r#do: &'a str,
    code: &'a str,
    function: &'a str,
    cases: &'a [Case],
    seconds: u32,
}

/// A stretch of a test with a budget of its own.
struct Window {
    /// What was used before it; `None` where the jail was over.
    before: Option<Usage>,
    /// Processor time that the program may use in it.
    allowed: Duration,
    /// The wall clock of it.
    wall: Duration,
}

impl Session {
    fn tested<Case: Serialize>(
        mut self,
        request: &Request<'_, Case>,
        outcomes: &mut Vec<Outcome>,
    ) -> Whose {
        let cases = request.cases.len();
        let one = Duration::from_secs(u64::from(self.seconds));
        // Cases that sleep use no processor time: all of them together get what each may compute,
        // and the patience of one.
        let whole = one.saturating_mul(u32::try_from(cases).unwrap_or(u32::MAX));
        let all = self.window(whole + one, whole + self.patience());
        if self.ask(request).is_err() {
            // No line of the program has run.
            return Whose::Lost("the interpreter was gone before the program came".to_owned());
        }
        let mut rest = all.wall;
        while outcomes.len() < cases {
            // Before the first outcome the program's own lines ran, too.
            let allowed = if outcomes.is_empty() { one * 2 } else { one };
            let case = self.window(allowed, self.patience().min(rest));
            let mut left = case.wall;
            let reply = self.heard(&mut left);
            rest = rest.saturating_sub(case.wall.saturating_sub(left));
            match reply.map(|bytes| value::outcome(&bytes)) {
                Ok(Some(outcome)) => outcomes.push(outcome),
                Ok(None) | Err(Stuck::Long(_)) => return Whose::Own,
                Err(Stuck::Late) => return self.late(if rest.is_zero() { &all } else { &case }),
                Err(Stuck::Closed) => return self.gone(&case),
            }
        }
        Whose::Own
    }

    fn window(&self, allowed: Duration, wall: Duration) -> Window {
        Window { before: self.jail.usage().ok(), allowed, wall }
    }

    /// One reply, waited for as long as `left` says; what is left then.
    fn heard(&mut self, left: &mut Duration) -> Result<Vec<u8>, Stuck> {
        loop {
            let begun = Instant::now();
            let mut polled = [PollFd::new(&self.jail.stdout, PollFlags::IN)];
            let ready = poll_until(&mut polled, begun + BEAT.min(*left));
            *left = left.saturating_sub(begun.elapsed().min(BEAT * 2));
            match ready {
                Ok(()) => {
                    // The program writes to the same pipe: what it lets a reply last is its time.
                    let begun = Instant::now();
                    let reply = self.receive(begun + BEAT.max(*left));
                    *left = left.saturating_sub(begun.elapsed());
                    return reply;
                }
                Err(Stuck::Late) if !left.is_zero() => {}
                Err(stuck) => return Err(stuck),
            }
        }
    }

    /// Whose doing it is that time ran out.
    fn late(&mut self, window: &Window) -> Whose {
        let (Some(before), Ok(now)) = (window.before, self.jail.usage()) else {
            let gone = || Whose::Lost("its jail is gone".to_owned());
            return self.ended(DEATH).unwrap_or_else(gone);
        };
        let Usage { processor, queued, stopped } = now.since(before);
        if processor >= window.allowed {
            Whose::Own
        } else if queued * 2 >= window.wall {
            let [waited, wall] = [queued, window.wall].map(|time| time.as_secs_f64());
            Whose::Starved(format!("it waited for a processor for {waited:.1} of {wall:.1} s"))
        } else if stopped {
            Whose::Unclear("the interpreter was stopped".to_owned())
        } else {
            Whose::Own
        }
    }

    /// Whose doing it is that the interpreter says no more.
    fn gone(&mut self, window: &Window) -> Whose {
        // One that closed its pipe may live on.
        self.ended(window.wall).unwrap_or_else(|| self.late(window))
    }

    /// Whose doing it is that its jail ended; `None` where it did not so soon.
    fn ended(&mut self, wait: Duration) -> Option<Whose> {
        let status = self.jail.ended(Instant::now() + wait)?;
        Some(match (status.signal(), status.code()) {
            (Some(signal), _) => Whose::Lost(format!("signal {signal} ended its jail")),
            (None, Some(code @ 128..)) => {
                Whose::Unclear(format!("signal {} ended the interpreter", code - 128))
            }
            _ => Whose::Own,
        })
    }
}
