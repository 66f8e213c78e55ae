//! Questions: what is asked, the query that answers it, and which draws are fit to be asked.

use stepwell_tree::Key;

use super::attribute::{ATTRIBUTES, STYLES, Wording};
use super::plan::Plan;
use super::rows::Rows;
use super::schema::{Role, Schema};

/// What is computed over the rows that fit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Count,
    Total,
    Average,
    Largest,
    Smallest,
    List,
}

const KINDS: [Kind; 6] =
    [Kind::Count, Kind::Total, Kind::Average, Kind::Largest, Kind::Smallest, Kind::List];

/// A question about one database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    pub(super) kind: Kind,
    /// The table whose rows are counted or whose numbers are read.
    pub(super) subject: usize,
    /// The table that the conditions speak of: the subject, or the first table, which the subject
    /// then refers to.
    pub(super) home: usize,
    /// One condition, or two on the same table.
    pub(super) conditions: Vec<Condition>,
    /// `where state is ohio`, rather than `with state ohio`.
    pub(super) spelled_out: bool,
}

/// A feature and the value it shall have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Condition {
    /// Index in [`Schema::features`].
    pub(super) feature: usize,
    /// Index in the attribute's values.
    pub(super) value: usize,
}

/// Draws until one is fit to be asked; a database in which this many are not has no question.
const DRAWS_MAX: u64 = 50;

/// Two numbers closer than this, relative to their size, are taken as equal: ten times coarser
/// than the judge (DECISIONS 11), so that what differs here differs there.
const TOLERANCE: f64 = 1e-5;

/// Places of draws below a question's key.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Place {
    Feature,
    Kind,
    Value,
    SpelledOut,
    OtherValue,
}

impl Question {
    /// Draws a question that has an answer on the database and on its twin, not the same on both
    /// (else a constant would pass), and not the one that a query without its conditions gets.
    /// A query that writes a value in a wrong style or reads an empty column finds no row, so it
    /// never has the answer either.
    pub(super) fn draw(key: Key, plan: &Plan, difficulty: u8) -> Option<Question> {
        let draws =
            (0..DRAWS_MAX).map(|draw| Question::candidate(key.with(draw), plan, difficulty));
        draws.flatten().find(|question| question.is_fit(plan))
    }

    fn candidate(key: Key, plan: &Plan, difficulty: u8) -> Option<Question> {
        let schema = &plan.schema;
        let at = |place: Place| key.with(place as u64);
        let value = |place: Place, feature: usize| {
            let kept = &schema.features[feature].kept;
            Condition { feature, value: kept[at(place).below(kept.len())] }
        };
        let usable: Vec<usize> = (0..schema.features.len())
            .filter(|&feature| match difficulty {
                1 => true,
                2 => schema.neighbour(feature).is_some(),
                _ => schema.features[feature].table == 0,
            })
            .collect();
        let feature = *usable.get(at(Place::Feature).below(usable.len().max(1)))?;
        let home = schema.features[feature].table;
        let subject = if difficulty == 3 { 1 } else { home };
        let mut conditions = vec![value(Place::Value, feature)];
        if difficulty == 2 {
            conditions.push(value(Place::OtherValue, schema.neighbour(feature)?));
        }
        let kind = match schema.tables[subject].number() {
            Some(_) => KINDS[at(Place::Kind).below(KINDS.len())],
            None => Kind::Count,
        };
        let spelled_out = at(Place::SpelledOut).below(2) == 1;
        Some(Question { kind, subject, home, conditions, spelled_out })
    }

    fn is_fit(&self, plan: &Plan) -> bool {
        let all: Vec<&Condition> = self.conditions.iter().collect();
        let answer =
            |rows: &Rows, conditions: &[&Condition]| self.answer(&plan.schema, rows, conditions);
        let (Some(gold), Some(twin)) = (answer(&plan.original, &all), answer(&plan.twin, &all))
        else {
            return false;
        };
        // Conditions may be left out one by one, or all together.
        let fewer = |left_out: usize| -> Vec<&Condition> {
            let kept = all.iter().enumerate().filter(|(place, _)| *place != left_out);
            kept.map(|(_, condition)| *condition).collect()
        };
        let partial = (0..all.len()).map(fewer).chain([Vec::new()]);
        let differs = |other: &[f64]| !equal(&gold, other);
        differs(&twin)
            && partial.filter_map(|some| answer(&plan.original, &some)).all(|a| differs(&a))
    }

