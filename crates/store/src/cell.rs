//! One value of one row: what SQLite stores, what the digest reads.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::digest::PieceHasher;

/// A value. Unlike rusqlite's own it can be read from damaged text without a panic.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    /// Copies of numbers for people who query with SQL; never what a program reads back (INV-16).
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Cell {
    /// Reads what SQLite returned; `None` where text is not UTF-8.
    pub(crate) fn read(value: ValueRef<'_>) -> Option<Cell> {
        Some(match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(i) => Cell::Integer(i),
            ValueRef::Real(r) => Cell::Real(r),
            ValueRef::Text(t) => Cell::Text(std::str::from_utf8(t).ok()?.to_owned()),
            ValueRef::Blob(b) => Cell::Blob(b.to_vec()),
        })
    }

    /// A number for people, as SQLite will return it: NaN becomes NULL, -0.0 becomes 0.0.
    pub(crate) fn shown(number: f64) -> Cell {
        if number.is_nan() { Cell::Null } else { Cell::Real(number + 0.0) }
    }

    pub(crate) fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    pub(crate) fn optional(cell: Option<Cell>) -> Cell {
        cell.unwrap_or(Cell::Null)
    }

    /// The canonical bytes: a tag, then the content with its length.
    pub(crate) fn digest_into(&self, hasher: &mut PieceHasher) {
        let (tag, content) = match self {
            Cell::Null => (0u8, vec![]),
            Cell::Integer(i) => (1, i.to_le_bytes().to_vec()),
            Cell::Real(r) => (2, r.to_bits().to_le_bytes().to_vec()),
            Cell::Text(t) => (3, t.as_bytes().to_vec()),
            Cell::Blob(b) => (4, b.clone()),
        };
        hasher.put(&[tag]);
        hasher.put(&content);
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Integer(i) => ValueRef::Integer(*i),
            Cell::Real(r) => ValueRef::Real(*r),
            Cell::Text(t) => ValueRef::Text(t.as_bytes()),
            Cell::Blob(b) => ValueRef::Blob(b),
        }))
    }
}

/// Numbers as little-endian bytes (INV-16): NaN payloads and signed zeros survive.
pub(crate) trait Numbers: Copy + Sized {
    const WIDTH: usize;
    fn put(self, out: &mut Vec<u8>);
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl Numbers for $kind {
            const WIDTH: usize = size_of::<$kind>();
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(bytes: &[u8]) -> Self {
                <$kind>::from_le_bytes(bytes.try_into().expect("chunks have the number's width"))
            }
        }
    )*};
}
numbers!(u32, f32, f64);

pub(crate) fn to_blob<N: Numbers>(numbers: &[N]) -> Vec<u8> {
    let mut out = Vec::with_capacity(numbers.len() * N::WIDTH);
    numbers.iter().for_each(|number| number.put(&mut out));
    out
}

/// `None` where the length is not a whole count of numbers.
pub(crate) fn from_blob<N: Numbers>(bytes: &[u8]) -> Option<Vec<N>> {
    let whole = bytes.len().is_multiple_of(N::WIDTH);
    whole.then(|| bytes.chunks_exact(N::WIDTH).map(N::take).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_keep_nan_payloads_and_signed_zeros() {
        let odd = f64::from_bits(0x7ff8_0000_dead_beef);
        let back: Vec<f64> = from_blob(&to_blob(&[odd, -0.0, f64::INFINITY, 5e-324])).unwrap();
        let bits: Vec<u64> = back.iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [0x7ff8_0000_dead_beef, 1 << 63, 0x7ff0_0000_0000_0000, 1]);
        assert_eq!(from_blob::<f32>(&[0; 5]), None);
    }
}
