//! One chain per output: the same bits for any number of rows, any split over threads, any unit.

use super::{level::Level, product::*, tile::*};
use crate::testing::noise;

/// `[n][k]` matrices of the job's model and of SmolLM2-135M.
const SHAPES: &[(usize, usize)] = &[
    (96, 96),
    (256, 96),
    (96, 256),
    (494, 96),
    (128, 160),
    (600, 64),
    (192, 576),
    (576, 576),
    (1536, 576),
    (576, 1536),
    (49_152, 576),
];

const ROWS: &[usize] = &[1, 2, 3, 5, 6, 7, 8, 12, 13, 16, 31, 33, 64];

struct Case {
    n: usize,
    k: usize,
    /// `[n][k]`
    row_major: Vec<f32>,
    /// `[n / PANEL][k][PANEL]`
    panels: Vec<f32>,
    /// `[64][k]`
    x: Vec<f32>,
}

impl Case {
    fn new(n: usize, k: usize) -> Self {
        let row_major: Vec<f32> = (0..n * k).map(|i| noise(n as u64, i)).collect();
        let mut panels = vec![0.0; n.next_multiple_of(PANEL) * k];
        for (row, values) in row_major.chunks_exact(k).enumerate() {
            let lane = row / PANEL * PANEL * k + row % PANEL;
            for (to, value) in panels[lane..].iter_mut().step_by(PANEL).zip(values) {
                *to = *value;
            }
        }
        let x = (0..64 * k).map(|i| noise(k as u64 + 1, i)).collect();
        Self { n, k, row_major, panels, x }
    }

    fn product(&self, first: usize, rows: usize) -> Vec<u32> {
        let w = Panels { data: &self.panels, rows: self.n, columns: self.k };
        let mut y = vec![0.0; rows * self.n];
        product(&self.x[first * self.k..(first + rows) * self.k], w, &mut y);
        y.into_iter().map(f32::to_bits).collect()
    }

    /// The definition, in plain Rust.
    fn chain(&self, row: usize, output: usize) -> u32 {
        let x = &self.x[row * self.k..][..self.k];
        let w = &self.row_major[output * self.k..][..self.k];
        x.iter().zip(w).fold(0.0_f32, |sum, (x, w)| x.mul_add(*w, sum)).to_bits()
    }
}

#[test]
fn a_row_has_the_same_bits_alone_in_a_batch_and_in_a_prefill() {
    for (n, k) in SHAPES {
        let case = Case::new(*n, *k);
        let all = case.product(0, 64);
        for place in (0..64 * n).step_by(64 * n / 300 + 7) {
            let expected = case.chain(place / n, place % n);
            assert_eq!(all[place], expected, "{n} x {k}: output {place} is no single chain");
        }
        for rows in ROWS {
            let first = (64 - rows) / 2;
            let own = case.product(first, *rows);
            assert!(own == all[first * n..(first + rows) * n], "{n} x {k}: {rows} rows");
        }
    }
}

#[test]
fn threads_that_share_the_rows_change_no_bit() {
    let case = Case::new(576, 1536);
    let all = case.product(0, 64);
    for threads in [1, 2, 7] {
        let each = 64_usize.div_ceil(threads);
        let parts: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let starts = (0..64).step_by(each);
            let started: Vec<_> = starts
                .map(|first| {
                    let case = &case;
                    scope.spawn(move || case.product(first, each.min(64 - first)))
                })
                .collect();
            started.into_iter().map(|part| part.join().unwrap()).collect()
        });
        assert!(parts.concat() == all, "{threads} threads");
    }
}

#[test]
fn every_vector_unit_of_this_machine_gives_the_same_bits() {
    let case = Case::new(192, 77);
    let run = |level: Level, rows: usize, accumulate: bool| -> Vec<u32> {
        let tile = Tile {
            rows,
            panels: 6,
            inner: case.k,
            outer: 1,
            left_row: case.k,
            left_step: 1,
            left_outer: 0,
            right_step: PANEL,
            right_panel: case.k * PANEL,
            out_row: case.n,
            out_panel: PANEL,
            accumulate,
        };
        let mut out: Vec<f32> = (0..rows * case.n).map(|i| noise(9, i)).collect();
        tile.run_at(level, &case.x, &case.panels, &mut out);
        out.into_iter().map(f32::to_bits).collect()
    };
    let units = Level::all();
    for unit in &units {
        for rows in 1..=25 {
            for accumulate in [false, true] {
                let expected = run(Level::Portable, rows, accumulate);
                assert!(run(*unit, rows, accumulate) == expected, "{unit:?}: {rows} rows");
            }
        }
    }
    assert!(units.contains(&Level::best()), "the unit in use is among those compared");
}
