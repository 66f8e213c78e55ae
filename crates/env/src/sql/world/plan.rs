//! One database of a world, before SQLite has seen it.

use stepwell_tree::{Key, Purpose, Task};

use super::Split;
use super::question::Question;
use super::rows::Rows;
use super::schema::Schema;
use crate::sql::Source;

/// Schema, rows and twin of a database: a pure function of the world's seed, the split and the
/// index.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) key: Key,
    pub(super) schema: Schema,
    pub(super) original: Rows,
    /// The same schema, styles and values with other rows, and another number of them.
    pub(super) twin: Rows,
}

/// Places of draws below a database's key.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Place {
    Schema,
    Original,
    Twin,
    Questions,
}

/// Draws for each question that is wanted; a small database may have fewer distinct ones.
const DRAWS_PER_QUESTION: u64 = 4;

impl Plan {
    pub(super) fn draw(seed: u64, difficulty: u8, split: Split, index: usize) -> Plan {
        let key = Key::new(seed, Purpose::World).with(split.offset() + index as u64);
        let at = |place: Place| key.with(place as u64);
        let schema = Schema::draw(at(Place::Schema), difficulty == 2);
        let original = Rows::draw(at(Place::Original), &schema);
        let twin = Rows::draw(at(Place::Twin), &schema);
        Plan { name: format!("{}_{index:04}", split.word()), key, schema, original, twin }
    }

    /// The questions this database asks as tasks: distinct by their gold query.
    pub(super) fn questions(&self, difficulty: u8, count: usize) -> Vec<Question> {
        let key = self.key.with(Place::Questions as u64);
        let mut questions: Vec<Question> = Vec::with_capacity(count);
        let mut golds: Vec<String> = Vec::with_capacity(count);
        for draw in 0..DRAWS_PER_QUESTION * count as u64 {
            if questions.len() == count {
                break;
            }
            let Some(question) = Question::draw(key.with(draw), self, difficulty) else { continue };
            let gold = question.gold(&self.schema);
            if !golds.contains(&gold) {
                questions.push(question);
                golds.push(gold);
            }
        }
        questions
    }

    /// A question as a task. `number` counts from 0 within the database.
    pub(super) fn task(&self, question: &Question, number: usize) -> Task {
        let field = |name: &str, value: String| (name.to_owned(), value);
        let gold = question.gold(&self.schema);
        Task {
            id: format!("{}-{number}", self.name.replace('_', "-")),
            question: question.text(&self.schema),
            fields: [field("database", self.name.clone()), field("gold", gold)].into(),
        }
    }

    /// The database and its twin.
    pub(super) fn source(&self) -> Source {
        Source::scripts(
            &self.name,
            self.original.script(&self.schema),
            self.twin.script(&self.schema),
            self.schema.text(),
        )
    }
}
