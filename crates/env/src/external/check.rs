//! The laws that a program behind the door must keep, tried one after the other.

use serde_json::{Value, json};
use stepwell_tree::{Environment, Episode, Key, Purpose, Stop, Task, Turn, Verdict};

use super::config::{Config, Mode};
use super::door::Fault;
use super::protocol::{self, Offer, Said};
use super::{ExternalEnvironment, Hello};
use crate::{EnvError, Split};

/// Tasks that are tried.
const TASKS: usize = 3;
/// Steps of a scripted policy before it falls silent.
const STEPS: usize = 4;

/// What must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// It says what it is.
    Hello,
    /// It gives the same tasks when it is asked again, in a new process too.
    Tasks,
    /// A request that it does not know gets an error, and it lives on.
    Unknown,
    /// Every attempt ends with a verdict in the declared range, with the declared parts.
    Judges,
    /// The same seed and the same steps give the same replies.
    Repeats,
    /// In a new process too.
    RepeatsAnew,
    /// Attempts side by side do not touch each other.
    Apart,
    /// After its end an episode refuses to go on.
    Ends,
    /// A fork goes on as the same steps played again, and leaves its origin alone.
    Forks,
}

impl Law {
    /// Every law, in the order they are tried.
    pub const ALL: [Law; 9] = [
        Law::Hello,
        Law::Tasks,
        Law::Unknown,
        Law::Judges,
        Law::Repeats,
        Law::RepeatsAnew,
        Law::Apart,
        Law::Ends,
        Law::Forks,
    ];

    /// The law in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Law::Hello => "says hello",
            Law::Tasks => "gives the same tasks again",
            Law::Unknown => "refuses an unknown request",
            Law::Judges => "judges every attempt",
            Law::Repeats => "repeats itself under a seed",
            Law::RepeatsAnew => "repeats itself in a new process",
            Law::Apart => "keeps attempts apart",
            Law::Ends => "refuses after the end",
            Law::Forks => "forks as it replays",
        }
    }
}

/// What came of a law.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The law.
    pub law: Law,
    /// False where it is broken; `None` where the program does not offer what it is about.
    pub holds: Option<bool>,
    /// What was seen.
    pub detail: String,
}

/// What a check found.
#[derive(Clone, PartialEq, Debug)]
pub struct Checked {
    /// One per law, in order; laws after a broken hello or broken tasks are missing. Where there
    /// are no tasks, and none are offered, what needs them is not tried.
    pub findings: Vec<Finding>,
    /// Mean reward of a policy that says nothing, where it was judged.
    pub null: Option<f64>,
    /// Mean reward of a policy that repeats the question and writes stop strings.
    pub noise: Option<f64>,
}

/// Tries every law on a program. `tasks` are the user's; without them, the program's own.
///
/// Errors: a setting outside its range. What the program does wrong is a finding.
pub fn check(config: &Config, tasks: Vec<Task>) -> Result<Checked, EnvError> {
    config.check()?;
    let mut checked = Checked { findings: Vec::new(), null: None, noise: None };
    let environment = match open(config) {
        Ok(environment) => environment,
        Err(why) => {
            checked.note(Law::Hello, Err(why));
            return Ok(checked);
        }
    };
    checked.note(Law::Hello, Ok(told(environment.hello())));
    if tasks.is_empty() && !environment.hello().offers.contains(&Offer::Tasks) {
        Suite { environment: &environment, tasks: &[] }.without_tasks(&mut checked);
        return Ok(checked);
    }
    let tasks = match tasks.is_empty() {
        false => Ok((tasks, "given")),
        true => repeated_tasks(&environment, config).map(|own| (own, "own")),
    };
    let tasks = match tasks {
        Ok((mut tasks, whose)) => {
            tasks.truncate(TASKS);
            checked.note(Law::Tasks, Ok(format!("{} {whose}", tasks.len())));
            tasks
        }
        Err(why) => {
            checked.note(Law::Tasks, Err(why));
            return Ok(checked);
        }
    };
    Suite { environment: &environment, tasks: &tasks }.run(&mut checked);
    Ok(checked)
}

fn open(config: &Config) -> Result<ExternalEnvironment, String> {
    ExternalEnvironment::discover(config.clone()).map_err(|error| error.to_string())
}

/// The program's own tasks, asked for twice, and once of a new process.
fn repeated_tasks(environment: &ExternalEnvironment, config: &Config) -> Result<Vec<Task>, String> {
    let own = own_tasks(environment)?;
    let again = [own_tasks(environment)?, own_tasks(&open(config)?)?];
    match again.iter().all(|again| *again == own) {
        true => Ok(own),
        false => Err("asked again, it gave others".to_owned()),
    }
}

impl Checked {
    fn note(&mut self, law: Law, seen: Result<String, String>) {
        let holds = Some(seen.is_ok());
        let detail = seen.unwrap_or_else(|why| why);
        self.findings.push(Finding { law, holds, detail });
    }

