//! Walks the JSON along the schema and writes protobuf on the way.

use std::fmt;
use std::mem;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::output::Output;
use super::scalar;
use super::schema::{Field, Kind, Message, REQUEST};

/// Levels of nested values, as in protobuf: a list in an attribute's value is at level 2.
const MAX_LEVELS: usize = 32;

/// A step from a value of the request to one inside it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Field(&'static str),
    Element(usize),
}

/// Converts a request. An error comes with the path to the value.
pub(super) fn convert(json: &str) -> Result<Vec<u8>, (Vec<Step>, serde_json::Error)> {
    let mut writer = Writer {
        out: Output::with_capacity(json.len() / 2),
        path: Vec::new(),
        level: 0,
    };
    let mut reader = serde_json::Deserializer::from_str(json);
    // The schema bounds the nesting of known fields, and unknown ones are skipped without recursion.
    reader.disable_recursion_limit();
    match reader.deserialize_map(Root(&mut writer)).and_then(|()| reader.end()) {
        Ok(()) => Ok(writer.out.finish()),
        Err(error) => {
            writer.path.reverse();
            Err((writer.path, error))
        }
    }
}

struct Writer {
    out: Output,
    /// Path to the refused value, last step first. Empty until then.
    path: Vec<Step>,
    /// Number of values of type `AnyValue` that are open.
    level: usize,
}

impl Writer {
    /// Writes the fields of a message.
    fn fields<'de, A: MapAccess<'de>>(&mut self, message: &'static Message, mut map: A) -> Result<(), A::Error> {
        if message.any_value {
            self.level += 1;
            if self.level > MAX_LEVELS {
                return Err(Error::custom(format_args!("values nest at most {MAX_LEVELS} levels")));
            }
        }
        let mut seen = 0_u32;
        let mut has_value = false;
        let mut likely = 0;
        while let Some(known) = map.next_key_seed(Name { message, likely })? {
            let Some(index) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &message.fields[index];
            let keep_zero = message.any_value;
            let written = if seen & 1 << index != 0 {
                Err(Error::custom("set more than once"))
            } else {
                let writer = &mut *self;
                map.next_value_seed(Value {
                    writer,
                    field,
                    element: false,
                    keep_zero,
                })
            };
            let written = written.and_then(|present| {
                if message.any_value && present && mem::replace(&mut has_value, true) {
                    return Err(Error::custom("an attribute has one value"));
                }
                Ok(())
            });
            if let Err(error) = written {
                self.path.push(Step::Field(field.name));
                return Err(error);
            }
            seen |= 1 << index;
            likely = index + 1;
        }
        if message.any_value {
            self.level -= 1;
        }
        Ok(())
    }
}

/// The request itself, which has neither tag nor length.
struct Root<'a>(&'a mut Writer);

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.fields(&REQUEST, map)
    }
}

/// The name of a field. Returns its index in the message, or `None` if the message has no such field.
struct Name {
    message: &'static Message,
    /// Index of the field to compare with first: fields mostly come in the order of the schema.
    likely: usize,
}

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    #[inline]
    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let fields = self.message.fields;
        if fields.get(self.likely).is_some_and(|field| field.name == name) {
            return Ok(Some(self.likely));
        }
        let named = fields.iter().position(|field| field.name == name);
        Ok(named.or_else(|| fields.iter().position(|field| field.proto_name == name)))
    }
}

/// The value of a field, or an element of a repeated one. Returns whether it is present.
struct Value<'a> {
    writer: &'a mut Writer,
    field: &'static Field,
    /// Whether this is an element of the field's list.
    element: bool,
    /// Whether zero and empty values are written.
    keep_zero: bool,
}

