//! `play`: a run's policy step by step, over a terminal or a pipe.

mod words;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use stepwell_engine::play::{Attempt, Candidate, Player, Reply, Room};
use stepwell_engine::recipe::Split;
use stepwell_tree::{Sampling, Task};

use super::eval::{room, split};
use super::inspect::inspect;
use crate::arguments::{Inspect, Play};
use crate::failure::input;
use crate::say::say;
use crate::visible::{shortened, visible};
use words::{HELP, Order, Trees, candidate, order, reply, spoken};

/// Tasks listed at once.
const TASKS_SHOWN: usize = 20;

/// Plays.
pub(crate) fn play(words: &Play) -> anyhow::Result<ExitCode> {
    let player = Player::open(&words.run, words.checkpoint, words.threads.count())?;
    let mut table = Table::new(&player, words);
    say(format!("{}, {} tasks of {}", player.checkpoint(), table.tasks.len(), table.split.name()));
    if let Some(task) = &words.task {
        table.task(task)?;
    }
    if let Some(attempts) = words.attempts {
        for attempt in 0..attempts {
            say(format!("\nattempt {} of {attempts}", attempt + 1));
            table.play_out()?;
            table.again();
        }
        return Ok(ExitCode::SUCCESS);
    }
    if words.task.is_none() {
        say("`help` tells what to say; `task 0` begins with the first task");
    }
    converse(&mut table)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads an order a line until there are no more. What cannot be done is said, and the next line
/// is read.
fn converse(table: &mut Table<'_>) -> anyhow::Result<()> {
    let terminal = std::io::stdin().is_terminal();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(b"> ").and_then(|()| out.flush());
        }
        let Some(line) = lines.next() else { return Ok(()) };
        let said = match order(&line?) {
            Ok(Order::Quit) => return Ok(()),
            Ok(order) => table.follow(order),
            Err(why) => Err(input(why)),
        };
        if let Err(error) = said {
            say(format!("not done: {error:#}"));
        }
    }
}

/// What lies on the table: a task, an attempt, candidates.
struct Table<'p> {
    player: &'p Player,
    words: &'p Play,
    split: Split,
    tasks: &'p [Task],
    room: Room,
    sampling: Sampling,
    seed: u64,
    task: Option<usize>,
    attempts: u64,
    attempt: Option<Attempt<'p>>,
    turn: usize,
    candidates: Vec<Candidate>,
    over: bool,
}

impl<'p> Table<'p> {
    fn new(player: &'p Player, words: &'p Play) -> Self {
        let split = split(words.split);
        let (max_tokens, path_tokens) = room(player.recipe());
        Table {
            player,
            words,
            split,
            tasks: player.problem().tasks(split),
            room: Room { max_tokens, path_tokens },
            sampling: Sampling { temperature: words.temperature as f32, ..Sampling::FULL },
            seed: words.seed.unwrap_or(player.recipe().seed),
            task: None,
            attempts: 0,
            attempt: None,
            turn: 0,
            candidates: Vec::new(),
            over: false,
        }
    }