    fn skip(&mut self, law: Law, why: &str) {
        self.findings.push(Finding { law, holds: None, detail: why.to_owned() });
    }
}

fn told(hello: &Hello) -> String {
    let offers: Vec<&str> = hello.offers.iter().map(|offer| offer.word()).collect();
    let (least, most) = hello.reward;
    format!("`{}` offers {}; rewards {least} to {most}", hello.name, offers.join(", "))
}

fn own_tasks(environment: &ExternalEnvironment) -> Result<Vec<Task>, String> {
    let loaded = environment.tasks(Split::Train, TASKS);
    loaded.map(|loaded| loaded.tasks).map_err(|error| error.to_string())
}

/// A scripted policy's steps: nothing, or the question and every stop string in turn.
fn script(environment: &dyn Environment, task: &Task, noisy: bool) -> Vec<(String, Stop)> {
    let stops = environment.stop_strings();
    let step = |at: usize| match (noisy, stops.get(at % stops.len().max(1))) {
        (false, _) => (String::new(), Stop::EndOfText),
        (true, Some(stop)) => (format!("{} {stop}", task.question), Stop::StopString),
        (true, None) => (task.question.clone(), Stop::EndOfText),
    };
    (0..STEPS).map(step).collect()
}

fn begin(environment: &dyn Environment, task: &Task) -> Result<Box<dyn Episode>, String> {
    let key = Key::new(7, Purpose::Episode);
    environment.start(task, key).map_err(|reason| format!("task `{}`: {reason:?}", task.id))
}

/// Plays the steps, then silence, to the end.
fn play(
    environment: &ExternalEnvironment,
    task: &Task,
    steps: &[(String, Stop)],
) -> Result<Vec<Turn>, String> {
    let mut episode = begin(environment, task)?;
    go_on(episode.as_mut(), steps, environment.config().max_steps as usize)
}

fn go_on(
    episode: &mut dyn Episode,
    steps: &[(String, Stop)],
    most: usize,
) -> Result<Vec<Turn>, String> {
    let silence = (String::new(), Stop::EndOfText);
    let mut turns = Vec::new();
    for (text, stop) in steps.iter().chain(std::iter::repeat(&silence)).take(most) {
        turns.push(episode.step(text, *stop));
        if let Some(Turn::End(verdict)) = turns.last() {
            return match verdict {
                Verdict::Scored { .. } => Ok(turns),
                other => Err(format!("step {}: {other:?}", turns.len())),
            };
        }
    }
    Err(format!("no verdict after {most} steps"))
}

struct Suite<'a> {
    environment: &'a ExternalEnvironment,
    tasks: &'a [Task],
}

