//! API keys in wiped memory.
#![expect(clippy::disallowed_methods, reason = "the one place that reads the bytes of a key")]

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

/// A project's API key. Its memory is wiped on drop; copies that the HTTP client and the system
/// make to send it are not. `Debug` shows no part of it.
#[derive(Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// Checks the rules that apply to every scheme.
    pub(super) fn new(secret: SecretString) -> Result<Self, SecretErrorKind> {
        rules::check(secret.expose_secret())?;
        Ok(Self(secret))
    }

    /// Checks the rules of one scheme.
    pub(super) fn check_for(&self, scheme: KeyScheme) -> Result<(), SecretErrorKind> {
        rules::check_for(self.0.expose_secret(), scheme)
    }

    /// Reads the content of a file. Like [`from_output`](Self::from_output), but strips a byte
    /// order mark at the start.
    pub(super) fn from_file(mut bytes: Vec<u8>) -> Result<Self, SecretErrorKind> {
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Self::from_output(bytes)
    }

    /// Reads the output of a command or the content of a file. Strips one newline at the end and
    /// nothing else.
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
            // Copied to an exactly sized string, because shrinking a larger one may leave a copy
            // behind that is not wiped.
            let text = std::str::from_utf8(&bytes).map_err(|_| SecretErrorKind::NotUtf8);
            text.and_then(|text| Self::new(SecretString::from(text.to_owned())))
        };
        bytes.zeroize();
        key
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }

    /// Returns the bytes. Unstable: for the gateway, which compares keyed hashes of its callers'
    /// tokens.
    #[cfg(feature = "gateway")]
    pub fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }

    /// Returns the key for another protocol than HTTP. Unstable: for the gateway.
    #[cfg(feature = "gateway")]
    pub fn into_secret(self) -> SecretString {
        self.0
    }

    /// Returns the value of `Authorization` with the key as a bearer token, marked sensitive.
    /// Unstable: for the gateway.
    #[cfg(feature = "gateway")]
    pub fn bearer(&self) -> HeaderValue {
        self.header_value(KeyScheme::Bearer)
    }

    /// Returns the fingerprint, which is safe to show.
    pub fn fingerprint(&self, fingerprinter: &Fingerprinter) -> Fingerprint {
        fingerprinter.fingerprint(self.0.expose_secret().as_bytes())
    }

    /// Returns the header value with the key, in memory that is wiped when the last clone is
    /// dropped.
    ///
    /// The value is marked sensitive, so that HTTP libraries neither log it nor store it in an
    /// HTTP/2 header table. They copy it to their own buffers to send it; those are not wiped.
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
        // Allocated at its final size, because a growing buffer leaves copies behind that are not
        // wiped.
        let mut text = Zeroizing::new(vec![0; word.len() + len]);
        let (start, rest) = text.split_at_mut(word.len());
        start.copy_from_slice(word.as_bytes());
        if scheme == KeyScheme::Basic {
            BASE64.encode_slice(key, rest).expect("an exactly sized buffer");
        } else {
            rest.copy_from_slice(key.as_bytes());
        }
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text))
            .expect("a key without control characters is a valid header value");
        value.set_sensitive(true);
        value
    }

    /// Returns the key as text, for use in this module only.
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
    fn a_header_value_follows_its_scheme_and_is_sensitive() {
        for (scheme, expected) in [
            (KeyScheme::Bearer, "Bearer user:secret"),
            (KeyScheme::Basic, "Basic dXNlcjpzZWNyZXQ="),
            (KeyScheme::Raw, "user:secret"),
        ] {
            let value = key("user:secret").header_value(scheme);
            assert_eq!(value.to_str().expect("ASCII"), expected);
            assert!(value.is_sensitive());
            assert!(value.clone().is_sensitive(), "clones are sensitive too");
        }
    }

    /// Reads freed memory through `/proc`. Runs in its own process, because another thread could
    /// reuse that memory.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_header_value_is_wiped_when_its_last_clone_is_dropped() {
        use std::fs::File;
        use std::os::unix::fs::FileExt;

        const TEST: &str = "secret::key::tests::a_header_value_is_wiped_when_its_last_clone_is_dropped";
        if !crate::util::own_process::is_own_process(TEST, &[]) {
            return;
        }
        let memory = File::open("/proc/self/mem").expect("Linux");
        for scheme in [KeyScheme::Bearer, KeyScheme::Basic, KeyScheme::Raw] {
            let value = key(&"hh_canary".repeat(200)).header_value(scheme);
            let (at, mut seen) = (value.as_bytes().as_ptr().addr() as u64, vec![0; value.len()]);
            let clone = value.clone();
            assert_eq!(clone.as_bytes().as_ptr().addr() as u64, at, "clones share memory");
            drop(value);
            memory.read_exact_at(&mut seen, at).expect("mapped memory");
            assert_eq!(seen, clone.as_bytes());
            drop(clone);
            memory.read_exact_at(&mut seen, at).expect("still mapped memory");
            // The allocator may have written to the first bytes.
            assert!(seen[64..].iter().all(|byte| *byte == 0), "{scheme:?}");
        }
    }
}
