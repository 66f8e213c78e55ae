//! One problem: a template, names, and numbers that make it fair.

use std::collections::BTreeMap;

use serde_json::json;
use stepwell_tree::{Key, Purpose, Task};

use super::templates::{NAMES, ONE_STEP, THINGS, TWO_STEPS, Template};
use crate::Split;

/// How many numbers are tried for a template before another draw is taken.
const TRIES: u64 = 10_000;
/// Shares of the combinations of numbers that belong to training and to development.
const TRAIN: f64 = 0.70;
const DEVELOPMENT: f64 = 0.15;

/// What a calculation works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    /// A number of the question.
    Given(i64),
    /// The result of the calculation before.
    Result(i64),
}

/// A calculation of the solution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Calculation {
    pub(super) left: Operand,
    pub(super) operator: char,
    pub(super) right: Operand,
    pub(super) value: i64,
}

/// A problem with its solution.
pub(super) struct Problem {
    pub(super) question: String,
    pub(super) steps: Vec<Calculation>,
}

/// Places of draws below a problem's key.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Place {
    Template,
    Names,
    Thing,
    Numbers,
    Split,
}

impl Operand {
    pub(super) fn value(self) -> i64 {
        let (Operand::Given(value) | Operand::Result(value)) = self;
        value
    }
}

impl Calculation {
    fn expression(&self) -> String {
        format!("{} {} {}", self.left.value(), self.operator, self.right.value())
    }
}

/// The templates of a difficulty.
pub(super) fn templates(difficulty: u8) -> &'static [Template] {
    if difficulty == 1 { &ONE_STEP } else { &TWO_STEPS }
}

impl Problem {
    /// A problem whose numbers belong to the split; `None` where none was found in many tries.
    pub(super) fn draw(key: Key, seed: u64, split: Split, config: (u8, i64)) -> Option<Problem> {
        let (difficulty, number_max) = config;
        let all = templates(difficulty);
        let template = &all[key.with(Place::Template as u64).below(all.len())];
        let numbers = key.with(Place::Numbers as u64);
        let (numbers, steps) = (0..TRIES).find_map(|attempt| {
            let numbers = draw_numbers(numbers.with(attempt), template, number_max);
            let steps = solve(template, &numbers)?;
            (fair(&numbers, &steps) && split_of(seed, &numbers) == split)
                .then_some((numbers, steps))
        })?;
        let names = key.with(Place::Names as u64).permutation(NAMES.len());
        let thing = THINGS[key.with(Place::Thing as u64).below(THINGS.len())];
        let mut question = template.text.replace("{o}", thing);
        question = question.replace("{n}", NAMES[names[0]]).replace("{m}", NAMES[names[1]]);
        for (slot, number) in ["{a}", "{b}", "{c}"].iter().zip(&numbers) {
            question = question.replace(slot, &number.to_string());
        }
        Some(Problem { question, steps })
    }

    pub(super) fn answer(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.value)
    }

    pub(super) fn task(&self, id: String) -> Task {
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|s| json!({ "expression": s.expression(), "value": s.value.to_string() }))
            .collect();
        let fields = [("answer", self.answer().to_string()), ("steps", json!(steps).to_string())];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        Task { id, question: self.question.clone(), fields: BTreeMap::from(fields) }
    }
}

/// The split of a combination of numbers, whatever their order and the problem they stand in: no
/// combination of training occurs in another split.
pub(super) fn split_of(seed: u64, numbers: &[i64]) -> Split {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let place = Key::new(seed, Purpose::World).with(Place::Split as u64);
    let draw = sorted.iter().fold(place, |key, n| key.with(n.unsigned_abs())).uniform();
    if draw < TRAIN {
        Split::Train
    } else if draw < TRAIN + DEVELOPMENT {
        Split::Development
    } else {
        Split::HeldOut
    }
}

fn draw_numbers(key: Key, template: &Template, number_max: i64) -> Vec<i64> {
    ["a", "b", "c"]
        .iter()
        .zip(0..)
        .filter(|(slot, _)| template.text.contains(&format!("{{{slot}}}")))
        .map(|(slot, place)| {
            let most = if template.few.contains(slot) { 9 } else { number_max };
            2 + key.with(place).below(most as usize - 1) as i64
        })
        .collect()
}

/// The calculations of a template on these numbers; `None` where one does not come out whole and
/// positive.
fn solve(template: &Template, numbers: &[i64]) -> Option<Vec<Calculation>> {
    let mut steps: Vec<Calculation> = Vec::new();
    for form in template.steps {
        let mut words = form.split(' ');
        let mut next = || words.next().and_then(|word| word.chars().next());
        let (left, operator, right) = (next()?, next()?, next()?);
        let operand = |slot: char| match slot {
            'v' => steps.last().map(|step| Operand::Result(step.value)),
            letter => {
                let place = "abc".find(letter)?;
                numbers.get(place).copied().map(Operand::Given)
            }
        };
        let (left, right) = (operand(left)?, operand(right)?);
        let (a, b) = (left.value(), right.value());
        let value = match operator {
            '+' => a + b,
            '-' => a - b,
            '*' => a * b,
            '/' if a % b == 0 => a / b,
            _ => return None,
        };
        if value < 1 {
            return None;
        }
        steps.push(Calculation { left, operator, right, value });
    }
    Some(steps)
}

/// True where the answer stands neither in the question nor in an earlier result, and no step's
/// value is one of its own operands: whoever does not calculate to the end is wrong.
fn fair(numbers: &[i64], steps: &[Calculation]) -> bool {
    let Some((last, earlier)) = steps.split_last() else { return false };
    let echoes =
        |step: &Calculation| [step.left, step.right].iter().any(|o| o.value() == step.value);
    !numbers.contains(&last.value)
        && !earlier.iter().any(|step| step.value == last.value)
        && !steps.iter().any(echoes)
}
