//! Scripted attempts of mixed quality: what a warm-up imitates before reinforcement.
//!
//! The demonstrator is careful with some kinds of problem only, for the reason that
//! [`sql::world`](crate::sql::world) gives: a mix that is the same for all kinds would leave greedy
//! decoding either at the level of guessing or at that of the careful script.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Key, Segment};

use super::problem::{Operand, Problem};
use crate::calculator::worked::Attempt;
use crate::shares;

/// How often each script is followed. All are probabilities, 0 to 1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceMix {
    /// The careful script, for problems whose first step adds.
    pub careful_adding: f64,
    /// The careful script, for all other problems.
    pub careful_otherwise: f64,
    /// Among the careless: answers at once. The three careless shares sum to 1.
    pub blind: f64,
    /// Among the careless: adds where a step does not, or subtracts where it adds. Always the same
    /// mistake, so that greedy decoding makes it too.
    pub wrong_operation: f64,
    /// Among the careless: calculates as the careful script does, then answers something else.
    pub slip: f64,
}

impl Default for TraceMix {
    fn default() -> Self {
        TraceMix {
            careful_adding: 0.70,
            careful_otherwise: 0.25,
            blind: 0.30,
            wrong_operation: 0.60,
            slip: 0.10,
        }
    }
}

/// The scripts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Script {
    /// Every step as the template says, then the last value.
    Careful,
    /// A number, at once.
    Blind,
    /// One step with the wrong operation, followed through.
    WrongOperation,
    /// Every step right, then another number.
    Slip,
}

/// Places of draws below a demonstration's key.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Place {
    Careful,
    Careless,
    Number,
    Step,
}

impl TraceMix {
    /// What is wrong with these settings, one sentence each.
    pub(super) fn problems(&self) -> Vec<String> {
        let all = [
            ("careful_adding", self.careful_adding),
            ("careful_otherwise", self.careful_otherwise),
            ("blind", self.blind),
            ("wrong_operation", self.wrong_operation),
            ("slip", self.slip),
        ];
        shares::problems(&all, 3)
    }

    pub(super) fn script(&self, key: Key, problem: &Problem) -> Script {
        let adds = problem.steps.first().is_some_and(|step| step.operator == '+');
        let careful = if adds { self.careful_adding } else { self.careful_otherwise };
        if key.with(Place::Careful as u64).uniform() < careful {
            return Script::Careful;
        }
        let careless = [Script::Blind, Script::WrongOperation, Script::Slip];
        let shares = [self.blind, self.wrong_operation, self.slip];
        careless[shares::pick(key.with(Place::Careless as u64), &shares)]
    }
}

/// A worked attempt: calls, what the calculator answers, and the answer.
pub(super) fn demonstrate(
    key: Key,
    problem: &Problem,
    script: Script,
    number_max: i64,
) -> Vec<Segment> {
    let draw = |place: Place, bound: usize| key.with(place as u64).below(bound);
    let number = (2 + draw(Place::Number, number_max as usize - 1)).to_string();
    let wrong = match script {
        Script::WrongOperation => Some(draw(Place::Step, problem.steps.len())),
        _ => None,
    };
    let mut attempt = Attempt::default();
    let mut value = number.clone();
    let steps = if script == Script::Blind { &[][..] } else { &problem.steps[..] };
    for (place, step) in steps.iter().enumerate() {
        let operator = match (wrong == Some(place), step.operator) {
            (false, right) => right,
            (true, '+') => '-',
            (true, _) => '+',
        };
        let operand = |operand: Operand| match operand {
            Operand::Given(number) => number.to_string(),
            Operand::Result(_) => value.clone(),
        };
        value = attempt.call(&format!("{} {operator} {}", operand(step.left), operand(step.right)));
    }
    attempt.answer(if script == Script::Slip { &number } else { &value })
}
