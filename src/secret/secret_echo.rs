//! Detects whether a receiver's text echoes a secret of the request, in any encoding.
//!
//! Text and secret are compared in their [normal forms](super::normalize): escapes decoded,
//! separators dropped, case folded. The search also covers hexadecimal, decimal and base64 bytes,
//! for each position of the secret's first byte within a base64 group of three. Eight consecutive
//! characters count as a match; a shorter secret must match completely. An uncertain match counts,
//! because withholding a text costs less than leaking a key.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use secrecy::zeroize::Zeroizing;

use super::ApiKey;
use super::normalize::{DecodedLayers, NormalForm, alphanumerics, without_tags};

/// Consecutive characters of a secret that count as a match.
const MIN_MATCH: usize = 8;
/// Minimum letters and digits of a password to search for it without its user. A shorter one could
/// be any word.
const MIN_PASSWORD: usize = 4;

/// Secrets that were sent with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentSecrets<'a> {
    key: &'a ApiKey,
    proxy_credentials: Option<&'a ApiKey>,
}

impl<'a> SentSecrets<'a> {
    /// Takes the key of the request, and the credentials of a proxy on the way.
    ///
    /// Headers of the binding are not included, because the configuration refuses headers that
    /// carry a key.
    pub(crate) fn new(key: &'a ApiKey, proxy_credentials: Option<&'a ApiKey>) -> Self {
        Self { key, proxy_credentials }
    }

    /// Returns whether a text may contain one of the secrets. Takes time proportional to the text's
    /// length, which the caller must bound.
    pub(crate) fn may_appear_in(&self, text: &str) -> bool {
        let text = SearchedText::of(text);
        let mut secrets = std::iter::once(self.key).chain(self.proxy_credentials);
        secrets.any(|secret| text.contains(secret.text()))
    }
}

/// Normal forms of the text to search.
struct SearchedText<'a> {
    raw: &'a str,
    layers: DecodedLayers,
    /// Alphanumerics of each layer, with and without tags.
    alphanumerics: Vec<NormalForm>,
}

impl<'a> SearchedText<'a> {
    fn of(text: &'a str) -> Self {
        let layers = DecodedLayers::of(text);
        let without_tags = layers.forms.iter().map(|form| alphanumerics(&without_tags(form)));
        let alphanumerics = layers.forms.iter().map(|form| alphanumerics(form)).chain(without_tags);
        Self {
            raw: text,
            alphanumerics: alphanumerics.collect(),
            layers,
        }
    }

    fn contains(&self, secret: &str) -> bool {
        let password = secret.split_once(':').map(|(_, password)| password);
        let password = password.filter(|password| alphanumerics(password.as_bytes()).len() >= MIN_PASSWORD);
        // The header carries the secret in base64, and the receiver may encode it once more.
        let in_header = Zeroizing::new(if secret.contains(':') {
            BASE64.encode(secret)
        } else {
            String::new()
        });
        !self.layers.fully_decoded
            || self.contains_secret(secret)
            || password.is_some_and(|password| self.contains_secret(password))
            || !in_header.is_empty() && self.contains_secret(&in_header)
    }

    fn contains_secret(&self, secret: &str) -> bool {
        if self.raw.contains(secret) {
            return true;
        }
        let layers = DecodedLayers::of(secret);
        let plain = alphanumerics(layers.innermost());
        let mut needles = Needles::with_capacity(ENCODED_BYTES * (secret.len() + 2));
        encodings(secret.as_bytes(), |encoded| needles.add(&alphanumerics(encoded)));
        needles.add(&alphanumerics(&layers.forms[0]));
        needles.add(&plain);
        needles.sort();
        if self.alphanumerics.iter().any(|text| needles.match_in(text)) {
            return true;
        }
        if plain.len() >= MIN_MATCH {
            return false;
        }
        // The secret may consist mostly of separators.
        let mut needles = Needles::with_capacity(layers.innermost().len());
        needles.add(layers.innermost());
        needles.sort();
        self.layers.forms.iter().any(|form| needles.match_in(form))
    }
}

/// Maximum total bytes of all encodings of one byte of a secret.
const ENCODED_BYTES: usize = 18;

/// Calls `each` with the encodings of a secret's bytes.
fn encodings(secret: &[u8], mut each: impl FnMut(&[u8])) {
    let digits = || Zeroizing::new(String::with_capacity(secret.len() * 4));
    let (mut hex, mut prefixed, mut decimal) = (digits(), digits(), digits());
    for byte in secret {
        write!(hex, "{byte:02x}").expect("memory");
        write!(prefixed, "0x{byte:02x}").expect("memory");
        write!(decimal, "{byte}").expect("memory");
    }
    for encoded in [hex, prefixed, decimal] {
        each(encoded.as_bytes());
    }
    // Bytes before the secret shift its base64 encoding by up to two bytes. Characters that also
    // encode bits of adjacent bytes are skipped.
    for (before, mixed) in [(0, 0), (1, 2), (2, 3)] {
        if before > 0 && secret.len() < MIN_MATCH {
            break;
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(before + secret.len()));
        bytes.resize(before, 0);
        bytes.extend_from_slice(secret);
        let encoded = Zeroizing::new(BASE64.encode(&*bytes));
        each(&encoded.as_bytes()[mixed..bytes.len() * 8 / 6]);
    }
}

/// Byte sequences to search for.
struct Needles {
    windows: Zeroizing<Vec<u64>>,
    /// Sequences shorter than a window.
    short: Vec<NormalForm>,
}

impl Needles {
    fn with_capacity(windows: usize) -> Self {
        Self {
            windows: Zeroizing::new(Vec::with_capacity(windows)),
            short: Vec::new(),
        }
    }

    fn add(&mut self, encoded: &[u8]) {
        if encoded.len() >= MIN_MATCH {
            self.windows.extend(windows(encoded));
        } else if !encoded.is_empty() {
            self.short.push(Zeroizing::new(encoded.to_owned()));
        }
    }

    /// Must be called before `match_in`.
    fn sort(&mut self) {
        self.windows.sort_unstable();
    }

    fn match_in(&self, text: &[u8]) -> bool {
        windows(text).any(|window| self.windows.binary_search(&window).is_ok())
            || self
                .short
                .iter()
                .any(|short| text.windows(short.len()).any(|part| part == &short[..]))
    }
}

/// Returns all windows of [`MIN_MATCH`] bytes. A character may take several bytes.
fn windows(text: &[u8]) -> impl Iterator<Item = u64> {
    let window = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("windows of this size"));
    text.windows(MIN_MATCH).map(window)
}
