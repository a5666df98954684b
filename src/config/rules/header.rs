//! Headers that a configuration may set: neither those that carry keys nor those of the request
//! itself.

use http::{HeaderName, HeaderValue};

use crate::config::settings::binding::Auth;

/// Message for an invalid header name. Does not include the name: `"Authorization: Bearer <key>"`
/// contains a key.
pub(crate) const INVALID_NAME: &str = "one of the header names is invalid";

/// Headers that carry keys. A value for one of them would be a key in the configuration.
const KEY_HEADERS: [&str; 4] = ["x-honeycomb-team", "api_key", "api-key", "x-api-key"];

/// Words in the names of any vendor's key headers.
const KEY_WORDS: [&str; 11] = [
    "apikey",
    "auth",
    "authentication",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "password",
    "secret",
    "signature",
    "token",
];

/// Headers that each request sets itself.
const OWN_HEADERS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "x-source",
];

/// Returns the header that carries the key, as set by `auth`.
pub(crate) fn key_header(name: &str) -> Result<HeaderName, &'static str> {
    let header = HeaderName::try_from(name).map_err(|_| "invalid header name")?;
    if is_request_header(&header) {
        return Err("this header is set by the request itself, and cannot carry the key");
    }
    Ok(header)
}

/// Returns the reason why a header cannot be set to a value, or `None`. Does not include the value.
pub(crate) fn problem(header: &HeaderName, value: &str, auth: Option<&Auth>) -> Option<&'static str> {
    let auth = auth.and_then(|auth| key_header(&auth.header).ok());
    if carries_a_key(header) || auth.as_ref() == Some(header) || looks_like_a_key(value) {
        return Some(
            "this header carries a key, and a key is never written in the configuration; use api_key, and auth for another header",
        );
    }
    if is_request_header(header) {
        return Some("this header is set by the request itself");
    }
    if HeaderValue::from_str(value).is_err() {
        return Some("the value contains characters that are invalid in a header");
    }
    // Receivers strip surrounding white space (RFC 9110, 5.5), and would see another value.
    (value.trim() != value).then_some("the value starts or ends with white space, which receivers strip")
}

/// gRPC reserves names that start with `grpc-`, and expects binary values for names that end in
/// `-bin`.
fn is_request_header(header: &HeaderName) -> bool {
    let name = header.as_str();
    OWN_HEADERS.contains(&name) || name.starts_with("grpc-") || name.ends_with("-bin")
}

fn carries_a_key(header: &HeaderName) -> bool {
    let name = header.as_str();
    let mut words = name.split(['-', '_', '.']);
    KEY_HEADERS.contains(&name) || name.ends_with("api-key") || words.any(|word| KEY_WORDS.contains(&word))
}

/// Returns whether a value starts with `Bearer` or `Basic` and has more text.
fn looks_like_a_key(value: &str) -> bool {
    let scheme = value.trim_start().split(' ').next().unwrap_or_default();
    scheme.len() < value.trim().len()
        && ["bearer", "basic"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
}
