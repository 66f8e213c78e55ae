//! Stored weights as `f32`: the types of ggml that are read, and what their blocks mean.
//!
//! Every value is computed by the same products and sums, in the same order, as the reference
//! (the Python package `gguf`) computes it, so the result is the same bit for bit.

use crate::io::dtype::half_to_f32;

/// How a tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// Number in the file, name, and the type if it is read.
const TYPES: [(u32, &str, Option<Kind>); 34] = [
    (0, "F32", Some(Kind::F32)),
    (1, "F16", Some(Kind::F16)),
    (2, "Q4_0", Some(Kind::Q4_0)),
    (3, "Q4_1", Some(Kind::Q4_1)),
    (6, "Q5_0", None),
    (7, "Q5_1", None),
    (8, "Q8_0", Some(Kind::Q8_0)),
    (9, "Q8_1", None),
    (10, "Q2_K", None),
    (11, "Q3_K", None),
    (12, "Q4_K", Some(Kind::Q4K)),
    (13, "Q5_K", Some(Kind::Q5K)),
    (14, "Q6_K", Some(Kind::Q6K)),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", None),
    (17, "IQ2_XS", None),
    (18, "IQ3_XXS", None),
    (19, "IQ1_S", None),
    (20, "IQ4_NL", None),
    (21, "IQ3_S", None),
    (22, "IQ2_S", None),
    (23, "IQ4_XS", None),
    (24, "I8", None),
    (25, "I16", None),
    (26, "I32", None),
    (27, "I64", None),
    (28, "F64", None),
    (29, "IQ1_M", None),
    (30, "BF16", Some(Kind::BF16)),
    (34, "TQ1_0", None),
    (35, "TQ2_0", None),
    (39, "MXFP4", None),
    (40, "NVFP4", None),
    (41, "Q1_0", None),
];

/// Values of a large block.
const SUPER: usize = 256;

/// A type by its number: read, known by name only, or unknown.
pub(super) fn named(number: u32) -> Option<(&'static str, Option<Kind>)> {
    TYPES.iter().find(|(other, _, _)| *other == number).map(|(_, name, kind)| (*name, *kind))
}

/// The names of all types that are read.
pub(super) fn names() -> String {
    let read = TYPES.iter().filter(|(_, _, kind)| kind.is_some());
    read.map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl Kind {
    /// Values and bytes of one block.
    pub(super) fn block(self) -> (u64, u64) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 2 + 16),
            Self::Q4_1 => (32, 4 + 16),
            Self::Q8_0 => (32, 2 + 32),
            Self::Q4K => (256, 4 + 12 + 128),
            Self::Q5K => (256, 4 + 12 + 32 + 128),
            Self::Q6K => (256, 128 + 64 + 16 + 2),
        }
    }

    /// The values of whole blocks.
    pub(super) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let (values, size) = self.block();
        let (values, size) = (values as usize, size as usize);
        let mut out = vec![0.0; bytes.len() / size * values];
        for (out, block) in out.chunks_exact_mut(values).zip(bytes.chunks_exact(size)) {
            self.decode(block, out);
        }
        out
    }

    fn decode(self, block: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            Self::F16 => out[0] = half(block, 0),
            Self::BF16 => {
                let bits = u16::from_le_bytes([block[0], block[1]]);
                out[0] = f32::from_bits(u32::from(bits) << 16);
            }
            Self::Q4_0 => {
                let scale = half(block, 0);
                nibbles(&block[2..], out, |nibble| scale * (f32::from(nibble) - 8.0));
            }
            Self::Q4_1 => {
                let (scale, least) = (half(block, 0), half(block, 2));
                nibbles(&block[4..], out, |nibble| scale * f32::from(nibble) + least);
            }
            Self::Q8_0 => {
                let scale = half(block, 0);
                for (out, byte) in out.iter_mut().zip(&block[2..]) {
                    *out = f32::from(byte.cast_signed()) * scale;
                }
            }
            Self::Q4K => q4_k(block, out),
            Self::Q5K => q5_k(block, out),
            Self::Q6K => q6_k(block, out),
        }
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Low halves of all bytes first, then the high ones.
fn nibbles(bytes: &[u8], out: &mut [f32], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(bytes.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

/// Scale and minimum of each of eight groups, 6 bits each in 12 bytes: the first four groups in
/// the low bits of bytes 0 to 7, the others in nibbles of bytes 8 to 11 with their upper two bits
/// in the upper bits of bytes 0 to 7.
fn scales(packed: &[u8]) -> [(f32, f32); 8] {
    std::array::from_fn(|group| {
        let (scale, least) = if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            let both = packed[group + 4];
            ((both & 15) | (packed[group - 4] >> 6 << 4), (both >> 4) | (packed[group] >> 6 << 4))
        };
        (f32::from(scale), f32::from(least))
    })
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    let groups = scales(&block[4..16]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, least) = (scale * groups[group].0, least * groups[group].1);
        let bytes = &block[16 + group / 2 * 32..];
        for (out, byte) in out.iter_mut().zip(bytes) {
            let nibble = byte >> (group % 2 * 4) & 15;
            *out = scale * f32::from(nibble) - least;
        }
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    let groups = scales(&block[4..16]);
    let fifth = &block[16..48];
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, least) = (scale * groups[group].0, least * groups[group].1);
        let bytes = &block[48 + group / 2 * 32..];
        for ((out, byte), bits) in out.iter_mut().zip(bytes).zip(fifth) {
            let value = (byte >> (group % 2 * 4) & 15) | (bits >> group & 1) << 4;
            *out = scale * f32::from(value) - least;
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 208);
    for (at, out) in out.iter_mut().enumerate().take(SUPER) {
        // Halves of 128 values; in each, four groups of 32.
        let (part, group, lane) = (at / 128, at / 32 % 4, at % 32);
        let low = block[part * 64 + group % 2 * 32 + lane] >> (group / 2 * 4) & 15;
        let high = block[128 + part * 32 + lane] >> (group * 2) & 3;
        let value = f32::from((low | high << 4).cast_signed() - 32);
        *out = scale * f32::from(block[192 + at / 16].cast_signed()) * value;
    }
}
