//! BLAKE3 over the canonical bytes of rows, chained from commit to commit.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 256 bits that name content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What stands before the first commit.
    pub const ZERO: Digest = Digest([0; 32]);

    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Display for Digest {
    /// Twelve digits: enough to tell two apart by eye.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex()[..12])
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(&text).map_err(serde::de::Error::custom)?;
        Ok(Digest(*hash.as_bytes()))
    }
}

/// Feeds pieces to BLAKE3 with their lengths, so that no two sequences share bytes.
pub(crate) struct PieceHasher(blake3::Hasher);

impl PieceHasher {
    /// `domain` separates digests of different things.
    pub(crate) fn new(domain: &str) -> Self {
        let mut hasher = PieceHasher(blake3::Hasher::new());
        hasher.put(domain.as_bytes());
        hasher
    }

    pub(crate) fn put(&mut self, piece: &[u8]) {
        self.0.update(&(piece.len() as u64).to_le_bytes());
        self.0.update(piece);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}
