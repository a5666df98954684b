//! Tokens: as sent by clients, and as keyed hashes.
//!
//! The only place outside the library's `secret` module that reads the bytes of a token.
#![expect(clippy::disallowed_methods, reason = "the one place that reads the bytes of a token")]

use std::hash::{BuildHasherDefault, Hash, Hasher};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderValue, header};
use ring::digest::{Context, SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::zeroize::Zeroizing;
use subtle::ConstantTimeEq as _;
use tracer_registry::secret::ApiKey;

use super::refusal::Refusal;
use crate::config::BasicPart;

/// Headers that carry a credential.
const HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-honeycomb-team"];

/// Base64 with or without padding, because clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Computes keyed hashes of tokens: 128 bits of SHA-256 over a random key and the SHA-256 of the
/// token. The key never leaves the process.
///
/// The SHA-256 of the token comes first, because a configuration may contain only that. The key
/// fills a block, and the digest the next one, so this is the inner hash of HMAC-SHA256: a
/// pseudorandom function, as long as no message continues another. All digests are of one length,
/// so none does, and the outer hash of HMAC would add nothing.
///
/// So without the key,
/// - a guessed token or a digest cannot be compared with the hashes in memory;
/// - a token cannot be chosen for its hash. Where a table keeps a hash reveals nothing about a
///   token, and a wrong token has the hash of one of `n` others with a probability of `n / 2^128`.
#[derive(Clone)]
pub(super) struct TokenHasher {
    /// SHA-256 that has read the key.
    keyed: Context,
}

/// Keyed hash of a token. Compared in constant time.
#[derive(Clone, Copy, Eq)]
pub(super) struct TokenHash(pub(super) [u8; 16]);

/// Hashes [`TokenHash`] for a table: takes its first half, which is already random.
#[derive(Default)]
pub(super) struct FirstHalf(u64);

/// Makes tables of [`TokenHash`].
pub(super) type BuildFirstHalf = BuildHasherDefault<FirstHalf>;

/// A credential of a request.
pub(super) enum Credential<'h> {
    Token(&'h [u8]),
    /// The decoded text of a `Basic` credential.
    Basic(Zeroizing<Vec<u8>>),
}

impl TokenHasher {
    /// Creates a hasher with a new key.
    pub(super) fn new() -> Self {
        let mut key = Zeroizing::new([0; 64]);
        SystemRandom::new()
            .fill(&mut *key)
            .expect("the system has random numbers");
        Self::with_key(&key)
    }

    pub(super) fn with_key(key: &[u8; 64]) -> Self {
        let mut keyed = Context::new(&SHA256);
        keyed.update(key);
        Self { keyed }
    }

    pub(super) fn hash_token(&self, token: &[u8]) -> TokenHash {
        let sha256 = digest(&SHA256, token);
        self.hash_digest(sha256.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Hashes a token of which only the SHA-256 is known.
    pub(super) fn hash_digest(&self, sha256: &[u8; 32]) -> TokenHash {
        let mut keyed = self.keyed.clone();
        keyed.update(sha256);
        let first = keyed.finish().as_ref().first_chunk().copied();
        TokenHash(first.expect("SHA-256 has 32 bytes"))
    }

    /// Hashes a token that was read from its source. Returns its length too.
    pub(super) fn hash_key(&self, key: &ApiKey) -> (TokenHash, usize) {
        (self.hash_token(key.bytes()), key.bytes().len())
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Hasher for FirstHalf {
    fn write(&mut self, bytes: &[u8]) {
        let first = bytes.first_chunk().copied();
        self.0 = u64::from_ne_bytes(first.expect("a hash has 16 bytes"));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<'h> Credential<'h> {
    /// Returns the credential of a request.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] for none and for a malformed one, [`Refusal::SeveralCredentials`]
    /// for several headers, whatever they contain.
    pub(super) fn of(headers: &'h HeaderMap) -> Result<Self, Refusal> {
        let mut found: Option<(bool, &HeaderValue)> = None;
        for (name, value) in headers {
            if !HEADERS.contains(&name.as_str()) {
                continue;
            }
            let is_authorization = *name == header::AUTHORIZATION;
            if found.replace((is_authorization, value)).is_some() {
                return Err(Refusal::SeveralCredentials);
            }
        }
        let (is_authorization, value) = found.ok_or(Refusal::Unauthorized)?;
        let value = value.as_bytes().trim_ascii();
        if value.is_empty() {
            return Err(Refusal::Unauthorized);
        }
        if !is_authorization {
            return Ok(Self::Token(value));
        }
        let word = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, rest) = (&value[..word], value[word..].trim_ascii_start());
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return if rest.is_empty() {
                Err(Refusal::Unauthorized)
            } else {
                Ok(Self::Token(rest))
            };
        }
        if scheme.eq_ignore_ascii_case(b"basic") {
            return decoded(rest).map(Self::Basic);
        }
        Ok(Self::Token(value))
    }

    /// Returns the token of the only `Authorization` header. Its scheme must be `Bearer`.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] for anything else.
    pub(super) fn bearer(headers: &'h HeaderMap) -> Result<&'h [u8], Refusal> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Refusal::Unauthorized);
        };
        let mut parts = value.as_bytes().splitn(2, |byte| *byte == b' ');
        let scheme = parts.next().unwrap_or_default();
        let token = parts.next().unwrap_or_default().trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty() {
            Ok(token)
        } else {
            Err(Refusal::Unauthorized)
        }
    }

    /// Returns the texts that may be the token: the only one, or the parts of a `Basic` credential.
    pub(super) fn candidates(&self) -> [Option<(Option<BasicPart>, &[u8])>; 3] {
        match self {
            Self::Token(token) => [Some((None, token)), None, None],
            Self::Basic(pair) => {
                let colon = pair.iter().position(|byte| *byte == b':');
                let user = colon.map(|at| (Some(BasicPart::User), &pair[..at]));
                let password = colon.map(|at| (Some(BasicPart::Password), &pair[at + 1..]));
                [Some((Some(BasicPart::Pair), pair)), user, password]
            }
        }
    }
}

fn decoded(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let len = BASE64
        .decode_slice(text, &mut bytes)
        .map_err(|_| Refusal::Unauthorized)?;
    bytes.truncate(len);
    Ok(bytes)
}
