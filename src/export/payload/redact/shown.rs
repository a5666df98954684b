//! Values in a form that is equal for equal values, however they are encoded.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::numbers::{BOOL, BYTES, DOUBLE, KEY, LIST, MAP, STRING, STRING_INDEX, VALUE, VALUES};
use crate::export::payload::parts::fields_of;
use crate::export::payload::wire::{Field, fields, varint};

/// A number or boolean.
pub(super) enum Number {
    Bool(bool),
    Int(i64),
    Double(f64),
}

/// Reads the number of a member of an `AnyValue`.
pub(super) fn number(member: u32, content: &[u8]) -> Option<Number> {
    if member == DOUBLE {
        return content
            .try_into()
            .ok()
            .map(|bytes| Number::Double(f64::from_le_bytes(bytes)));
    }
    let (number, _) = varint(content).ok()?;
    Some(if member == BOOL {
        Number::Bool(number != 0)
    } else {
        Number::Int(number.cast_signed())
    })
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
        }
    }
}

/// Returns the text of a value: of a string its content, of a list or map its JSON.
pub(super) fn of(source: &[u8], value: &Field) -> Vec<u8> {
    let member = fields(source, value.value.clone()).find(|member| member.number <= STRING_INDEX);
    let Some(member) = member else {
        return Vec::new();
    };
    match member.number {
        STRING | BYTES => source[member.value].to_vec(),
        LIST | MAP => json(source, value).to_string().into_bytes(),
        kind => number(kind, &source[member.value]).map_or_else(Vec::new, |number| number.to_string().into_bytes()),
    }
}

/// Returns a value as JSON, bytes in base64.
fn json(source: &[u8], value: &Field) -> Value {
    let member = fields(source, value.value.clone()).find(|member| member.number <= STRING_INDEX);
    let Some(member) = member else {
        return Value::Null;
    };
    let content = &source[member.value.clone()];
    match member.number {
        STRING => String::from_utf8_lossy(content).into(),
        BYTES => BASE64_STANDARD.encode(content).into(),
        LIST => fields_of(source, member.value, VALUES)
            .map(|item| json(source, &item))
            .collect(),
        MAP => {
            let entries = fields_of(source, member.value, VALUES).map(|entry| {
                let of = |number| fields_of(source, entry.value.clone(), number).next();
                let key = of(KEY).map_or_else(String::new, |key| String::from_utf8_lossy(&source[key.value]).into());
                (key, of(VALUE).map_or(Value::Null, |value| json(source, &value)))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        kind => match number(kind, content) {
            Some(Number::Bool(value)) => value.into(),
            Some(Number::Int(value)) => value.into(),
            Some(Number::Double(value)) => value.into(),
            None => Value::Null,
        },
    }
}
