//! A table of the configuration whose fields are taken one by one, collecting every fault on the way.
//!
//! serde alone would stop at the first fault, and repeats the value that it did not expect. Here a value is never repeated: anything
//! may stand in the wrong place, also a key.

use std::path::Path;

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use crate::config::fault::{Faults, Layer, quoted};

/// How alike a known field must be to be suggested for an unknown one.
const SIMILAR: f64 = 0.8;

pub(crate) const TEXT: &str = "a text";
pub(crate) const SIZE: &str = "a size such as \"64MiB\" or \"500kB\"";
pub(crate) const DURATION: &str = "a duration such as \"500ms\" or \"5m\"";
pub(crate) const COUNT: &str = "a whole number, not negative,";

/// A table; what is left in it at the end is unknown.
pub(crate) struct Table<'a> {
    pub(crate) fields: Map<String, Value>,
    pub(crate) path: String,
    /// The folder that relative paths begin at.
    pub(crate) folder: &'a Path,
    pub(crate) faults: &'a mut Faults,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(value: Value, path: String, folder: &'a Path, faults: &'a mut Faults) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self {
                fields,
                path,
                folder,
                faults,
                known: Vec::new(),
            }),
            other => {
                faults.add(path, format!("a table is expected, found {}", kind(&other)));
                None
            }
        }
    }

    pub(crate) fn value(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.fields.remove(field)
    }

    /// A field as serde reads it.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, field: &'static str, expected: &str) -> Option<T> {
        self.take_with(field, expected, |value| serde_json::from_value(value).ok())
    }

    /// A field that is a text of some form.
    pub(crate) fn take_text<T>(
        &mut self,
        field: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.take_with(field, expected, |value| read(value.as_str()?))
    }

    /// In variables, where everything is a text, a text that is not taken as one is read as JSON.
    fn take_with<T>(&mut self, field: &'static str, expected: &str, read: impl Fn(Value) -> Option<T>) -> Option<T> {
        let value = self.value(field)?;
        let found = kind(&value);
        let in_variables = self.faults.layer() == Layer::Variables;
        let written = value.as_str().filter(|_| in_variables).map(str::to_owned);
        let taken = read(value).or_else(|| read(serde_json::from_str(&written?).ok()?));
        if taken.is_none() {
            self.fault(field, format!("{expected} is expected, found {found}"));
        }
        taken
    }

    /// A field of few possible values: the variants of an enum, as serde names them.
    pub(crate) fn choose<T: DeserializeOwned>(&mut self, field: &'static str) -> Option<T> {
        let choices = variants::<T>();
        let written = self.fields.get(field).and_then(Value::as_str);
        let nearest = written.and_then(|written| nearest(written, choices));
        let hint = nearest.map_or_else(String::new, |nearest| format!(" (is \"{nearest}\" meant?)"));
        let choices: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
        self.take(field, &format!("one of {}{hint}", choices.join(", ")))
    }

    pub(crate) fn required(&mut self, field: &'static str) -> Option<String> {
        if !self.fields.contains_key(field) {
            self.fault(field, "missing");
        }
        self.take(field, TEXT)
    }

    /// The entries of a table whose keys are free, each with its path.
    pub(crate) fn entries(&mut self, field: &'static str) -> Vec<(String, Value, String)> {
        let path = self.path_of(field);
        match self.value(field) {
            None => Vec::new(),
            Some(Value::Object(entries)) => {
                let with_path = |(name, value): (String, Value)| {
                    let path = format!("{path}.{}", quoted(&name));
                    (name, value, path)
                };
                entries.into_iter().map(with_path).collect()
            }
            Some(other) => {
                self.fault(field, format!("a table is expected, found {}", kind(&other)));
                Vec::new()
            }
        }
    }

    /// The items of a list, each with its path.
    pub(crate) fn items(&mut self, field: &'static str) -> Vec<(Value, String)> {
        match self.value(field) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let with_path = |(index, item)| (item, format!("{field}[{index}]"));
                items.into_iter().enumerate().map(with_path).collect()
            }
            Some(other) => {
                self.fault(field, format!("a list of tables is expected, found {}", kind(&other)));
                Vec::new()
            }
        }
    }

    /// A table within this one, if it is there.
    pub(crate) fn table<T>(&mut self, field: &'static str, read: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        let path = self.path_of(field);
        let value = self.value(field)?;
        let mut table = Table::new(value, path, self.folder, self.faults)?;
        let read = read(&mut table);
        table.finish();
        Some(read)
    }

    /// Adds a fault for every field that was not taken.
    pub(crate) fn finish(self) {
        for field in self.fields.keys() {
            let hint = nearest(field, &self.known)
                .map(|known| format!("; did you mean `{known}`?"))
                .unwrap_or_default();
            let path = self.path_of(&quoted(field));
            self.faults.add(path, format!("unknown field{hint}"));
        }
    }

    pub(crate) fn fault(&mut self, field: &str, message: impl Into<String>) {
        let path = self.path_of(field);
        self.faults.add(path, message);
    }

    pub(crate) fn path_of(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }
}

/// Returns the names of an enum's variants, which serde passes to the format that it reads an enum from.
fn variants<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Names<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("not an enum"))
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            *self.0 = variants;
            Err(Error::custom("only its names are asked for"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }

    let mut names: &[&str] = &[];
    let _ = T::deserialize(Names(&mut names));
    names
}

/// The most similar of some words, if one is similar.
fn nearest<'w>(written: &str, words: &[&'w str]) -> Option<&'w str> {
    let scored = words.iter().map(|word| (strsim::jaro_winkler(word, written), *word));
    let nearest = scored.max_by(|one, other| one.0.total_cmp(&other.0));
    nearest.filter(|(score, _)| *score > SIMILAR).map(|(_, word)| word)
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
