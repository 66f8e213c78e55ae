//! Bytes of a GGUF file in order. Every length is compared with what is left of the file before
//! memory is taken for it, so a lying count costs nothing.

use std::io::{BufReader, Read as _, Seek as _, SeekFrom};

use crate::io::{
    error::IoError,
    source::{Opened, ReadSeek},
};

/// A place in a file of known length.
pub(super) struct Reader<'a> {
    file: &'a str,
    inner: BufReader<Box<dyn ReadSeek + 'a>>,
    at: u64,
    length: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, opened: Opened<'a>) -> Self {
        Self { file, inner: BufReader::new(opened.reader), at: 0, length: opened.length }
    }

    /// The file's name in messages.
    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    /// Bytes read or skipped so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn left(&self) -> u64 {
        self.length - self.at
    }

    pub(super) fn damaged(&self, problem: String) -> IoError {
        IoError::damaged(self.file, problem)
    }

    /// Refuses `count` things of at least `size` bytes each that the rest of the file cannot hold.
    pub(super) fn room(&self, what: &str, count: u64, size: u64) -> Result<(), IoError> {
        if count.checked_mul(size).is_some_and(|bytes| bytes <= self.left()) {
            return Ok(());
        }
        let left = self.left();
        Err(self.damaged(format!(
            "{what}: got {count} of at least {size} bytes each, {left} bytes of the file are left"
        )))
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], IoError> {
        self.room(what, 1, N as u64)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, IoError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, IoError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length and as many bytes of UTF-8.
    pub(super) fn text(&mut self, what: &str, most: u64) -> Result<String, IoError> {
        let length = self.u64(what)?;
        self.room(what, length, 1)?;
        if length > most {
            return Err(
                self.damaged(format!("{what}: got {length} bytes, expected at most {most}"))
            );
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| self.damaged(format!("{what}: not UTF-8")))
    }

    /// Passes over bytes that nobody needs.
    pub(super) fn skip(&mut self, what: &str, count: u64, size: u64) -> Result<(), IoError> {
        self.room(what, count, size)?;
        let bytes = count * size;
        let moved = self.inner.seek_relative(bytes as i64);
        moved.map_err(|source| IoError::reading(self.file.as_ref(), source))?;
        self.at += bytes;
        Ok(())
    }

    /// A stretch that was checked against the file's length.
    pub(super) fn data(&mut self, begin: u64, size: u64) -> Result<Vec<u8>, IoError> {
        let moved = self.inner.seek(SeekFrom::Start(begin));
        moved.map_err(|source| IoError::reading(self.file.as_ref(), source))?;
        self.at = begin;
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), IoError> {
        let read = self.inner.read_exact(into);
        read.map_err(|source| IoError::reading(self.file.as_ref(), source))?;
        self.at += into.len() as u64;
        Ok(())
    }
}
