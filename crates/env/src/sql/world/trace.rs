//! Scripted attempts of mixed quality: what a warm-up imitates before reinforcement.
//!
//! The demonstrator is careful with some kinds of question only. A mix that is the same for all
//! kinds would leave greedy decoding, which follows the likeliest branch, either at the level of
//! guessing or at that of the careful script.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Key, Segment};

use super::attribute::STYLES;
use super::plan::Plan;
use super::question::{Condition, Kind, Question};
use crate::shares;
use crate::sql::{Answer, Config, observation};

/// How often each script is followed. All are probabilities, 0 to 1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceMix {
    /// The careful script, for questions that count.
    pub careful_counting: f64,
    /// The careful script, for all other questions.
    pub careful_otherwise: f64,
    /// Among the careless: guesses at once. The three careless shares sum to 1.
    pub blind: f64,
    /// Among the careless: looks at a column that does not matter, then guesses.
    pub useless: f64,
    /// Among the careless: looks as the careful script does, then answers something else.
    pub slip: f64,
}

impl Default for TraceMix {
    /// The mix that leaves a warmed-up policy halfway: right about 0.4 of the time.
    fn default() -> Self {
        TraceMix {
            careful_counting: 0.70,
            careful_otherwise: 0.25,
            blind: 0.55,
            useless: 0.35,
            slip: 0.10,
        }
    }
}

/// The scripts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Script {
    /// Looks at the columns a condition may mean until one holds values, then answers.
    Careful,
    /// Answers without looking.
    Blind,
    /// Looks elsewhere, then answers without knowing.
    Useless,
    /// Looks as the careful one does and answers at random all the same.
    Slip,
}

/// Places of draws below a demonstration's key.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Place {
    Careful,
    Careless,
    Column,
    Style,
    UselessTable,
    UselessColumn,
}

impl TraceMix {
    /// What is wrong with these settings, one sentence each.
    pub(super) fn problems(&self) -> Vec<String> {
        let all = [
            ("careful_counting", self.careful_counting),
            ("careful_otherwise", self.careful_otherwise),
            ("blind", self.blind),
            ("useless", self.useless),
            ("slip", self.slip),
        ];
        shares::problems(&all, 3)
    }

    pub(super) fn script(&self, key: Key, kind: Kind) -> Script {
        let careful =
            if kind == Kind::Count { self.careful_counting } else { self.careful_otherwise };
        if key.with(Place::Careful as u64).uniform() < careful {
            return Script::Careful;
        }
        let careless = [Script::Blind, Script::Useless, Script::Slip];
        let shares = [self.blind, self.useless, self.slip];
        careless[shares::pick(key.with(Place::Careless as u64), &shares)]
    }
}

/// A worked attempt: thoughts, queries, what the executor answers, and the last query.
pub(super) fn demonstrate(
    key: Key,
    plan: &Plan,
    question: &Question,
    script: Script,
    config: &Config,
) -> Vec<Segment> {
    let mut trace = Trace { plan, config, segments: Vec::new() };
    let mut tests = Vec::new();
    let mut thoughts = Vec::new();
    for (place, condition) in question.conditions.iter().enumerate() {
        let spoken = &condition.wording(&plan.schema).spoken;
        let guess = guess(key, plan, condition, place as u64);
        let test = match script {
            Script::Careful | Script::Slip => {
                let (name, sample) = trace.look_for(condition);
                let feature = &plan.schema.features[condition.feature];
                let stored = condition.wording(&plan.schema).stored[feature.style].as_str();
                let test = if script == Script::Careful { (name, stored) } else { guess };
                thoughts.push(format!("{} : {spoken} like {sample}", test.0));
                test
            }
            Script::Blind | Script::Useless => {
                thoughts.push(format!("{} : {spoken}", guess.0));
                guess
            }
        };
        tests.push(test);
    }
    if script == Script::Useless {
        trace.look_elsewhere(key, question);
    }
    let verb = match script {
        Script::Careful | Script::Slip => "use",
        Script::Blind | Script::Useless => "guess",
    };
    let thought = format!("{verb} {}", thoughts.join(" and "));
    let sql = question.sql(&plan.schema, &tests);
    trace.act(format!("<think> {thought} </think> <final_sql> {sql} </final_sql>"));
    trace.segments
}

/// A column and a text for a condition, drawn from all that the prompt leaves open.
fn guess<'p>(key: Key, plan: &'p Plan, condition: &Condition, place: u64) -> (&'p str, &'p str) {
    let draw = |of: Place, bound: usize| key.with(of as u64).with(place).below(bound);
    let columns = plan.schema.candidates(condition.feature);
    let stored = &condition.wording(&plan.schema).stored;
    (columns[draw(Place::Column, columns.len())], &stored[draw(Place::Style, STYLES)])
}

struct Trace<'p> {
    plan: &'p Plan,
    config: &'p Config,
    segments: Vec<Segment>,
}

impl<'p> Trace<'p> {
    fn act(&mut self, text: String) {
        self.segments.push(Segment { text, train: true, observation: false });
    }

    /// Asks for the values of a column; gives the first of them as the policy reads it.
    fn look(&mut self, thought: &str, table: usize, name: &str) -> String {
        let home = &self.plan.schema.tables[table];
        let query = format!("SELECT DISTINCT {name} FROM {}", home.name);
        self.act(format!(
            "<think> {thought} </think> <intermediate_sql> {query} </intermediate_sql>"
        ));
        let column = home.columns.iter().position(|column| column.name == name);
        let column = column.expect("a script looks at columns of the table it names");
        let values = self.plan.original.distinct(&self.plan.schema, table, column);
        let first = observation::cell(&values.rows[0][0]);
        let answer = Answer { outcome: Ok(values), reads: None };
        let text = observation::render(&answer, self.config);
        self.segments.push(Segment { text, train: false, observation: true });
        first
    }

    /// Looks at the columns a condition may mean, in the order of the schema, until one holds
    /// values. Gives that column and its first value.
    fn look_for(&mut self, condition: &Condition) -> (&'p str, String) {
        let schema = &self.plan.schema;
        let table = schema.features[condition.feature].table;
        let real = schema.real(condition.feature);
        let mut thought = format!("check {}", condition.word(schema));
        for name in schema.candidates(condition.feature) {
            let first = self.look(&thought, table, name);
            if name == real {
                return (name, first);
            }
            thought += " again";
        }
        unreachable!("the real column is one of the candidates")
    }

    /// Looks at a column that no condition may mean.
    fn look_elsewhere(&mut self, key: Key, question: &Question) {
        let schema = &self.plan.schema;
        let draw = |of: Place, bound: usize| key.with(of as u64).below(bound);
        let table = draw(Place::UselessTable, schema.tables.len());
        let meant: Vec<&str> =
            question.conditions.iter().flat_map(|c| schema.candidates(c.feature)).collect();
        let names = schema.tables[table].columns.iter().map(|column| column.name.as_str());
        let free: Vec<&str> = names.filter(|name| !meant.contains(name)).collect();
        let name = free[draw(Place::UselessColumn, free.len())];
        self.look("look", table, name);
    }
}
