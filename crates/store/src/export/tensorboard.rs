//! Metrics as TensorBoard reads them: records of TFRecord's framing, each one `Event` of
//! TensorFlow's `event.proto` with a `Summary` of scalars.
//!
//! The framing: length `u64`, its masked CRC-32C, the bytes, their masked CRC-32C; all
//! little-endian. Of the messages only `Event { wall_time = 1, step = 2, file_version = 3,
//! summary = 5 }`, `Summary { value = 1 }` and `Value { tag = 1, simple_value = 2 }` are written:
//! three kinds of field, so a library would be longer than the code it saves.

use std::io::{self, Write};

use super::metrics::MetricRow;
use crate::commit::Kind;

/// A file of events.
#[derive(Debug)]
pub struct EventFile<W: Write> {
    out: W,
}

impl<W: Write> EventFile<W> {
    /// What the file should be called: readers look for `tfevents`.
    pub const NAME: &'static str = "events.out.tfevents.stepwell";

    /// Begins a file.
    pub fn new(out: W) -> io::Result<EventFile<W>> {
        let mut event = Vec::new();
        double(&mut event, 1, 0.0);
        bytes(&mut event, 3, b"brain.Event:2");
        let mut file = EventFile { out };
        file.record(&event)?;
        Ok(file)
    }

    /// Adds the numbers of a commit. The clock of the file is the run's own, seconds since 1970
    /// standing for seconds since the run began: a run that repeats itself writes equal curves.
    pub fn put(&mut self, row: &MetricRow) -> io::Result<()> {
        let mut summary = Vec::new();
        for (name, value) in &row.metrics {
            let mut scalar = Vec::new();
            bytes(&mut scalar, 1, tag(row, name).as_bytes());
            float(&mut scalar, 2, *value as f32);
            bytes(&mut summary, 1, &scalar);
        }
        let mut event = Vec::new();
        double(&mut event, 1, row.seconds);
        varint(&mut event, 2 << 3);
        varint(&mut event, row.step);
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    /// Hands what was written to the file system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The file itself.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn record(&mut self, event: &[u8]) -> io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked(&length).to_le_bytes())?;
        self.out.write_all(event)?;
        self.out.write_all(&masked(event).to_le_bytes())
    }
}

/// `stage1/reward` of an update, `stage1/development/accuracy` of an evaluation.
fn tag(row: &MetricRow, name: &str) -> String {
    let key = &row.commit.key;
    match key.kind {
        Kind::Evaluated => format!("stage{}/{}/{name}", key.stage, key.name),
        _ => format!("stage{}/{name}", key.stage),
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn float(out: &mut Vec<u8>, field: u64, value: f32) {
    varint(out, field << 3 | 5);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// TFRecord's mask: a checksum of data that holds checksums is a weak one.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected, bit by bit: a metric is a few hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommitInfo, CommitKey, Digest, Head};

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        // Known of TFRecord files: the mask of the length 24, `18 00 00 00 00 00 00 00`.
        assert_eq!(masked(&24u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_number_is_a_record_worked_by_hand() {
        let row = MetricRow {
            commit: CommitInfo {
                head: Head { number: 3, digest: Digest::of(b"") },
                key: CommitKey { kind: Kind::Updated, stage: 1, update: 0, name: String::new() },
            },
            step: 300,
            seconds: 1.0,
            metrics: [("loss".to_owned(), 0.5)].into(),
        };
        let mut file = EventFile::new(Vec::new()).unwrap();
        let begin = file.out.len();
        assert_eq!(begin, 8 + 4 + 24 + 4, "the version's event has 24 bytes");
        file.put(&row).unwrap();
        let written = file.into_inner();
        let event = &written[begin + 12..written.len() - 4];
        let mut expected = vec![0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]; // wall_time 1.0
        expected.extend([0x10, 0xac, 0x02]); // step 300
        expected.extend([0x2a, 20, 0x0a, 18, 0x0a, 11]); // summary, value, tag
        expected.extend(b"stage1/loss");
        expected.extend([0x15, 0, 0, 0, 0x3f]); // simple_value 0.5
        assert_eq!(event, expected);
    }
}
