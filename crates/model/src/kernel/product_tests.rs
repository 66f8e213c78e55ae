//! One chain per output: the same bits for any number of rows, any split over threads or outputs,
//! any unit; in `f32` and of `bf16` pairs.

use super::{bf16::pair_step, buffer::Buffer, level::Level, product::*, tile::*};
use super::{pair_columns, pairs, round};
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
    /// `[n / PANEL][pairs(k)][PANEL]`
    pair_panels: Vec<u32>,
    /// `[64][k]`
    x: Vec<f32>,
}

impl Case {
    fn new(n: usize, k: usize) -> Self {
        let row_major: Vec<f32> = (0..n * k).map(|i| noise(n as u64, i)).collect();
        let mut panels = vec![0.0; n.next_multiple_of(PANEL) * k];
        let mut pair_panels = vec![0; n.next_multiple_of(PANEL) * pairs(k)];
        for (row, values) in row_major.chunks_exact(k).enumerate() {
            for (column, value) in values.iter().enumerate() {
                let (panel, lane) = (row / PANEL, row % PANEL);
                panels[(panel * k + column) * PANEL + lane] = *value;
                let line = panel * pairs(k) + column / 2;
                pair_panels[line * PANEL + lane] |= round(*value) << (column % 2 * 16);
            }
        }
        let x = (0..64 * k).map(|i| noise(k as u64 + 1, i)).collect();
        Self { n, k, row_major, panels, pair_panels, x }
    }

    fn matrix(&self, paired: bool) -> Panels<'_> {
        let pairs = Numbers::Pairs(&self.pair_panels);
        let data = if paired { pairs } else { Numbers::F32(&self.panels) };
        Panels { data, rows: self.n, columns: self.k }
    }

    fn rows(&self, first: usize, rows: usize) -> &[f32] {
        &self.x[first * self.k..(first + rows) * self.k]
    }

    fn product(&self, paired: bool, first: usize, rows: usize) -> Vec<u32> {
        let (mut y, mut words) = (vec![0.0; rows * self.n], Buffer::default());
        let x = along_columns(paired, self.rows(first, rows), self.k, &mut words);
        product(x, self.matrix(paired), &mut y);
        y.into_iter().map(f32::to_bits).collect()
    }

    /// The definition, in plain Rust.
    fn chain(&self, paired: bool, row: usize, output: usize) -> u32 {
        let x = &self.x[row * self.k..][..self.k];
        let w = &self.row_major[output * self.k..][..self.k];
        if !paired {
            return x.iter().zip(w).fold(0.0_f32, |sum, (x, w)| x.mul_add(*w, sum)).to_bits();
        }
        let mut words = [vec![0; pairs(self.k)], vec![0; pairs(self.k)]];
        pair_columns(x, self.k, &mut words[0]);
        pair_columns(w, self.k, &mut words[1]);
        let steps = words[0].iter().zip(&words[1]);
        steps.fold(0.0, |sum, (x, w)| pair_step(*x, *w, sum)).to_bits()
    }
}

#[test]
fn a_row_has_the_same_bits_alone_in_a_batch_and_in_a_prefill() {
    for (n, k) in SHAPES {
        let case = Case::new(*n, *k);
        for paired in [false, true] {
            let all = case.product(paired, 0, 64);
            for place in (0..64 * n).step_by(64 * n / 300 + 7) {
                let expected = case.chain(paired, place / n, place % n);
                assert_eq!(all[place], expected, "{n} x {k}: output {place} is no single chain");
            }
            for rows in ROWS {
                let first = (64 - rows) / 2;
                let own = case.product(paired, first, *rows);
                assert!(own == all[first * n..(first + rows) * n], "{n} x {k}: {rows} rows");
            }
        }
    }
}

#[test]
fn threads_that_share_the_rows_or_the_outputs_change_no_bit() {
    let case = Case::new(600, 77);
    for paired in [false, true] {
        let all = case.product(paired, 0, 64);
        for parts in [1, 2, 7] {
            let each = 64_usize.div_ceil(parts);
            let starts = (0..64).step_by(each);
            let rows = starts.map(|first| case.product(paired, first, each.min(64 - first)));
            assert!(rows.collect::<Vec<_>>().concat() == all, "{parts} parts of the rows");
        }
        for (rows, each) in [(1, 1), (5, 4), (8, 19), (33, 5)] {
            let mut words = Buffer::default();
            let x = along_columns(paired, case.rows(0, rows), case.k, &mut words);
            let mut y = vec![0.0; rows * case.n];
            std::thread::scope(|scope| {
                for part in columns(&mut y, case.n, each) {
                    let matrix = case.matrix(paired);
                    scope.spawn(move || product_columns(x, matrix, part));
                }
            });
            let y: Vec<u32> = y.into_iter().map(f32::to_bits).collect();
            assert!(y == all[..rows * case.n], "{rows} rows, {each} panels of outputs");
        }
    }
}