impl Suite<'_> {
    fn unknown(&self, checked: &mut Checked) {
        let unknown = self.environment.refuses_strangers();
        checked.note(Law::Unknown, unknown.map(|()| "with an error".to_owned()));
    }

    fn without_tasks(&self, checked: &mut Checked) {
        checked.skip(Law::Tasks, "not offered: name a file of tasks to try the laws below");
        self.unknown(checked);
        let rest = Law::ALL.iter().skip_while(|law| **law != Law::Unknown).skip(1);
        rest.for_each(|law| checked.skip(*law, "needs tasks"));
    }

    fn run(&self, checked: &mut Checked) {
        self.unknown(checked);
        let judged = self.judges();
        if let Ok((null, noise)) = judged {
            (checked.null, checked.noise) = (Some(null), Some(noise));
        }
        let attempts = format!("{} attempts", 2 * self.tasks.len());
        checked.note(Law::Judges, judged.map(|_| attempts));
        checked.note(Law::Repeats, self.repeats(self.environment));
        let anew = open(self.environment.config());
        checked.note(Law::RepeatsAnew, anew.and_then(|other| self.repeats(&other)));
        if self.environment.config().mode == Mode::Grader {
            for law in [Law::Apart, Law::Ends, Law::Forks] {
                checked.skip(law, "a grader plays no episodes");
            }
            return;
        }
        checked.note(Law::Apart, self.apart());
        checked.note(Law::Ends, self.ends());
        match self.environment.hello().offers.contains(&Offer::Fork) {
            true => checked.note(Law::Forks, self.forks()),
            false => checked.skip(Law::Forks, "not offered: the engine plays the steps again"),
        }
    }

    fn scripts(&self) -> impl Iterator<Item = (&Task, Vec<(String, Stop)>)> {
        self.tasks.iter().flat_map(|task| {
            [false, true].map(|noisy| (task, script(self.environment, task, noisy)))
        })
    }

    /// Mean rewards of silence and of noise.
    fn judges(&self) -> Result<(f64, f64), String> {
        let mut sums = [0.0; 2];
        for (at, (task, steps)) in self.scripts().enumerate() {
            let turns = play(self.environment, task, &steps)
                .map_err(|why| format!("task `{}`: {why}", task.id))?;
            if let Some(Turn::End(verdict)) = turns.last() {
                let none = || format!("task `{}`: has no verdict: {verdict:?}", task.id);
                sums[at % 2] += verdict.reward().ok_or_else(none)?;
            }
        }
        let count = self.tasks.len().max(1) as f64;
        Ok((sums[0] / count, sums[1] / count))
    }

    fn repeats(&self, other: &ExternalEnvironment) -> Result<String, String> {
        let mut turns = 0;
        for (task, steps) in self.scripts() {
            let first = play(self.environment, task, &steps)?;
            let second = play(other, task, &steps)?;
            turns += first.len();
            differ(&first, &second).map_err(|why| format!("task `{}`: {why}", task.id))?;
        }
        Ok(format!("{turns} replies"))
    }

    /// Two attempts in turns, and each of them alone.
    fn apart(&self) -> Result<String, String> {
        let Some(task) = self.tasks.first() else { return Ok("no tasks".to_owned()) };
        let most = self.environment.config().max_steps as usize;
        let scripts = [false, true].map(|noisy| script(self.environment, task, noisy));
        let alone = [0, 1].map(|at| play(self.environment, task, &scripts[at]));
        let mut episodes = [begin(self.environment, task)?, begin(self.environment, task)?];
        let mut seen = [Vec::new(), Vec::new()];
        let silence = (String::new(), Stop::EndOfText);
        for turn in 0..most {
            for at in 0..2 {
                if !matches!(seen[at].last(), Some(Turn::End(_))) {
                    let (text, stop) = scripts[at].get(turn).unwrap_or(&silence);
                    seen[at].push(episodes[at].step(text, *stop));
                }
            }
        }
        for (alone, seen) in alone.into_iter().zip(&seen) {
            differ(&alone?, seen)?;
        }
        Ok("two in turns".to_owned())
    }

    /// A step after the verdict, past the guard that the engine has of its own.
    fn ends(&self) -> Result<String, String> {
        let Some(task) = self.tasks.first() else { return Ok("no tasks".to_owned()) };
        let Config { max_steps, reward, parts, .. } = self.environment.config();
        let mut door = self.environment.shared.door.connect().map_err(Fault::text)?;
        let episode = door.new_episode();
        let start = json!({ "episode": episode, "task": protocol::task(task), "seed": 7 });
        door.ask("start", start).map_err(Fault::text)?;
        let step = |last: bool| -> Value {
            json!({ "episode": episode, "text": "", "stop": "end_of_text", "last": last })
        };
        for turn in 1..=*max_steps {
            let reply = door.ask("step", step(turn == *max_steps)).map_err(Fault::text)?;
            if let Said::Verdict(_) = protocol::said(&reply, *reward, parts)? {
                return match door.ask("step", step(true)) {
                    Err(Fault::Refused(_)) => Ok(format!("with an error, after {turn} steps")),
                    Err(Fault::Broken(why)) => Err(why),
                    Ok(_) => Err("a step after the verdict must get an `error`".to_owned()),
                };
            }
        }
        Err(format!("no verdict after {max_steps} steps"))
    }

    fn forks(&self) -> Result<String, String> {
        let most = self.environment.config().max_steps as usize;
        let mut forks = 0;
        for (task, steps) in self.scripts() {
            let whole = play(self.environment, task, &steps)?;
            let mut origin = begin(self.environment, task)?;
            for at in 0..whole.len() {
                let mut fork = origin.fork().map_err(|error| format!("step {at}: {error:?}"))?;
                let rest = steps.get(at..).unwrap_or_default();
                let seen = go_on(fork.as_mut(), rest, most - at)?;
                differ(&whole[at..], &seen).map_err(|why| format!("fork at step {at}: {why}"))?;
                let silence = (String::new(), Stop::EndOfText);
                let (text, stop) = steps.get(at).unwrap_or(&silence);
                let seen = [origin.step(text, *stop)];
                differ(&whole[at..=at], &seen).map_err(|why| format!("after a fork: {why}"))?;
                forks += 1;
            }
        }
        Ok(format!("{forks} forks"))
    }
}

/// Where two attempts part.
fn differ(first: &[Turn], second: &[Turn]) -> Result<(), String> {
    let at = (0..first.len().max(second.len())).find(|at| first.get(*at) != second.get(*at));
    let Some(at) = at else { return Ok(()) };
    let shown = |turn: Option<&Turn>| -> String {
        turn.map_or_else(
            || "nothing".to_owned(),
            |turn| format!("{turn:?}").chars().take(120).collect(),
        )
    };
    Err(format!("step {at}: {} and then {}", shown(first.get(at)), shown(second.get(at))))
}
