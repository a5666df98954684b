//! The key itself.
#![expect(clippy::disallowed_methods, reason = "this is where the bytes of a key are read")]

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderValue;
use secrecy::zeroize::{Zeroize as _, Zeroizing};
use secrecy::{ExposeSecret, SecretString};

use super::rules::{self, KeyScheme, MAX_KEY_BYTES};
use super::{Fingerprint, Fingerprinter, SecretErrorKind};

/// The byte order mark in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A project's key. Its own memory is wiped on drop; copies that the HTTP client and the system make when it is sent are not. `Debug` shows nothing
/// of it.
#[derive(Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// Checks what holds for a key however it is sent.
    pub(super) fn new(secret: SecretString) -> Result<Self, SecretErrorKind> {
        rules::check(secret.expose_secret())?;
        Ok(Self(secret))
    }

    /// Checks what holds for a key that is sent so.
    pub(super) fn check_for(&self, scheme: KeyScheme) -> Result<(), SecretErrorKind> {
        rules::check_for(self.0.expose_secret(), scheme)
    }

    /// Takes what a file has: as [`from_output`](Self::from_output), without the byte order mark that some editors put first.
    pub(super) fn from_file(mut bytes: Vec<u8>) -> Result<Self, SecretErrorKind> {
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Self::from_output(bytes)
    }

    /// Takes what a file or a command gave: one newline at the end is not part of the key, everything else is.
    pub(super) fn from_output(mut bytes: Vec<u8>) -> Result<Self, SecretErrorKind> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let key = if bytes.len() > MAX_KEY_BYTES {
            Err(SecretErrorKind::TooLarge(MAX_KEY_BYTES))
        } else {
            // Copied into a string of exactly its size: making a larger one smaller may leave a copy behind that is not wiped.
            let text = std::str::from_utf8(&bytes).map_err(|_| SecretErrorKind::NotUtf8);
            text.and_then(|text| Self::new(SecretString::from(text.to_owned())))
        };
        bytes.zeroize();
        key
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }

    /// Returns the fingerprint, which may be shown in place of the key.
    pub fn fingerprint(&self, fingerprinter: &Fingerprinter) -> Fingerprint {
        fingerprinter.fingerprint(self.0.expose_secret().as_bytes())
    }

    /// The header value that carries it, in memory that is wiped when its last clone goes. Marked sensitive, so that HTTP libraries neither log it
    /// nor keep it in a table of HTTP/2. They copy it into buffers of their own when they send it, which are not wiped.
    pub(crate) fn header_value(&self, scheme: KeyScheme) -> HeaderValue {
        let key = self.0.expose_secret();
        let (word, len) = match scheme {
            KeyScheme::Bearer => ("Bearer ", key.len()),
            KeyScheme::Basic => (
                "Basic ",
                base64::encoded_len(key.len(), true).expect("keys are bounded"),
            ),
            KeyScheme::Raw => ("", key.len()),
        };
        // As large as it gets: a buffer that grows leaves copies behind that are not wiped.
        let mut text = Zeroizing::new(vec![0; word.len() + len]);
        let (start, rest) = text.split_at_mut(word.len());
        start.copy_from_slice(word.as_bytes());
        if scheme == KeyScheme::Basic {
            BASE64.encode_slice(key, rest).expect("it has the room");
        } else {
            rest.copy_from_slice(key.as_bytes());
        }
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text))
            .expect("a key without control characters is a valid header value");
        value.set_sensitive(true);
        value
    }

    /// The key as text, for what is done with it inside this module.
    pub(super) fn text(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ApiKey {
        ApiKey::new(SecretString::from(text)).expect("a key")
    }

    #[test]
    fn a_header_value_is_what_its_scheme_says_and_sensitive() {
        for (scheme, expected) in [
            (KeyScheme::Bearer, "Bearer user:secret"),
            (KeyScheme::Basic, "Basic dXNlcjpzZWNyZXQ="),
            (KeyScheme::Raw, "user:secret"),
        ] {
            let value = key("user:secret").header_value(scheme);
            assert_eq!(value.to_str().expect("ASCII"), expected);
            assert!(value.is_sensitive());
            assert!(value.clone().is_sensitive(), "and so are its clones");
        }
    }

    /// Reads freed memory through the system. In a process of its own, because another thread
    /// could allocate that memory and write to it.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_header_value_is_wiped_when_its_last_clone_goes() {
        use std::fs::File;
        use std::os::unix::fs::FileExt;

        const TEST: &str = "secret::key::tests::a_header_value_is_wiped_when_its_last_clone_goes";
        if !crate::util::own_process::is_own_process(TEST, &[]) {
            return;
        }
        let memory = File::open("/proc/self/mem").expect("Linux");
        for scheme in [KeyScheme::Bearer, KeyScheme::Basic, KeyScheme::Raw] {
            let value = key(&"hh_canary".repeat(200)).header_value(scheme);
            let (at, mut seen) = (value.as_bytes().as_ptr().addr() as u64, vec![0; value.len()]);
            let clone = value.clone();
            assert_eq!(clone.as_bytes().as_ptr().addr() as u64, at, "it is not copied");
            drop(value);
            memory.read_exact_at(&mut seen, at).expect("it is mapped");
            assert_eq!(seen, clone.as_bytes());
            drop(clone);
            memory.read_exact_at(&mut seen, at).expect("it stays mapped");
            // Its first bytes may be the allocator's by now.
            assert!(seen[64..].iter().all(|byte| *byte == 0), "{scheme:?}");
        }
    }
}
