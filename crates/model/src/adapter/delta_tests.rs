//! The pair's products against their definition in `f64`, by differences, and bit for bit.

use super::*;
use crate::{
    kernel::{Buffer, Numbers, PANEL, Panels, ProductScratch, product_grad_weight},
    parameters::{Kind, Slot},
    team::Team,
    testing::noise,
};

/// Sizes off a multiple of the panel, and some on it.
const SHAPES: &[(usize, usize, usize)] = &[(1, 40, 52), (3, 52, 40), (16, 96, 64), (33, 70, 35)];
const ROWS: usize = 29;
const SCALE: f32 = 1.75;

struct Case {
    rank: usize,
    input: usize,
    output: usize,
    x: Vec<f32>,
    y: Vec<f32>,
    dy: Vec<f32>,
    /// Row-major.
    a: Vec<f32>,
    b: Vec<f32>,
    panels: [Buffer; 2],
}

fn matrix(stream: u64, rows: usize, columns: usize) -> (Vec<f32>, Buffer) {
    let values: Vec<f32> = (0..rows * columns).map(|i| noise(stream, i)).collect();
    let slot = Slot {
        name: String::new(),
        kind: Kind::Matrix { rows, columns },
        offset: 0,
        split_offset: 0,
    };
    let mut panels = Buffer::zeros(slot.stored());
    slot.write(&mut panels, &values);
    (values, panels)
}

fn row_major(panels: &Buffer, rows: usize, columns: usize) -> Vec<f32> {
    Slot { name: String::new(), kind: Kind::Matrix { rows, columns }, offset: 0, split_offset: 0 }
        .read(panels)
}

impl Case {
    fn new((rank, input, output): (usize, usize, usize)) -> Self {
        let rows = |stream, width: usize| (0..ROWS * width).map(|i| noise(stream, i)).collect();
        let (a, a_panels) = matrix(31, rank, input);
        let (b, b_panels) = matrix(32, output, rank);
        let panels = [a_panels, b_panels];
        let (x, y, dy) = (rows(33, input), rows(34, output), rows(35, output));
        Self { rank, input, output, x, y, dy, a, b, panels }
    }

    fn pair(&self) -> Pair<'_> {
        let [a, b] = &self.panels;
        Pair {
            a: Panels { data: Numbers::F32(a), rows: self.rank, columns: self.input },
            b: Panels { data: Numbers::F32(b), rows: self.output, columns: self.rank },
            scale: SCALE,
        }
    }

    /// The pair's output for rows `first..first + count`.
    fn forward(&self, first: usize, count: usize) -> Vec<f32> {
        self.forward_with(&Team::new(1), first, count)
    }

    fn forward_with(&self, team: &Team, first: usize, count: usize) -> Vec<f32> {
        let mut y = self.y[first * self.output..(first + count) * self.output].to_vec();
        let x = &self.x[first * self.input..(first + count) * self.input];
        let outputs = [(Some(self.pair()), &mut y[..]), (None, &mut [][..])];
        add_deltas(team, x, outputs, &mut DeltaScratch::default());
        y
    }

    /// `Σ dy (y + scale (x Aᵀ) Bᵀ)` by the definition.
    fn loss(&self, x: &[f64], a: &[f64], b: &[f64]) -> f64 {
        let mut loss = 0.0;
        for row in 0..ROWS {
            let x = &x[row * self.input..(row + 1) * self.input];
            let dot = |a: &[f64]| a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>();
            let inner: Vec<f64> = a.chunks(self.input).map(dot).collect();
            for output in 0..self.output {
                let b = &b[output * self.rank..(output + 1) * self.rank];
                let sum: f64 = b.iter().zip(&inner).map(|(b, t)| b * t).sum();
                let at = row * self.output + output;
                loss += f64::from(self.dy[at]) * (f64::from(self.y[at]) + f64::from(SCALE) * sum);
            }
        }
        loss
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn the_forward_is_its_definition_and_a_row_has_the_same_bits_in_any_company() {
    for shape in SHAPES {
        let case = Case::new(*shape);
        let all = case.forward(0, ROWS);
        let mean = case.loss(&wide(&case.x), &wide(&case.a), &wide(&case.b));
        let ours: f64 =
            all.iter().zip(&case.dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum();
        assert!((ours - mean).abs() < 1e-3 * mean.abs().max(1.0), "{shape:?}: {ours} {mean}");
        for threads in [2, 7] {
            assert!(case.forward_with(&Team::new(threads), 0, ROWS) == all, "{threads} threads");
        }
        // INV-6: alone, in small batches, and in a prefill.
        for count in [1, 2, 5, 6, 7, 12, 13] {
            for first in [0, 3, ROWS - count] {
                let own = case.forward(first, count);
                let (from, to) = (first * case.output, (first + count) * case.output);
                let same = own.iter().zip(&all[from..to]).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{shape:?}: {count} rows from {first}");
            }
        }
    }
}

#[test]
fn a_pair_whose_b_is_zero_changes_no_value() {
    let mut case = Case::new((3, 52, 40));
    case.panels[1].fill(0.0);
    assert_eq!(case.forward(0, ROWS), case.y);
}

#[test]
fn the_gradients_are_differences_of_the_definition() {
    for shape in SHAPES {
        let case = Case::new(*shape);
        let (rank, input, output) = *shape;
        let mut scratch = ProductScratch::default();
        let mut dx = vec![0.5; ROWS * input];
        let (mut inner, mut d_inner) = (vec![0.0; ROWS * rank], vec![9.0; ROWS * rank]);
        case.pair().inner(&case.x, &mut inner);
        case.pair().grad_input(&case.dy, &mut dx, &mut d_inner, &mut scratch);
        let mut da = Buffer::zeros(rank.next_multiple_of(PANEL) * input);
        let mut db = Buffer::zeros(output.next_multiple_of(PANEL) * rank);
        product_grad_weight(
            (&d_inner, rank),
            (Numbers::F32(&case.x), input),
            0,
            &mut da,
            &mut scratch,
        );
        product_grad_weight(
            (&case.dy, output),
            (Numbers::F32(&inner), rank),
            0,
            &mut db,
            &mut scratch,
        );
        let (da, db) = (row_major(&da, rank, input), row_major(&db, output, rank));
        let (mut x, mut a, mut b) = (wide(&case.x), wide(&case.a), wide(&case.b));
        // The loss is linear in each of the three, so any step is exact.
        for at in [0, 7, 11, dx.len() - 1] {
            let before = case.loss(&x, &a, &b);
            x[at] += 1.0;
            let expected = case.loss(&x, &a, &b) - before + 0.5;
            x[at] -= 1.0;
            let got = f64::from(dx[at]);
            assert!((got - expected).abs() < 1e-3, "{shape:?} dx[{at}]: {got}, not {expected}");
        }
        for at in [0, 5, da.len() - 1] {
            let before = case.loss(&x, &a, &b);
            a[at] += 1.0;
            let expected = case.loss(&x, &a, &b) - before;
            a[at] -= 1.0;
            let got = f64::from(da[at]);
            assert!((got - expected).abs() < 1e-3, "{shape:?} dA[{at}]: {got}, not {expected}");
        }
        for at in [0, 5, db.len() - 1] {
            let before = case.loss(&x, &a, &b);
            b[at] += 1.0;
            let expected = case.loss(&x, &a, &b) - before;
            b[at] -= 1.0;
            let got = f64::from(db[at]);
            assert!((got - expected).abs() < 1e-3, "{shape:?} dB[{at}]: {got}, not {expected}");
        }
    }
}
