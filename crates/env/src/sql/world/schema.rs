//! The shape of one database: tables, columns, and how it writes what questions speak of.
//!
//! What the prompt shows (names and order of tables and columns) is drawn under other keys than
//! what only a look at the rows tells (style, which twin column is real): the prompt leaks nothing.

use stepwell_tree::Key;

use super::attribute::{ATTRIBUTES, STYLES};
use super::words::{NUMBERS, TABLES};

/// Names, columns and hidden facts of a database; its rows are [`Rows`](super::rows::Rows).
pub(super) struct Schema {
    pub(super) tables: Vec<Table>,
    /// The attributes this database holds, each in one table.
    pub(super) features: Vec<Feature>,
}

pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: Vec<Column>,
}

pub(super) struct Column {
    pub(super) name: String,
    pub(super) role: Role,
}

/// What stands in a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// The row's number, from 1.
    Id,
    /// A row of the first table.
    Reference,
    /// A whole number from 1 to 999.
    Number,
    /// A value of `features[_]`, in the database's style.
    Real(usize),
    /// Named like a column of `features[_]`, and NULL in every row.
    Empty(usize),
}

/// An attribute as one database holds it.
pub(super) struct Feature {
    /// Index in [`ATTRIBUTES`].
    pub(super) attribute: usize,
    /// Index in [`Schema::tables`].
    pub(super) table: usize,
    /// How its values are written here: the hidden fact.
    pub(super) style: usize,
    /// Indices of the attribute's values that rows may take.
    pub(super) kept: Vec<usize>,
}

/// Attributes of a database.
const FEATURES: usize = 3;
/// Most columns of a database, all tables together.
const COLUMNS_MAX: usize = 10;
/// Probability that a database has two tables; else it has three.
const TWO_TABLES: f64 = 0.7;
/// Probability that an attribute has a twin column, before the limit on columns.
const TWIN: f64 = 0.6;

/// Places of draws below a database's key.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Place {
    TableCount,
    Tables,
    Attributes,
    Numbers,
    Twin,
    UnTwin,
    Names,
    ColumnOrder,
    Style,
    KeptCount,
    Kept,
}

impl Schema {
    /// Draws a schema. `two_tables` asks for a table with two attributes, which questions with two
    /// conditions need.
    pub(super) fn draw(key: Key, two_tables: bool) -> Schema {
        let at = |place: Place| key.with(place as u64);
        let two = two_tables || at(Place::TableCount).uniform() < TWO_TABLES;
        let names = at(Place::Tables).permutation(TABLES.len());
        let numbers = at(Place::Numbers).permutation(NUMBERS.len());
        let attributes = at(Place::Attributes).permutation(ATTRIBUTES.len());
        let home: [usize; FEATURES] = if two { [0, 0, 1] } else { [0, 1, 2] };

        let mut tables: Vec<Table> = (0..if two { 2 } else { 3 })
            .map(|table| Table { name: TABLES[names[table]], columns: Vec::new() })
            .collect();
        // The third table has neither number nor reference: it can only be counted.
        let number = |place: usize| column(NUMBERS[numbers[place]], Role::Number);
        let reference = format!("{}_id", tables[0].name);
        tables[0].columns.push(number(0));
        tables[1].columns.extend([column(&reference, Role::Reference), number(1)]);

        let plain = tables.iter().map(|table| 1 + table.columns.len()).sum::<usize>() + FEATURES;
        let twins = draw_twins(key, COLUMNS_MAX - plain);
        let mut features = Vec::with_capacity(FEATURES);
        for (feature, &table) in home.iter().enumerate() {
            let attribute = attributes[feature];
            tables[table].columns.extend(attribute_columns(
                key,
                feature,
                attribute,
                twins[feature],
            ));
            features.push(draw_feature(key, feature, attribute, table));
        }
        for (place, table) in tables.iter_mut().enumerate() {
            let order = at(Place::ColumnOrder).with(place as u64).permutation(table.columns.len());
            let mut drawn: Vec<Option<Column>> = table.columns.drain(..).map(Some).collect();
            table.columns.push(column("id", Role::Id));
            table.columns.extend(order.into_iter().filter_map(|from| drawn[from].take()));
        }
        Schema { tables, features }
    }

