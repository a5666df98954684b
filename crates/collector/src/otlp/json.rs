//! Where OTLP/JSON is not what serde would expect, and where clients write it otherwise than the specification says.
//!
//! Specified: ids in hexadecimal (either case), 64-bit integers as strings or numbers, bytes in base64, enumerations as
//! integers. Accepted beside it, because released clients send it: enumerations by name, `null` for what is missing.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use super::message;

const SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// `null` is the default of the type.
pub(super) fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An integer as a number or in a string; `null` is 0.
pub(super) fn integer<'de, T: TryFrom<i128> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(IntegerVisitor {
        names: &[],
        result: PhantomData,
    })
}

/// The kind of a span: an integer, or the name of the enumeration's value.
pub(super) fn span_kind<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    from.deserialize_any(IntegerVisitor {
        names: &SPAN_KINDS,
        result: PhantomData,
    })
}

/// The code of a status: an integer, or the name of the enumeration's value.
pub(super) fn status_code<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    from.deserialize_any(IntegerVisitor {
        names: &STATUS_CODES,
        result: PhantomData,
    })
}

/// Bytes in hexadecimal; `null` is none.
pub(super) fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(Vec::new());
    };
    decode_hex(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"an id in hexadecimal digits"))
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect()
}

struct IntegerVisitor<T> {
    /// Names that stand for their own index.
    names: &'static [&'static str],
    result: PhantomData<T>,
}

impl<T: TryFrom<i128> + Default> IntegerVisitor<T> {
    fn fit<E: Error>(&self, value: i128, found: Unexpected<'_>) -> Result<T, E> {
        T::try_from(value).map_err(|_| E::invalid_value(found, self))
    }
}

impl<T: TryFrom<i128> + Default> Visitor<'_> for IntegerVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an integer of {} bits, as a number or in a string",
            size_of::<T>() * 8
        )?;
        if self.names.is_empty() {
            Ok(())
        } else {
            write!(f, ", or one of {}", self.names.join(", "))
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        self.fit(i128::from(value), Unexpected::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.fit(i128::from(value), Unexpected::Signed(value))
    }

    // The JSON mapping of protobuf takes 1.0 and 1e9 for integers too.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only whole numbers within the exact range of f64 get here"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() <= EXACT {
            return self.fit(value as i128, Unexpected::Float(value));
        }
        Err(E::invalid_value(Unexpected::Float(value), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let found = Unexpected::Str(text);
        if let Some(index) = self.names.iter().position(|name| *name == text) {
            return self.fit(i128::try_from(index).unwrap_or_default(), found);
        }
        match text.parse::<i128>() {
            Ok(value) => self.fit(value, found),
            Err(_) => Err(E::invalid_value(found, &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

/// A value as JSON writes it: an object with at most one of these.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the specification")]
pub(super) struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Int>,
    double_value: Option<Double>,
    array_value: Option<message::ArrayValue>,
    kvlist_value: Option<message::KeyValueList>,
    bytes_value: Option<String>,
}

#[derive(serde::Deserialize)]
struct Int(#[serde(deserialize_with = "integer")] i64);

enum Double {
    Number(f64),
    // "NaN", "Infinity", "-Infinity", or any number in a string.
    Text(String),
}

// By hand: serde's untagged enumerations read a value of any size into memory before they look at it.
impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(DoubleVisitor)
    }
}

struct DoubleVisitor;

impl Visitor<'_> for DoubleVisitor {
    type Value = Double;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, as a number or in a string")
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the nearest number, as the specification has it"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Double, E> {
        Ok(Double::Number(value as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the nearest number, as the specification has it"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Double, E> {
        Ok(Double::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Double, E> {
        Ok(Double::Number(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Double, E> {
        Ok(Double::Text(text.to_owned()))
    }
}

/// Why an attribute's value cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    #[error(
        "an attribute's value has {0} of stringValue, boolValue, intValue, doubleValue, arrayValue, kvlistValue, bytesValue; one is allowed"
    )]
    Several(usize),
    #[error("doubleValue {0:?} is not a number")]
    Double(String),
    #[error("bytesValue is not base64: {0}")]
    Bytes(base64::DecodeError),
}

impl TryFrom<AnyValue> for message::AnyValue {
    type Error = ValueError;

    fn try_from(json: AnyValue) -> Result<Self, ValueError> {
        use message::Value;

        let double = match json.double_value {
            None => None,
            Some(Double::Number(number)) => Some(number),
            Some(Double::Text(text)) => Some(text.parse().map_err(|_| ValueError::Double(text))?),
        };
        let bytes = json
            .bytes_value
            .map(|text| decode_base64(&text))
            .transpose()
            .map_err(ValueError::Bytes)?;
        let choices = [
            json.string_value.map(Value::String),
            json.bool_value.map(Value::Bool),
            json.int_value.map(|int| Value::Int(int.0)),
            double.map(Value::Double),
            json.array_value.map(Value::Array),
            json.kvlist_value.map(Value::Map),
            bytes.map(Value::Bytes),
        ];
        let mut given = choices.into_iter().flatten();
        let value = given.next();
        match given.count() {
            0 => Ok(Self { value }),
            more => Err(ValueError::Several(more + 1)),
        }
    }
}

/// Both alphabets, as the JSON mapping of protobuf asks.
fn decode_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    if text.contains(['-', '_']) {
        URL_SAFE.decode(text)
    } else {
        STANDARD.decode(text)
    }
}