    /// The result of the query with these conditions; `None` where no row fits.
    fn answer(&self, schema: &Schema, rows: &Rows, conditions: &[&Condition]) -> Option<Vec<f64>> {
        let number = schema.tables[self.subject].number().map(|_| Role::Number);
        let counted = rows.column(schema, self.subject, number.unwrap_or(Role::Id));
        let fits = |row: usize| {
            conditions.iter().all(|condition| {
                let role = Role::Real(condition.feature);
                usize::from(rows.column(schema, self.home, role)[row]) == condition.value
            })
        };
        let joined =
            (self.home != self.subject).then(|| rows.column(schema, self.subject, Role::Reference));
        let home_row = |row: usize| joined.map_or(row, |joined| usize::from(joined[row]) - 1);
        let chosen: Vec<f64> = (0..counted.len())
            .filter(|&row| fits(home_row(row)))
            .map(|row| f64::from(counted[row]))
            .collect();
        (!chosen.is_empty()).then(|| self.kind.reduce(chosen))
    }

    /// As people ask it: `average age of payments where state is california ?`
    pub(super) fn text(&self, schema: &Schema) -> String {
        let subject = &schema.tables[self.subject];
        let table = subject.name;
        let number = subject.number().unwrap_or_default();
        let head = match self.kind {
            Kind::Count => format!("how many {table}"),
            Kind::Total => format!("total {number} of {table}"),
            Kind::Average => format!("average {number} of {table}"),
            Kind::Largest => format!("largest {number} of {table}"),
            Kind::Smallest => format!("smallest {number} of {table}"),
            Kind::List => format!("list {number} of {table}"),
        };
        let (whose, such_that, is) =
            if self.spelled_out { (" whose", "where", " is") } else { (" linked to", "with", "") };
        let link = if self.home == self.subject {
            String::new()
        } else {
            format!("{whose} {}", schema.tables[self.home].name)
        };
        let condition = |condition: &Condition| {
            format!("{}{is} {}", condition.word(schema), condition.wording(schema).spoken)
        };
        let conditions: Vec<String> = self.conditions.iter().map(condition).collect();
        format!("{head}{link} {such_that} {} ?", conditions.join(" and "))
    }

    /// The query that reads these columns and looks for these texts, one pair per condition; none
    /// leaves the conditions out.
    pub(super) fn sql(&self, schema: &Schema, tests: &[(&str, &str)]) -> String {
        let subject = &schema.tables[self.subject];
        let number = subject.number().unwrap_or_default();
        let select = match self.kind {
            Kind::Count => "COUNT ( * )".to_owned(),
            Kind::Total => format!("SUM ( {number} )"),
            Kind::Average => format!("AVG ( {number} )"),
            Kind::Largest => format!("MAX ( {number} )"),
            Kind::Smallest => format!("MIN ( {number} )"),
            Kind::List => number.to_owned(),
        };
        let mut sql = format!("SELECT {select} FROM {}", subject.name);
        if self.home != self.subject {
            let home = schema.tables[self.home].name;
            sql += &format!(" JOIN {home} ON {} . {home}_id = {home} . id", subject.name);
        }
        let tests: Vec<String> =
            tests.iter().map(|(name, text)| format!("{name} = '{text}'")).collect();
        if tests.is_empty() { sql } else { format!("{sql} WHERE {}", tests.join(" AND ")) }
    }

    /// The query that answers the question.
    pub(super) fn gold(&self, schema: &Schema) -> String {
        let test = |condition: &Condition| -> (&str, &str) {
            let feature = &schema.features[condition.feature];
            let stored = condition.wording(schema).stored[feature.style].as_str();
            (schema.real(condition.feature), stored)
        };
        let tests: Vec<(&str, &str)> = self.conditions.iter().map(test).collect();
        self.sql(schema, &tests)
    }

    /// Probability that columns and styles drawn at random give the answer: how often one is right
    /// without looking.
    pub(super) fn guess_level(&self, schema: &Schema) -> f64 {
        let right = |condition: &Condition| {
            1.0 / (STYLES * schema.candidates(condition.feature).len()) as f64
        };
        self.conditions.iter().map(right).product()
    }
}

impl Condition {
    /// What questions call the attribute.
    pub(super) fn word(&self, schema: &Schema) -> &'static str {
        ATTRIBUTES[schema.features[self.feature].attribute].word
    }

    /// The value in words and as databases write it.
    pub(super) fn wording(&self, schema: &Schema) -> &'static Wording {
        &ATTRIBUTES[schema.features[self.feature].attribute].values[self.value]
    }
}

impl Kind {
    /// The result over the numbers of the rows that fit, of which there is at least one.
    fn reduce(self, mut chosen: Vec<f64>) -> Vec<f64> {
        let (count, total) = (chosen.len() as f64, chosen.iter().sum::<f64>());
        match self {
            Kind::Count => vec![count],
            Kind::Total => vec![total],
            Kind::Average => vec![total / count],
            Kind::Largest => vec![chosen.iter().copied().fold(f64::MIN, f64::max)],
            Kind::Smallest => vec![chosen.iter().copied().fold(f64::MAX, f64::min)],
            Kind::List => {
                chosen.sort_by(f64::total_cmp);
                chosen
            }
        }
    }
}

fn equal(a: &[f64], b: &[f64]) -> bool {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
    a.len() == b.len() && a.iter().zip(b).all(close)
}