    /// The schema as the prompt shows it: `orders ( id price ) visits ( id orders_id )`.
    pub(super) fn text(&self) -> String {
        let table = |table: &Table| {
            let names: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
            format!("{} ( {} )", table.name, names.join(" "))
        };
        self.tables.iter().map(table).collect::<Vec<_>>().join(" ")
    }

    /// Columns that may hold a feature, in the order of the schema: one, or the real one and its
    /// empty twin.
    pub(super) fn candidates(&self, feature: usize) -> Vec<&str> {
        let home = &self.tables[self.features[feature].table];
        let held = |column: &&Column| {
            let own = match column.role {
                Role::Real(own) | Role::Empty(own) => Some(own),
                Role::Id | Role::Reference | Role::Number => None,
            };
            own == Some(feature)
        };
        home.columns.iter().filter(held).map(|column| column.name.as_str()).collect()
    }

    /// Another feature of the same table, where there is one.
    pub(super) fn neighbour(&self, feature: usize) -> Option<usize> {
        let table = self.features[feature].table;
        (0..self.features.len())
            .find(|&other| other != feature && self.features[other].table == table)
    }

    /// The column that does hold a feature.
    pub(super) fn real(&self, feature: usize) -> &str {
        let home = &self.tables[self.features[feature].table];
        let real = home.columns.iter().find(|column| column.role == Role::Real(feature));
        &real.expect("every feature is given a real column when it is drawn").name
    }
}

impl Table {
    /// The column of whole numbers, where the table has one.
    pub(super) fn number(&self) -> Option<&str> {
        let number = self.columns.iter().find(|column| column.role == Role::Number);
        number.map(|column| column.name.as_str())
    }
}

fn column(name: &str, role: Role) -> Column {
    Column { name: name.to_owned(), role }
}

/// Which features have a twin column: each with probability [`TWIN`], then as many are taken back
/// as the limit on columns asks, in a random order.
fn draw_twins(key: Key, twins_max: usize) -> [bool; FEATURES] {
    let twin = key.with(Place::Twin as u64);
    let mut twins: [bool; FEATURES] =
        std::array::from_fn(|feature| twin.with(feature as u64).uniform() < TWIN);
    for feature in key.with(Place::UnTwin as u64).permutation(FEATURES) {
        if twins.iter().filter(|twin| **twin).count() > twins_max {
            twins[feature] = false;
        }
    }
    twins
}

/// The real column and, with `twin`, the empty one. Both names are drawn from the same three, so a
/// name does not tell which is real.
fn attribute_columns(key: Key, feature: usize, attribute: usize, twin: bool) -> Vec<Column> {
    let names = &ATTRIBUTES[attribute].columns;
    let order = key.with(Place::Names as u64).with(feature as u64).permutation(names.len());
    let name = |place: usize| names[order[place]];
    let mut columns = vec![column(name(0), Role::Real(feature))];
    if twin {
        columns.push(column(name(1), Role::Empty(feature)));
    }
    columns
}

/// Style and values: at least 4 and at most 7 of those there are.
fn draw_feature(key: Key, feature: usize, attribute: usize, table: usize) -> Feature {
    let at = |place: Place| key.with(place as u64).with(feature as u64);
    let all = ATTRIBUTES[attribute].values.len();
    let (fewest, most) = (all.min(4), all.min(7));
    let mut kept = at(Place::Kept).permutation(all);
    kept.truncate(fewest + at(Place::KeptCount).below(most - fewest + 1));
    Feature { attribute, table, style: at(Place::Style).below(STYLES), kept }
}
