//! Parses TOML, YAML and JSON.
//!
//! Prevents three problems of plain parsers: quoting a line of the file in a message (it may
//! contain a key), accepting the second of two entries with the same name, and overflowing the
//! stack.

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

/// Maximum nesting depth of tables and lists in a file. No setting except metadata is deeper than
/// 5. The TOML and JSON parsers have higher limits, which are still far below what a stack holds.
pub(crate) const MAX_DEPTH: usize = 64;
/// Minimum length of a word that is removed from messages if the file contains it.
const MIN_REMOVED_BYTES: usize = 4;

type ParseError = Box<dyn Error + Send + Sync>;

/// Syntax of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    Toml,
    Yaml,
    Json,
}

/// Parses a text. An error has the position and the rule, but no word of the text. `max_bytes`
/// limits the size after YAML aliases are expanded; the caller has checked the text itself.
pub(crate) fn parse(text: &str, syntax: Syntax, max_bytes: u64) -> Result<Value, String> {
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed: Result<Value, ParseError> = match syntax {
        Syntax::Toml => FileFormat::Toml.parse(None, text).and_then(tree),
        Syntax::Yaml => parse_yaml(text, max_bytes)?,
        Syntax::Json => serde_json::from_str(text)
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

/// The outer error concerns the text as a whole, the inner one comes from the parser.
#[cfg(feature = "yaml")]
fn parse_yaml(text: &str, max_bytes: u64) -> Result<Result<Value, ParseError>, String> {
    yaml::check(text, MAX_DEPTH, max_bytes).map_err(|excess| match excess {
        Excess::Depth => too_deep(),
        Excess::Bytes => format!("larger than {} after expanding aliases", bytes(max_bytes)),
        Excess::Tag => "a tag is too long".to_owned(),
    })?;
    Ok(FileFormat::Yaml.parse(None, text).and_then(tree))
}

#[cfg(not(feature = "yaml"))]
fn parse_yaml(_: &str, _: u64) -> Result<Result<Value, ParseError>, String> {
    Err(needs_feature("YAML", "yaml"))
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

/// Formats a size limit for an error.
pub(crate) fn bytes(limit: u64) -> String {
    match limit >> 20 {
        0 => format!("{} KiB", limit >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

/// Returns line, column and the parser's message.
fn message(error: &(dyn Error + 'static), text: &str) -> String {
    let shown = error.to_string();
    let (position, message) = if let Some(error) = error.downcast_ref::<toml::de::Error>() {
        (error.span().map(|span| position_of(span.start, text)), error.message())
    } else if let Some((line, column, message)) = yaml_error(error) {
        (Some((line, column)), message)
    } else if let Some(error) = error.downcast_ref::<serde_json::Error>() {
        let (line, column) = (error.line(), error.column());
        let suffix = format!(" at line {line} column {column}");
        (Some((line, column)), shown.strip_suffix(&suffix).unwrap_or(&shown))
    } else {
        (None, shown.as_str())
    };
    // The parser's own depth limit, above ours.
    if message.contains("recursion") {
        return too_deep();
    }
    let message = without_words_of(&message.replace('\n', ", "), text);
    match position {
        Some((line, column)) => format!("line {line}, column {column}: {message}"),
        None => message,
    }
}

#[cfg(feature = "yaml")]
fn yaml_error<'e>(error: &'e (dyn Error + 'static)) -> Option<(usize, usize, &'e str)> {
    let error = error.downcast_ref::<yaml_rust2::ScanError>()?;
    Some((error.marker().line(), error.marker().col() + 1, error.info()))
}

#[cfg(not(feature = "yaml"))]
fn yaml_error<'e>(_: &'e (dyn Error + 'static)) -> Option<(usize, usize, &'e str)> {
    None
}

/// Returns line and column of a byte, each from 1.
fn position_of(byte: usize, text: &str) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Replaces every word of the message that the file also contains with `..`, so that nothing quoted
/// by a parser is repeated.
fn without_words_of(message: &str, text: &str) -> String {
    let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut clean = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest.find(in_word).unwrap_or(rest.len());
        clean.push_str(&rest[..start]);
        rest = &rest[start..];
        let word = &rest[..rest.find(|c| !in_word(c)).unwrap_or(rest.len())];
        let is_removed = word.len() >= MIN_REMOVED_BYTES && text.contains(word);
        clean.push_str(if is_removed { ".." } else { word });
        rest = &rest[word.len()..];
    }
    clean
}

fn tree(table: ParsedMap<String, Parsed>) -> Result<Value, ParseError> {
    let Unique(value) = Unique::deserialize(Parsed::new(None, table))?;
    Ok(value)
}

/// JSON value without duplicate keys, with strings for numbers that JSON cannot represent.
/// serde_json's own `Value` silently keeps the last of two entries, and stores null for such
/// numbers.
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
    fn yaml_without_its_feature_is_an_error_that_names_the_feature() {
        let message = parse("source: eu", Syntax::Yaml, 1 << 10).expect_err("no feature");
        assert_eq!(
            message,
            "YAML needs the feature `yaml` of tracer-registry, and this program was built without it"
        );
    }
}
