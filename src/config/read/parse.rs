//! From a file's text to a tree of values: TOML, YAML, JSON.
//!
//! Owns what the parsers must not do: repeat a line of the file in a message (a key may be on it by mistake), take the second of two
//! entries with one name, or use up the stack.

use std::error::Error;
use std::fmt;

use config::{FileFormat, Format, Map as ParsedMap, Value as Parsed};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

#[cfg(feature = "yaml")]
use crate::config::read::yaml::{self, Excess};
#[cfg(not(feature = "yaml"))]
use crate::config::rules::values::needs_feature;
use crate::util::json_depth::is_within;
use crate::util::json_number::IntoJson;

/// How many tables and lists of a file may be one in the other. The deepest that means something is 5, metadata excepted. The parsers of
/// TOML and JSON have bounds of their own, which are above it and far below what a stack holds.
pub(crate) const MAX_DEPTH: usize = 64;
/// The shortest word of a file that is not repeated in a message.
const SHORTEST_UNSAID: usize = 4;

type Broken = Box<dyn Error + Send + Sync>;

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
    let parsed: Result<Value, Broken> = match written {
        Written::Toml => FileFormat::Toml.parse(None, text).and_then(tree),
        Written::Yaml => parse_yaml(text, most)?,
        Written::Json => serde_json::from_str(text)
            .map(|Unique(value)| value)
            .map_err(Into::into),
    };
    let value = parsed.map_err(|error| message(&*error, text))?;
    if is_within(&value, MAX_DEPTH) {
        Ok(value)
    } else {
        Err(too_deep())
    }
}

/// The outer error is about the text as a whole, the inner one the parser's.
#[cfg(feature = "yaml")]
fn parse_yaml(text: &str, most: u64) -> Result<Result<Value, Broken>, String> {
    yaml::check(text, MAX_DEPTH, most).map_err(|excess| match excess {
        Excess::Depth => too_deep(),
        Excess::Bytes => format!("larger than {} with its aliases written out", bytes(most)),
        Excess::Tag => "a tag is longer than any that means something here".to_owned(),
    })?;
    Ok(FileFormat::Yaml.parse(None, text).and_then(tree))
}

#[cfg(not(feature = "yaml"))]
fn parse_yaml(_: &str, _: u64) -> Result<Result<Value, Broken>, String> {
    Err(needs_feature("YAML", "yaml"))
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
fn message(error: &(dyn Error + 'static), text: &str) -> String {
    let said = error.to_string();
    let (place, words) = if let Some(error) = error.downcast_ref::<toml::de::Error>() {
        (error.span().map(|span| place_of(span.start, text)), error.message())
    } else if let Some((line, column, words)) = of_yaml(error) {
        (Some((line, column)), words)
    } else if let Some(error) = error.downcast_ref::<serde_json::Error>() {
        let (line, column) = (error.line(), error.column());
        let place = format!(" at line {line} column {column}");
        (Some((line, column)), said.strip_suffix(&place).unwrap_or(&said))
    } else {
        (None, said.as_str())
    };
    // The bound of a parser of its own, above ours.
    if words.contains("recursion") {
        return too_deep();
    }
    let words = without_words_of(&words.replace('\n', ", "), text);
    match place {
        Some((line, column)) => format!("line {line}, column {column}: {words}"),
        None => words,
    }
}

#[cfg(feature = "yaml")]
fn of_yaml<'e>(error: &'e (dyn Error + 'static)) -> Option<(usize, usize, &'e str)> {
    let error = error.downcast_ref::<yaml_rust2::ScanError>()?;
    Some((error.marker().line(), error.marker().col() + 1, error.info()))
}

#[cfg(not(feature = "yaml"))]
fn of_yaml<'e>(_: &'e (dyn Error + 'static)) -> Option<(usize, usize, &'e str)> {
    None
}

/// Line and column of a byte, each from 1.
fn place_of(byte: usize, text: &str) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Returns the message with `..` for every word that is in the file too, so that nothing a parser quotes is repeated.
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

fn tree(table: ParsedMap<String, Parsed>) -> Result<Value, Broken> {
    let Unique(value) = Unique::deserialize(Parsed::new(None, table))?;
    Ok(value)
}

/// A tree in which no table has two entries of one name, and numbers that JSON lacks are texts. serde_json's own `Value` takes the last of
/// two entries without a word, and null for such a number.
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
        Ok(value.into_json())
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

#[cfg(all(test, not(feature = "yaml")))]
mod tests {
    use super::*;

    #[test]
    fn yaml_without_its_feature_is_an_error_that_names_it() {
        let message = parse("source: eu", Written::Yaml, 1 << 10).expect_err("no feature");
        assert_eq!(
            message,
            "YAML needs the feature `yaml` of tracer-registry, and this program was built without it"
        );
    }
}
