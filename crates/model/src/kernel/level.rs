//! Which vector unit this processor has. The choice changes speed, never a bit.

/// Vector units we have code for, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Whatever the target guarantees; fused multiply-add may be a library call.
    Portable,
    /// AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, VL, DQ and BW.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same with products of `bf16` pairs.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Level {
    /// The best unit of this processor; detection is cached by the standard library.
    #[inline]
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
            {
                let pairs = is_x86_feature_detected!("avx512bf16") && unit_agrees();
                return if pairs { Level::Avx512Bf16 } else { Level::Avx512 };
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        Level::Portable
    }

    /// The word for people.
    fn word(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => "avx512, bf16",
        }
    }

    /// Every unit of this processor, for tests that compare their bits.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let known = [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Bf16];
        #[cfg(not(target_arch = "x86_64"))]
        let known = [Level::Portable];
        known.into_iter().filter(|level| *level <= Self::best()).collect()
    }
}

/// Whether this processor's products of pairs round as [`super::bf16::pair_step`] does; tried once
/// over any bits, over products near the smallest normal number, and around it. A unit that rounds
/// otherwise is not used.
#[cfg(target_arch = "x86_64")]
fn unit_agrees() -> bool {
    static AGREES: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let draw = |index: u32| {
        let z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9);
        let z = (z ^ (z >> 15)).wrapping_mul(0x85eb_ca6b);
        z ^ (z >> 13)
    };
    let step = |index: u32, keep: u32, add: u32| {
        let word = |place: u32| (draw(3 * index + place) & keep) + add;
        let (left, right) = (word(0), word(1));
        let start = f32::from_bits(draw(3 * index + 2) & (keep | 0x7fff) | add & 0x0100_0000);
        let expected = super::bf16::pair_step(left, right, start);
        let got = super::tile_x86::one_pair(left, right, start);
        expected.to_bits() == got.to_bits() || expected.is_nan() && got.is_nan()
    };
    *AGREES.get_or_init(|| {
        let kinds = [(u32::MAX, 0), (0x8fff_8fff, 0x1c00_1c00), (0x83ff_83ff, 0x1e80_1e80)];
        kinds.into_iter().all(|(keep, add)| (0..2000).all(|index| step(index, keep, add)))
    })
}

/// The word for the unit in use.
pub(crate) fn vector_unit() -> &'static str {
    Level::best().word()
}

/// Compiles one function body once per vector unit and picks at run time.
macro_rules! per_level {
    (
        $(#[$meta:meta])*
        fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        pub(crate) fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
            match $crate::kernel::level::Level::best() {
                $crate::kernel::level::Level::Portable => body($($arg),*),
                // SAFETY: `best` has found the features on this processor.
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::level::Level::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::level::Level::Avx512
                | $crate::kernel::level::Level::Avx512Bf16 => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(crate) use per_level;
