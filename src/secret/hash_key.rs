//! The key of hashes in redacted data.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{ApiKey, SecretErrorKind};

/// Fewest bytes of the key: 128 bits.
const MIN_BYTES: usize = 16;

/// The key of hashes in redacted data, in memory that is wiped on drop. `Debug` shows no part of
/// it.
#[derive(Clone)]
pub(crate) struct HashKey(ApiKey);

impl HashKey {
    /// # Errors
    /// Returns [`SecretErrorKind::TooSmall`] if the key has less than 16 bytes.
    pub(super) fn new(key: ApiKey) -> Result<Self, SecretErrorKind> {
        if key.text().len() < MIN_BYTES {
            return Err(SecretErrorKind::TooSmall(MIN_BYTES));
        }
        Ok(Self(key))
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn for_tests() -> Self {
        Self(ApiKey::new(secrecy::SecretString::from("0123456789abcdef")).expect("a key"))
    }

    /// Returns the first 64 bits of the HMAC-SHA-256 of the parts, one after the other.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.text().as_bytes()).expect("keys of any length are valid");
        for part in parts {
            mac.update(part);
        }
        let hash = mac.finalize().into_bytes();
        let (first, _) = hash.split_first_chunk().expect("a hash of 32 bytes");
        u64::from_be_bytes(*first)
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    const EXPECTED: u64 = 0x95dc_a966_38ca_42cb;

    fn key(text: &str) -> Result<HashKey, SecretErrorKind> {
        HashKey::new(ApiKey::new(SecretString::from(text)).expect("a key"))
    }

    #[test]
    fn hashes_are_the_start_of_an_hmac_with_sha_256() {
        // Computed with OpenSSL.
        let key = key("0123456789abcdef").expect("a key of 16 bytes");
        assert_eq!(key.hash(&[b"acme", b"\0", b"alice@example.com"]), EXPECTED);
        assert_eq!(key.hash(&[b"acme\0alice@example.com"]), EXPECTED);
    }

    #[test]
    fn a_short_key_is_refused_and_none_is_shown() {
        assert_eq!(key("0123456789abcde").err(), Some(SecretErrorKind::TooSmall(16)));
        assert_eq!(format!("{:?}", key("0123456789abcdef")), "Ok(HashKey(..))");
    }
}
