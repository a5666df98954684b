//! A request with a known token, path and parameters.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tracer_registry::selector::SelectorError;
use tracer_registry::{LookupError, Selector};

use super::query::Query;
use super::refusal::Refusal;
use super::state::Admin;
use crate::log::Log;

/// Longest selector in a path, in bytes.
const MAX_SELECTOR_BYTES: usize = 256;

pub(super) struct Call {
    pub(super) admin: Arc<Admin>,
    /// The selector in the path. `None` if the path has none.
    pub(super) selector: Option<Selector>,
    pub(super) query: Query,
    pub(super) peer: IpAddr,
}

/// The body of an answer in JSON.
pub(super) type Json = Vec<u8>;

impl Call {
    /// Returns the selector of a path that has one.
    pub(super) fn selector(&self) -> Result<Selector, Refusal> {
        let none = || Refusal::bad_request("the path has no selector");
        self.selector.clone().ok_or_else(none)
    }

    /// Returns the selector of a path, if it is configured or has counts, or is a part of one that has.
    ///
    /// # Errors
    /// 404 for any other. A selector with a broken binding is configured.
    pub(super) fn known_selector(&self) -> Result<Selector, Refusal> {
        let selector = self.selector()?;
        match self.admin.registry.check_known(selector.clone()) {
            Err(error) if error.is_unknown() => Err(error.into()),
            _ => Ok(selector),
        }
    }

    /// Logs an action.
    pub(super) fn log(&self, action: &str) {
        Log::admin_did(action, self.peer);
    }
}

/// Reads a selector of a path, which is decoded once. A text without `:` is the name of a tenant.
///
/// # Errors
/// 400 for everything that is not a selector.
pub(super) fn selector(written: &str) -> Result<Selector, Refusal> {
    if written.len() > MAX_SELECTOR_BYTES {
        let rule = format!("the selector is longer than {MAX_SELECTOR_BYTES} bytes");
        return Err(Refusal::bad_request(rule));
    }
    let decoded = percent_decode_str(written).decode_utf8();
    let text = decoded.map_err(|_| Refusal::bad_request("the selector is not UTF-8"))?;
    let selector = if text.contains(':') {
        text.parse()
    } else {
        Selector::tenant(&text).try_into()
    };
    selector.map_err(Refusal::from)
}

/// Writes a value as JSON with a final newline.
pub(super) fn json(value: &impl Serialize) -> Result<Json, Refusal> {
    let mut bytes = serde_json::to_vec(value).map_err(|_| Refusal::unavailable("the answer cannot be written"))?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl From<SelectorError> for Refusal {
    fn from(error: SelectorError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Self {
        let status = match &error {
            LookupError::Selector(_) => StatusCode::BAD_REQUEST,
            LookupError::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
            error if error.is_unknown() => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_decoded_once_and_a_bare_name_is_a_tenant() {
        for (written, expected) in [
            ("acme", "tenant:acme"),
            ("tenant:acme", "tenant:acme"),
            ("%61cme", "tenant:acme"),
            ("environment%3Aprod%2Ctenant:acme", "environment:prod,tenant:acme"),
            ("feature:search", "feature:search"),
        ] {
            assert_eq!(selector(written).expect(written).to_string(), expected);
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_short_message() {
        let long = "a".repeat(257);
        for written in [
            "",
            "ACME",
            "..",
            "%2e%2e",
            "a%2fb",
            "%00",
            "%0a",
            "%ff",
            "%",
            "%2561cme",
            "a b",
            "acme%0d%0aset-cookie:x",
            "tenant:",
            ":acme",
            "tenant:a,tenant:b",
            "user:acme",
            "tenant:acme,",
            "\u{202e}",
            &long,
        ] {
            let refusal = selector(written).expect_err(written);
            assert_eq!(refusal.status, 400, "{written}");
            assert!(refusal.message.len() < 300, "{}", refusal.message);
            assert!(!refusal.message.contains(char::is_control), "{}", refusal.message);
        }
    }
}
