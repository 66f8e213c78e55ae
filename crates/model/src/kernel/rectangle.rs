//! Rectangles of a row-major matrix that different threads may write.

use std::marker::PhantomData;

/// Some columns of some rows of a matrix; splitting gives rectangles that do not overlap.
pub(crate) struct Rectangle<'a> {
    pub(super) first: *mut f32,
    pub(super) rows: usize,
    pub(super) width: usize,
    /// Distance of two rows.
    pub(super) stride: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a rectangle is the only way to its values, as a mutable slice would be.
unsafe impl Send for Rectangle<'_> {}

impl<'a> Rectangle<'a> {
    /// All rows of a matrix of `width` columns.
    pub(crate) fn new(matrix: &'a mut [f32], width: usize) -> Self {
        let rows = matrix.len() / width;
        Self { first: matrix.as_mut_ptr(), rows, width, stride: width, owner: PhantomData }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// # Panics
    /// If there is no such row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: row `row` has `width` values of the matrix that no other rectangle holds, and
        // the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.width) }
    }

    /// The first `rows` rows, taken off this rectangle.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn take_rows(&mut self, rows: usize) -> Rectangle<'a> {
        assert!(rows <= self.rows, "{rows} rows of {}", self.rows);
        let taken = Rectangle { rows, ..*self };
        self.rows -= rows;
        // Past the last row the address is not used; it need not lie in the matrix.
        self.first = self.first.wrapping_add(rows * self.stride);
        taken
    }

    /// The first `width` columns, taken off this rectangle.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn take_columns(&mut self, width: usize) -> Rectangle<'a> {
        assert!(width <= self.width, "{width} columns of {}", self.width);
        let taken = Rectangle { width, ..*self };
        self.width -= width;
        self.first = self.first.wrapping_add(width);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_tile_a_matrix() {
        let mut matrix = vec![0.0; 5 * 7];
        let mut rest = Rectangle::new(&mut matrix, 7);
        std::thread::scope(|scope| {
            let mut value = 0.0;
            for rows in [2, 0, 3] {
                let mut band = rest.take_rows(rows);
                for width in [3, 1, 3] {
                    let mut own = band.take_columns(width);
                    value += 1.0;
                    scope.spawn(move || (0..own.rows()).for_each(|row| own.row(row).fill(value)));
                }
            }
        });
        let top = [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0];
        let bottom = [7.0, 7.0, 7.0, 8.0, 9.0, 9.0, 9.0];
        assert_eq!(matrix, [top, top, bottom, bottom, bottom].concat());
    }

    #[test]
    #[should_panic(expected = "row 2 of 2")]
    fn a_row_outside_is_refused() {
        let mut matrix = vec![0.0; 6];
        Rectangle::new(&mut matrix, 2).take_rows(2).row(2);
    }
}
