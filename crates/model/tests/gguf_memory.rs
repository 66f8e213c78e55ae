//! Damaged GGUF files never panic and never take memory that the file cannot account for. A
//! program of its own, because it watches the address space of the whole process.

mod support;

use stepwell_model::io;
use support::{
    gguf::{Item, of_folder},
    unit,
};

/// Growth that reading a file of 130 kB may cause: its weights, its tokenizer, its messages.
const GROWTH_KIB_MAX: u64 = 24 << 10;

/// The largest address space so far, in KiB: it counts memory that was asked for and never used.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn damage_costs_neither_a_panic_nor_memory() {
    let file = of_folder("llama_tied");
    let good = file.bytes();
    // The heap has its first pages before the measurement.
    drop(io::from_gguf(&good).unwrap());
    let before = peak_kib();
    for count in [1_u64 << 60, 1 << 40, 1 << 33, u64::MAX] {
        let mut changed = file.clone();
        changed.counts = (Some(count), None);
        io::from_gguf(&changed.bytes()).unwrap_err();
        changed.counts = (None, Some(count));
        io::from_gguf(&changed.bytes()).unwrap_err();
        let lying = |kind: u32| [kind.to_le_bytes().as_slice(), &count.to_le_bytes()].concat();
        let items = [
            Item::Raw(8, count.to_le_bytes().to_vec()),
            Item::Raw(9, lying(8)),
            Item::Raw(9, lying(4)),
        ];
        for key in ["k", "tokenizer.ggml.tokens", "tokenizer.ggml.scores"] {
            for item in &items {
                let mut changed = file.clone();
                changed.set(key, item.clone());
                io::from_gguf(&changed.bytes()).unwrap_err();
            }
        }
        for sides in [vec![count], vec![count, 1], vec![32, count]] {
            let mut changed = file.clone();
            changed.tensors[0].sides = sides;
            io::from_gguf(&changed.bytes()).unwrap_err();
        }
    }
    let head = file.metadata_end() + 21 * 60;
    let draw = |stream: u64, at: u64, below: usize| (unit(stream, at) * below as f64) as usize;
    let mut refused = 0;
    for at in 0..1_500 {
        let mut changed = good.clone();
        for flip in 0..1 + at % 3 {
            // Mostly where the counts and lengths are.
            let below = if at % 5 == 0 { good.len() } else { head };
            changed[draw(1, at * 4 + flip, below)] ^= 1 << draw(2, at * 4 + flip, 8);
        }
        refused += u32::from(io::from_gguf(&changed).is_err());
    }
    assert!(refused > 300, "{refused} of 1500 flips were noticed");
    for at in 0..400 {
        let below = if at % 4 == 0 { good.len() } else { head };
        io::from_gguf(&good[..draw(3, at, below)]).unwrap_err();
    }
    let growth = peak_kib() - before;
    assert!(growth < GROWTH_KIB_MAX, "the address space grew by {growth} KiB");
}
