//! Named values as JSON, all together within bounds.

use std::panic::{self, AssertUnwindSafe};

use serde_json::{Map, Value as Json};

use super::text::{PANICKED, REFUSED, Text};
use super::writer::{Left, Refused, Writer};

/// In place of a value that must not be captured.
const REDACTED: &str = "[redacted]";

/// The values of one call: arguments, attributes or the result.
#[derive(Default)]
pub struct Capture {
    entries: Map<String, Json>,
    left: Left,
    cut: u64,
}

impl Capture {
    /// Captures only the name of a value.
    pub fn redacted(&mut self, name: &'static str) {
        self.put(name, Json::String(REDACTED.to_owned()));
    }

    /// Captures what a value writes. If it has to stop, what it wrote so far is kept.
    pub(super) fn write(&mut self, name: &'static str, write: impl FnOnce(&mut Writer<'_>) -> Result<(), Refused>) {
        let mut writer = Writer::new(&mut self.left);
        let ended = panic::catch_unwind(AssertUnwindSafe(|| write(&mut writer)));
        let is_full = writer.is_full();
        let (written, cut) = writer.finish();
        let value = match ended {
            Err(_) => PANICKED.into(),
            Ok(Err(Refused)) if !is_full => REFUSED.into(),
            Ok(_) => written,
        };
        self.cut += cut;
        self.put(name, value);
    }

    pub(super) fn text(&mut self, name: &'static str, text: &Text) {
        self.write(name, |writer| writer.text(&text.text));
        self.cut += u64::from(text.is_cut);
    }

    pub(super) fn put(&mut self, name: &'static str, value: Json) {
        self.entries.insert(name.to_owned(), value);
    }

    /// Returns what was captured, if anything, and the least number of values that were left out or shortened.
    pub(super) fn into_entries(self) -> Option<(Map<String, Json>, u64)> {
        (!self.entries.is_empty()).then_some((self.entries, self.cut))
    }
}
