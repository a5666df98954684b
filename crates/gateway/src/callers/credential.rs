//! Tokens: as sent by clients, and as keyed hashes.
//!
//! The only place outside the library's `secret` module that reads the bytes of a token.
#![expect(clippy::disallowed_methods, reason = "the one place that reads the bytes of a token")]

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ring::rand::SystemRandom;
use ring::{digest, hmac};
use secrecy::zeroize::Zeroizing;
use tracer_registry::secret::ApiKey;

use super::refusal::Refusal;
use crate::config::BasicPart;

/// Headers that carry a credential.
const HEADERS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-honeycomb-team"),
];

/// Base64 with or without padding, because clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Computes keyed hashes of tokens. The key is random and never leaves the process.
#[derive(Clone)]
pub(super) struct TokenHasher(hmac::Key);

/// Keyed hash of a token.
pub(super) type TokenHash = [u8; 32];

/// A credential of a request.
pub(super) enum Credential<'h> {
    Token(&'h [u8]),
    /// The decoded text of a `Basic` credential.
    Basic(Zeroizing<Vec<u8>>),
}

impl TokenHasher {
    /// Creates a hasher with a new key.
    pub(super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self(key.expect("the system has random numbers"))
    }

    pub(super) fn hash_token(&self, token: &[u8]) -> TokenHash {
        self.hash(digest::digest(&digest::SHA256, token).as_ref())
    }

    /// Hashes a token of which only the SHA-256 is known.
    pub(super) fn hash_digest(&self, sha256: &[u8; 32]) -> TokenHash {
        self.hash(sha256)
    }

    /// Hashes a token that was read from its source. Returns its length too.
    pub(super) fn hash_key(&self, key: &ApiKey) -> (TokenHash, usize) {
        (self.hash_token(key.bytes()), key.bytes().len())
    }

    fn hash(&self, sha256: &[u8]) -> TokenHash {
        let tag = hmac::sign(&self.0, sha256);
        tag.as_ref().try_into().expect("a tag of HMAC-SHA256 has 32 bytes")
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
        for name in HEADERS {
            for value in headers.get_all(&name) {
                let is_authorization = name == header::AUTHORIZATION;
                if found.replace((is_authorization, value)).is_some() {
                    return Err(Refusal::SeveralCredentials);
                }
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

    /// Returns the token of the only `Authorization` header, whose scheme is `Bearer`.
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
