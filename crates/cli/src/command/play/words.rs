//! What a player says and is told.

use stepwell_engine::play::{Candidate, Reply};
use stepwell_tree::{Stop, Verdict};

use crate::visible::visible;

/// Most candidates at a point.
const CANDIDATES_MAX: usize = 256;

/// Help.
pub(super) const HELP: &str = "\
tasks [WORDS]          list tasks, or those whose question holds the words
task N|ID|WORDS        put a task on the table
go                     sample a step and take it; an empty line does the same
try [K]                sample K steps at this point, 4 where nothing is said
take I                 take one of them
say TEXT               take a step in words of your own
back                   go back before the newest step
finish                 sample and take steps until the attempt is over
again                  another attempt at the same task
temperature T          divides the logits; 0 is the likeliest token each time
credit [UPDATE [TREE]] a recorded tree of an update with reward and credit per step; `all` of them
quit                   end; so does the end of the input";

/// A line understood.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Order {
    Nothing,
    Help,
    Tasks(String),
    Task(String),
    Go,
    Try(usize),
    Take(usize),
    Say(String),
    Back,
    Finish,
    Again,
    Temperature(f32),
    /// An update, and which of its trees.
    Credit(Option<u64>, Trees),
    Quit,
}

/// Trees of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trees {
    /// The first whose leaves differ in reward.
    Telling,
    One(usize),
    All,
}

/// Reads a line. `Err` says what is wrong with it.
pub(super) fn order(line: &str) -> Result<Order, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let bare = |order: Order| match rest {
        "" => Ok(order),
        _ => Err(format!("`{word}` takes no words, got: `{}`", visible(rest))),
    };
    match word {
        "" => Ok(Order::Go),
        "#" => Ok(Order::Nothing),
        "go" => bare(Order::Go),
        "help" => bare(Order::Help),
        "tasks" => Ok(Order::Tasks(rest.to_owned())),
        "task" if !rest.is_empty() => Ok(Order::Task(rest.to_owned())),
        "task" => Err("`task` needs an index, an id or words of a question".to_owned()),
        "try" if rest.is_empty() => Ok(Order::Try(4)),
        "try" => match number(rest)? {
            count @ 1..=CANDIDATES_MAX => Ok(Order::Try(count)),
            count => Err(format!("must be in 1..={CANDIDATES_MAX}, got: {count}")),
        },
        "take" => number(rest).map(Order::Take),
        "say" if !rest.is_empty() => Ok(Order::Say(rest.to_owned())),
        "say" => Err("`say` needs a text".to_owned()),
        "back" => bare(Order::Back),
        "finish" => bare(Order::Finish),
        "again" => bare(Order::Again),
        "temperature" => match rest.parse::<f32>() {
            Ok(t) if (0.0..=100.0).contains(&t) => Ok(Order::Temperature(t)),
            _ => Err(format!("`temperature` must be in [0, 100], got: `{}`", visible(rest))),
        },
        "credit" => {
            let mut words = rest.split_whitespace();
            let update = words.next().map(number).transpose()?;
            let trees = match words.next() {
                None => Trees::Telling,
                Some("all") => Trees::All,
                Some(word) => Trees::One(number(word)?),
            };
            match words.next() {
                None => Ok(Order::Credit(update.map(|update| update as u64), trees)),
                Some(more) => Err(format!("expected an update and a tree, got also: `{more}`")),
            }
        }
        "quit" | "exit" => Ok(Order::Quit),
        other => Err(format!("no order `{}`; `help` lists them", visible(other))),
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("expected a number, got: `{}`", visible(text)))
}

/// A sampled step: its log-probability, and its text below.
pub(super) fn candidate(one: &Candidate) -> String {
    let tokens = one.logprob.len();
    let total: f64 = one.logprob.iter().map(|logprob| f64::from(*logprob)).sum();
    let each = total / tokens.max(1) as f64;
    let stop = match one.stop {
        Stop::StopString => "",
        Stop::EndOfText => ", ended by the end of text",
        Stop::Length => ", cut at the most tokens of a step",
        Stop::Context => ", cut at the end of the path",
        Stop::NotSampled => ", not sampled",
    };
    format!("{tokens} tokens, log-prob {total:.3} ({each:.3} a token){stop}\n{}", spoken(&one.text))
}

/// A text under its line.
pub(super) fn spoken(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| format!("  {line}"));
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { "  (nothing)".to_owned() } else { lines.join("\n") }
}

/// What the environment says.
pub(super) fn reply(answer: &Reply) -> String {
    match answer {
        Reply::Observation(text) => format!("observation:\n{}", spoken(text)),
        Reply::End(Verdict::Scored { reward, parts }) => {
            let parts: Vec<String> =
                parts.iter().map(|(name, part)| format!("{name} {part:.3}")).collect();
            let parts =
                if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
            format!("verdict: reward {reward:.3}{parts}")
        }
        Reply::End(Verdict::Unscored(reason)) => format!("not judged: {}", reason.label()),
        Reply::End(Verdict::Pending) => "not judged: pending".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_orders_or_say_what_is_wrong() {
        for (line, expected) in [
            ("", Order::Go),
            ("  task  3 ", Order::Task("3".to_owned())),
            ("try", Order::Try(4)),
            ("try 9", Order::Try(9)),
            ("take 0", Order::Take(0)),
            ("say <calc> 1 + 1 </calc>", Order::Say("<calc> 1 + 1 </calc>".to_owned())),
            ("temperature 0", Order::Temperature(0.0)),
            ("credit", Order::Credit(None, Trees::Telling)),
            ("credit 3 1", Order::Credit(Some(3), Trees::One(1))),
            ("credit 3 all", Order::Credit(Some(3), Trees::All)),
            ("exit", Order::Quit),
            ("# a note", Order::Nothing),
        ] {
            assert_eq!(order(line), Ok(expected), "{line}");
        }
        for (line, expected) in [
            ("task", "needs an index"),
            ("try 0", "1..=256"),
            ("try many", "expected a number, got: `many`"),
            ("take", "expected a number"),
            ("say", "needs a text"),
            ("temperature nan", "[0, 100]"),
            ("credit 1 2 3", "got also: `3`"),
            ("go on", "takes no words"),
            ("jump", "no order `jump`"),
        ] {
            assert!(order(line).unwrap_err().contains(expected), "{line}: {:?}", order(line));
        }
    }
}
