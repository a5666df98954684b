//! Messages of OTLP's trace requests: `trace_service.proto`, `trace.proto`, `resource.proto` and
//! `common.proto` of opentelemetry-proto 1.x.

use super::wire::{FIXED_32, FIXED_64, LENGTH, VARINT};

/// A message type.
#[derive(Debug)]
pub(super) struct Schema {
    /// By field number: 32, so that no tag of one byte is out of bounds.
    fields: [FieldRule; 32],
    /// Bits of the ids that may not be missing.
    pub(super) required: u32,
}

/// Rules for a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldRule {
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) wire: u32,
    /// The tag, if it has one byte.
    pub(super) short_tag: Option<u8>,
    pub(super) content: Content,
    /// Bit that fields share of which a message has at most one. Zero if a field may be repeated.
    pub(super) once: u32,
}

/// What a field contains.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// A number, bytes or something unknown.
    Any,
    Text,
    TraceId,
    SpanId,
    /// A trace id, which may be empty or all zeros.
    OptionalTraceId,
    /// A span id, which may be empty or all zeros.
    OptionalSpanId,
    Message(&'static Schema),
    /// Spans with the same resource or scope.
    Block(&'static Schema),
    /// A span, which is counted.
    Span,
    KeyValue,
    /// An `AnyValue`, whose nesting is limited.
    Value,
    /// The key of an attribute.
    Key,
}

use Content::{
    Any, Block, Key, KeyValue, Message, OptionalSpanId, OptionalTraceId, Span, SpanId, Text, TraceId, Value,
};

const UNKNOWN: FieldRule = FieldRule {
    name: "",
    number: 0,
    wire: 0,
    short_tag: None,
    content: Any,
    once: 0,
};

/// Returns the tag of a field, if it has one byte.
#[expect(clippy::cast_possible_truncation, reason = "below 128")]
const fn short_tag(number: u32, wire: u32) -> Option<u8> {
    if number < 16 {
        Some((number << 3 | wire) as u8)
    } else {
        None
    }
}

/// A field that a message has at most once.
const fn one(number: u32, name: &'static str, wire: u32, content: Content) -> FieldRule {
    FieldRule {
        name,
        number,
        wire,
        short_tag: short_tag(number, wire),
        content,
        once: 1 << number,
    }
}

/// A repeated field, which always has a length.
const fn many(number: u32, name: &'static str, content: Content) -> FieldRule {
    FieldRule {
        name,
        number,
        wire: LENGTH,
        short_tag: short_tag(number, LENGTH),
        content,
        once: 0,
    }
}

/// A member of the message's `oneof`.
const fn member(number: u32, name: &'static str, wire: u32, content: Content) -> FieldRule {
    FieldRule {
        name,
        number,
        wire,
        short_tag: short_tag(number, wire),
        content,
        once: 1,
    }
}

impl Schema {
    const fn new(known: &[FieldRule]) -> Self {
        let mut fields = [UNKNOWN; 32];
        let mut required = 0;
        let mut index = 0;
        while index < known.len() {
            let rule = known[index];
            fields[rule.number as usize] = rule;
            if matches!(rule.content, TraceId | SpanId) {
                required |= rule.once;
            }
            index += 1;
        }
        Self { fields, required }
    }

    /// Returns the rules for a field, if it has a tag of one byte. Compare with its `short_tag`.
    #[inline]
    pub(super) fn of_short_tag(&self, tag: u8) -> &FieldRule {
        &self.fields[usize::from(tag >> 3)]
    }

    /// Returns the rules for a field. Unknown fields have the number 0.
    pub(super) fn field(&self, number: u32) -> &FieldRule {
        self.fields.get(number as usize).unwrap_or(&const { UNKNOWN })
    }

    /// Returns the first required field whose bit is not in `seen`.
    pub(super) fn missing(&self, seen: u32) -> Option<&FieldRule> {
        let missing = self.required & !seen;
        self.fields.iter().find(|rule| rule.once & missing != 0)
    }
}

pub(super) static REQUEST: Schema = Schema::new(&[many(1, "resource_spans", Block(&RESOURCE_SPANS))]);

pub(super) static RESOURCE_SPANS: Schema = Schema::new(&[
    one(1, "resource", LENGTH, Message(&RESOURCE)),
    many(2, "scope_spans", Block(&SCOPE_SPANS)),
    one(3, "schema_url", LENGTH, Text),
]);

static RESOURCE: Schema = Schema::new(&[
    many(1, "attributes", KeyValue),
    one(2, "dropped_attributes_count", VARINT, Any),
    many(3, "entity_refs", Message(&ENTITY_REF)),
]);

static ENTITY_REF: Schema = Schema::new(&[
    one(1, "schema_url", LENGTH, Text),
    one(2, "type", LENGTH, Text),
    many(3, "id_keys", Text),
    many(4, "description_keys", Text),
]);

static SCOPE_SPANS: Schema = Schema::new(&[
    one(1, "scope", LENGTH, Message(&SCOPE)),
    many(2, "spans", Span),
    one(3, "schema_url", LENGTH, Text),
]);

static SCOPE: Schema = Schema::new(&[
    one(1, "name", LENGTH, Text),
    one(2, "version", LENGTH, Text),
    many(3, "attributes", KeyValue),
    one(4, "dropped_attributes_count", VARINT, Any),
]);

pub(super) static SPAN: Schema = Schema::new(&[
    one(1, "trace_id", LENGTH, TraceId),
    one(2, "span_id", LENGTH, SpanId),
    one(3, "trace_state", LENGTH, Text),
    one(4, "parent_span_id", LENGTH, OptionalSpanId),
    one(5, "name", LENGTH, Text),
    one(6, "kind", VARINT, Any),
    one(7, "start_time_unix_nano", FIXED_64, Any),
    one(8, "end_time_unix_nano", FIXED_64, Any),
    many(9, "attributes", KeyValue),
    one(10, "dropped_attributes_count", VARINT, Any),
    many(11, "events", Message(&EVENT)),
    one(12, "dropped_events_count", VARINT, Any),
    many(13, "links", Message(&LINK)),
    one(14, "dropped_links_count", VARINT, Any),
    one(15, "status", LENGTH, Message(&STATUS)),
    one(16, "flags", FIXED_32, Any),
]);

static EVENT: Schema = Schema::new(&[
    one(1, "time_unix_nano", FIXED_64, Any),
    one(2, "name", LENGTH, Text),
    many(3, "attributes", KeyValue),
    one(4, "dropped_attributes_count", VARINT, Any),
]);

static LINK: Schema = Schema::new(&[
    // A link may be to nothing: its attributes count.
    one(1, "trace_id", LENGTH, OptionalTraceId),
    one(2, "span_id", LENGTH, OptionalSpanId),
    one(3, "trace_state", LENGTH, Text),
    many(4, "attributes", KeyValue),
    one(5, "dropped_attributes_count", VARINT, Any),
    one(6, "flags", FIXED_32, Any),
]);

static STATUS: Schema = Schema::new(&[one(2, "message", LENGTH, Text), one(3, "code", VARINT, Any)]);

pub(super) static KEY_VALUE: Schema = Schema::new(&[
    one(1, "key", LENGTH, Key),
    one(2, "value", LENGTH, Value),
    one(3, "key_strindex", VARINT, Any),
]);

pub(super) static ANY_VALUE: Schema = Schema::new(&[
    member(1, "string_value", LENGTH, Text),
    member(2, "bool_value", VARINT, Any),
    member(3, "int_value", VARINT, Any),
    member(4, "double_value", FIXED_64, Any),
    member(5, "array_value", LENGTH, Message(&ARRAY)),
    member(6, "kvlist_value", LENGTH, Message(&KEY_VALUE_LIST)),
    member(7, "bytes_value", LENGTH, Any),
    member(8, "string_value_strindex", VARINT, Any),
]);

static ARRAY: Schema = Schema::new(&[many(1, "values", Value)]);

static KEY_VALUE_LIST: Schema = Schema::new(&[many(1, "values", KeyValue)]);
