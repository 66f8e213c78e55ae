//! A question and everything needed to judge an answer; immutable, identified by content.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// BLAKE3 of a task's content: question and fields, not its id or place in a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskHash(pub [u8; 32]);

impl fmt::Display for TaskHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TaskHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A task as data. What its fields mean is the environment's business: for `sql` they are
/// `database`, `gold` and optionally `evidence`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Name for people and reports; unique within a file.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// Everything else an environment needs, by name.
    pub fields: BTreeMap<String, String>,
}

impl Task {
    /// The task's identity. Each piece is preceded by its length, so no two tasks share bytes.
    pub fn hash(&self) -> TaskHash {
        let mut hasher = blake3::Hasher::new();
        let mut put = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        put("stepwell task");
        put(&self.question);
        for (name, value) in &self.fields {
            put(name);
            put(value);
        }
        TaskHash(*hasher.finalize().as_bytes())
    }

    /// A field by name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, question: &str, field: &str) -> Task {
        let fields = BTreeMap::from([("gold".to_owned(), field.to_owned())]);
        Task { id: id.to_owned(), question: question.to_owned(), fields }
    }

    #[test]
    fn identity_is_content_and_not_name() {
        assert_eq!(task("a", "q", "1").hash(), task("b", "q", "1").hash());
        assert_ne!(task("a", "q", "1").hash(), task("a", "q", "2").hash());
        // Moving a byte from one piece to the next is another task.
        assert_ne!(task("a", "qg", "old").hash(), task("a", "q", "gold").hash());
    }
}
