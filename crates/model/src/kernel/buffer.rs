//! Memory on 64-byte lines: a vector load that straddles two lines costs twice.

/// Lanes that the widest vector unit holds, and the granularity of every buffer.
pub(crate) const LANES: usize = 16;

/// What buffers hold: four bytes for which zero bits mean zero.
pub(crate) trait Word: Copy + Default + Send + Sync + 'static {}

impl Word for f32 {}
/// Two `bf16` of one pair, the first in the low half.
impl Word for u32 {}

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line<T>([T; LANES]);

/// A growable, zero-filled array whose first element lies on a 64-byte line.
#[derive(Clone, Default)]
pub(crate) struct Buffer<T: Word = f32> {
    lines: Vec<Line<T>>,
    length: usize,
}

impl<T: Word> Buffer<T> {
    /// `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let lines = vec![Line([T::default(); LANES]); length.div_ceil(LANES)];
        Self { lines, length }
    }

    /// Makes the buffer `length` long, keeping memory; old contents stay where they overlap.
    pub(crate) fn resize(&mut self, length: usize) {
        self.lines.resize(length.div_ceil(LANES), Line([T::default(); LANES]));
        self.length = length;
    }

    /// At least `length` long, never shorter than before.
    pub(crate) fn reserve(&mut self, length: usize) {
        if length > self.length {
            self.resize(length);
        }
    }
}

impl<T: Word> std::ops::Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `Line` is `repr(C)` over 16 words with size 64, so the lines are one
        // contiguous run of initialised words, and `length` never exceeds it.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl<T: Word> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_kept() {
        let mut buffer: Buffer = Buffer::zeros(17);
        assert_eq!(buffer.as_ptr() as usize % 64, 0);
        assert!(buffer.iter().all(|value| *value == 0.0));
        buffer[16] = 3.0;
        buffer.resize(40);
        assert_eq!((buffer.len(), buffer[16], buffer[39]), (40, 3.0, 0.0));
    }
}
