//! Finds the key in a request's headers, and redacts it.
//!
//! The order is: headers from the settings (`Bearer k`, `Basic base64(k)` or the key itself),
//! `Authorization` (`Bearer k`, `Basic base64(k)`, any other scheme, or the key itself), and the
//! first of `x-api-key`, `x-honeycomb-team`, `api_key` and `api-key`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

const KEY_HEADERS: [&str; 4] = ["x-api-key", "x-honeycomb-team", "api_key", "api-key"];

/// Texts that clients send if their key is not set.
const NO_KEY: [&str; 3] = ["None", "null", "undefined"];

/// Headers that are recorded even if the request has no known key. Any other could contain a key.
const HARMLESS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "x-source",
];

/// Headers with keys from the settings, in addition to the known ones.
pub(crate) struct KeyHeaders(Vec<HeaderName>);

impl KeyHeaders {
    pub(crate) fn new(named: Vec<HeaderName>) -> Self {
        Self(named)
    }

    /// Returns the key. `None` if the request has no usable key.
    pub(crate) fn key_of(&self, headers: &HeaderMap) -> Option<Vec<u8>> {
        let named = |name: &HeaderName| usable(from_named(headers.get(name)?.as_bytes())?);
        let from_authorization = || usable(from_authorization(headers.get(AUTHORIZATION)?.as_bytes())?);
        let from_others = || {
            KEY_HEADERS
                .iter()
                .find_map(|name| usable(headers.get(*name)?.as_bytes().to_vec()))
        };
        let key = self.0.iter().find_map(named);
        key.or_else(from_authorization).or_else(from_others)
    }

    fn carries_key(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
            || [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name)
            || KEY_HEADERS.contains(&name.as_str())
    }

    /// Returns the headers as text in the order received. Headers with keys have the value
    /// `redacted`. Without a known key, every header that could contain one has it.
    pub(crate) fn redacted(&self, headers: &HeaderMap, is_key_known: bool) -> Vec<(String, String)> {
        let is_shown =
            |name: &HeaderName| !self.carries_key(name) && (is_key_known || HARMLESS.contains(&name.as_str()));
        let text = |name: &HeaderName, value: &HeaderValue| {
            if is_shown(name) {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            } else {
                "redacted".to_owned()
            }
        };
        let headers = headers.iter();
        headers
            .map(|(name, value)| (name.as_str().to_owned(), text(name, value)))
            .collect()
    }
}

/// Returns the key in a header from the settings, with any scheme that a binding's `auth` allows:
/// `bearer`, `basic` or `raw`.
fn from_named(value: &[u8]) -> Option<Vec<u8>> {
    let scheme = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"basic") {
        from_authorization(value)
    } else {
        Some(value.to_vec())
    }
}

fn from_authorization(value: &[u8]) -> Option<Vec<u8>> {
    let value = value.trim_ascii();
    // Only a scheme: the client's key is empty.
    if value.eq_ignore_ascii_case(b"bearer") || value.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let Some(space) = value.iter().position(u8::is_ascii_whitespace) else {
        return Some(value.to_vec());
    };
    let (scheme, key) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"basic") {
        STANDARD.decode(key).ok()
    } else {
        Some(key.to_vec())
    }
}

fn usable(key: Vec<u8>) -> Option<Vec<u8>> {
    let key = if key.trim_ascii().len() == key.len() {
        key
    } else {
        key.trim_ascii().to_vec()
    };
    let absent = key.is_empty() || NO_KEY.iter().any(|word| word.as_bytes() == key);
    if absent { None } else { Some(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn key(list: &[(&str, &str)]) -> Option<String> {
        let plain = KeyHeaders::new(Vec::new());
        plain.key_of(&headers(list)).map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn keys_are_found_in_every_supported_header() {
        for list in [
            [("authorization", "Bearer k-1")],
            [("authorization", "bearer  k-1 ")],
            [("authorization", "Basic ay0x")],
            [("authorization", "k-1")],
            [("authorization", "Token k-1")],
            [("x-api-key", "k-1")],
            [("x-honeycomb-team", "k-1")],
            [("api_key", "k-1")],
            [("api-key", "k-1")],
        ] {
            assert_eq!(key(&list).as_deref(), Some("k-1"), "{list:?}");
        }
    }

    #[test]
    fn placeholders_of_missing_keys_are_not_keys() {
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer None",
            "Bearer null",
            "None",
            "Basic",
            "Basic !",
            "Basic Tm9uZQ==",
            "",
        ] {
            assert_eq!(key(&[("authorization", value)]), None, "{value:?}");
        }
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[("x-api-key", "")]), None);
    }

    #[test]
    fn an_empty_authorization_falls_back_to_key_headers() {
        assert_eq!(
            key(&[("authorization", "Bearer "), ("x-api-key", "k-2")]).as_deref(),
            Some("k-2")
        );
    }

    #[test]
    fn a_custom_key_header_works_with_and_without_a_scheme() {
        let named = KeyHeaders::new(vec![HeaderName::from_static("x-custom")]);
        for value in ["k-1", "Bearer k-1", "basic ay0x"] {
            let headers = headers(&[("x-custom", value), ("authorization", "Bearer other")]);
            assert_eq!(named.key_of(&headers).as_deref(), Some(&b"k-1"[..]), "{value}");
        }
        assert_eq!(
            named.key_of(&headers(&[("x-custom", "two words")])).as_deref(),
            Some(&b"two words"[..])
        );
        assert_eq!(
            named
                .key_of(&headers(&[("x-custom", ""), ("authorization", "Bearer other")]))
                .as_deref(),
            Some(&b"other"[..])
        );
    }

    #[test]
    fn redacted_headers_carry_no_key() {
        let list = [
            ("Authorization", "Bearer canary"),
            ("api_key", "canary"),
            ("api-key", "canary"),
            ("x-api-key", "canary"),
            ("x-honeycomb-team", "canary"),
            ("cookie", "canary"),
            ("x-custom", "canary"),
            ("x-source", "production"),
            ("x-owner", "acme"),
        ];
        let named = KeyHeaders::new(vec![HeaderName::from_static("x-custom")]);
        let shown = named.redacted(&headers(&list), true);
        assert!(!format!("{shown:?}").contains("canary"));
        let has =
            |shown: &[(String, String)], name: &str, value: &str| shown.contains(&(name.to_owned(), value.to_owned()));
        assert!(has(&shown, "x-source", "production") && has(&shown, "x-owner", "acme"));
        assert!(has(&shown, "authorization", "redacted"));
    }

    #[test]
    fn without_a_known_key_all_unknown_headers_are_redacted() {
        let unnamed = KeyHeaders::new(Vec::new());
        let shown = unnamed.redacted(
            &headers(&[("x-custom", "canary"), ("content-type", "application/json")]),
            false,
        );
        let expected = [("x-custom", "redacted"), ("content-type", "application/json")];
        assert_eq!(shown, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
