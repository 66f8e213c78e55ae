//! A path of steps whose keys and values are kept, shared by every path through it.

use std::sync::Arc;

use super::block::Block;

/// A path of steps; a fork shares it by reference counting. A step's keys and values are freed
/// when the last path through it is gone.
#[derive(Clone)]
pub struct Prefix(pub(crate) Arc<Node>);

/// The last step of a path.
pub(crate) struct Node {
    pub(crate) parent: Option<Prefix>,
    pub(crate) block: Block,
    /// Tokens on the path, this step included.
    pub(crate) total: usize,
    /// `[hidden]` the residual stream after the last token: what the next token is drawn from.
    pub(crate) stream: Vec<f32>,
}

impl Prefix {
    /// Tokens on the path.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a path has at least one token")]
    pub fn len(&self) -> usize {
        self.0.total
    }

    /// How many owners the path's last step has: prefixes, children and live rows.
    #[must_use]
    pub fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// The steps of the path from the root on.
    pub(crate) fn path(&self) -> Vec<Arc<Node>> {
        let mut path = vec![Arc::clone(&self.0)];
        let mut at = &self.0.parent;
        while let Some(prefix) = at {
            path.push(Arc::clone(&prefix.0));
            at = &prefix.0.parent;
        }
        path.reverse();
        path
    }
}

impl Drop for Node {
    /// Lets go of the path above in a loop: a long one must not exhaust the stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(Prefix(node)) = parent {
            parent = Arc::into_inner(node).and_then(|mut node| node.parent.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Family, testing::tiny};

    fn step(parent: Option<&Prefix>) -> Prefix {
        let total = parent.map_or(1, |parent| parent.len() + 1);
        let block = Block::new(&tiny(Family::Llama));
        Prefix(Arc::new(Node { parent: parent.cloned(), block, total, stream: Vec::new() }))
    }

    #[test]
    fn a_step_is_freed_with_its_last_user_and_no_sooner() {
        let root = step(None);
        let (left, right) = (step(Some(&root)), step(Some(&root)));
        assert_eq!((root.owners(), left.owners()), (3, 1));
        let watch = [&root, &left, &right].map(|prefix| Arc::downgrade(&prefix.0));
        let alive = || watch.each_ref().map(|weak| weak.upgrade().is_some());
        drop(root);
        assert_eq!(alive(), [true, true, true], "children keep their parent");
        drop(left);
        assert_eq!(alive(), [true, false, true], "a fork is freed alone");
        drop(right);
        assert_eq!(alive(), [false, false, false]);
    }

    #[test]
    fn a_very_long_path_drops_without_recursion() {
        let mut prefix = step(None);
        for _ in 0..100_000 {
            prefix = step(Some(&prefix));
        }
        assert_eq!(prefix.path().len(), 100_001);
        drop(prefix);
    }
}
