//! What may be shown of a key: a short hash, keyed with a random value that never leaves the process.
//!
//! The same key gives the same fingerprint as long as the same [`Fingerprinter`] is asked, so a table or a log line can
//! say "these two tracers share a key" without saying which. Fingerprints of two processes do not compare, so a
//! list of them cannot be searched for a known key.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many hexadecimal digits are shown.
const DIGITS: usize = 12;

/// Twelve hexadecimal digits that stand for a key where a key must not be shown.
///
/// Comparable only with fingerprints made by the same [`Fingerprinter`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

/// Makes [`Fingerprint`]s; cloned wherever the same key must give the same one.
///
/// SipHash under 128 random bits, cut to 48 bits. Each [`Fingerprinter::new`] draws its own.
#[derive(Clone, Default)]
pub struct Fingerprinter(RandomState);

impl Fingerprinter {
    /// A fingerprinter with a random value of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fingerprint of the bytes of a key.
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        Fingerprint(hasher.finish() >> 16)
    }
}

/// Its 48 bits.
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
        let is_shown = text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let digits = is_shown.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
        digits
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a fingerprint of 12 hexadecimal digits"))
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
    fn the_same_key_gives_the_same_fingerprint_and_another_process_value_another() {
        let one = Fingerprinter::new();
        assert_eq!(one.fingerprint(b"key"), one.clone().fingerprint(b"key"));
        assert_ne!(one.fingerprint(b"key"), one.fingerprint(b"kez"));
        assert_ne!(one.fingerprint(b"key"), Fingerprinter::new().fingerprint(b"key"));
        assert_eq!(one.fingerprint(b"key").to_string().len(), 12);
    }
}
