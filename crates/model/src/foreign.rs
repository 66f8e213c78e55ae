//! Calls of libraries that read files of strangers and may panic on them. A panic there is a fault
//! of the file and no bug of this program: it becomes an error.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// True while this thread is in such a call: whoever tells people of panics keeps quiet about one
/// there.
#[must_use]
pub fn is_inside() -> bool {
    INSIDE.get()
}

/// What a call gives; `None` where it panicked. What it changed must be dropped then.
pub(crate) fn call<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = INSIDE.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(before);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_nothing_and_outside_stays_one() {
        assert_eq!(call(is_inside), Some(true));
        assert!(!is_inside());
        assert_eq!(call(|| -> u8 { panic!("of a library") }), None);
        assert!(!is_inside());
    }
}
