//! Planted bugs: `if planted(3) { wrong } else { right }` at the place of a bug that a test must
//! notice. `cargo xtask mutants` switches one on at a time and asks for a red test.
//!
//! Builds with debug assertions, which tests are, read the switch once from the environment; a
//! test may set it for its own process. In every other build [`planted`] is the constant `false`:
//! nothing reads the environment, and the branch is not compiled. The compiler proves it below
//! whenever such a build is made.

/// Planted bugs are numbered from 1 to this.
pub const COUNT: u32 = 38;

/// The environment variable that names the bug.
#[cfg(debug_assertions)]
pub const SWITCH: &str = "STEPWELL_MUTANT";

#[cfg(debug_assertions)]
mod switch {
    use std::sync::Once;
    use std::sync::atomic::{AtomicU32, Ordering};

    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static READ: Once = Once::new();

    /// True where this bug is switched on.
    #[must_use]
    pub fn planted(number: u32) -> bool {
        READ.call_once(|| {
            let word = std::env::var(super::SWITCH).ok();
            NUMBER.store(word.and_then(|word| word.parse().ok()).unwrap_or(0), Ordering::Relaxed);
        });
        NUMBER.load(Ordering::Relaxed) == number
    }

    /// Switches a bug on in this process, or with 0 all of them off.
    pub fn plant(number: u32) {
        assert!(number <= super::COUNT, "bugs are numbered up to {}, got: {number}", super::COUNT);
        READ.call_once(|| {});
        NUMBER.store(number, Ordering::Relaxed);
    }
}

#[cfg(debug_assertions)]
pub use switch::{plant, planted};

/// Never: this build has no planted bugs.
#[cfg(not(debug_assertions))]
#[must_use]
#[inline(always)]
pub const fn planted(_: u32) -> bool {
    false
}

#[cfg(not(debug_assertions))]
const _: () = {
    let mut number = 0;
    while number <= COUNT {
        assert!(!planted(number));
        number += 1;
    }
};

#[cfg(test)]
#[cfg(debug_assertions)]
mod tests {
    use super::*;

    #[test]
    fn one_bug_at_a_time_and_none_unasked() {
        assert!((1..=COUNT).all(|number| !planted(number)));
        plant(3);
        assert!(planted(3) && !planted(4));
        plant(0);
        assert!((1..=COUNT).all(|number| !planted(number)));
    }
}
