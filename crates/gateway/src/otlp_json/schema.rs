//! The messages of an OTLP trace request.

/// A message of the schema.
pub(super) struct Message {
    pub(super) fields: &'static [Field],
    /// Whether this is `AnyValue`: it nests, and has one field at most.
    pub(super) any_value: bool,
}

/// A field of a message.
pub(super) struct Field {
    /// The name in JSON.
    pub(super) name: &'static str,
    /// The name in the `.proto` file.
    pub(super) proto_name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes that are hexadecimal in JSON.
    Id,
    /// Bytes that are base64 in JSON.
    Bytes,
    Bool,
    Double,
    Int32,
    Int64,
    Uint32,
    Fixed32,
    Fixed64,
    /// The names of the values 0, 1, ...
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

const fn one(number: u32, name: &'static str, proto_name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        proto_name,
        number,
        kind,
        repeated: false,
    }
}

const fn many(number: u32, name: &'static str, proto_name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        proto_name,
        number,
        kind,
        repeated: true,
    }
}

const fn message(fields: &'static [Field]) -> Message {
    Message {
        fields,
        any_value: false,
    }
}

const SPAN_KINDS: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUS_CODES: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// `ExportTraceServiceRequest`.
pub(super) static REQUEST: Message = message(&[many(
    1,
    "resourceSpans",
    "resource_spans",
    Kind::Message(&RESOURCE_SPANS),
)]);

static RESOURCE_SPANS: Message = message(&[
    one(1, "resource", "resource", Kind::Message(&RESOURCE)),
    many(2, "scopeSpans", "scope_spans", Kind::Message(&SCOPE_SPANS)),
    one(3, "schemaUrl", "schema_url", Kind::Text),
]);

static RESOURCE: Message = message(&[
    many(1, "attributes", "attributes", Kind::Message(&KEY_VALUE)),
    one(2, "droppedAttributesCount", "dropped_attributes_count", Kind::Uint32),
    many(3, "entityRefs", "entity_refs", Kind::Message(&ENTITY_REF)),
]);

static ENTITY_REF: Message = message(&[
    one(1, "schemaUrl", "schema_url", Kind::Text),
    one(2, "type", "type", Kind::Text),
    many(3, "idKeys", "id_keys", Kind::Text),
    many(4, "descriptionKeys", "description_keys", Kind::Text),
]);

static SCOPE_SPANS: Message = message(&[
    one(1, "scope", "scope", Kind::Message(&SCOPE)),
    many(2, "spans", "spans", Kind::Message(&SPAN)),
    one(3, "schemaUrl", "schema_url", Kind::Text),
]);

static SCOPE: Message = message(&[
    one(1, "name", "name", Kind::Text),
    one(2, "version", "version", Kind::Text),
    many(3, "attributes", "attributes", Kind::Message(&KEY_VALUE)),
    one(4, "droppedAttributesCount", "dropped_attributes_count", Kind::Uint32),
]);

static SPAN: Message = message(&[
    one(1, "traceId", "trace_id", Kind::Id),
    one(2, "spanId", "span_id", Kind::Id),
    one(3, "traceState", "trace_state", Kind::Text),
    one(4, "parentSpanId", "parent_span_id", Kind::Id),
    one(16, "flags", "flags", Kind::Fixed32),
    one(5, "name", "name", Kind::Text),
    one(6, "kind", "kind", Kind::Enum(SPAN_KINDS)),
    one(7, "startTimeUnixNano", "start_time_unix_nano", Kind::Fixed64),
    one(8, "endTimeUnixNano", "end_time_unix_nano", Kind::Fixed64),
    many(9, "attributes", "attributes", Kind::Message(&KEY_VALUE)),
    one(10, "droppedAttributesCount", "dropped_attributes_count", Kind::Uint32),
    many(11, "events", "events", Kind::Message(&EVENT)),
    one(12, "droppedEventsCount", "dropped_events_count", Kind::Uint32),
    many(13, "links", "links", Kind::Message(&LINK)),
    one(14, "droppedLinksCount", "dropped_links_count", Kind::Uint32),
    one(15, "status", "status", Kind::Message(&STATUS)),
]);

static EVENT: Message = message(&[
    one(1, "timeUnixNano", "time_unix_nano", Kind::Fixed64),
    one(2, "name", "name", Kind::Text),
    many(3, "attributes", "attributes", Kind::Message(&KEY_VALUE)),
    one(4, "droppedAttributesCount", "dropped_attributes_count", Kind::Uint32),
]);

static LINK: Message = message(&[
    one(1, "traceId", "trace_id", Kind::Id),
    one(2, "spanId", "span_id", Kind::Id),
    one(3, "traceState", "trace_state", Kind::Text),
    many(4, "attributes", "attributes", Kind::Message(&KEY_VALUE)),
    one(5, "droppedAttributesCount", "dropped_attributes_count", Kind::Uint32),
    one(6, "flags", "flags", Kind::Fixed32),
]);

static STATUS: Message = message(&[
    one(2, "message", "message", Kind::Text),
    one(3, "code", "code", Kind::Enum(STATUS_CODES)),
]);

static KEY_VALUE: Message = message(&[
    one(1, "key", "key", Kind::Text),
    one(2, "value", "value", Kind::Message(&ANY_VALUE)),
    one(3, "keyStrindex", "key_strindex", Kind::Int32),
]);

static ANY_VALUE: Message = Message {
    fields: &[
        one(1, "stringValue", "string_value", Kind::Text),
        one(2, "boolValue", "bool_value", Kind::Bool),
        one(3, "intValue", "int_value", Kind::Int64),
        one(4, "doubleValue", "double_value", Kind::Double),
        one(5, "arrayValue", "array_value", Kind::Message(&ARRAY)),
        one(6, "kvlistValue", "kvlist_value", Kind::Message(&KEY_VALUE_LIST)),
        one(7, "bytesValue", "bytes_value", Kind::Bytes),
        one(8, "stringValueStrindex", "string_value_strindex", Kind::Int32),
    ],
    any_value: true,
};

static ARRAY: Message = message(&[many(1, "values", "values", Kind::Message(&ANY_VALUE))]);

static KEY_VALUE_LIST: Message = message(&[many(1, "values", "values", Kind::Message(&KEY_VALUE))]);
