//! Decodes OTLP/JSON into protobuf messages.
//!
//! The specification has ids in hexadecimal (either case), 64-bit integers as strings or numbers,
//! bytes in base64, and enumerations as integers. Released clients also send enumerations by name,
//! and `null` for missing fields; both are accepted. Unknown fields are skipped, duplicate fields
//! are errors.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor};

const SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// A message that is decoded field by field.
trait Fields: Default {
    const NAMES: &'static [&'static str];

    /// Reads the value of one of [`NAMES`](Self::NAMES).
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Declares the JSON name, the field and the encoding of each field of a message.
macro_rules! fields {
    ($($message:ident { $($name:literal $field:ident: $written:ident,)* })*) => {$(
        impl Fields for $message {
            const NAMES: &'static [&'static str] = &[$($name),*];

            fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
                match name {
                    $($name => {
                        let $written(value) = map.next_value()?;
                        self.$field = value;
                    })*
                    _ => {}
                }
                Ok(())
            }
        }
    )*};
}

fields! {
    ExportTraceServiceRequest {
        "resourceSpans" resource_spans: List,
    }
    ResourceSpans {
        "resource" resource: Optional,
        "scopeSpans" scope_spans: List,
        "schemaUrl" schema_url: Text,
    }
    Resource {
        "attributes" attributes: List,
        "droppedAttributesCount" dropped_attributes_count: Integer,
    }
    ScopeSpans {
        "scope" scope: Optional,
        "spans" spans: List,
        "schemaUrl" schema_url: Text,
    }
    InstrumentationScope {
        "name" name: Text,
        "version" version: Text,
        "attributes" attributes: List,
        "droppedAttributesCount" dropped_attributes_count: Integer,
    }
    Span {
        "traceId" trace_id: Hex,
        "spanId" span_id: Hex,
        "traceState" trace_state: Text,
        "parentSpanId" parent_span_id: Hex,
        "name" name: Text,
        "kind" kind: Kind,
        "startTimeUnixNano" start_time_unix_nano: Integer,
        "endTimeUnixNano" end_time_unix_nano: Integer,
        "attributes" attributes: List,
        "droppedAttributesCount" dropped_attributes_count: Integer,
        "events" events: List,
        "droppedEventsCount" dropped_events_count: Integer,
        "links" links: List,
        "droppedLinksCount" dropped_links_count: Integer,
        "status" status: Optional,
        "flags" flags: Integer,
    }
    Event {
        "timeUnixNano" time_unix_nano: Integer,
        "name" name: Text,
        "attributes" attributes: List,
        "droppedAttributesCount" dropped_attributes_count: Integer,
    }
    Link {
        "traceId" trace_id: Hex,
        "spanId" span_id: Hex,
        "traceState" trace_state: Text,
        "attributes" attributes: List,
        "droppedAttributesCount" dropped_attributes_count: Integer,
        "flags" flags: Integer,
    }
    Status {
        "message" message: Text,
        "code" code: Code,
    }
    KeyValue {
        "key" key: Text,
        "value" value: Optional,
    }
    ArrayValue {
        "values" values: List,
    }
    KeyValueList {
        "values" values: List,
    }
}

impl Fields for AnyValue {
    const NAMES: &'static [&'static str] = &[
        "stringValue",
        "boolValue",
        "intValue",
        "doubleValue",
        "arrayValue",
        "kvlistValue",
        "bytesValue",
    ];

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let value = match name {
            "stringValue" => map.next_value::<Option<_>>()?.map(Value::StringValue),
            "boolValue" => map.next_value::<Option<_>>()?.map(Value::BoolValue),
            "intValue" => map.next_value::<Option<_>>()?.map(|Integer(int)| Value::IntValue(int)),
            "doubleValue" => map
                .next_value::<Option<_>>()?
                .map(|Double(double)| Value::DoubleValue(double)),
            "arrayValue" => map
                .next_value::<Option<_>>()?
                .map(|Message(array)| Value::ArrayValue(array)),
            "kvlistValue" => map
                .next_value::<Option<_>>()?
                .map(|Message(list)| Value::KvlistValue(list)),
            _ => map
                .next_value::<Option<_>>()?
                .map(|Base64(bytes)| Value::BytesValue(bytes)),
        };
        if value.is_some() && self.value.is_some() {
            let names = Self::NAMES.join(", ");
            return Err(A::Error::custom(format!(
                "attribute value has two of {names}: only one is allowed"
            )));
        }
        self.value = value.or(self.value.take());
        Ok(())
    }
}

