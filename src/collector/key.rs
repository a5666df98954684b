//! The key out of a request's headers, and the headers without it.
//!
//! Taken from `Authorization` (`Bearer k`, `Basic base64(k)`, any other scheme, or the raw token without one), else from
//! the first of `x-api-key`, `x-honeycomb-team`, `api_key` and `api-key`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, PROXY_AUTHORIZATION};

const KEY_HEADERS: [&str; 4] = ["x-api-key", "x-honeycomb-team", "api_key", "api-key"];

/// What languages print where a key was not set: a client that sends one of these has no key.
const NO_KEY: [&str; 3] = ["None", "null", "undefined"];

/// The key, or `None` where the request carries none that is usable.
pub(super) fn of(headers: &HeaderMap) -> Option<Vec<u8>> {
    let from_authorization = || usable(from_authorization(headers.get(AUTHORIZATION)?.as_bytes())?);
    let from_others = || {
        KEY_HEADERS
            .iter()
            .find_map(|name| usable(headers.get(*name)?.as_bytes().to_vec()))
    };
    from_authorization().or_else(from_others)
}

/// Headers as text in the order received, those that carry a key with `redacted` for a value.
pub(super) fn redacted(headers: &HeaderMap) -> Vec<(String, String)> {
    let value = |name: &http::HeaderName, value: &http::HeaderValue| {
        if carries_key(name) {
            "redacted".to_owned()
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        }
    };
    headers
        .iter()
        .map(|(name, content)| (name.as_str().to_owned(), value(name, content)))
        .collect()
}

fn carries_key(name: &http::HeaderName) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) || KEY_HEADERS.contains(&name.as_str())
}

fn from_authorization(value: &[u8]) -> Option<Vec<u8>> {
    let value = value.trim_ascii();
    // A scheme alone: the client's key was empty, and the space after the scheme got lost on the way.
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
        of(&headers(list)).map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn a_key_is_found_in_each_of_the_ways_that_clients_carry_it() {
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
    fn what_a_client_sends_without_a_key_counts_as_missing() {
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
    fn a_key_header_is_used_where_the_authorization_is_empty() {
        assert_eq!(
            key(&[("authorization", "Bearer "), ("x-api-key", "k-2")]).as_deref(),
            Some("k-2")
        );
    }

    #[test]
    fn redacted_headers_carry_no_key() {
        let shown = redacted(&headers(&[
            ("Authorization", "Bearer canary"),
            ("api_key", "canary"),
            ("api-key", "canary"),
            ("x-api-key", "canary"),
            ("x-honeycomb-team", "canary"),
            ("cookie", "canary"),
            ("x-source", "production"),
        ]));
        assert!(!format!("{shown:?}").contains("canary"));
        assert!(shown.contains(&("x-source".to_owned(), "production".to_owned())));
        assert!(shown.contains(&("authorization".to_owned(), "redacted".to_owned())));
    }
}
