//! Randomness as a pure function of indices (INV-10). No stream is consumed, carried or saved.

use crate::TaskHash;

/// A point in the space of all draws. Deriving children with [`Key::with`] names the place:
/// `(seed, purpose, stage, update, task, child indices from the root, position)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Key(u64, u64);

/// What a draw is for; the first index of every key, so that two uses never share a draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// Which task comes when.
    TaskOrder = 2,
    /// A token sampled by the policy.
    Sample = 3,
    /// A choice of a grow method.
    Grow = 4,
    /// A procedural world: databases, questions.
    World = 5,
    /// A scripted demonstration.
    Demonstration = 6,
    /// A choice inside an environment's episode.
    Episode = 7,
    /// The permutation of a control arm.
    Control = 8,
    /// A bootstrap resample.
    Bootstrap = 9,
    /// What an update is made of.
    Schedule = 10,
}

impl Key {
    /// The root of a run's randomness for one purpose.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Key(mix(seed), mix(seed ^ 0x9e37_79b9_7f4a_7c15)).with(purpose as u64)
    }

    /// The key one index further. Order matters: `k.with(1).with(2) != k.with(2).with(1)`.
    #[must_use]
    pub fn with(self, index: u64) -> Self {
        let low = mix(self.0 ^ mix(index.wrapping_add(0xd1b5_4a32_d192_ed03)));
        let high = mix(self.1.rotate_left(23) ^ mix(index ^ 0x8cb9_2ba7_2f3d_8dd7) ^ low);
        Key(low, high)
    }

    /// The key of a task: its content, not its place in a file.
    #[must_use]
    pub fn with_task(self, task: &TaskHash) -> Self {
        let word = |i: usize| {
            u64::from_le_bytes(task.0[8 * i..8 * i + 8].try_into().expect("eight bytes of 32"))
        };
        self.with(word(0)).with(word(1))
    }

    /// 64 random bits.
    pub fn bits(self) -> u64 {
        mix(self.0 ^ self.1.rotate_left(32))
    }

    /// Uniform in `[0, 1)` with 53 random bits.
    pub fn uniform(self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform whole number in `0..bound`. Panics when `bound` is 0: nothing can be drawn.
    pub fn below(self, bound: usize) -> usize {
        assert!(bound > 0, "cannot draw a number below 0");
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Standard normal, by Box and Muller's transform of two uniforms.
    pub fn normal(self) -> f64 {
        let radius = (-2.0 * (1.0 - self.with(0).uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.with(1).uniform()).cos()
    }

    /// A random order of `0..n` (Fisher and Yates), the same for the same key.
    pub fn permutation(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.with(i as u64).below(i + 1));
        }
        order
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits that mixes well.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_indices_give_the_same_draw_and_others_another() {
        let key = Key::new(7, Purpose::Sample);
        assert_eq!(key.with(1).with(2), key.with(1).with(2));
        assert_ne!(key.with(1).with(2), key.with(2).with(1));
        assert_ne!(key, Key::new(7, Purpose::Grow));
        assert_ne!(key, Key::new(8, Purpose::Sample));
    }

    #[test]
    fn draws_are_uniform_and_independent_along_every_index() {
        // 64k draws over two indices: mean 1/2 and lag correlation 0, each within five deviations.
        let key = Key::new(3, Purpose::Sample);
        let n = 1 << 16;
        let draw: Vec<f64> =
            (0..n).map(|i| key.with(i >> 8).with(i & 255).uniform() - 0.5).collect();
        let deviation = (1.0 / 12.0 / n as f64).sqrt();
        assert!((draw.iter().sum::<f64>() / n as f64).abs() < 5.0 * deviation);
        for lag in [1, 256] {
            let sum: f64 = draw.windows(lag + 1).map(|w| w[0] * w[lag]).sum();
            let limit = 5.0 / 12.0 / (n as f64).sqrt();
            assert!((sum / n as f64).abs() < limit, "lag {lag}: {sum}");
        }
    }

    #[test]
    fn a_permutation_holds_each_index_once() {
        let mut order = Key::new(1, Purpose::TaskOrder).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn below_reaches_every_value_and_no_other() {
        let key = Key::new(5, Purpose::World);
        let mut seen = [0; 7];
        for i in 0..7000 {
            seen[key.with(i).below(7)] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }
}
