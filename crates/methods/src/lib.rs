//! The papers: pure functions over the tree, one file per method.
