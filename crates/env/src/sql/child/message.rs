//! What parent and child say to each other: one message, one frame, in postcard's bytes, which
//! carry every float exactly.
//!
//! ```text
//! parent                                child
//!   Start ────────────────────────────▶  opens files, confines itself
//!   Confined ◀───────────────────────
//!   Result<Description, Fault> ◀─────    one per database, where Start asks for them
//!   Request ──────────────────────────▶
//!   Reply ◀──────────────────────────    and so on, until the pipe is closed
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sql::answer::{Answer, QueryError};
use crate::sql::config::{Config, Limits, ResultCompare, Sandbox};
use crate::sql::equality::{Comparison, ballot};
use crate::sql::file::Fault;
use crate::sql::observation::render;
use crate::sql::shelf::{Description, Which};
use crate::sql::value::{Table, Value};

/// The first message. `S` is the list of sources, lent or owned.
#[derive(Serialize, Deserialize)]
pub(super) struct Start<S> {
    pub(super) limits: Limits,
    pub(super) sandbox: Sandbox,
    /// Whether each database is read, checked and told of at once: not where an earlier child did.
    pub(super) describe: bool,
    /// `[D]` databases; their places are their numbers.
    pub(super) sources: S,
}

/// What became of the child's rights.
#[derive(Serialize, Deserialize, Debug)]
pub(super) enum Confined {
    /// They are taken, but for the layers that are missing where `sandbox` is weak.
    Yes(Vec<String>),
    /// A layer is missing; the child is about to end.
    No(String),
}

/// A question about one database.
#[derive(Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// Build or read it. This is our work: it has no bound on the processor's time.
    Prepare(u32, Which),
    /// Answer a query, within its limits.
    Query(u32, Which, &'a str),
}

/// An answer to a request.
#[derive(Serialize, Deserialize, Debug)]
pub(super) enum Reply {
    /// Whether there is such a database.
    Prepared(Result<bool, Fault>),
    /// What came of the query.
    Answered(Answer),
}

/// A message as bytes.
pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_allocvec(message)
}

/// A message from bytes that hold it and nothing else.
pub(super) fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Option<M> {
    let (message, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(message)
}

/// Most bytes of a reply. A cell costs a result at least one byte of its limit and a message at
/// most seven for each; names of columns come on top.
pub(super) fn reply_bytes_max(limits: &Limits) -> usize {
    8 * limits.result_bytes_max + (1 << 20)
}

/// Most bytes of a database's description.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 64 << 20;

/// What bytes would mean as each message of a child. For tests that invent them.
///
/// # Panics
/// Where a whole answer does not equal itself, or is shown at any length.
pub(in crate::sql) fn meanings(bytes: &[u8]) -> String {
    let confined = match decode(bytes) {
        None => "no start".to_owned(),
        Some(Confined::Yes(missing)) => format!("confined but for {} layers", missing.len()),
        Some(Confined::No(_)) => "not confined".to_owned(),
    };
    let described = match decode(bytes) {
        None => "no description".to_owned(),
        Some(Ok(Description { names, .. })) => format!("described by {} names", names.len().min(2)),
        Some(Err(fault)) => {
            let error: Fault = fault;
            format!("faulty {}", matches!(error, Fault::UnmergedLog | Fault::NotADatabase))
        }
    };
    let reply = match decode(bytes) {
        None => "no reply".to_owned(),
        Some(Reply::Prepared(prepared)) => format!("prepared {:?}", prepared.ok()),
        Some(Reply::Answered(answer)) if !answer.is_whole() => "a broken answer".to_owned(),
        Some(Reply::Answered(answer)) => told_of_answer(&answer),
    };
    format!("{confined}; {described}; {reply}")
}

fn told_of_answer(answer: &Answer) -> String {
    let config = Config::default();
    let shown = render(answer, &config);
    // Tags, the count of rows that are not shown, spaces around what is punctuation.
    let most = 4 * config.observation_bytes_max + 400;
    assert!(shown.len() <= most, "{} bytes of an observation, at most {most}", shown.len());
    let Ok(table) = &answer.outcome else { return "refused".to_owned() };
    for gold in ["SELECT 1", "SELECT 1 ORDER BY 1"] {
        for rows in [ResultCompare::Multiset, ResultCompare::Set] {
            let same = Comparison::of(gold, rows).equal(table, table);
            assert!(same, "an answer does not equal itself");
        }
    }
    ballot(table);
    format!("answered with {} rows", table.rows.len().min(2))
}

/// A message of each kind, as bytes.
pub(in crate::sql) fn samples() -> Vec<Vec<u8>> {
    let columns = vec!["a".to_owned(), "b".to_owned()];
    let row = |value| vec![value, Value::Text("x".to_owned())];
    let values = [Value::Null, Value::Integer(-5), Value::Real(1.5), Value::Blob(vec![0, 255])];
    let table = Table { columns, rows: values.into_iter().map(row).collect() };
    let reads = Some(["t".to_owned(), "t.a".to_owned()].into());
    let rows = Reply::Answered(Answer { outcome: Ok(table), reads });
    let error = QueryError::Sqlite("no such column: c".to_owned());
    let described: Result<Description, Fault> =
        Ok(Description { schema_text: "t ( a b )".to_owned(), names: ["t".to_owned()].into() });
    let faulty: Result<Description, Fault> = Err(Fault::Damaged("malformed".to_owned()));
    let bytes = [
        encode(&Confined::Yes(vec!["landlock".to_owned()])),
        encode(&Confined::No("seccomp".to_owned())),
        encode(&described),
        encode(&faulty),
        encode(&Reply::Prepared(Ok(true))),
        encode(&Reply::Prepared(Err(Fault::UnmergedLog))),
        encode(&rows),
        encode(&Reply::Answered(Answer::refused(error))),
    ];
    bytes.into_iter().map(|bytes| bytes.expect("a message is bytes")).collect()
}