    fn follow(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Nothing | Order::Quit => {}
            Order::Help => say(HELP),
            Order::Tasks(text) => self.list(&text),
            Order::Task(text) => self.task(&text)?,
            Order::Again => {
                self.chosen()?;
                self.again();
                say(format!("attempt {}", self.attempts + 1));
            }
            Order::Go => {
                let mut one = self.sample(1)?;
                self.take(one.remove(0))?;
            }
            Order::Finish => self.play_out()?,
            Order::Try(count) => {
                self.candidates = self.sample(count)?;
                for (at, one) in self.candidates.iter().enumerate() {
                    say(format!("{at}: {}", candidate(one)));
                }
            }
            Order::Take(at) => {
                let count = self.candidates.len();
                let Some(one) = self.candidates.get(at).cloned() else {
                    return Err(input(match count {
                        0 => "there are no candidates; `try 4` samples some".to_owned(),
                        _ => format!("no candidate {at}; there are 0..={}", count - 1),
                    }));
                };
                self.take(one)?;
            }
            Order::Say(text) => self.own_words(&text)?,
            Order::Back => self.back()?,
            Order::Temperature(temperature) => self.sampling.temperature = temperature,
            Order::Credit(update, trees) => self.credit(update, trees)?,
        }
        Ok(())
    }

    fn list(&self, text: &str) {
        let found = self.tasks.iter().enumerate();
        let found: Vec<_> = found.filter(|(_, task)| task.question.contains(text)).collect();
        for (at, task) in found.iter().take(TASKS_SHOWN) {
            say(format!("{at}: `{}` {}", visible(&task.id), shortened(&task.question, 80)));
        }
        if found.len() > TASKS_SHOWN {
            let rest = found.len() - TASKS_SHOWN;
            say(format!("and {rest} more; `tasks WORDS` lists those whose question holds them"));
        }
    }

    /// Puts a task on the table: by index, by id, or by a part of its question.
    fn task(&mut self, text: &str) -> anyhow::Result<()> {
        let index = text.parse().ok().filter(|index| *index < self.tasks.len());
        let named = || self.tasks.iter().position(|task| task.id == text);
        let asked = || self.tasks.iter().position(|task| task.question.contains(text));
        let Some(index) = index.or_else(named).or_else(asked) else {
            return Err(input(format!(
                "no task `{}` among the {} of `{}`; name an index, an id or words of a question",
                visible(text),
                self.tasks.len(),
                self.split.name()
            )));
        };
        let task = &self.tasks[index];
        say(format!("task {index}, `{}`: {}", visible(&task.id), task.question));
        (self.task, self.attempts) = (Some(index), 0);
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        (self.attempt, self.turn, self.over) = (None, 0, false);
        self.candidates.clear();
    }

    /// The next attempt at the same task.
    fn again(&mut self) {
        self.attempts += 1;
        self.clear();
    }

    fn chosen(&self) -> anyhow::Result<&'p Task> {
        let index = self.task.ok_or_else(|| input("no task; `task 0` begins with the first"))?;
        Ok(&self.tasks[index])
    }

    /// The attempt, begun where there is none.
    fn attempt(&mut self) -> anyhow::Result<&mut Attempt<'p>> {
        let task = self.chosen()?;
        if self.over {
            return Err(input("the attempt is over; `again` begins another, `back` goes back"));
        }
        if self.attempt.is_none() {
            self.attempt = Some(self.player.begin(task, self.room, self.seed, self.attempts)?);
        }
        Ok(self.attempt.as_mut().expect("it was begun"))
    }

    fn sample(&mut self, count: usize) -> anyhow::Result<Vec<Candidate>> {
        let sampling = self.sampling;
        Ok(self.attempt()?.candidates(count, sampling))
    }

    fn take(&mut self, one: Candidate) -> anyhow::Result<()> {
        let answer = self.attempt()?.take(&one);
        self.turn += 1;
        say(format!("step {}: {}", self.turn, candidate(&one)));
        self.answered(&answer);
        Ok(())
    }

    fn own_words(&mut self, text: &str) -> anyhow::Result<()> {
        let left = self.attempt()?.left();
        let Some(answer) = self.attempt()?.say(text) else {
            let wrong = format!("the words have no token, or more than the {left} that fit");
            return Err(input(wrong));
        };
        self.turn += 1;
        say(format!("step {}, yours: {}", self.turn, spoken(text)));
        self.answered(&answer);
        Ok(())
    }

    fn answered(&mut self, answer: &Reply) {
        self.candidates.clear();
        self.over = matches!(answer, Reply::End(_));
        say(reply(answer));
    }

    /// Samples and takes steps until the attempt is over.
    fn play_out(&mut self) -> anyhow::Result<()> {
        loop {
            let mut one = self.sample(1)?;
            self.take(one.remove(0))?;
            if self.over {
                return Ok(());
            }
        }
    }

    fn back(&mut self) -> anyhow::Result<()> {
        if !self.attempt.as_mut().is_some_and(Attempt::back) {
            return Err(input("there is no step to go back before"));
        }
        (self.turn, self.over) = (self.turn - 1, false);
        self.candidates.clear();
        say(format!("before step {}", self.turn + 1));
        Ok(())
    }

    /// Recorded trees with their credit, as `inspect` draws them.
    fn credit(&self, update: Option<u64>, trees: Trees) -> anyhow::Result<()> {
        let draw = |tree: Option<usize>| {
            let run = self.words.run.clone();
            let (stage, task, step, checkpoint) = (None, None, None, false);
            inspect(&Inspect { run, update, stage, task, tree, step, checkpoint }).map(drop)
        };
        match trees {
            Trees::Telling => draw(None),
            Trees::One(tree) => draw(Some(tree)),
            // There is no tree behind the last one, and an update has at least one.
            Trees::All => {
                draw(Some(0))?;
                (1..).map_while(|tree| draw(Some(tree)).ok()).for_each(drop);
                Ok(())
            }
        }
    }
}
