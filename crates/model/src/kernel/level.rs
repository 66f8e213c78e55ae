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
                let pairs = is_x86_feature_detected!("avx512bf16");
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
