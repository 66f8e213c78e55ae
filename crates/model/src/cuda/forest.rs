//! A packed forest's columns on the device.

use super::{arithmetic::Arithmetic, error::Done, memory::Buffer};
use crate::train::Packed;

/// Rows that fall on the same place, each place once, in the order of the places: a sum over
/// them needs no race and has one order.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) count: usize,
    /// `[places]` then `[places + 1]` then `[rows]`: place, first of its rows, the rows.
    columns: Buffer<u32>,
    rows: usize,
}

impl Groups {
    /// Groups the rows by `place[row]`.
    pub(super) fn read(&mut self, arithmetic: &Arithmetic, place: &[u32]) -> Done {
        let mut order: Vec<u32> = (0..place.len() as u32).collect();
        order.sort_by_key(|row| place[*row as usize]);
        let (mut places, mut begin) = (Vec::new(), Vec::new());
        for (at, row) in order.iter().enumerate() {
            let own = place[*row as usize];
            if places.last() != Some(&own) {
                places.push(own);
                begin.push(at as u32);
            }
        }
        begin.push(order.len() as u32);
        self.count = places.len();
        self.rows = order.len();
        let all: Vec<u32> = places.into_iter().chain(begin).chain(order).collect();
        self.columns.write(&arithmetic.device, &all)
    }

    /// Place, first and row columns.
    pub(super) fn pointers(&self, arithmetic: &Arithmetic) -> [super::memory::Pointer; 3] {
        let start = arithmetic.of(&self.columns);
        let begin = start.after::<u32>(self.count);
        [start, begin, begin.after::<u32>(self.count + 1)]
    }
}

/// The columns of one forest.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) token: Buffer<u32>,
    pub(super) position: Buffer<u32>,
    pub(super) subtree_end: Buffer<u32>,
    /// `[blocks of keys]` the largest subtree end in each.
    pub(super) last_seen: Buffer<u32>,
    /// Rows by their token.
    pub(super) by_token: Groups,
}

impl Columns {
    pub(super) fn read(&mut self, arithmetic: &Arithmetic, packed: &Packed) -> Done {
        let device = &arithmetic.device;
        self.token.write(device, packed.token)?;
        self.position.write(device, packed.position)?;
        self.subtree_end.write(device, packed.subtree_end)?;
        let most = |ends: &[u32]| ends.iter().copied().max().unwrap_or(0);
        let keys = arithmetic.program.tile.keys;
        let last_seen: Vec<u32> = packed.subtree_end.chunks(keys).map(most).collect();
        self.last_seen.write(device, &last_seen)?;
        self.by_token.read(arithmetic, packed.token)
    }
}
