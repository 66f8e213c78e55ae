//! The engine's products beside those of the `gemm` crate, one thread; criterion's `Gelem/s` are
//! GFLOP/s, because the throughput is declared in operations.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_model::measure::Linear;

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

fn products(criterion: &mut Criterion) {
    for (n, k) in SHAPES {
        let mut group = criterion.benchmark_group(format!("{n}x{k}"));
        let weight = noise(n * k);
        let mut linear = Linear::new(&weight, n, k);
        for m in [1, 8, 64, 256] {
            let (x, dy) = (noise(m * k), noise(m * n));
            let (mut y, mut dx) = (vec![0.0; m * n], vec![0.0; m * k]);
            group.throughput(Throughput::Elements(2 * (m * n * k) as u64));
            group.bench_function(BenchmarkId::new("forward", m), |bencher| {
                bencher.iter(|| linear.forward(&x, &mut y));
            });
            group.bench_function(BenchmarkId::new("gemm", m), |bencher| {
                bencher.iter(|| by_gemm((m, n, k), &x, &weight, &mut y));
            });
            if m >= 64 {
                group.bench_function(BenchmarkId::new("grad_input", m), |bencher| {
                    bencher.iter(|| linear.grad_input(&dy, &mut dx));
                });
                group.bench_function(BenchmarkId::new("grad_weight", m), |bencher| {
                    bencher.iter(|| linear.grad_weight(&dy, &x));
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(100))
        .measurement_time(std::time::Duration::from_millis(300));
    targets = products
}
criterion_main!(benches);
