//! Fingerprints of keys: short hashes under a random seed that never leaves the process.
//!
//! One [`Fingerprinter`] returns equal fingerprints for equal keys, so a table or log line can show
//! that two tracers share a key without showing the key. Fingerprints of different processes are
//! not comparable, so a list of them cannot be searched for a known key.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of hexadecimal digits shown.
const DIGITS: usize = 12;

/// Twelve hexadecimal digits that identify a key without revealing it.
///
/// Comparable only with fingerprints of the same [`Fingerprinter`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

/// Computes [`Fingerprint`]s. Clones return equal fingerprints for equal keys.
///
/// Uses SipHash with a random 128-bit seed, truncated to 48 bits. Each [`Fingerprinter::new`] draws
/// a new seed.
#[derive(Clone, Default)]
pub struct Fingerprinter(RandomState);

impl Fingerprinter {
    /// Creates a fingerprinter with a new random seed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the fingerprint of a key's bytes.
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        Fingerprint(hasher.finish() >> 16)
    }
}

/// Returns its 48 bits.
impl From<Fingerprint> for u64 {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_valid = text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let digits = is_valid.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
        digits
            .map(Self)
            .ok_or_else(|| D::Error::custom("expected a fingerprint of 12 hexadecimal digits"))
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprinter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_have_equal_fingerprints_under_one_seed_only() {
        let one = Fingerprinter::new();
        assert_eq!(one.fingerprint(b"key"), one.clone().fingerprint(b"key"));
        assert_ne!(one.fingerprint(b"key"), one.fingerprint(b"kez"));
        assert_ne!(one.fingerprint(b"key"), Fingerprinter::new().fingerprint(b"key"));
        assert_eq!(one.fingerprint(b"key").to_string().len(), 12);
    }
}
