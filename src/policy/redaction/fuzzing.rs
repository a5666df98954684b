//! Fuzz target: rules on a text.

use std::sync::{Arc, LazyLock};

use super::{Place, Redaction, Verdict};
use crate::config::{Pattern, RedactAction, RedactRule, ResolvedRedact};
use crate::selector::Selector;

/// Rules of each kind, in both orders.
static REDACTIONS: LazyLock<[Arc<Redaction>; 2]> = LazyLock::new(|| {
    let rules = || {
        [
            RedactRule::new().attribute("gone").action(RedactAction::Drop),
            RedactRule::new().attribute("*.a*"),
            RedactRule::new()
                .attribute("b")
                .regex("[a-c]{2}")
                .action(RedactAction::Hash),
            RedactRule::new()
                .pattern(Pattern::Email)
                .pattern(Pattern::Phone)
                .action(RedactAction::Hash),
            RedactRule::new()
                .pattern(Pattern::Card)
                .pattern(Pattern::Iban)
                .pattern(Pattern::Ip),
            RedactRule::new().pattern(Pattern::Jwt).pattern(Pattern::ApiKey),
            RedactRule::new().regex("secret").regex("(?i)x+y"),
        ]
    };
    let of = |rules: Vec<RedactRule>| {
        let named = rules.into_iter().map(|rule| ("rule".to_owned(), rule));
        let resolved = ResolvedRedact {
            rules: named.collect(),
            ..ResolvedRedact::default()
        };
        Redaction::new(&Selector::default(), &resolved, Vec::new()).expect("there are rules")
    };
    [of(rules().into()), of(rules().into_iter().rev().collect())]
});

/// Applies rules to a text. Its verdict does not depend on their order, no text that a rule finds is
/// left, and JSON stays JSON. Accepts texts that are not dropped.
///
/// # Panics
/// If one of these does not hold.
pub fn redact(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        let [redaction, _] = &*REDACTIONS;
        assert_eq!(redaction.bytes("key", data), Verdict::Drop);
        return false;
    };
    let verdicts = REDACTIONS
        .each_ref()
        .map(|redaction| redaction.text(Place::Attribute("key"), text));
    assert_eq!(verdicts[0], verdicts[1], "the order of rules matters");
    let [Verdict::Replace(after), _] = verdicts else {
        let is_kept = verdicts[0] == Verdict::Keep;
        assert!(!is_kept || !text.contains("secret"), "a match is left");
        return is_kept;
    };
    assert!(!after.contains("secret"), "a match is left in {after:?}");
    let is_container = |text: &str| text.trim_ascii_start().starts_with(['{', '[']);
    if is_container(text) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        let read = serde_json::from_str::<serde::de::IgnoredAny>(&after);
        assert!(read.is_ok(), "{text:?} becomes {after:?}");
    }
    true
}
