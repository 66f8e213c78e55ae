//! What this processor reaches at most: the yardstick beside every kernel's rate.
//!
//! Fused multiply-adds on registers touch no memory, so nothing that computes a product can be
//! faster; a sum over memory that no cache holds does nothing but read.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// Independent chains: enough to hide the latency of two multiply-add units, few enough for the
/// registers.
const CHAINS: usize = 12;
/// Steps of every chain in one window, about a millisecond.
const STEPS: usize = 200_000;
/// Numbers that one thread reads in one window: 128 MiB, more than the caches hold.
const NUMBERS: usize = 32 << 20;

/// Something to run at full speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `f32` multiply-adds on 16 lanes.
    Avx512,
    /// `f32` multiply-adds on 8 lanes.
    Avx2,
    /// Products of pairs of `bf16`, summed in `f32`, on 16 lanes.
    Bf16,
    /// `f32` multiplication and addition as the target's baseline compiles them.
    Portable,
    /// Reading memory.
    Read,
}

impl Limit {
    /// Whether this processor can run it.
    pub(crate) fn exists(self) -> bool {
        match self {
            Limit::Portable | Limit::Read => true,
            #[cfg(target_arch = "x86_64")]
            Limit::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Limit::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Limit::Bf16 => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Operations, or bytes for `Read`, of one thread in one window.
    fn amount(self) -> f64 {
        let lanes = match self {
            Limit::Avx512 | Limit::Portable => 16,
            Limit::Avx2 => 8,
            Limit::Bf16 => 32,
            Limit::Read => return (NUMBERS * size_of::<f32>()) as f64,
        };
        (2 * lanes * CHAINS * STEPS) as f64
    }

    /// One window of one thread. `exists` must hold.
    fn run(self, memory: &[f32]) {
        assert!(self.exists(), "{self:?} on this processor");
        match self {
            Limit::Portable => portable(black_box(0.999)),
            Limit::Read => {
                black_box(read(black_box(memory)));
            }
            // SAFETY: `exists` has found the features on this processor.
            #[cfg(target_arch = "x86_64")]
            Limit::Avx512 => unsafe { x86::avx512(black_box(0.999)) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Limit::Avx2 => unsafe { x86::avx2(black_box(0.999)) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Limit::Bf16 => unsafe { x86::bf16(black_box(0.5)) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => {}
        }
    }

    /// Operations or bytes per second of all threads together, in the best of `windows` windows;
    /// `None` where the processor cannot run it. All threads start a window together and the
    /// slowest ends it, so a window that another program disturbs is never the best.
    pub(crate) fn rate(self, threads: usize, windows: usize) -> Option<f64> {
        if !self.exists() || threads == 0 || windows == 0 {
            return None;
        }
        let line = Barrier::new(threads);
        let one = |_: usize| {
            let memory = vec![1.0_f32; if self == Limit::Read { NUMBERS } else { 0 }];
            let window = |_| {
                line.wait();
                let start = Instant::now();
                self.run(&memory);
                line.wait();
                start.elapsed().as_secs_f64()
            };
            (0..windows).map(window).fold(f64::INFINITY, f64::min)
        };
        let one = &one;
        let best = std::thread::scope(|scope| {
            let own: Vec<_> = (0..threads).map(|t| scope.spawn(move || one(t))).collect();
            own.into_iter().filter_map(|own| own.join().ok()).fold(0.0, f64::max)
        });
        Some(threads as f64 * self.amount() / best)
    }
}

fn portable(factor: f32) {
    let mut sum = [[1.0_f32; 16]; CHAINS];
    for _ in 0..STEPS {
        for lane in sum.iter_mut().flatten() {
            *lane = *lane * factor + factor;
        }
    }
    black_box(sum);
}

/// Four streams at once: one stream leaves the memory waiting.
fn read(memory: &[f32]) -> f32 {
    #[inline(always)]
    fn body(memory: &[f32]) -> f32 {
        let mut sum = [[0.0; 32]; 4];
        let (upper, lower) = memory.split_at(memory.len() / 2);
        let half = upper.len() / 2;
        let streams = [&upper[..half], &upper[half..], &lower[..half], &lower[half..]];
        let [a, b, c, d] = streams.map(|stream| stream.as_chunks::<32>().0);
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            for (sum, piece) in sum.iter_mut().zip([a, b, c, d]) {
                for (sum, number) in sum.iter_mut().zip(piece) {
                    *sum += number;
                }
            }
        }
        sum.iter().flatten().sum()
    }
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(memory: &[f32]) -> f32 {
            body(memory)
        }
        if Limit::Avx512.exists() {
            // SAFETY: the feature has just been found.
            return unsafe { avx512(memory) };
        }
    }
    body(memory)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps,
        _mm512_fmadd_ps, _mm512_set1_ps,
    };
    use std::hint::black_box;

    use super::{CHAINS, STEPS};

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(factor: f32) {
        let factor = _mm512_set1_ps(factor);
        let mut sum: [__m512; CHAINS] = [factor; CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sum {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sum);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(factor: f32) {
        let factor = _mm256_set1_ps(factor);
        let mut sum: [__m256; CHAINS] = [factor; CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sum {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sum);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn bf16(factor: f32) {
        let start = _mm512_set1_ps(factor);
        let factor = _mm512_cvtne2ps_pbh(start, start);
        let mut sum: [__m512; CHAINS] = [start; CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sum {
                *sum = _mm512_dpbf16_ps(*sum, factor, factor);
            }
        }
        black_box(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_reach_more_than_nothing_and_wider_lanes_are_no_slower() {
        let rate = |limit: Limit| limit.rate(1, 5);
        assert!(rate(Limit::Portable).is_some_and(|rate| rate > 1e8));
        // Even where 16 lanes run as two halves they finish as much work per second.
        if let (Some(wide), Some(narrow)) = (rate(Limit::Avx512), rate(Limit::Avx2)) {
            assert!(wide > 0.5 * narrow, "got {wide:.2e}, expected at least half of {narrow:.2e}");
        }
        assert_eq!(Limit::Portable.rate(0, 5), None);
    }
}
