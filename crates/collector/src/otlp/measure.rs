//! Measures the memory of a decoded body by walking over the encoded one.
//!
//! The encoded size is a bad estimate: a message of two bytes takes hundreds of bytes in memory, so
//! a body of empty spans takes a hundred times its size. The walks over protobuf and JSON share one
//! table of the nested types.

use std::fmt;
use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::trace::v1 as trace;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::Key;
use super::read::Arrival;
use crate::model;
use crate::model::byte_size::{ENTRIES_PER_NODE, NODE_BYTES, OVERHEAD_BYTES};

/// Maximum depth of the walk. The decoder refuses a depth above 100.
const MAX_DEPTH: usize = 110;
/// Overhead of the two texts of an attribute.
const TEXTS_BYTES: usize = 2 * 16;

/// A kind of value that a body may contain in any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    ResourceSpans,
    Resource,
    /// Decoded, but not stored.
    EntityRef,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    /// Contains its value.
    KeyValue,
    AnyValue,
    /// A value in a list.
    Element,
    Array,
    List,
    /// A text in a list.
    Text,
    /// Any JSON value.
    Json,
}

impl Kind {
    /// Returns the nested fields: number, JSON name, kind.
    const fn fields(self) -> &'static [(u32, &'static str, Kind)] {
        match self {
            Self::Request => &[(1, "resourceSpans", Self::ResourceSpans)],
            Self::ResourceSpans => &[(1, "resource", Self::Resource), (2, "scopeSpans", Self::ScopeSpans)],
            Self::Resource => &[(1, "attributes", Self::KeyValue), (3, "entityRefs", Self::EntityRef)],
            Self::EntityRef => &[(3, "idKeys", Self::Text), (4, "descriptionKeys", Self::Text)],
            Self::ScopeSpans => &[(1, "scope", Self::Scope), (2, "spans", Self::Span)],
            Self::Span => &[
                (9, "attributes", Self::KeyValue),
                (11, "events", Self::Event),
                (13, "links", Self::Link),
            ],
            Self::Scope | Self::Event => &[(3, "attributes", Self::KeyValue)],
            Self::Link => &[(4, "attributes", Self::KeyValue)],
            Self::KeyValue => &[(2, "value", Self::AnyValue)],
            Self::AnyValue | Self::Element => &[(5, "arrayValue", Self::Array), (6, "kvlistValue", Self::List)],
            Self::Array => &[(1, "values", Self::Element)],
            Self::List => &[(1, "values", Self::KeyValue)],
            Self::Text | Self::Json => &[],
        }
    }

    /// Returns the size of one value as a message and in the model. A message counts twice, because
    /// lists grow by doubling.
    const fn bytes(self) -> usize {
        match self {
            Self::Request | Self::Resource | Self::Scope | Self::AnyValue | Self::Array | Self::List => 0,
            Self::ResourceSpans => 2 * size_of::<trace::ResourceSpans>() + size_of::<model::Resource>(),
            Self::EntityRef => 2 * size_of::<common::EntityRef>() + TEXTS_BYTES,
            Self::Text => 2 * size_of::<String>() + TEXTS_BYTES,
            Self::ScopeSpans => 2 * size_of::<trace::ScopeSpans>() + size_of::<model::InstrumentationScope>(),
            Self::Span => {
                2 * size_of::<trace::Span>() + 2 * size_of::<Arrival>() + size_of::<model::Span>() + OVERHEAD_BYTES
            }
            Self::Event => 2 * size_of::<trace::span::Event>() + 2 * size_of::<model::SpanEvent>(),
            Self::Link => 2 * size_of::<trace::span::Link>() + 2 * size_of::<model::SpanLink>(),
            Self::KeyValue => 2 * size_of::<common::KeyValue>() + NODE_BYTES / ENTRIES_PER_NODE + TEXTS_BYTES,
            Self::Element => 2 * size_of::<common::AnyValue>() + 2 * size_of::<serde_json::Value>(),
            Self::Json => 2 * size_of::<serde_json::Value>(),
        }
    }

    /// Returns the kind of a JSON field, if it is measured.
    fn json_field(self, name: &str) -> Option<Kind> {
        match self {
            Self::Json => Some(Self::Json),
            kind => kind.field(|_, known| known == name),
        }
    }

    fn field(self, matches: impl Fn(u32, &str) -> bool) -> Option<Kind> {
        let fields = self.fields().iter();
        fields
            .copied()
            .find_map(|(number, name, kind)| matches(number, name).then_some(kind))
    }
}

