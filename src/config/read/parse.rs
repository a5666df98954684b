//! From a file's text to a tree of values: TOML, YAML, JSON.
//!
//! Owns what the parsers must not do: repeat a line of the file in a message (a key may be on it by mistake), take the second of two
//! entries with one name, or use up the stack.

use std::fmt;

use config::{FileFormat, Format, Map as ParsedMap, Value as Parsed, ValueKind};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::config::read::yaml::{self, Excess};
use crate::util::json_depth::is_within;
use crate::util::json_number::IntoJson;

/// How many tables and lists of a file may be one in the other. The deepest that means something is 5, metadata excepted. The parsers of
/// TOML and JSON have bounds of their own, which are above it and far below what a stack holds.
pub(crate) const MAX_DEPTH: usize = 64;
/// The shortest word of a file that is not repeated in a message.
const SHORTEST_UNSAID: usize = 4;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Toml,
    Yaml,
    Json,
}

/// Reads a text; the error says what is wrong and where, in no word of the text. `most` is how many bytes it may have with the aliases of
/// YAML written out; that it has no more as it is, was seen to.
pub(crate) fn parse(text: &str, written: Written, most: u64) -> Result<Value, String> {
    // Editors of some systems put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = match written {
        Written::Toml => FileFormat::Toml.parse(None, text).map(tree),
        Written::Yaml => {
            yaml::check(text, MAX_DEPTH, most).map_err(|excess| match excess {
                Excess::Depth => too_deep(),
                Excess::Bytes => format!("larger than {} with its aliases written out", bytes(most)),
                Excess::Tag => "a tag is longer than any that means something here".to_owned(),
            })?;
            FileFormat::Yaml.parse(None, text).map(tree)
        }
        Written::Json => serde_json::from_str(text)
            .map(|Unique(value)| value)
            .map_err(Into::into),
    };
    let value = parsed.map_err(|error| message(&error.to_string(), text, written))?;
    if is_within(&value, MAX_DEPTH) {
        Ok(value)
    } else {
        Err(too_deep())
    }
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

/// A bound on bytes, as an error shows it.
pub(crate) fn bytes(most: u64) -> String {
    match most >> 20 {
        0 => format!("{} KiB", most >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

/// Line, column, and the parser's own words.
fn message(said: &str, text: &str, written: Written) -> String {
    let (place, words) = match written {
        // The place comes first, then lines of the file between bars, then what is wrong.
        Written::Toml => {
            let quoted = |line: &&str| line.trim_start().starts_with(|c: char| c == '|' || c.is_ascii_digit());
            let place = said
                .lines()
                .next()
                .filter(|line| line.contains("line "))
                .unwrap_or_default();
            let words = said
                .lines()
                .filter(|line| *line != place && !quoted(line))
                .map(str::trim);
            (place, words.collect::<Vec<_>>().join(", "))
        }
        Written::Yaml | Written::Json => {
            let end = said.rfind(" at byte ").or_else(|| said.rfind(" at line "));
            let (words, place) = said.split_at(end.unwrap_or(said.len()));
            (place, words.trim().to_owned())
        }
    };
    // The bound of a parser of its own, above ours.
    if words.contains("recursion") {
        return too_deep();
    }
    let words = without_words_of(&words, text);
    match (number_after(place, "line "), number_after(place, "column ")) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: {words}"),
        _ => words,
    }
}

fn number_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(word)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// The message with `..` for every word that is in the file too: whatever a parser quotes, it is not said.
fn without_words_of(message: &str, text: &str) -> String {
    let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut clean = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest.find(in_word).unwrap_or(rest.len());
        clean.push_str(&rest[..start]);
        rest = &rest[start..];
        let word = &rest[..rest.find(|c| !in_word(c)).unwrap_or(rest.len())];
        let unsaid = word.len() >= SHORTEST_UNSAID && text.contains(word);
        clean.push_str(if unsaid { ".." } else { word });
        rest = &rest[word.len()..];
    }
    clean
}

fn tree(table: ParsedMap<String, Parsed>) -> Value {
    Value::Object(table.into_iter().map(|(key, value)| (key, branch(value))).collect())
}

fn branch(value: Parsed) -> Value {
    match value.kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(value) => value.into(),
        ValueKind::I64(value) => value.into(),
        ValueKind::U64(value) => value.into(),
        // No parser here gives these two.
        ValueKind::I128(value) => i64::try_from(value).map_or(Value::Null, Value::from),
        ValueKind::U128(value) => u64::try_from(value).map_or(Value::Null, Value::from),
        ValueKind::Float(value) => value.into_json(),
        ValueKind::String(text) => text.into(),
        ValueKind::Table(table) => tree(table),
        ValueKind::Array(values) => values.into_iter().map(branch).collect(),
    }
}

/// JSON in which no table has two entries of one name. serde_json's own `Value` takes the last of them without a word.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Value, A::Error> {
        let mut entries = Map::new();
        while let Some(name) = table.next_key::<String>()? {
            let Unique(value) = table.next_value()?;
            if entries.insert(name, value).is_some() {
                return Err(de::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(entries))
    }
}
