//! What counts inside SQLite are blind to is bounded from outside, and is the policy's to answer
//! for (DECISIONS 10).

use std::time::{Duration, Instant};

use stepwell_env::laws;
use stepwell_env::sql::Config;
use stepwell_env::sql::config::Limits;
use stepwell_tree::{Key, Purpose, Turn, Verdict};

use crate::shop::Shop;
use crate::{message, programs, shop};

fn limited(limits: Limits) -> Shop {
    shop::environment(Config { limits, ..Config::default() })
}

/// Ten to this power of `a`, in that many nested instructions.
fn many(power: usize) -> String {
    (0..power).fold("'a'".to_owned(), |text, _| format!("replace({text}, 'a', 'aaaaaaaaaa')"))
}

fn verdict(shop: &Shop, sql: &str) -> Verdict {
    let program = format!("<think> x </think> <final_sql> {sql} </final_sql>");
    let key = Key::new(1, Purpose::Episode);
    let turns = laws::play(&**shop, &shop::tasks()[0], key, &programs::steps(&program));
    match turns.into_iter().last() {
        Some(Turn::End(verdict)) => verdict,
        other => panic!("no end: {other:?}"),
    }
}

pub(crate) fn what_is_slow_inside_one_instruction_is_ended_and_judged() {
    let limits = Limits { value_bytes_max: 10_000_000, seconds_max: 1, ..Limits::default() };
    let shop = limited(limits);
    let store = shop.databases()["shop"].original();
    let (text, needle) = (many(6), format!("substr({}, 1, 500000) || 'b'", many(6)));
    let cases = [
        format!("SELECT instr({text}, {needle})"),
        format!("SELECT length(replace({text}, {needle}, 'c'))"),
        format!(
            "SELECT length(rtrim({text}, replace(substr({text}, 1, 100000), 'a', 'b') || 'a'))"
        ),
        format!("SELECT {text} LIKE '{}b'", "%a".repeat(40)),
        format!("SELECT {text} GLOB '{}b'", "*a".repeat(40)),
    ];
    for (place, sql) in cases.into_iter().enumerate() {
        let shown: String = sql.chars().rev().take(60).collect::<Vec<_>>().iter().rev().collect();
        let (before, begin) = (shop.child_id(), Instant::now());
        assert_eq!(message(store, &sql), "query exceeded 1 s", "{shown}");
        assert!(begin.elapsed() >= Duration::from_secs(1), "{shown}: ended before its time");
        // It is judged, remembered, and never tried again.
        assert_eq!(message(store, &format!("SELECT {place}")), "1 rows");
        let after = shop.child_id();
        assert_ne!(before, after, "{shown}");
        let Verdict::Scored { reward, .. } = verdict(&shop, &sql) else { panic!("{shown}") };
        assert_eq!(reward, 0.0);
        assert_eq!(shop.child_id(), after, "{shown}: it was tried again");
    }
    // Under the limits that ship, one instruction is enough as well.
    let shop = limited(Limits { seconds_max: 1, ..Limits::default() });
    let sql = format!("SELECT {} LIKE '{}b'", many(3), "%a".repeat(40));
    assert_eq!(message(shop.databases()["shop"].original(), &sql), "query exceeded 1 s");
}

pub(crate) fn what_takes_too_much_memory_is_judged() {
    let limits = Limits { memory_mib_max: 64, steps_max: 100_000_000, ..Limits::default() };
    let shop = limited(limits);
    let store = shop.databases()["shop"].original();
    let rows = |n: usize| {
        format!(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {n}) SELECT \
             count(*) FROM (SELECT DISTINCT x || {} AS t FROM c)",
            many(3)
        )
    };
    assert_eq!(message(store, &rows(1000)), "1 rows");
    assert_eq!(message(store, &rows(200_000)), "query exceeded 64 MiB of memory");
    let Verdict::Scored { reward, .. } = verdict(&shop, &rows(200_000)) else { panic!() };
    assert_eq!(reward, 0.0);
    // What was taken is given back: the same room as before.
    for n in 1001..1020 {
        assert_eq!(message(store, &rows(n)), "1 rows");
    }
    // And a file that is larger is another matter than a query that is.
    let shop = limited(Limits { steps_max: 100_000_000, ..Limits::default() });
    assert_eq!(message(shop.databases()["shop"].original(), &rows(200_000)), "1 rows");
}

/// Twenty million cells, which would be 640 MB on this side of the pipe.
pub(crate) fn empty_texts_are_not_free() {
    let shop = limited(Limits::default());
    let store = shop.databases()["shop"].original();
    let cells = vec!["''"; 1900].join(",");
    let sql = format!(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 10000) SELECT {cells} \
         FROM c"
    );
    assert_eq!(message(store, &sql), "result over 1000000 bytes");
}
