//! A configuration table whose fields are taken one at a time, collecting all problems.
//!
//! serde would stop at the first problem and repeat the unexpected value. This reader never repeats
//! a value that may be a misplaced key. It shows only short names given for a setting with few
//! possible values.

use std::path::Path;

use bytesize::ByteSize;
use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use crate::config::problem::{Layer, Problems, quoted};

/// Minimum similarity of a known field that is suggested for an unknown one.
const MIN_SIMILARITY: f64 = 0.8;

pub(crate) const TEXT: &str = "a string";
const SIZE: &str = "a size such as \"64MiB\" or \"500kB\", or a number of bytes";
pub(crate) const DURATION: &str = "a duration such as \"500ms\" or \"5m\"";
pub(crate) const COUNT: &str = "a non-negative integer";

/// A table. Fields that remain at the end are unknown.
pub(crate) struct Table<'a> {
    pub(crate) fields: Map<String, Value>,
    pub(crate) path: String,
    /// Base folder of relative paths.
    pub(crate) folder: &'a Path,
    pub(crate) problems: &'a mut Problems,
    /// Names of the fields that were taken.
    pub(crate) known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(value: Value, path: String, folder: &'a Path, problems: &'a mut Problems) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self {
                fields,
                path,
                folder,
                problems,
                known: Vec::new(),
            }),
            other => {
                problems.add(path, format!("expected a table, found {}", kind(&other)));
                None
            }
        }
    }

    pub(crate) fn value(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.fields.remove(field)
    }

    /// Takes a field and deserializes it.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, field: &'static str, expected: &str) -> Option<T> {
        self.take_with(field, expected, |value| serde_json::from_value(value).ok())
    }

    /// Takes a string field and parses it.
    pub(crate) fn take_text<T>(
        &mut self,
        field: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.take_with(field, expected, |value| read(value.as_str()?))
    }

    /// Takes a size in bytes: text such as `64MiB`, or an integer.
    pub(crate) fn take_size(&mut self, field: &'static str) -> Option<usize> {
        self.take_with(field, SIZE, |value| {
            let bytes = match value.as_str() {
                Some(text) => text.parse::<ByteSize>().ok()?.as_u64(),
                None => value.as_u64()?,
            };
            usize::try_from(bytes).ok()
        })
    }

    /// Takes a field. In variables, where every value is a string, a string that `read` refuses is
    /// parsed as JSON.
    fn take_with<T>(&mut self, field: &'static str, expected: &str, read: impl Fn(Value) -> Option<T>) -> Option<T> {
        let found = self.fields.get(field).map_or("null", kind);
        self.take_found(field, expected, found, read)
    }

    /// Like [`take_with`](Self::take_with), with the description of the value for a problem.
    fn take_found<T>(
        &mut self,
        field: &'static str,
        expected: &str,
        found: &str,
        read: impl Fn(Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(field)?;
        let in_variables = self.problems.layer() == Layer::Variables;
        let text = value.as_str().filter(|_| in_variables).map(str::to_owned);
        let taken = read(value).or_else(|| read(serde_json::from_str(&text?).ok()?));
        if taken.is_none() {
            let is_other_list = found == "a list" && expected.starts_with("a list of");
            let found = if is_other_list {
                "a list with another entry"
            } else {
                found
            };
            self.problem(field, format!("expected {expected}, found {found}"));
        }
        taken
    }

    /// Takes a field with few possible values: the serde names of an enum's variants.
    pub(crate) fn choose<T: DeserializeOwned>(&mut self, field: &'static str) -> Option<T> {
        let choices = variants::<T>();
        let text = self.fields.get(field).and_then(Value::as_str);
        let nearest = text.and_then(|text| nearest(text, choices));
        let hint = nearest.map_or_else(String::new, |nearest| format!(" (did you mean \"{nearest}\"?)"));
        let choices: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
        let found = match self.fields.get(field) {
            // Shown only if it is close to a known name: another text may be a misplaced key.
            Some(Value::String(text)) if nearest.is_some() => format!("\"{}\"", text.escape_default()),
            other => kind(other.unwrap_or(&Value::Null)).to_owned(),
        };
        let expected = format!("one of {}{hint}", choices.join(", "));
        self.take_found(field, &expected, &found, |value| serde_json::from_value(value).ok())
    }

    pub(crate) fn required(&mut self, field: &'static str) -> Option<String> {
        if !self.fields.contains_key(field) {
            self.problem(field, "missing");
        }
        self.take(field, TEXT)
    }

    /// Takes a table with arbitrary keys. Returns its entries, each with its path.
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
                self.problem(field, format!("expected a table, found {}", kind(&other)));
                Vec::new()
            }
        }
    }

    /// Takes a list. Returns its items, each with its path.
    pub(crate) fn items(&mut self, field: &'static str) -> Vec<(Value, String)> {
        match self.value(field) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let with_path = |(index, item)| (item, format!("{field}[{index}]"));
                items.into_iter().enumerate().map(with_path).collect()
            }
            Some(other) => {
                self.problem(field, format!("expected a list of tables, found {}", kind(&other)));
                Vec::new()
            }
        }
    }

    /// Takes a nested table, if it exists.
    pub(crate) fn table<T>(&mut self, field: &'static str, read: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        let path = self.path_of(field);
        let value = self.value(field)?;
        let mut table = Table::new(value, path, self.folder, self.problems)?;
        let read = read(&mut table);
        table.finish();
        Some(read)
    }

    /// Adds a problem for every field that was not taken.
    pub(crate) fn finish(self) {
        self.finish_root(&[]);
    }

    /// Like [`finish`](Self::finish), for a document. `of_bindings` are the fields of its bindings.
    pub(crate) fn finish_root(self, of_bindings: &[&str]) {
        for field in self.fields.keys() {
            let hint = if of_bindings.contains(&field.as_str()) {
                "; it belongs in [defaults] or in the table of a tenant".to_owned()
            } else {
                nearest(field, &self.known)
                    .map(|known| format!("; did you mean `{known}`?"))
                    .unwrap_or_default()
            };
            let path = self.path_of(&quoted(field));
            self.problems.add(path, format!("unknown field{hint}"));
        }
    }

    pub(crate) fn problem(&mut self, field: &str, message: impl Into<String>) {
        let path = self.path_of(field);
        self.problems.add(path, message);
    }

    pub(crate) fn path_of(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }
}

/// Returns the names of an enum's variants, as serde passes them to a deserializer.
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
            Err(Error::custom("only the names are needed"))
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

/// Returns the word most similar to `written`, if one is similar enough.
fn nearest<'w>(written: &str, words: &[&'w str]) -> Option<&'w str> {
    let scored = words.iter().map(|word| (strsim::jaro_winkler(word, written), *word));
    let nearest = scored.max_by(|one, other| one.0.total_cmp(&other.0));
    nearest
        .filter(|(score, _)| *score > MIN_SIMILARITY)
        .map(|(_, word)| word)
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
