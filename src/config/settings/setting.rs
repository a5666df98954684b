//! What a setting is: how it is taken out of a table, and how it is laid over that of a lower
//! layer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::config::fault::{Faults, Layer};
use crate::config::read::table::{COUNT, DURATION, TEXT, Table, kind};
use crate::config::settings::redacted::Redacted;
use crate::util::json_depth::bounded;

/// A value that may be left out.
pub(crate) trait Setting: Clone {
    /// Takes it out of a table. Adds a fault if something else is written there.
    fn take(table: &mut Table<'_>, name: &'static str) -> Option<Self>;

    /// Lays it over that of a lower layer. By default, it replaces it.
    fn lay_over(&self, lower: &mut Option<Self>) {
        *lower = Some(self.clone());
    }
}

/// A field of a table's type.
pub(crate) trait Field {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self;
    fn overlay(&mut self, upper: &Self);
}

/// A table whose fields are declared by [`table!`](super::declare::table).
pub(crate) trait Fields: Default + PartialEq {
    /// Takes all fields; the caller finishes the table, which may have others.
    fn take_fields(table: &mut Table<'_>) -> Self;
    /// Lays each field that is set over that of a lower layer.
    fn overlay_fields(&mut self, upper: &Self);
    /// The fields that are set and declared neither as `#[untrusted(..)]` nor as `#[most(..)]`.
    fn operators_alone(&self) -> Vec<&'static str>;
    /// The fields with `#[most(..)]` that are set to more than the tables below say, each with what
    /// those say.
    fn raised(&self, below: &Self) -> Vec<(&'static str, String)>;
    /// What is wrong with values that break their rules, by field.
    fn faults(&self) -> Vec<(&'static str, String)>;

    /// Adds a fault for each of them.
    fn check(&self, path: &str, faults: &mut Faults) {
        let dot = if path.is_empty() { "" } else { "." };
        for (field, message) in self.faults() {
            faults.add(format!("{path}{dot}{field}"), message);
        }
    }
}

/// Reads a table that stands by itself.
pub(crate) fn read_whole<T: Fields>(value: Value, path: String, folder: &Path, faults: &mut Faults) -> T {
    let Some(mut table) = Table::new(value, path, folder, faults) else {
        return T::default();
    };
    let read = T::take_fields(&mut table);
    table.finish();
    read
}

/// An entry of a map, by name.
pub(crate) trait Entry: Clone {
    fn read(value: Value, path: String, table: &mut Table<'_>) -> Option<Self>;

    /// Lays it over the entry of that name.
    fn lay_over(&self, name: &str, lower: &mut BTreeMap<String, Self>) {
        lower.insert(name.to_owned(), self.clone());
    }
}

impl<T: Setting> Field for Option<T> {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self {
        T::take(table, name)
    }

    fn overlay(&mut self, upper: &Self) {
        if let Some(upper) = upper {
            upper.lay_over(self);
        }
    }
}

impl<T: Entry> Field for BTreeMap<String, T> {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self {
        let entries = table.entries(name).into_iter();
        let read = entries.map(|(name, value, path)| Some((name, T::read(value, path, table)?)));
        read.flatten().collect()
    }

    fn overlay(&mut self, upper: &Self) {
        for (name, entry) in upper {
            entry.lay_over(name, self);
        }
    }
}

/// The text of a header.
impl Entry for String {
    fn read(value: Value, path: String, table: &mut Table<'_>) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            other => {
                let message = format!("a text is expected, found {}", kind(&other));
                table.faults.add(path, message);
                None
            }
        }
    }
}

/// A value of any kind. A variable's text is taken as the number or boolean that it is in JSON, if
/// it is written just so: `1.10` and `007` stay texts.
impl Entry for Value {
    fn read(value: Value, _: String, table: &mut Table<'_>) -> Option<Self> {
        let text = value.as_str().filter(|_| table.faults.layer() == Layer::Variables);
        let typed = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let typed = typed.filter(|typed| typed.is_number() || typed.is_boolean());
        let typed = typed.filter(|typed| Some(typed.to_string().as_str()) == text);
        Some(bounded(typed.unwrap_or(value)))
    }
}

impl<T: Field> Field for Redacted<T> {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self {
        Self(T::take(table, name))
    }

    fn overlay(&mut self, upper: &Self) {
        self.0.overlay(&upper.0);
    }
}

/// Implements [`Setting`] for values that another one replaces.
macro_rules! replaced {
    ($($Type:ty: $take:expr;)*) => {$(
        impl $crate::config::settings::setting::Setting for $Type {
            fn take(table: &mut $crate::config::read::table::Table<'_>, name: &'static str) -> Option<Self> {
                $take(table, name)
            }
        }
    )*};
}

pub(crate) use replaced;

replaced! {
    bool: |table: &mut Table<'_>, name| table.take(name, "true or false");
    u32: |table: &mut Table<'_>, name| table.take(name, COUNT);
    usize: |table: &mut Table<'_>, name| table.take(name, COUNT);
    String: |table: &mut Table<'_>, name| table.take(name, TEXT);
    Vec<String>: |table: &mut Table<'_>, name| table.take(name, "a list of texts");
    PathBuf: |table: &mut Table<'_>, name| path(table, name, "a path");
    Duration: |table: &mut Table<'_>, name| table.take_text(name, DURATION, |text| humantime::parse_duration(text).ok());
}

/// A path; a relative one begins at the folder of the file. Nothing written stays nothing, so that
/// it is refused.
pub(crate) fn path(table: &mut Table<'_>, name: &'static str, expected: &str) -> Option<PathBuf> {
    let path: PathBuf = table.take(name, expected)?;
    Some(if path.as_os_str().is_empty() {
        path
    } else {
        table.folder.join(path)
    })
}