/// Decodes the body of a trace export.
pub(super) fn request(body: &[u8]) -> serde_json::Result<ExportTraceServiceRequest> {
    serde_json::from_slice(body).map(|Message(request)| request)
}

struct Message<M>(M);

impl<'de, M: Fields> Deserialize<'de> for Message<M> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MessageVisitor(PhantomData))
    }
}

struct MessageVisitor<M>(PhantomData<M>);

impl<'de, M: Fields> Visitor<'de> for MessageVisitor<M> {
    type Value = Message<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message<M>, A::Error> {
        let mut message = M::default();
        let mut seen = 0_u32;
        while let Some(index) = map.next_key_seed(Key(|key: &str| M::NAMES.iter().position(|name| *name == key)))? {
            let Some(index) = index else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen & 1 << index != 0 {
                return Err(A::Error::duplicate_field(M::NAMES[index]));
            }
            seen |= 1 << index;
            message.read(M::NAMES[index], &mut map)?;
        }
        Ok(Message(message))
    }
}

/// Passes a key of an object to a function without copying it.
pub(super) struct Key<F>(pub(super) F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Key<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        from.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Key<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}

/// A list of messages; `null` is an empty list.
struct List<M>(Vec<M>);

impl<'de, M: Fields> Deserialize<'de> for List<M> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let messages = Option::<Vec<Message<M>>>::deserialize(from)?.unwrap_or_default();
        Ok(Self(messages.into_iter().map(|Message(message)| message).collect()))
    }
}

/// A message, or `null`.
struct Optional<M>(Option<M>);

impl<'de, M: Fields> Deserialize<'de> for Optional<M> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Option::deserialize(from)?.map(|Message(message)| message)))
    }
}

/// A text; `null` is an empty text.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Option::deserialize(from)?.unwrap_or_default()))
    }
}

/// Bytes in hexadecimal; `null` is empty.
struct Hex(Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(from)?;
        let bytes = decode_hex(&text);
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"an id in hexadecimal digits"))
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect()
}

/// Bytes in base64, in either alphabet, as the JSON mapping of protobuf requires.
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        let bytes = alphabet.decode(text);
        bytes
            .map(Self)
            .map_err(|error| D::Error::custom(format!("bytesValue is not base64: {error}")))
    }
}

/// An integer as a number or in a string; `null` is 0.
struct Integer<T>(T);

/// Kind of a span: an integer, or the name of the enumeration's value.
struct Kind(i32);

/// Code of a status: an integer, or the name of the enumeration's value.
struct Code(i32);

impl<'de, T: TryFrom<i128> + Default> Deserialize<'de> for Integer<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(IntegerVisitor::named(&[])).map(Self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(IntegerVisitor::named(&SPAN_KINDS)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(IntegerVisitor::named(&STATUS_CODES)).map(Self)
    }
}

struct IntegerVisitor<T> {
    /// Names that stand for their own index.
    names: &'static [&'static str],
    result: PhantomData<T>,
}

impl<T: TryFrom<i128> + Default> IntegerVisitor<T> {
    fn named(names: &'static [&'static str]) -> Self {
        Self {
            names,
            result: PhantomData,
        }
    }

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

    // The JSON mapping of protobuf accepts 1.0 and 1e9 as integers too.
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

/// A number, or a string with a number, "NaN", "Infinity" or "-Infinity".
struct Double(f64);

// Not an untagged enumeration: serde would buffer a value of any size before checking its type.
impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(DoubleVisitor).map(Self)
    }
}

struct DoubleVisitor;

#[expect(
    clippy::cast_precision_loss,
    reason = "the specification requires the nearest number"
)]
impl Visitor<'_> for DoubleVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, as a number or in a string")
    }

    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}
