//! Whether a receiver's text repeats a secret of the request, in any spelling.
//!
//! Both are compared in the forms of [`normal`](super::normal): escapes undone, separators dropped, capitals folded.
//! A secret is also looked for as hexadecimal, decimal and base64 bytes, wherever in a group of three its first byte
//! is. Eight characters in a row are enough; of a secret that has fewer, all of them. A doubt counts as a yes: it
//! costs a text, never a key.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use secrecy::zeroize::Zeroizing;

use super::ApiKey;
use super::normal::{Form, Layers, letters, without_tags};

/// How many characters of a secret in a row are too many.
const RUN: usize = 8;
/// A password with fewer letters and digits is looked for only together with its user: it could be any word.
const MIN_PASSWORD: usize = 4;

/// The secrets that went out with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentSecrets<'a> {
    key: &'a ApiKey,
    proxy_credentials: Option<&'a ApiKey>,
}

impl<'a> SentSecrets<'a> {
    /// The key that the request was sent with, and the credentials that a proxy on the way got.
    ///
    /// Headers of the binding are not among them: the configuration refuses those that carry a key.
    pub(crate) fn new(key: &'a ApiKey, proxy_credentials: Option<&'a ApiKey>) -> Self {
        Self { key, proxy_credentials }
    }

    /// Whether a text may repeat one of them. The work grows with the length of the text; the caller bounds it.
    pub(crate) fn may_be_in(&self, text: &str) -> bool {
        let text = Views::of(text);
        let mut secrets = std::iter::once(self.key).chain(self.proxy_credentials);
        secrets.any(|secret| text.repeat(secret.text()))
    }
}

/// The forms in which a text is looked through.
struct Views<'a> {
    as_it_is: &'a str,
    layers: Layers,
    /// Of each layer, with and without tags.
    letters: Vec<Form>,
}

impl<'a> Views<'a> {
    fn of(text: &'a str) -> Self {
        let layers = Layers::of(text);
        let without_tags = layers.forms.iter().map(|form| letters(&without_tags(form)));
        let letters = layers.forms.iter().map(|form| letters(form)).chain(without_tags);
        Self {
            as_it_is: text,
            letters: letters.collect(),
            layers,
        }
    }

    fn repeat(&self, secret: &str) -> bool {
        let password = secret.split_once(':').map(|(_, password)| password);
        let password = password.filter(|password| letters(password.as_bytes()).len() >= MIN_PASSWORD);
        // The header has it as base64, and the receiver may encode that once more.
        let in_header = Zeroizing::new(if secret.contains(':') {
            BASE64.encode(secret)
        } else {
            String::new()
        });
        !self.layers.all
            || self.repeat_whole(secret)
            || password.is_some_and(|password| self.repeat_whole(password))
            || !in_header.is_empty() && self.repeat_whole(&in_header)
    }

    fn repeat_whole(&self, secret: &str) -> bool {
        if self.as_it_is.contains(secret) {
            return true;
        }
        let layers = Layers::of(secret);
        let plain_letters = letters(layers.innermost());
        let mut wanted = Wanted::with_capacity(SPELLED_BYTES * (secret.len() + 2));
        encodings(secret.as_bytes(), |encoded| wanted.add(&letters(encoded)));
        wanted.add(&letters(&layers.forms[0]));
        wanted.add(&plain_letters);
        wanted.sort();
        if self.letters.iter().any(|letters| wanted.are_in(letters)) {
            return true;
        }
        if plain_letters.len() >= RUN {
            return false;
        }
        // Most of it may be separators.
        let mut wanted = Wanted::with_capacity(layers.innermost().len());
        wanted.add(layers.innermost());
        wanted.sort();
        self.layers.forms.iter().any(|form| wanted.are_in(form))
    }
}

/// How many bytes all spellings of one byte of a secret have together, at the most.
const SPELLED_BYTES: usize = 18;

/// The bytes of a secret in other spellings.
fn encodings(secret: &[u8], mut each: impl FnMut(&[u8])) {
    let digits = || Zeroizing::new(String::with_capacity(secret.len() * 4));
    let (mut hex, mut prefixed, mut decimal) = (digits(), digits(), digits());
    for byte in secret {
        write!(hex, "{byte:02x}").expect("memory");
        write!(prefixed, "0x{byte:02x}").expect("memory");
        write!(decimal, "{byte}").expect("memory");
    }
    for spelled in [hex, prefixed, decimal] {
        each(spelled.as_bytes());
    }
    // What stands before the secret in the same encoding moves it by up to two bytes. Characters that hold bits of its
    // neighbours too are left out.
    for (before, mixed) in [(0, 0), (1, 2), (2, 3)] {
        if before > 0 && secret.len() < RUN {
            break;
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(before + secret.len()));
        bytes.resize(before, 0);
        bytes.extend_from_slice(secret);
        let encoded = Zeroizing::new(BASE64.encode(&*bytes));
        each(&encoded.as_bytes()[mixed..bytes.len() * 8 / 6]);
    }
}

/// What a text is looked through for.
struct Wanted {
    runs: Zeroizing<Vec<u64>>,
    /// What is shorter than a run.
    short: Vec<Form>,
}

impl Wanted {
    fn with_capacity(runs: usize) -> Self {
        Self {
            runs: Zeroizing::new(Vec::with_capacity(runs)),
            short: Vec::new(),
        }
    }

    fn add(&mut self, spelled: &[u8]) {
        if spelled.len() >= RUN {
            self.runs.extend(runs(spelled));
        } else if !spelled.is_empty() {
            self.short.push(Zeroizing::new(spelled.to_owned()));
        }
    }

    /// To be called before a text is looked through.
    fn sort(&mut self) {
        self.runs.sort_unstable();
    }

    fn are_in(&self, text: &[u8]) -> bool {
        runs(text).any(|run| self.runs.binary_search(&run).is_ok())
            || self
                .short
                .iter()
                .any(|short| text.windows(short.len()).any(|part| part == &short[..]))
    }
}

/// All runs of a text, in bytes: a character may have several.
fn runs(text: &[u8]) -> impl Iterator<Item = u64> {
    let run = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("windows of this size"));
    text.windows(RUN).map(run)
}
