//! Captures named values as JSON, within the limits of a call.

use std::panic::{self, AssertUnwindSafe};

use serde_json::{Map, Value as Json};

use super::text::{BoundedText, NOT_SERIALIZABLE, PANICKED};
use super::writer::{Budget, WriteError, Writer};

/// Placeholder for a redacted value.
const REDACTED: &str = "[redacted]";

/// Captured values of one call: arguments, attributes or the result.
#[derive(Default)]
pub struct Capture {
    entries: Map<String, Json>,
    budget: Budget,
    cut: u64,
}

impl Capture {
    /// Captures the name of a value without the value.
    pub fn redacted(&mut self, name: &'static str) {
        self.insert(name, Json::String(REDACTED.to_owned()));
    }

    /// Captures a serialized value. Keeps what was written before a limit stopped it.
    pub(super) fn write(&mut self, name: &'static str, write: impl FnOnce(&mut Writer<'_>) -> Result<(), WriteError>) {
        let mut writer = Writer::new(&mut self.budget);
        let result = panic::catch_unwind(AssertUnwindSafe(|| write(&mut writer)));
        let is_full = writer.is_full();
        let (written, cut) = writer.finish();
        let value = match result {
            Err(_) => PANICKED.into(),
            Ok(Err(WriteError)) if !is_full => NOT_SERIALIZABLE.into(),
            Ok(_) => written,
        };
        self.cut += cut;
        self.insert(name, value);
    }

    pub(super) fn text(&mut self, name: &'static str, text: &BoundedText) {
        self.write(name, |writer| writer.text(&text.text));
        self.cut += u64::from(text.is_cut);
    }

    pub(super) fn insert(&mut self, name: &'static str, value: Json) {
        self.entries.insert(name.to_owned(), value);
    }

    /// Returns the captured values, if any, and a lower bound for the number of values that were
    /// left out or shortened.
    pub(super) fn into_entries(self) -> Option<(Map<String, Json>, u64)> {
        (!self.entries.is_empty()).then_some((self.entries, self.cut))
    }
}
