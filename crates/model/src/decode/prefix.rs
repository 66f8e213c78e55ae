//! Keys and values of one step, shared by every path through it.

use std::sync::Arc;

/// A path of steps whose keys and values are kept; a fork shares by reference counting.
#[derive(Clone)]
pub struct Prefix(pub(crate) Arc<Node>);

pub(crate) struct Node {
    total: usize,
}

impl Prefix {
    /// Tokens on the path.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a path has at least one token")]
    pub fn len(&self) -> usize {
        self.0.total
    }

    pub(crate) fn stub() -> Self {
        Self(Arc::new(Node { total: 1 }))
    }
}
