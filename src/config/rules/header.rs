//! Which headers a configuration may set: none that carries a key, none that is made with the request.

use http::{HeaderName, HeaderValue};

use crate::config::settings::binding::Auth;

/// For a name that is not a header's. It is not repeated: in `"Authorization: Bearer <key>"` there is a key.
pub(crate) const NO_NAME: &str = "one of the names is no header's name";

/// Headers that carry keys: a value for one of them would be a key written in the configuration.
const KEY_HEADERS: [&str; 4] = ["x-honeycomb-team", "api_key", "api-key", "x-api-key"];

/// Words in the names of headers that carry keys, of any vendor.
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

/// Headers that are made with the request.
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

/// The header that carries the key, as `auth` names it.
pub(crate) fn of_the_key(name: &str) -> Result<HeaderName, &'static str> {
    let header = HeaderName::try_from(name).map_err(|_| "no header's name")?;
    if is_made_with_the_request(&header) {
        return Err("this header is made with the request, and cannot carry the key");
    }
    Ok(header)
}

/// Why a header cannot be set to a value, if it cannot. The value is not repeated.
pub(crate) fn fault(header: &HeaderName, value: &str, auth: Option<&Auth>) -> Option<&'static str> {
    let auth = auth.and_then(|auth| of_the_key(&auth.header).ok());
    if carries_a_key(header) || auth.as_ref() == Some(header) || looks_like_a_key(value) {
        return Some(
            "this header carries a key, and a key is never written in the configuration; use api_key, and auth for another header",
        );
    }
    if is_made_with_the_request(header) {
        return Some("this header is made with the request");
    }
    if HeaderValue::from_str(value).is_err() {
        return Some("the value has characters that a header cannot carry");
    }
    // RFC 9110, 5.5: it is not part of the value, so a receiver would see another one.
    (value.trim() != value).then_some("the value begins or ends with a blank, which no receiver sees")
}

/// Names that begin with `grpc-` are gRPC's own, and values of names that end in `-bin` are no text there.
fn is_made_with_the_request(header: &HeaderName) -> bool {
    let name = header.as_str();
    OWN_HEADERS.contains(&name) || name.starts_with("grpc-") || name.ends_with("-bin")
}

fn carries_a_key(header: &HeaderName) -> bool {
    let name = header.as_str();
    let mut words = name.split(['-', '_', '.']);
    KEY_HEADERS.contains(&name) || name.ends_with("api-key") || words.any(|word| KEY_WORDS.contains(&word))
}

/// `Bearer ...` and `Basic ...`, in any header.
fn looks_like_a_key(value: &str) -> bool {
    let scheme = value.trim_start().split(' ').next().unwrap_or_default();
    scheme.len() < value.trim().len()
        && ["bearer", "basic"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
}
