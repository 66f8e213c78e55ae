//! The products of the training shapes beside the machine's peak, on one thread and on two.

use std::time::Instant;

use serde_json::{Value, json};
use stepwell_model::Precision;
use stepwell_model::measure::{Linear, peak};

/// Outputs and inputs of SmolLM2-135M's products; the head's is cut to a chunk of the vocabulary.
const SHAPES: [(usize, usize); 5] = [(576, 576), (192, 576), (1536, 576), (576, 1536), (4096, 576)];
/// Rows of one product: a training step's tokens.
const ROWS: usize = 512;
/// Each product runs for about this long.
const SECONDS: f64 = 0.1;

/// Operations per second of every product, and the peaks of the same moment.
pub(crate) fn measure() -> Value {
    let start = Instant::now();
    let mut peaks = json!({});
    for threads in [1, 2] {
        let found = peak(threads);
        peaks[format!("f32_{threads}")] = json!(found.f32());
        peaks[format!("avx512_{threads}")] = json!(found.avx512);
        peaks[format!("avx2_{threads}")] = json!(found.avx2);
        peaks[format!("bf16_{threads}")] = json!(found.bf16);
        peaks[format!("read_{threads}")] = json!(found.read);
    }
    let mut rates = Vec::new();
    for threads in [1, 2] {
        for (n, k) in SHAPES {
            for which in ["forward", "grad_input", "grad_weight"] {
                for (precision, word) in [(Precision::F32, "f32"), (Precision::Bf16, "bf16")] {
                    let rate = rate((n, k), which, threads, precision);
                    // Without the unit, pairs are computed as `f32`.
                    let unit =
                        if peaks[format!("{word}_{threads}")].is_null() { "f32" } else { word };
                    let (of, name) =
                        (format!("{unit}_{threads}"), format!("{n} x {k} {word} {which}"));
                    rates.push(json!({ "name": name, "threads": threads, "rate": rate, "of": of }));
                }
            }
        }
    }
    json!({ "wall": start.elapsed().as_secs_f64(), "rates": rates, "peaks": peaks })
}

/// Threads share the rows; each has a copy of the weight, as large as its cache share allows.
fn rate((n, k): (usize, usize), which: &'static str, threads: usize, precision: Precision) -> f64 {
    let rows = ROWS / threads;
    let one = move || {
        let noise = |count: usize| -> Vec<f32> {
            (0..count).map(|at| ((at * 7919) % 1024) as f32 / 512.0 - 1.0).collect()
        };
        let mut linear = Linear::new(&noise(n * k), n, k, precision);
        let (x, dy) = (noise(rows * k), noise(rows * n));
        let (mut y, mut dx) = (vec![0.0; rows * n], vec![0.0; rows * k]);
        let mut once = || match which {
            "forward" => linear.forward(&x, &mut y),
            "grad_input" => linear.grad_input(&dy, &mut dx),
            _ => linear.grad_weight(&dy, &x),
        };
        once();
        let start = Instant::now();
        let mut best = f64::INFINITY;
        while start.elapsed().as_secs_f64() < SECONDS {
            let begin = Instant::now();
            once();
            best = best.min(begin.elapsed().as_secs_f64());
        }
        (2 * rows * n * k) as f64 / best
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        all.into_iter().filter_map(|own| own.join().ok()).sum()
    })
}