/// Memory that a body may still use.
pub(super) struct Allowance {
    left: usize,
    is_exceeded: bool,
}

impl Allowance {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            left: bytes,
            is_exceeded: false,
        }
    }

    /// Returns false if the allowance is exceeded.
    fn spend(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.is_exceeded = true,
        }
        !self.is_exceeded
    }

    /// Counts a nested value. The first attribute of a value allocates a map.
    fn spend_on(&mut self, kind: Kind, is_first_attribute: bool) -> bool {
        self.spend(kind.bytes() + if is_first_attribute { NODE_BYTES } else { 0 })
    }

    #[cfg(test)]
    pub(super) fn spent(&self) -> usize {
        usize::MAX - self.left
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }
}

/// Walks over protobuf. Ignores errors, because the decoder reports them.
pub(super) fn protobuf(kind: Kind, body: &[u8], allowance: &mut Allowance) {
    let _ = walk(kind, body, MAX_DEPTH, allowance);
}

fn walk(kind: Kind, mut rest: &[u8], depth: usize, allowance: &mut Allowance) -> Result<(), DecodeError> {
    let mut has_attributes = false;
    while !rest.is_empty() && !allowance.is_exceeded {
        let (number, wire_type) = decode_key(&mut rest)?;
        let inside = kind.field(|known, _| known == number);
        match inside {
            Some(inside) if wire_type == WireType::LengthDelimited && depth > 0 => {
                let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
                // A truncated message ends the walk; the decoder refuses it.
                let Some((body, after)) = rest.split_at_checked(length) else {
                    return Ok(());
                };
                let is_first_attribute = inside == Kind::KeyValue && !has_attributes;
                has_attributes |= is_first_attribute;
                // A text is not a message: bytes that look like a field could end the walk.
                if allowance.spend_on(inside, is_first_attribute) && inside != Kind::Text {
                    walk(inside, body, depth - 1, allowance)?;
                }
                rest = after;
            }
            _ => skip_field(wire_type, number, &mut rest, DecodeContext::default())?,
        }
    }
    Ok(())
}

/// Walks over JSON. Ignores errors, because the decoder reports them.
pub(super) fn json(kind: Kind, body: &[u8], allowance: &mut Allowance) {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let _ = Walk { kind, allowance }.deserialize(&mut reader);
}

struct Walk<'a> {
    kind: Kind,
    allowance: &'a mut Allowance,
}

impl Walk<'_> {
    /// Returns an error to end the walk; its text is not used.
    fn spend<E: serde::de::Error>(&mut self, kind: Kind, is_first_attribute: bool) -> Result<(), E> {
        if self.allowance.spend_on(kind, is_first_attribute) {
            Ok(())
        } else {
            Err(E::custom("too large"))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let kind = self.kind;
        let mut entries = 0_usize;
        while let Some(inside) = map.next_key_seed(Key(|name: &str| kind.json_field(name)))? {
            if kind == Kind::Json {
                // A node for some entries, and a text for the name of each.
                if entries.is_multiple_of(ENTRIES_PER_NODE) && !self.allowance.spend(NODE_BYTES) {
                    return Err(A::Error::custom("too large"));
                }
                self.spend(Kind::Json, false)?;
                entries += 1;
            }
            match inside {
                Some(kind) => map.next_value_seed(Walk {
                    kind,
                    allowance: &mut *self.allowance,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut is_first = self.kind == Kind::KeyValue;
        loop {
            let element = list.next_element_seed(Walk {
                kind: self.kind,
                allowance: &mut *self.allowance,
            })?;
            if element.is_none() {
                return Ok(());
            }
            self.spend(self.kind, is_first)?;
            is_first = false;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
