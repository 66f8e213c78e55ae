//! DECISIONS 11 as a table, and what any equality of multisets must obey.

use proptest::prelude::*;
use stepwell_env::sql::config::ResultCompare;
use stepwell_env::sql::equality::{Comparison, is_ordered};
use stepwell_env::sql::{Store, Table, Value};

const BAG: Comparison = Comparison { ordered: false, rows: ResultCompare::Multiset };
const LIST: Comparison = Comparison { ordered: true, rows: ResultCompare::Multiset };
const SET: Comparison = Comparison { ordered: false, rows: ResultCompare::Set };

#[test]
fn results_are_equal_as_documented() {
    let store = Store::from_script("none", "").unwrap();
    let table = |sql: &str| store.query(sql).unwrap().outcome.clone().unwrap();
    for (a, b, bag, list, set) in [
        ("VALUES (1), (2)", "VALUES (2), (1)", true, false, true),
        ("VALUES (1), (1)", "VALUES (1)", false, false, true),
        ("VALUES (1), (1), (2)", "VALUES (1), (2), (2)", false, false, true),
        ("SELECT 1", "SELECT 1.0", true, true, true),
        ("SELECT 1", "SELECT '1'", false, false, false),
        ("SELECT 1000000.0", "SELECT 1000000.9", true, true, true),
        ("SELECT 1000000.0", "SELECT 1000001.1", false, false, false),
        ("SELECT 1000000", "SELECT 1000001", false, false, false),
        ("SELECT 0.1 + 0.2", "SELECT 0.3", true, true, true),
        ("SELECT 0.0", "SELECT 1e-30", false, false, false),
        ("SELECT -0.0", "SELECT 0", true, true, true),
        ("SELECT 9e999", "SELECT 9e999", true, true, true),
        ("SELECT 9e999", "SELECT -9e999", false, false, false),
        ("SELECT 9e999", "SELECT 1e308", false, false, false),
        ("SELECT 9e999 - 9e999", "SELECT NULL", true, true, true),
        ("SELECT NULL", "SELECT NULL", true, true, true),
        ("SELECT NULL", "SELECT 0", false, false, false),
        ("SELECT NULL", "SELECT ''", false, false, false),
        ("SELECT 'a'", "SELECT 'A'", false, false, false),
        ("SELECT 'a'", "SELECT 'a '", false, false, false),
        ("SELECT x'61'", "SELECT 'a'", false, false, false),
        ("SELECT x'61'", "SELECT x'61'", true, true, true),
        ("SELECT 9223372036854775807", "SELECT 9223372036854775806", false, false, false),
        ("SELECT 1, 2", "SELECT 2, 1", false, false, false),
        ("SELECT 1 AS a", "SELECT 1 AS b", true, true, true),
        ("SELECT 1 WHERE 0", "SELECT 2 WHERE 0", true, true, true),
        ("SELECT 1 WHERE 0", "SELECT 1, 2 WHERE 0", false, false, false),
        // Sorted by the floating column first, these rows would be matched crosswise.
        (
            "VALUES (1.0, 'b'), (1.0000000001, 'a')",
            "VALUES (1.0, 'a'), (1.0, 'b')",
            true,
            false,
            true,
        ),
        // The whole number 1 and the floating one change places under any sorting by value.
        ("VALUES (1, 2.0), (1.0000001, 1.0)", "VALUES (1, 1.0), (1, 2.0)", true, false, true),
    ] {
        let (left, right) = (table(a), table(b));
        for (comparison, expect) in [(BAG, bag), (LIST, list), (SET, set)] {
            assert_eq!(comparison.equal(&left, &right), expect, "{a} against {b}, {comparison:?}");
            assert_eq!(comparison.equal(&right, &left), expect, "{b} against {a}, {comparison:?}");
        }
    }
}

#[test]
fn order_counts_only_outside_parentheses() {
    for (sql, expect) in [
        ("SELECT a FROM t ORDER BY a", true),
        ("select a from t order /* x */ by a limit 1", true),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", false),
        ("SELECT rank() OVER (ORDER BY a) FROM t", false),
        ("SELECT a FROM t WHERE b = 'order by'", false),
        ("SELECT \"order\" FROM t", false),
    ] {
        assert_eq!(is_ordered(sql), expect, "{sql}");
    }
}

fn cell() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        (-2i64..3).prop_map(Value::Integer),
        prop_oneof![Just(1.0), Just(1.0 + 1e-9), Just(-2.0), Just(0.5)].prop_map(Value::Real),
        "[ab]{0,1}".prop_map(Value::Text),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
    prop::collection::vec(prop::collection::vec(cell(), 2), 0..7)
}

fn table(rows: Vec<Vec<Value>>) -> Table {
    Table { columns: vec!["a".to_owned(), "b".to_owned()], rows }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_of_rows_never_matters_in_a_multiset(a in rows(), b in rows(), seed in 0u64..100) {
        let key = stepwell_tree::Key::new(seed, stepwell_tree::Purpose::Episode);
        let order = key.permutation(a.len());
        let moved = table(order.iter().map(|&at| a[at].clone()).collect());
        let (a, b) = (table(a), table(b));
        for comparison in [BAG, SET] {
            prop_assert!(comparison.equal(&a, &moved));
            prop_assert_eq!(comparison.equal(&a, &b), comparison.equal(&moved, &b));
            prop_assert_eq!(comparison.equal(&a, &b), comparison.equal(&b, &a));
        }
        // A list that is equal is equal as a multiset, and that as a set.
        prop_assert!(!LIST.equal(&a, &b) || BAG.equal(&a, &b));
        prop_assert!(!BAG.equal(&a, &b) || SET.equal(&a, &b));
    }

    #[test]
    fn one_row_more_is_another_multiset(
        mut a in rows(),
        extra in prop::collection::vec(cell(), 2),
    ) {
        let before = table(a.clone());
        a.push(extra);
        prop_assert!(!BAG.equal(&before, &table(a)));
    }
}