#[test]
fn gradients_are_the_products_of_the_definition() {
    for (n, k, rows) in [(75, 40, 1), (75, 41, 7), (96, 64, 193), (33, 130, 200), (75, 41, 0)] {
        let case = Case::new(n, k);
        let dy: Vec<f32> = (0..rows * n).map(|i| noise(5, i)).collect();
        let x: Vec<f32> = (0..rows * k).map(|i| noise(6, i)).collect();
        for paired in [false, true] {
            let rounded = |value: f32| match paired {
                true => f64::from(f32::from_bits(round(value) << 16)),
                false => f64::from(value),
            };
            let mut scratch = ProductScratch::default();
            let mut dx = vec![1.0; rows * k];
            product_grad_input(&dy, case.matrix(paired), &mut dx, &mut scratch);
            for (at, value) in dx.iter().enumerate() {
                let term = |i: usize| {
                    rounded(dy[at / k * n + i]) * rounded(case.row_major[i * k + at % k])
                };
                let expected = 1.0 + (0..n).map(term).sum::<f64>();
                assert!((f64::from(*value) - expected).abs() < 2e-4, "dx {at} of {n} x {k}");
            }
            let mut dw = vec![1.0; n.next_multiple_of(PANEL) * k];
            let mut words = Buffer::default();
            let along = along_rows(paired, &x, k, &mut words);
            product_grad_weight((&dy, n), (along, k), 0, &mut dw, &mut scratch);
            for (row, column) in (0..n).flat_map(|row| (0..k).map(move |column| (row, column))) {
                let term = |m: usize| rounded(dy[m * n + row]) * rounded(x[m * k + column]);
                let expected = 1.0 + (0..rows).map(term).sum::<f64>();
                let value = dw[(row / PANEL * k + column) * PANEL + row % PANEL];
                assert!((f64::from(value) - expected).abs() < 2e-4, "dw {row} {column}");
            }
        }
    }
}

fn tile(rows: usize, steps: usize, accumulate: bool) -> Tile {
    Tile {
        rows,
        panels: 6,
        inner: steps,
        outer: 1,
        left_row: steps,
        left_step: 1,
        left_outer: 0,
        right_step: PANEL,
        right_panel: steps * PANEL,
        out_row: 6 * PANEL,
        out_panel: PANEL,
        accumulate,
    }
}

fn compare_units<T: Operand>(steps: usize, left: &[T], right: &[T], start: &[f32]) {
    let units = Level::all();
    let run = |level: Level, tile: &Tile| -> Vec<u32> {
        let mut out = start[..tile.rows * tile.out_row].to_vec();
        tile.run_at(level, left, right, &mut out);
        // The payload of a NaN is nobody's business.
        out.into_iter().map(|value| if value.is_nan() { 1 } else { value.to_bits() }).collect()
    };
    for unit in &units {
        for rows in 1..=25 {
            for accumulate in [false, true] {
                let tile = tile(rows, steps, accumulate);
                let expected = run(Level::Portable, &tile);
                assert!(run(*unit, &tile) == expected, "{unit:?}: {rows} rows");
            }
        }
    }
    assert!(units.contains(&Level::best()), "the unit in use is among those compared");
}

#[test]
fn every_vector_unit_of_this_machine_gives_the_same_bits() {
    let case = Case::new(192, 77);
    let start: Vec<f32> = (0..25 * 192).map(|i| noise(9, i)).collect();
    compare_units(77, &case.x, &case.panels, &start);
    let mut words = vec![0; 64 * pairs(77)];
    pair_columns(&case.x, 77, &mut words);
    compare_units(pairs(77), &words, &case.pair_panels, &start);
}

#[test]
fn pairs_agree_on_every_unit_for_any_bits() {
    let bits = |stream: u64, i: usize| {
        ((noise(stream, i) * 32_768.0) as i32 as u32) << 16 ^ (noise(stream + 50, i).to_bits() >> 3)
    };
    // Whole range, exponents whose products are near the smallest normal number, and around it.
    for (stream, keep, add) in
        [(1, u32::MAX, 0), (2, 0x8fff_8fff, 0x1c00_1c00), (3, 0x83ff_83ff, 0x1e80_1e80)]
    {
        let word = |s: u64, i: usize| (bits(stream * 7 + s, i) & keep) + add;
        for round in 0..40 {
            let left: Vec<u32> = (0..25 * 3).map(|i| word(round, i)).collect();
            let right: Vec<u32> = (0..6 * 3 * PANEL).map(|i| word(round + 100, i)).collect();
            let start: Vec<f32> = (0..25 * 192)
                .map(|i| {
                    f32::from_bits(bits(round + 200, i) & (keep | 0x7fff) | (add & 0x0100_0000))
                })
                .collect();
            compare_units(3, &left, &right, &start);
        }
    }
}
