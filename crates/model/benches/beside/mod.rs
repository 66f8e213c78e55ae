//! A benchmark's rate beside what the machine reaches at most.
#![expect(clippy::print_stdout, reason = "the peak stands beside criterion's own lines")]

use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};

/// What one repetition does, and how fast it could be done.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    /// Operations or bytes of one repetition.
    pub(crate) amount: u64,
    /// Of a thousand million per second.
    pub(crate) unit: &'static str,
    /// Operations or bytes per second.
    pub(crate) peak: f64,
}

/// Times `work` for criterion, and prints its best rate beside the limit.
pub(crate) fn beside(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    limit: Limit,
    mut work: impl FnMut(),
) {
    let Limit { amount, unit, peak } = limit;
    let mut best = f64::INFINITY;
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|count| {
            let start = Instant::now();
            for _ in 0..count {
                work();
            }
            let took = start.elapsed();
            best = best.min(took.as_secs_f64() / count as f64);
            took
        });
    });
    // A filter on the command line leaves most of them out.
    if best.is_infinite() {
        return;
    }
    let rate = amount as f64 / best;
    let (share, rate, peak) = (100.0 * rate / peak, rate / 1e9, peak / 1e9);
    println!("    best {rate:.1} {unit}: {share:.0} % of the measured peak of {peak:.1}\n");
}
