//! The engine's products beside those of the `gemm` crate and beside the machine's measured peak,
//! one thread; criterion's `Gelem/s` are GFLOP/s, because the throughput is declared in operations.

mod beside;

use beside::{Limit, beside};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_model::Precision;
use stepwell_model::measure::{self, Linear};

/// Outputs and inputs of SmolLM2-135M's layers and of a tiny model's.
const SHAPES: [(usize, usize); 5] = [(576, 576), (1536, 576), (576, 1536), (96, 96), (320, 96)];

fn noise(length: usize) -> Vec<f32> {
    (0..length).map(|index| ((index * 7919) % 1024) as f32 / 512.0 - 1.0).collect()
}

/// `out[m][n] = Σ left[m][k] right[n][k]` by the `gemm` crate, with strides that say so.
fn by_gemm(shape: (usize, usize, usize), left: &[f32], right: &[f32], out: &mut [f32]) {
    let (m, n, k) = shape;
    assert!(left.len() >= m * k && right.len() >= n * k && out.len() >= m * n);
    #[expect(unsafe_code, reason = "the crate's interface is pointers and strides")]
    // SAFETY: the assertion above bounds every index that the strides reach.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            left.as_ptr(),
            1,
            k as isize,
            right.as_ptr(),
            k as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Arithmetic: weights that the caches hold, `m` rows.
fn products(criterion: &mut Criterion, (peak, bf16): (f64, f64)) {
    for (n, k) in SHAPES {
        let mut group = criterion.benchmark_group(format!("{n}x{k}"));
        let weight = noise(n * k);
        let mut linear = Linear::new(&weight, n, k, Precision::F32);
        let mut paired = Linear::new(&weight, n, k, Precision::Bf16);
        for m in [1, 8, 64, 512] {
            let (x, dy) = (noise(m * k), noise(m * n));
            let (mut y, mut dx) = (vec![0.0; m * n], vec![0.0; m * k]);
            let amount = 2 * (m * n * k) as u64;
            let limit = Limit { amount, unit: "GFLOP/s", peak };
            group.throughput(Throughput::Elements(amount));
            beside(&mut group, BenchmarkId::new("forward", m), limit, || {
                linear.forward(&x, &mut y)
            });
            beside(&mut group, BenchmarkId::new("gemm", m), limit, || {
                by_gemm((m, n, k), &x, &weight, &mut y)
            });
            let pairs = Limit { peak: bf16, ..limit };
            beside(&mut group, BenchmarkId::new("bf16 forward", m), pairs, || {
                paired.forward(&x, &mut y)
            });
            if m >= 64 {
                beside(&mut group, BenchmarkId::new("bf16 grad_input", m), pairs, || {
                    paired.grad_input(&dy, &mut dx)
                });
                beside(&mut group, BenchmarkId::new("bf16 grad_weight", m), pairs, || {
                    paired.grad_weight(&dy, &x)
                });
                beside(&mut group, BenchmarkId::new("grad_input", m), limit, || {
                    linear.grad_input(&dy, &mut dx)
                });
                beside(&mut group, BenchmarkId::new("grad_weight", m), limit, || {
                    linear.grad_weight(&dy, &x)
                });
            }
        }
        group.finish();
    }
}

/// Memory: a head that no cache holds, few rows.
fn reading(criterion: &mut Criterion, peak: f64) {
    let (n, k) = (49_152, 576);
    let mut group = criterion.benchmark_group(format!("{n}x{k}"));
    let weight = noise(n * k);
    let mut linear = Linear::new(&weight, n, k, Precision::F32);
    for m in [1, 8] {
        let (x, mut y) = (noise(m * k), vec![0.0; m * n]);
        let bytes = size_of_val(&weight[..]) as u64;
        group.throughput(Throughput::Bytes(bytes));
        let limit = Limit { amount: bytes, unit: "GB/s", peak };
        beside(&mut group, BenchmarkId::new("forward", m), limit, || linear.forward(&x, &mut y));
        beside(&mut group, BenchmarkId::new("gemm", m), limit, || {
            by_gemm((m, n, k), &x, &weight, &mut y)
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let peak = measure::peak(1);
    // Without the unit, pairs are computed as `f32`.
    products(criterion, (peak.f32(), peak.bf16.unwrap_or(peak.f32())));
    reading(criterion, peak.read);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(100))
        .measurement_time(std::time::Duration::from_millis(300));
    targets = all
}
criterion_main!(benches);
