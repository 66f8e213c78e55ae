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

use crate::sql::answer::Answer;
use crate::sql::config::{Limits, Sandbox};
use crate::sql::file::Fault;
use crate::sql::shelf::Which;

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