impl Value<'_> {
    /// The error for a value that the field cannot have.
    #[cold]
    fn refused<T, E: Error>(&self) -> Result<T, E> {
        let rule = match self.field.kind {
            _ if self.is_list() => "expected an array",
            Kind::Text => "expected a string",
            Kind::Id => "expected a string of hexadecimal digits, two for each byte",
            Kind::Bytes => "expected a base64 string",
            Kind::Bool => "expected true or false",
            Kind::Double => r#"expected a finite number, "NaN", "Infinity" or "-Infinity""#,
            Kind::Int32 => "expected an integer of 32 bits",
            Kind::Int64 => "expected an integer of 64 bits",
            Kind::Uint32 | Kind::Fixed32 => "expected an unsigned integer of 32 bits",
            Kind::Fixed64 => "expected an unsigned integer of 64 bits",
            Kind::Enum(_) => "expected an integer of 32 bits or the name of a value",
            Kind::Message(_) => "expected an object",
        };
        Err(E::custom(rule))
    }

    fn is_list(&self) -> bool {
        self.field.repeated && !self.element
    }

    /// Writes a double, also zero: all doubles are values of `AnyValue`.
    fn double(self, value: f64) -> bool {
        self.writer.out.fixed64(self.field.number, value.to_bits());
        true
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "protobuf has two's complement"
    )]
    fn integer<E: Error>(self, value: i128) -> Result<bool, E> {
        let kind = self.field.kind;
        let in_range = match kind {
            Kind::Int32 | Kind::Enum(_) => i32::try_from(value).is_ok(),
            Kind::Int64 => i64::try_from(value).is_ok(),
            Kind::Uint32 | Kind::Fixed32 => u32::try_from(value).is_ok(),
            Kind::Fixed64 => u64::try_from(value).is_ok(),
            _ => false,
        };
        if !in_range {
            return self.refused();
        }
        if self.keep_zero || value != 0 {
            let (out, number) = (&mut self.writer.out, self.field.number);
            match kind {
                Kind::Fixed32 => out.fixed32(number, value as u32),
                Kind::Fixed64 => out.fixed64(number, value as u64),
                _ => out.varint(number, value as u64),
            }
        }
        Ok(true)
    }

    /// Writes bytes that `decode` reads from `text`.
    fn decoded<E: Error>(self, text: &str, decode: fn(&str, &mut Vec<u8>) -> Option<()>) -> Result<bool, E> {
        if text.is_empty() && !self.keep_zero {
            return Ok(true);
        }
        let open = self.writer.out.open(self.field.number);
        if decode(text, self.writer.out.bytes()).is_none() {
            return self.refused();
        }
        self.writer.out.close(&open);
        Ok(true)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Has a method for each kind of JSON value: the default ones would quote the input in errors.
impl<'de> Visitor<'de> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of a field")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        if self.element {
            Err(E::custom("a list has no null"))
        } else {
            Ok(false)
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        if !matches!(self.field.kind, Kind::Bool) {
            return self.refused();
        }
        self.writer.out.varint(self.field.number, value.into());
        Ok(true)
    }

    #[expect(clippy::cast_precision_loss, reason = "a double is the nearest one to the number")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        match self.field.kind {
            Kind::Double => Ok(self.double(value as f64)),
            _ => self.integer(value.into()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a double is the nearest one to the number")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        match self.field.kind {
            Kind::Double => Ok(self.double(value as f64)),
            _ => self.integer(value.into()),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        match (self.field.kind, scalar::integral(value)) {
            (Kind::Double, _) => Ok(self.double(value)),
            (_, Some(value)) => self.integer(value),
            (_, None) => self.refused(),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        if self.is_list() {
            return self.refused();
        }
        let integer = match self.field.kind {
            Kind::Text => {
                if self.keep_zero || !text.is_empty() {
                    self.writer.out.delimited(self.field.number, text.as_bytes());
                }
                return Ok(true);
            }
            Kind::Id => return self.decoded(text, scalar::append_hex),
            Kind::Bytes => return self.decoded(text, scalar::append_base64),
            Kind::Bool | Kind::Message(_) => return self.refused(),
            Kind::Double => {
                return match scalar::double(text) {
                    Some(value) => Ok(self.double(value)),
                    None => self.refused(),
                };
            }
            Kind::Enum(names) => match names.iter().zip(0..).find(|(name, _)| **name == text) {
                Some((_, value)) => Some(value),
                None => scalar::integer(text),
            },
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Fixed32 | Kind::Fixed64 => scalar::integer(text),
        };
        match (integer, self.field.kind) {
            (Some(value), _) => self.integer(value),
            // The name of a value that a later version has.
            (None, Kind::Enum(_)) => Ok(false),
            (None, _) => self.refused(),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        if !self.is_list() {
            return self.refused();
        }
        let Value { writer, field, .. } = self;
        for index in 0.. {
            match list.next_element_seed(Value {
                writer: &mut *writer,
                field,
                element: true,
                keep_zero: true,
            }) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    writer.path.push(Step::Element(index));
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return self.refused();
        };
        if self.is_list() {
            return self.refused();
        }
        let open = self.writer.out.open(self.field.number);
        self.writer.fields(message, map)?;
        self.writer.out.close(&open);
        Ok(true)
    }
}
