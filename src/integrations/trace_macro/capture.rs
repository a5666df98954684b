//! Named values as JSON, all together within bounds.

use std::panic::{self, AssertUnwindSafe};

use serde_json::{Map, Value as Json};

use super::text::{PANICKED, REFUSED, Text};
use super::writer::{Left, Refused, Writer};

/// In place of a value that is not to be told.
const REDACTED: &str = "[redacted]";

/// The values of one call: arguments, attributes or what came out.
#[derive(Default)]
pub struct Capture {
    entries: Map<String, Json>,
    left: Left,
    cut: u64,
}

impl Capture {
    /// A value that is not to be told; its name is.
    pub fn redacted(&mut self, name: &'static str) {
        self.put(name, Json::String(REDACTED.to_owned()));
    }

    /// Has a value written. What it wrote before it was stopped is kept.
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

    /// What was told, and how many values were left out or shortened, at the least. None where nothing was told.
    pub(super) fn into_entries(self) -> Option<(Map<String, Json>, u64)> {
        (!self.entries.is_empty()).then_some((self.entries, self.cut))
    }
}
