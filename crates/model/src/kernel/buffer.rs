//! `f32` memory on 64-byte lines: a vector load that straddles two lines costs twice.

/// Lanes that the widest vector unit holds, and the granularity of every buffer.
pub(crate) const LANES: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// A growable, zero-filled array of `f32` whose first element lies on a 64-byte line.
#[derive(Clone, Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    length: usize,
}

impl Buffer {
    /// `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let lines = vec![Line([0.0; LANES]); length.div_ceil(LANES)];
        Self { lines, length }
    }

    /// Makes the buffer `length` long, keeping memory; old contents stay where they overlap.
    pub(crate) fn resize(&mut self, length: usize) {
        self.lines.resize(length.div_ceil(LANES), Line([0.0; LANES]));
        self.length = length;
    }

    /// At least `length` long, never shorter than before.
    pub(crate) fn reserve(&mut self, length: usize) {
        if length > self.length {
            self.resize(length);
        }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `Line` is `repr(C)` over `[f32; 16]` with size 64, so the lines are one
        // contiguous run of initialised `f32`, and `length` never exceeds it.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_kept() {
        let mut buffer = Buffer::zeros(17);
        assert_eq!(buffer.as_ptr() as usize % 64, 0);
        assert!(buffer.iter().all(|value| *value == 0.0));
        buffer[16] = 3.0;
        buffer.resize(40);
        assert_eq!((buffer.len(), buffer[16], buffer[39]), (40, 3.0, 0.0));
    }
}
