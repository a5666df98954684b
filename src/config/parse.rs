//! From a file's text to a tree of values: TOML, YAML, JSON.
//!
//! Owns what the parsers must not do: repeat a line of the file in a message (a key may be on it by mistake), take the second of two
//! entries with one name, or use up the stack.

use std::fmt;

use config::{FileFormat, Format, Map as ParsedMap, Value as Parsed, ValueKind};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::json_number::IntoJson;

/// How deep a file may be nested. The deepest that means something is 5, metadata excepted.
const MAX_DEPTH: usize = 128;
/// How far a line of YAML may be indented, list marks with it: each of them may be a level.
const MAX_INDENT: usize = 512;
/// The shortest word of a file that is not repeated in a message.
const SHORTEST_UNSAID: usize = 4;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Toml,
    Yaml,
    Json,
}

/// Reads a text; the error says what is wrong and where, in no word of the text.
pub(super) fn parse(text: &str, written: Written) -> Result<Value, String> {
    // Editors of some systems put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = match written {
        Written::Toml => FileFormat::Toml.parse(None, text).map(tree),
        Written::Yaml if is_too_deep(text) => return Err(format!("nested deeper than {MAX_DEPTH} levels")),
        Written::Yaml => FileFormat::Yaml.parse(None, text).map(tree),
        Written::Json => serde_json::from_str(text)
            .map(|Unique(value)| value)
            .map_err(Into::into),
    };
    parsed.map_err(|error| message(&error.to_string(), text, written))
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

/// Whether YAML may be nested so deep that its parser, which calls itself for each level, uses up the stack. Estimated from brackets and
/// indents; brackets in texts count too, which is why the bound is far above what a configuration has.
fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut indent, mut at_start) = (0_usize, 0, true);
    for c in text.chars() {
        match c {
            '\n' => (indent, at_start) = (0, true),
            ' ' | '\t' | '-' | '?' | ':' if at_start => indent += 1,
            _ => at_start = false,
        }
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH || indent > MAX_INDENT {
            return true;
        }
    }
    false
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
