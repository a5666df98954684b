//! Hashes of values.

use super::verdict::REDACTED;
use crate::secret::HashKey;
use crate::selector::{Selector, SelectorKind};

/// Hashes values of one owner: a tenant, or a selector without one.
pub(super) struct Hashes {
    owner: Box<str>,
    key: Option<HashKey>,
}

impl Hashes {
    pub(super) fn new(selector: &Selector, key: Option<HashKey>) -> Self {
        let owner = match selector.get(SelectorKind::Tenant) {
            Some(tenant) => tenant.to_string(),
            None => selector.to_string(),
        };
        Self {
            owner: owner.into(),
            key,
        }
    }

    /// Returns the text in place of a value: 16 hexadecimal digits of its hash.
    pub(super) fn text(&self, value: &[u8]) -> String {
        match &self.key {
            Some(key) => format!("[hash:{:016x}]", key.hash(&[self.owner.as_bytes(), b"\0", value])),
            None => REDACTED.to_owned(),
        }
    }
}
