//! Rows written to lanes: the transposition that makes panels of keys.

#[cfg(target_arch = "x86_64")]
use super::level::Level;
use super::tile::PANEL;

/// Rows that pass the vector code together.
#[cfg(target_arch = "x86_64")]
const EIGHT: usize = 8;

/// `count` rows of `dim` values, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct LaneRows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) dim: usize,
    pub(crate) count: usize,
}

/// Copies rows to `[..][dim][PANEL]`: the first to lane `position % PANEL` of panel
/// `position / PANEL`, the others to the lanes that follow.
///
/// # Panics
/// If the rows or the panels are shorter than that.
pub(crate) fn write_lanes(panels: &mut [f32], position: usize, rows: LaneRows) {
    let LaneRows { values, stride, dim, count } = rows;
    let mut done = 0;
    while done < count {
        let (panel, lane) = ((position + done) / PANEL, (position + done) % PANEL);
        let lines = &mut panels[panel * PANEL * dim..(panel + 1) * PANEL * dim];
        let from = &values[done * stride..];
        #[cfg(target_arch = "x86_64")]
        if lane % EIGHT == 0 && count - done >= EIGHT && Level::best() >= Level::Avx2 {
            assert!((EIGHT - 1) * stride + dim <= from.len(), "the last row is cut");
            // SAFETY: the processor has AVX2; `lines` has `dim` lines of `PANEL` lanes, eight of
            // them from `lane` on; the assertion bounds the rows.
            unsafe { eight_avx2(lines, lane, from, (stride, dim)) };
            done += EIGHT;
            continue;
        }
        for (line, value) in lines.chunks_exact_mut(PANEL).zip(&from[..dim]) {
            line[lane] = *value;
        }
        done += 1;
    }
}

/// Eight rows to the lanes from `lane` on.
///
/// # Safety
/// `lines` holds `dim` lines of `PANEL`, `lane + 8 <= PANEL`, `from` holds eight rows, and the
/// processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn eight_avx2(lines: &mut [f32], lane: usize, from: &[f32], (stride, dim): (usize, usize)) {
    use std::arch::x86_64::{
        _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
        _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };
    let whole = dim / EIGHT * EIGHT;
    for column in (0..whole).step_by(EIGHT) {
        // SAFETY: columns `column..column + 8` of eight rows, and as many lines.
        unsafe {
            let first = from.as_ptr().add(column);
            let to = lines.as_mut_ptr().add(column * PANEL + lane);
            // Two rows interleaved, then four, then eight.
            let two: [_; EIGHT] = std::array::from_fn(|index| {
                let row = first.add(index / 2 * 2 * stride);
                let (low, high) = (_mm256_loadu_ps(row), _mm256_loadu_ps(row.add(stride)));
                if index % 2 == 0 {
                    _mm256_unpacklo_ps(low, high)
                } else {
                    _mm256_unpackhi_ps(low, high)
                }
            });
            let four: [_; EIGHT] = std::array::from_fn(|index| {
                let at = index / 4 * 4 + index % 4 / 2;
                if index % 2 == 0 {
                    _mm256_shuffle_ps::<0x44>(two[at], two[at + 2])
                } else {
                    _mm256_shuffle_ps::<0xee>(two[at], two[at + 2])
                }
            });
            for (index, (low, high)) in four[..4].iter().zip(&four[4..]).enumerate() {
                let halves = _mm256_permute2f128_ps::<0x20>(*low, *high);
                _mm256_storeu_ps(to.add(index * PANEL), halves);
                let halves = _mm256_permute2f128_ps::<0x31>(*low, *high);
                _mm256_storeu_ps(to.add((index + 4) * PANEL), halves);
            }
        }
    }
    for column in whole..dim {
        for row in 0..EIGHT {
            lines[column * PANEL + lane + row] = from[row * stride + column];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lands_in_its_lane_and_nowhere_else() {
        for (dim, stride, position, count) in [
            (64, 192, 0_usize, 70_usize),
            (10, 10, 5, 40),
            (34, 68, 24, 9),
            (8, 8, 31, 1),
            (7, 9, 8, 25),
        ] {
            let values: Vec<f32> = (1..=count * stride).map(|value| value as f32).collect();
            let length = (position + count).next_multiple_of(PANEL) * dim;
            let mut panels = vec![0.0; length];
            // The last row ends where its values end.
            let values = &values[..(count - 1) * stride + dim];
            write_lanes(&mut panels, position, LaneRows { values, stride, dim, count });
            for (index, value) in panels.iter().enumerate() {
                let (line, lane) = (index / PANEL, index % PANEL);
                let at = (line / dim * PANEL + lane).wrapping_sub(position);
                let expected = if at < count { values[at * stride + line % dim] } else { 0.0 };
                assert_eq!(*value, expected, "{dim} columns, position {position}: {index}");
            }
        }
    }
}
