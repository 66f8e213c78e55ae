//! Faults put in on purpose: a harness that does not find them finds nothing.

use std::time::Duration;

use stepwell_fuzz::Target;

use crate::child;

/// Inputs that hold this fail; the known ones do not.
const TRIGGER: &str = "}{";

/// A fault, and what it must be found by.
pub(crate) struct Plant {
    pub(crate) target: Target,
    found: &'static str,
}

const fn plant(name: &'static str, found: &'static str, run: fn(&[u8]) -> String) -> Plant {
    Plant { target: Target { name, run, words: &["{", "}"], bytes_max: 4096 }, found }
}

/// Each goes wrong in its own way.
pub(crate) const PLANTS: &[Plant] = &[
    plant("plant_panic", "the planted panic", |bytes| {
        assert!(!hit(bytes), "the planted panic");
        said(bytes)
    }),
    plant("plant_overflow", "overflowed its stack", |bytes| {
        if hit(bytes) { format!("{}", deep(bytes.len() as u64 + (1 << 40))) } else { said(bytes) }
    }),
    plant("plant_memory", "bytes of memory, at most", |bytes| {
        let size = if hit(bytes) { 200 << 20 } else { 1 };
        format!("{}{}", said(bytes), std::hint::black_box(vec![1_u8; size]).len().min(1))
    }),
    plant("plant_all_memory", "memory allocation of", |bytes| {
        let size = if hit(bytes) { 1 << 40 } else { 1 };
        format!("{}{}", said(bytes), std::hint::black_box(Vec::<u8>::with_capacity(size)).len())
    }),
    plant("plant_time", "an input did not return in", |bytes| {
        while hit(bytes) {
            std::hint::spin_loop();
        }
        said(bytes)
    }),
];

fn hit(bytes: &[u8]) -> bool {
    bytes.windows(TRIGGER.len()).any(|part| part == TRIGGER.as_bytes())
}

fn said(bytes: &[u8]) -> String {
    format!("{}", bytes.contains(&b'{'))
}

fn deep(n: u64) -> u64 {
    if n == 0 { 0 } else { deep(std::hint::black_box(n - 1)) + std::hint::black_box(n) }
}

/// The known inputs of a plant; `None` of any other target.
pub(crate) fn corpus(name: &str) -> Option<Vec<Vec<u8>>> {
    name.starts_with("plant_").then(|| vec![b"{}".to_vec(), b"text".to_vec()])
}

/// How long an input of a plant may take.
pub(crate) fn patience(name: &str) -> Option<Duration> {
    name.starts_with("plant_").then_some(Duration::from_secs(2))
}

/// Looks for each; `Err` where one is not found, or not for what it is.
pub(crate) fn find_all() -> Vec<Result<String, String>> {
    let find = |Plant { target: Target { name, .. }, found }: &Plant| match child::start(name) {
        Ok(told) => Err(format!("FAILED {name}: the planted fault was not found: {told}")),
        Err((why, input)) if why.contains(found) && hit(&input) => {
            Ok(format!("{name:<18} was found in {} bytes", input.len()))
        }
        Err((why, _)) => Err(format!("FAILED {name}: found for another reason: {why}")),
    };
    PLANTS.iter().map(find).collect()
}
