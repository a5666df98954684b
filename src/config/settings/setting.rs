//! Traits of settings: how they are parsed and overlaid.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::problem::{Layer, Problems};
use crate::config::read::table::{COUNT, DURATION, TEXT, Table, kind};
use crate::config::settings::redacted::Redacted;
use crate::util::json_depth::bounded;

/// An optional value.
pub(crate) trait Setting: Clone {
    /// Takes it from a table. Adds a problem if the value is invalid.
    fn take(table: &mut Table<'_>, name: &'static str) -> Option<Self>;

    /// Overlays it on the value of a lower layer. Replaces that value by default.
    fn overlay_onto(&self, lower: &mut Option<Self>) {
        *lower = Some(self.clone());
    }
}

/// A field of a table.
pub(crate) trait Field {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self;
    fn overlay(&mut self, upper: &Self);
}

/// A table declared by [`table!`](super::declare::table).
pub(crate) trait Fields: Default + PartialEq {
    /// Takes all fields. The caller finishes the table, which may have more.
    fn take_fields(table: &mut Table<'_>) -> Self;
    /// Overlays each field that is set on the lower layer's.
    fn overlay_fields(&mut self, upper: &Self);
    /// Returns the fields that are set but declared neither `#[untrusted(..)]` nor `#[max(..)]`.
    fn operator_only(&self) -> Vec<&'static str>;
    /// Returns the fields with `#[max(..)]` that are set higher than in the lower tables, each with
    /// that value.
    fn raised(&self, lower: &Self) -> Vec<(&'static str, String)>;
    /// Returns a message for each value that breaks its rule, by field.
    fn problems(&self) -> Vec<(&'static str, String)>;

    /// Adds a problem for each invalid value.
    fn check(&self, path: &str, problems: &mut Problems) {
        let dot = if path.is_empty() { "" } else { "." };
        for (field, message) in self.problems() {
            problems.add(format!("{path}{dot}{field}"), message);
        }
    }
}

/// Parses a standalone table.
pub(crate) fn read_whole<T: Fields>(value: Value, path: String, folder: &Path, problems: &mut Problems) -> T {
    let Some(mut table) = Table::new(value, path, folder, problems) else {
        return T::default();
    };
    let read = T::take_fields(&mut table);
    table.finish();
    read
}

/// Returns the names of a table's fields.
pub(crate) fn field_names<T: Fields>() -> Vec<&'static str> {
    let mut ignored = Problems::default();
    let empty = Value::Object(Map::new());
    let Some(mut table) = Table::new(empty, String::new(), Path::new(""), &mut ignored) else {
        return Vec::new();
    };
    T::take_fields(&mut table);
    table.known
}

/// A named entry of a map.
pub(crate) trait Entry: Clone {
    fn read(value: Value, path: String, table: &mut Table<'_>) -> Option<Self>;

    /// Overlays it on the entry of that name.
    fn overlay_onto(&self, name: &str, lower: &mut BTreeMap<String, Self>) {
        lower.insert(name.to_owned(), self.clone());
    }
}

impl<T: Setting> Field for Option<T> {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self {
        T::take(table, name)
    }

    fn overlay(&mut self, upper: &Self) {
        if let Some(upper) = upper {
            upper.overlay_onto(self);
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
            entry.overlay_onto(name, self);
        }
        // Many insertions leave half of each node unused.
        *self = std::mem::take(self).into_iter().collect();
    }
}

/// Value of a header.
impl Entry for String {
    fn read(value: Value, path: String, table: &mut Table<'_>) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            other => {
                let message = format!("expected a string, found {}", kind(&other));
                table.problems.add(path, message);
                None
            }
        }
    }
}

/// Value of any kind. Text of a variable becomes a number or boolean if JSON would write it exactly
/// so: `1.10` and `007` stay strings.
impl Entry for Value {
    fn read(value: Value, _: String, table: &mut Table<'_>) -> Option<Self> {
        let text = value.as_str().filter(|_| table.problems.layer() == Layer::Variables);
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

/// A table that most bindings do not have.
impl<T: Setting> Setting for Box<T> {
    fn take(table: &mut Table<'_>, name: &'static str) -> Option<Self> {
        T::take(table, name).map(Self::new)
    }

    fn overlay_onto(&self, lower: &mut Option<Self>) {
        let mut merged = lower.take().map(|lower| *lower);
        (**self).overlay_onto(&mut merged);
        *lower = merged.map(Self::new);
    }
}

/// Implements [`Setting`] for values that a higher layer replaces.
macro_rules! impl_setting {
    ($($Type:ty: $take:expr;)*) => {$(
        impl $crate::config::settings::setting::Setting for $Type {
            fn take(table: &mut $crate::config::read::table::Table<'_>, name: &'static str) -> Option<Self> {
                $take(table, name)
            }
        }
    )*};
}

pub(crate) use impl_setting;

impl_setting! {
    bool: |table: &mut Table<'_>, name| table.take(name, "true or false");
    u32: |table: &mut Table<'_>, name| table.take(name, COUNT);
    usize: |table: &mut Table<'_>, name| table.take(name, COUNT);
    String: |table: &mut Table<'_>, name| table.take(name, TEXT);
    Vec<String>: |table: &mut Table<'_>, name| table.take(name, "a list of strings");
    PathBuf: |table: &mut Table<'_>, name| path(table, name, "a path");
    Duration: |table: &mut Table<'_>, name| table.take_text(name, DURATION, |text| humantime::parse_duration(text).ok());
}

/// Takes a path. Relative paths start at the folder of the file. An empty path stays empty, so that
/// it is refused.
pub(crate) fn path(table: &mut Table<'_>, name: &'static str, expected: &str) -> Option<PathBuf> {
    let path: PathBuf = table.take(name, expected)?;
    Some(if path.as_os_str().is_empty() {
        path
    } else {
        table.folder.join(path)
    })
}

/// Takes a size in bytes.
pub(crate) fn size(table: &mut Table<'_>, name: &'static str) -> Option<usize> {
    table.take_size(name)
}
