//! What a query may not do, with the exact message (RELIABILITY 5.5, rows 66 to 74).

/// Queries and what comes of them: a message, or `N rows`. `evil` is a path where no file may
/// appear.
pub(crate) fn cases(evil: &str) -> Vec<(String, String)> {
    let bomb = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";
    let only = "only SELECT is allowed";
    let one = "expected one statement";
    let complex = "query too complex";
    let steps = "query exceeded 10000000 steps";
    let tables = |n| {
        vec!["customer"; n].iter().enumerate().map(|(i, t)| format!("{t} t{i}")).collect::<Vec<_>>()
    };
    let long = |what: String| {
        (what.clone(), format!("query too long: {} bytes, at most 10000", what.len()))
    };
    let mut cases: Vec<(String, String)> = [
        // 66
        (format!("ATTACH '{evil}' AS e"), "not allowed: ATTACH"),
        ("DETACH main".to_owned(), "not allowed: DETACH"),
        ("VACUUM".to_owned(), "not allowed: VACUUM"),
        (format!("VACUUM INTO '{evil}'"), "not allowed: VACUUM"),
        (format!("/* x */ attach '{evil}' as e"), "not allowed: ATTACH"),
        // 67
        ("PRAGMA writable_schema = ON".to_owned(), "not allowed: PRAGMA"),
        ("SELECT * FROM pragma_database_list".to_owned(), "not allowed: PRAGMA"),
        ("SELECT * FROM pragma_table_info('customer')".to_owned(), "not allowed: PRAGMA"),
        ("SELECT * FROM dbstat".to_owned(), "not allowed: table dbstat"),
        // 68
        ("INSERT INTO customer VALUES (1)".to_owned(), only),
        ("UPDATE customer SET age = 1".to_owned(), only),
        ("DELETE FROM customer".to_owned(), only),
        ("DROP TABLE customer".to_owned(), only),
        ("CREATE TABLE t (x)".to_owned(), only),
        ("CREATE TEMP TABLE t (x)".to_owned(), only),
        ("BEGIN".to_owned(), only),
        ("EXPLAIN SELECT 1".to_owned(), only),
        ("EXPLAIN QUERY PLAN SELECT 1".to_owned(), only),
        ("WITH w AS (SELECT 1) INSERT INTO state SELECT 1, 2 RETURNING code".to_owned(), only),
        ("REINDEX".to_owned(), only),
        ("SAVEPOINT s".to_owned(), only),
        ("ANALYZE".to_owned(), only),
        // 69
        ("SELECT load_extension('x')".to_owned(), "function not allowed: load_extension"),
        ("SELECT readfile('/etc/passwd')".to_owned(), "function not allowed: readfile"),
        (format!("SELECT writefile('{evil}', 'x')"), "function not allowed: writefile"),
        ("SELECT edit('x')".to_owned(), "function not allowed: edit"),
        ("SELECT fts3_tokenizer('simple')".to_owned(), "function not allowed: fts3_tokenizer"),
        ("SELECT zeroblob(1000000000)".to_owned(), "function not allowed: zeroblob"),
        ("SELECT randomblob(1000000000)".to_owned(), "function not allowed: randomblob"),
        ("SELECT random()".to_owned(), "function not allowed: random"),
        ("SELECT 1 FROM customer ORDER BY random()".to_owned(), "function not allowed: random"),
        ("SELECT sqlite_version()".to_owned(), "function not allowed: sqlite_version"),
        ("SELECT changes()".to_owned(), "function not allowed: changes"),
        // 70
        (format!("{bomb} SELECT count(*) FROM c"), steps),
        (format!("SELECT count(*) FROM {}", tables(25).join(", ")), steps),
        // 71
        ("SELECT printf('%.*c', 500000000, 'x')".to_owned(), "function not allowed: printf"),
        ("SELECT format('%.*c', 500000000, 'x')".to_owned(), "function not allowed: format"),
        (
            "SELECT replace(hex(zeroblob(20000000)), '0', 'abc')".to_owned(),
            "function not allowed: zeroblob",
        ),
        (
            "SELECT replace(replace(replace(replace(replace('aaaaaaaaaa', 'a', 'aaaaaaaaaa'), 'a', \
             'aaaaaaaaaa'), 'a', 'aaaaaaaaaa'), 'a', 'aaaaaaaaaa'), 'a', 'aaaaaaaaaa')".to_owned(),
            "result over 100000 bytes",
        ),
        // 72
        ("SELECT 1; SELECT 2".to_owned(), one),
        ("SELECT 1;--".to_owned(), one),
        ("SELECT 1;;".to_owned(), one),
        ("-- nothing".to_owned(), one),
        (";".to_owned(), one),
        ("  ".to_owned(), one),
        // 73
        (format!("SELECT {}1{}", "(".repeat(4900), ")".repeat(4900)), complex),
        (vec!["SELECT 1"; 400].join(" UNION ALL "), complex),
        (format!("SELECT 1{}", " + 1".repeat(2000)), complex),
        (format!("SELECT 'a' LIKE '{}'", "%a".repeat(2000)), complex),
        (format!("SELECT {}", vec!["1"; 3000].join(",")), complex),
        ("SELECT ?1".to_owned(), complex),
        // 74
        (format!("{bomb} SELECT x FROM c LIMIT 1000000000"), "result over 10000 rows"),
        // The clock, in every guise.
        ("SELECT current_timestamp".to_owned(), "not allowed: reading the clock"),
        ("SELECT \"current_date\"()".to_owned(), "not allowed: reading the clock"),
        ("SELECT date('now')".to_owned(), "not allowed: reading the clock"),
        ("SELECT date('n' || 'ow')".to_owned(), "not allowed: reading the clock"),
        ("SELECT date(replace('naw', 'a', 'o'))".to_owned(), "not allowed: reading the clock"),
        ("SELECT date(CAST(x'6e6f77' AS TEXT))".to_owned(), "not allowed: reading the clock"),
        ("SELECT julianday()".to_owned(), "not allowed: reading the clock"),
        ("SELECT strftime('%Y')".to_owned(), "not allowed: reading the clock"),
        ("SELECT datetime('subsec')".to_owned(), "not allowed: reading the clock"),
        // What must keep working.
        ("SELECT strftime('%Y', max(name)) FROM customer;".to_owned(), "1 rows"),
        ("WITH c AS (SELECT age FROM customer) SELECT count(*) FROM c".to_owned(), "1 rows"),
        ("VALUES (1), (2)".to_owned(), "2 rows"),
        ("SELECT name FROM sqlite_master WHERE sql LIKE '%age%'".to_owned(), "1 rows"),
        ("SELECT rank() OVER (ORDER BY age), \"Ann\" FROM customer".to_owned(), "10 rows"),
        ("SELECT nme FROM customer".to_owned(), "no such column: nme"),
        ("SELEC 1".to_owned(), only),
        ("SELECT 1 FROM".to_owned(), "incomplete input"),
    ]
    .into_iter()
    .map(|(sql, expect)| (sql, expect.to_owned()))
    .collect();
    cases.push(long(format!("SELECT '{}'", "x".repeat(1 << 20))));
    cases.push(long(vec!["SELECT 1"; 10_000].join(" UNION ALL ")));
    cases.push(long(format!("SELECT 'a' LIKE '{}'", "%".repeat(40_000))));
    cases.push(long(format!("SELECT {}1{}", "(".repeat(5001), ")".repeat(5001))));
    cases
}
