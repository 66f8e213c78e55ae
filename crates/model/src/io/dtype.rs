//! Stored numbers as `f32`. All three conversions are exact.

/// Decodes little-endian values; `None` for a type weights are not read from.
pub(crate) fn to_f32(dtype: &str, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match dtype {
        "F32" => {
            let words = bytes.chunks_exact(4);
            Some(words.map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect())
        }
        "BF16" => Some(halves.map(|half| f32::from_bits(u32::from(half) << 16)).collect()),
        "F16" => Some(halves.map(half_to_f32).collect()),
        _ => None,
    }
}

/// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
pub(crate) fn half_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 31;
    let fraction = u32::from(half & 0x3ff);
    match exponent {
        // Subnormal: fraction x 2^-24, exact in f32.
        0 => {
            let value = fraction as f32 * f32::from_bits(0x3380_0000);
            if sign == 0 { value } else { -value }
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_halves() {
        let cases: [(u16, f32); 8] = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2.0_f32.powi(-24)),
            (0x0400, 2.0_f32.powi(-14)),
            (0x83ff, -(1023.0 * 2.0_f32.powi(-24))),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ];
        for (half, expected) in cases {
            assert_eq!(to_f32("F16", &half.to_le_bytes()), Some(vec![expected]), "{half:#x}");
        }
        assert!(half_to_f32(0x7c01).is_nan());
        assert_eq!(half_to_f32(0x8000).to_bits(), 0x8000_0000);
        assert_eq!(to_f32("BF16", &[0xc0, 0x3f]), Some(vec![1.5]));
        assert_eq!(to_f32("I64", &[0; 8]), None);
    }
}
