//! Fingerprints of keys.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::{Serialize, Serializer};

/// Fingerprint of a key, shown as twelve hexadecimal digits.
///
/// Only comparable with fingerprints of the same collector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

/// Returns the 48 bits of the fingerprint.
impl From<Fingerprint> for u64 {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
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

/// Computes fingerprints of keys.
pub(crate) struct Fingerprints(Box<Make>);

type Make = dyn Fn(&[u8]) -> u64 + Send + Sync;

impl Fingerprints {
    pub(crate) fn new(make: impl Fn(&[u8]) -> u64 + Send + Sync + 'static) -> Self {
        Self(Box::new(make))
    }

    pub(crate) fn of(&self, key: &[u8]) -> Fingerprint {
        Fingerprint((self.0)(key))
    }
}

/// SipHash with a random 128-bit key, truncated to 48 bits.
impl Default for Fingerprints {
    fn default() -> Self {
        let state = RandomState::new();
        Self::new(move |key| state.hash_one(key) >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_stable_in_a_collector_and_differ_between_collectors() {
        let one = Fingerprints::default();
        assert_eq!(one.of(b"key"), one.of(b"key"));
        assert_ne!(one.of(b"key"), one.of(b"kez"));
        assert_ne!(one.of(b"key"), Fingerprints::default().of(b"key"));
        assert_eq!(one.of(b"key").to_string().len(), 12);
    }
}
