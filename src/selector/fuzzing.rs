//! Fuzz target: selectors, slugs and patterns.

use super::{Selector, SelectorBuilder, SelectorKind, Slug};

/// Longest error: 32 characters, each escaped, and the rule.
const MAX_ERROR_BYTES: usize = 600;

/// Parses a selector. Returns whether it is accepted.
///
/// # Panics
/// Panics if an accepted selector differs after it was written and read again, or if its names break
/// the rules of slugs.
pub fn selector(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let is_slug = match Slug::new(text) {
        Ok(slug) => {
            assert_eq!(slug.as_str(), text);
            true
        }
        Err(error) => {
            assert_shown(&error.to_string());
            false
        }
    };
    assert_eq!(is_slug, may_be_slug(text));
    let selector = match text.parse::<Selector>() {
        Ok(selector) => selector,
        Err(error) => {
            assert_shown(&error.to_string());
            return false;
        }
    };
    let written = selector.to_string();
    assert_eq!(written.len(), text.len());
    assert_eq!(written.parse(), Ok(selector.clone()));
    let mut pieces: Vec<&str> = text.split(',').collect();
    pieces.reverse();
    assert_eq!(pieces.join(",").parse(), Ok(selector.clone()));
    assert_eq!(
        serde_json::from_str::<Selector>(&format!("\"{written}\"")).ok(),
        Some(selector.clone())
    );

    let mut builder = SelectorBuilder::default();
    for (kind, name) in selector.parts() {
        assert!(may_be_slug(name));
        builder = match kind {
            SelectorKind::Environment => builder.environment(name),
            SelectorKind::Feature => builder.feature(name),
            SelectorKind::Tenant => builder.tenant(name),
        };
    }
    assert_eq!(Selector::try_from(builder), Ok(selector.clone()));
    let subsets: Vec<Selector> = selector.subsets().collect();
    assert_eq!(subsets.len(), (1 << selector.parts().count()) - 1);
    assert!(subsets.iter().all(|subset| selector.contains(subset)));
    true
}

/// The rules of slugs, written a second time.
fn may_be_slug(text: &str) -> bool {
    let mut before = b'.';
    let is_valid = text.bytes().all(|byte| {
        let is_valid = byte.is_ascii_digit() || byte.is_ascii_lowercase() || b"-_.".contains(&byte);
        let is_double = (before, byte) == (b'.', b'.');
        before = byte;
        is_valid && !is_double
    });
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_valid && text.len() <= 64 && is_edge(text.bytes().next()) && is_edge(text.bytes().last())
}

fn assert_shown(error: &str) {
    assert!(
        error.len() < MAX_ERROR_BYTES && !error.contains(char::is_control),
        "{error}"
    );
}
