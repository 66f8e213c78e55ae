//! What must hold of every tree, whoever grew it, stored it or sent it.

use std::collections::BTreeSet;

use crate::{NOT_SAMPLED, Origin, StepId, StepTree, Verdict};

/// A broken invariant: what, and at which step.
#[derive(Clone, PartialEq, Debug)]
pub struct Violation {
    /// The step where it shows.
    pub step: StepId,
    /// What was expected and found.
    pub what: String,
}

impl StepTree {
    /// Checks every invariant; the first violation is returned. A tree read back from a record, or
    /// received from elsewhere, is checked before anything uses it.
    pub fn check(&self) -> Result<(), Violation> {
        let n = self.parent.len();
        let fail = |i: usize, what: String| Err(Violation { step: StepId(i as u32), what });
        let lengths = [
            ("child_index", self.child_index.len()),
            ("span", self.span.len()),
            ("origin", self.origin.len()),
            ("stop", self.stop.len()),
            ("verdict", self.verdict.len()),
        ];
        if let Some((name, len)) = lengths.iter().find(|(_, len)| *len != n) {
            return fail(0, format!("column `{name}` holds {len} steps, expected: {n}"));
        }
        if n == 0 || self.parent[0] != StepId::ROOT || self.origin[0] != Origin::Prompt {
            return fail(0, "the root must be a prompt that is its own parent".to_owned());
        }
        if self.logprob.len() != self.token.len() {
            return fail(
                0,
                format!("{} log-probs, {} tokens", self.logprob.len(), self.token.len()),
            );
        }
        let mut filled = 0;
        let mut inner = vec![false; n];
        for i in 0..n {
            if i > 0 && self.parent[i].index() >= i {
                return fail(i, format!("parent {} is not before it", self.parent[i].0));
            }
            if i > 0 && self.origin[i] == Origin::Prompt {
                return fail(i, "only the root is a prompt".to_owned());
            }
            if self.span[i].begin != filled || self.span[i].end < filled {
                return fail(i, format!("span {:?} does not continue at {filled}", self.span[i]));
            }
            filled = self.span[i].end;
            if i > 0 {
                inner[self.parent[i].index()] = true;
            }
        }
        if filled as usize != self.token.len() {
            return fail(n - 1, format!("spans end at {filled}, tokens at {}", self.token.len()));
        }
        self.check_places()?;
        for (i, inner) in inner.into_iter().enumerate() {
            self.check_step(i, inner).or_else(|what| fail(i, what))?;
        }
        self.check_columns().or_else(|what| fail(0, what))
    }

    /// Siblings in one place would be ordered by arrival, and with them the bytes (DECISIONS 2).
    fn check_places(&self) -> Result<(), Violation> {
        let mut taken = BTreeSet::new();
        for i in 1..self.len() {
            let (parent, place) = (self.parent[i], self.child_index[i]);
            if !taken.insert((parent, place)) {
                let what = format!("child index {place} of step {} is taken", parent.0);
                return Err(Violation { step: StepId(i as u32), what });
            }
        }
        Ok(())
    }

    fn check_step(&self, i: usize, inner: bool) -> Result<(), String> {
        if inner && self.verdict[i] != Verdict::Pending {
            return Err("a step with children is judged: verdicts sit on leaves".to_owned());
        }
        if let Verdict::Scored { reward, parts } = &self.verdict[i]
            && (!reward.is_finite() || parts.values().any(|p| !p.is_finite()))
        {
            return Err(format!("a verdict is not finite: {:?}", self.verdict[i]));
        }
        let sampled = self.origin[i].is_policy();
        for (t, l) in self.span[i].range().zip(&self.logprob[self.span[i].range()]) {
            let right = if sampled { l.is_finite() && *l <= 0.0 } else { *l == NOT_SAMPLED };
            if !right {
                return Err(format!("log-prob of token {t} of a {:?} step: {l}", self.origin[i]));
            }
        }
        Ok(())
    }

    fn check_columns(&self) -> Result<(), String> {
        let step = self.step_column.iter().map(|(name, c)| (name, c.len(), self.len()));
        let token = self.token_column.iter().map(|(name, c)| (name, c.len(), self.token.len()));
        for (name, len, expected) in step.chain(token) {
            if len != expected {
                return Err(format!("column `{name}` holds {len} numbers, expected: {expected}"));
            }
        }
        Ok(())
    }
}
