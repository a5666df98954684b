//! The key itself.
#![expect(clippy::disallowed_methods, reason = "this is where the bytes of a key are read")]

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret, SecretString};

use super::{Fingerprint, Fingerprinter, SecretFault, rules};

/// The largest key, in bytes. Far above any real one, and below what servers take as a header.
pub(super) const MAX_KEY_BYTES: usize = 8 * 1024;

/// The byte order mark in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A project's key, held in memory that is wiped on drop. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct ApiKey(SecretString);

/// How a key is written into its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyScheme {
    /// `Bearer <key>`
    Bearer,
    /// `Basic <base64 of key>`, for keys of the form `user:secret`
    Basic,
    /// The key alone.
    Raw,
}

impl ApiKey {
    /// Checks what holds for a key however it is sent.
    pub(super) fn new(secret: SecretString) -> Result<Self, SecretFault> {
        rules::check(secret.expose_secret())?;
        Ok(Self(secret))
    }

    /// Checks what holds for a key that is sent so.
    pub(super) fn check_for(&self, scheme: KeyScheme) -> Result<(), SecretFault> {
        rules::check_for(self.0.expose_secret(), scheme)
    }

    /// Takes what a file has: as [`from_output`](Self::from_output), without the byte order mark that some editors put first.
    pub(super) fn from_file(mut bytes: Vec<u8>) -> Result<Self, SecretFault> {
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Self::from_output(bytes)
    }

    /// Takes what a file or a command gave: one newline at the end is not part of the key, everything else is.
    pub(super) fn from_output(mut bytes: Vec<u8>) -> Result<Self, SecretFault> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let key = if bytes.len() > MAX_KEY_BYTES {
            Err(SecretFault::TooLarge(MAX_KEY_BYTES))
        } else {
            // Copied into a string of exactly its size: making a larger one smaller may leave a copy behind that nobody wipes.
            let text = std::str::from_utf8(&bytes).map_err(|_| SecretFault::NotUtf8);
            text.and_then(|text| Self::new(SecretString::from(text.to_owned())))
        };
        bytes.zeroize();
        key
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }

    /// What may be shown of it.
    pub fn fingerprint(&self, fingerprinter: &Fingerprinter) -> Fingerprint {
        fingerprinter.fingerprint(self.0.expose_secret().as_bytes())
    }

    /// The header value that carries it, marked sensitive so that HTTP libraries neither log nor index it.
    pub(crate) fn header_value(&self, scheme: KeyScheme) -> HeaderValue {
        let key = self.0.expose_secret();
        let text = match scheme {
            KeyScheme::Bearer => SecretString::from(format!("Bearer {key}")),
            KeyScheme::Basic => SecretString::from(format!("Basic {}", BASE64.encode(key))),
            KeyScheme::Raw => self.0.clone(),
        };
        let mut value = HeaderValue::from_bytes(text.expose_secret().as_bytes())
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
