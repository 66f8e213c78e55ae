//! What worlds say: a closed vocabulary, and texts worked by hand.

use std::collections::BTreeSet;

use super::*;
use crate::sql::world::question::{Condition, Kind};
use crate::sql::world::rows::Rows;
use crate::sql::world::schema::{Column, Feature, Role, Schema, Table};

#[test]
fn every_word_is_in_the_list() {
    let known: BTreeSet<String> = words().into_iter().collect();
    assert_eq!(known.len(), words().len());
    let check = |text: &str| {
        for piece in vocabulary::pieces(text) {
            let number = piece.bytes().all(|byte| byte.is_ascii_digit());
            assert!(number || known.contains(piece), "`{piece}` of `{text}`");
        }
    };
    for difficulty in 1..=3 {
        let world = small(difficulty);
        let environment = environment(&world);
        for task in Split::ALL.into_iter().flat_map(|split| world.tasks(split)) {
            let opening = environment.opening(task);
            check(&opening.system);
            check(&opening.user);
            check(task.field("gold").unwrap());
        }
        for index in 0..1000 {
            let demonstration = world.demonstration(index, &environment);
            check(&demonstration.opening.user);
            demonstration.segments.iter().for_each(|segment| check(&segment.text));
        }
        // Whatever column a policy looks at, in any split, and what it is told where it errs.
        for plan in world.plans.iter().flatten() {
            let mut queries = vec!["SELECT id FROM".to_owned(), "SELECT age FROM red".to_owned()];
            for table in &plan.schema.tables {
                queries.extend(table.columns.iter().flat_map(|column| {
                    let (name, table) = (&column.name, table.name);
                    [
                        format!("SELECT DISTINCT {name} FROM {table}"),
                        format!("SELECT {name} FROM {table} WHERE red = 'CA'"),
                        format!("SELECT AVG ( {name} ) FROM {table}"),
                        format!("SELECT {name} FROM {table} WHERE id = 0"),
                    ]
                }));
            }
            let task = Task {
                id: String::new(),
                question: String::new(),
                fields: BTreeMap::from([
                    ("database".to_owned(), plan.name.clone()),
                    ("gold".to_owned(), "SELECT 1".to_owned()),
                ]),
            };
            for query in queries {
                let text = format!("<intermediate_sql> {query} </intermediate_sql>");
                match start(&environment, &task).step(&text, Stop::StopString) {
                    Turn::Observation(text) => check(&text),
                    Turn::End(verdict) => panic!("{verdict:?} for {query}"),
                }
            }
        }
    }
}

/// `stores ( id age state bill_state )`, `visits ( id stores_id cost size )`: states are written
/// `CA` and stand in `bill_state`, sizes are numbers.
fn by_hand() -> Plan {
    let column = |name: &str, role| Column { name: name.to_owned(), role };
    let stores = vec![
        column("id", Role::Id),
        column("age", Role::Number),
        column("state", Role::Empty(0)),
        column("bill_state", Role::Real(0)),
    ];
    let visits = vec![
        column("id", Role::Id),
        column("stores_id", Role::Reference),
        column("cost", Role::Number),
        column("size", Role::Real(1)),
    ];
    let place =
        |word: &str| attribute::ATTRIBUTES.iter().position(|known| known.word == word).unwrap();
    let schema = Schema {
        tables: vec![
            Table { name: "stores", columns: stores },
            Table { name: "visits", columns: visits },
        ],
        features: vec![
            Feature { attribute: place("state"), table: 0, style: 2, kept: vec![0, 1, 4, 5] },
            Feature { attribute: place("size"), table: 1, style: 2, kept: vec![0, 1, 2] },
        ],
    };
    let key = Key::new(4, Purpose::World);
    let (original, twin) = (Rows::draw(key.with(0), &schema), Rows::draw(key.with(1), &schema));
    Plan { name: "train_0000".to_owned(), key, schema, original, twin }
}

#[test]
fn questions_and_queries_read_as_written_by_hand() {
    let Plan { schema, .. } = by_hand();
    let expected = "stores ( id age state bill_state ) visits ( id stores_id cost size )";
    assert_eq!(schema.text(), expected);
    let california = Condition { feature: 0, value: 0 };
    let large = Condition { feature: 1, value: 2 };
    let ask = |kind, subject, home, condition: &Condition, spelled_out| {
        let conditions = vec![condition.clone()];
        let question = Question { kind, subject, home, conditions, spelled_out };
        (question.text(&schema), question.gold(&schema))
    };
    let (text, gold) = ask(Kind::Largest, 0, 0, &california, true);
    assert_eq!(text, "largest age of stores where state is california ?");
    assert_eq!(gold, "SELECT MAX ( age ) FROM stores WHERE bill_state = 'CA'");
    let (text, gold) = ask(Kind::Count, 1, 1, &large, false);
    assert_eq!(text, "how many visits with size large ?");
    assert_eq!(gold, "SELECT COUNT ( * ) FROM visits WHERE size = '3'");
    let (text, gold) = ask(Kind::List, 1, 0, &california, false);
    assert_eq!(text, "list cost of visits linked to stores with state california ?");
    let joined = "SELECT cost FROM visits JOIN stores ON visits . stores_id = stores . id";
    assert_eq!(gold, format!("{joined} WHERE bill_state = 'CA'"));
    let (text, _) = ask(Kind::Total, 1, 0, &california, true);
    assert_eq!(text, "total cost of visits whose stores where state is california ?");
}

#[test]
fn scripts_read_as_written_by_hand() {
    let plan = by_hand();
    let conditions = vec![Condition { feature: 0, value: 0 }];
    let question =
        Question { kind: Kind::Count, subject: 0, home: 0, conditions, spelled_out: true };
    let key = Key::new(1, Purpose::Demonstration);
    let told = |script| -> Vec<String> {
        let segments = trace::demonstrate(key, &plan, &question, script, &Config::default());
        segments.into_iter().map(|segment| segment.text).collect()
    };
    let careful = told(trace::Script::Careful);
    assert_eq!(
        careful[..3],
        [
            "<think> check state </think> \
             <intermediate_sql> SELECT DISTINCT state FROM stores </intermediate_sql>",
            "<result> state | NULL </result>",
            "<think> check state again </think> \
             <intermediate_sql> SELECT DISTINCT bill_state FROM stores </intermediate_sql>",
        ]
    );
    let sample = careful[3].strip_prefix("<result> bill_state | ").unwrap().split(' ').next();
    let thought = format!("<think> use bill_state : california like {} </think>", sample.unwrap());
    let answer = "SELECT COUNT ( * ) FROM stores WHERE bill_state = 'CA'";
    assert_eq!(careful[4], format!("{thought} <final_sql> {answer} </final_sql>"));

    let blind = told(trace::Script::Blind);
    assert_eq!(blind.len(), 1);
    assert!(blind[0].starts_with("<think> guess "), "{blind:?}");
    let useless = told(trace::Script::Useless);
    assert!(useless[0].starts_with("<think> look </think>"), "{useless:?}");
    assert_eq!(useless[2], blind[0]);
    let slip = told(trace::Script::Slip);
    assert_eq!(slip[..4], careful[..4]);
}
