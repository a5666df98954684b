//! OTLP as protobuf and as JSON, written by hand: the library's encoders are what is tested.

use serde_json::{Map, Value, json};

use super::content::{Attributes, SentBlock, SentSpan, hex};
use super::program::Flaw;

/// A field of a message.
struct Field {
    number: u32,
    name: &'static str,
    is_repeated: bool,
    content: Content,
}

enum Content {
    Text(String),
    /// Hexadecimal in JSON.
    Id(Vec<u8>),
    Fixed64(u64),
    Double(f64),
    Bool(bool),
    Int(i64),
    Enum(u8, &'static [&'static str]),
    Message(Vec<Field>),
    /// Bytes that are text in JSON, valid or not.
    RawText(Vec<u8>),
}

use Content::{Bool, Double, Enum, Fixed64, Id, Int, Message, RawText, Text};

const KINDS: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const CODES: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

fn one(number: u32, name: &'static str, content: Content) -> Field {
    Field {
        number,
        name,
        is_repeated: false,
        content,
    }
}

fn many(number: u32, name: &'static str, content: Content) -> Field {
    Field {
        is_repeated: true,
        ..one(number, name, content)
    }
}

/// A whole request.
pub(super) struct Request(Vec<Field>);

impl Request {
    /// Returns a request with these blocks. Some flaws are in its last span.
    pub(super) fn new(blocks: &[SentBlock], flaw: Option<Flaw>) -> Self {
        let last = blocks.len().wrapping_sub(1);
        let blocks = blocks.iter().enumerate();
        let blocks = blocks.map(|(index, block)| {
            many(
                1,
                "resourceSpans",
                resource_spans(block, flaw.filter(|_| index == last)),
            )
        });
        Self(blocks.collect())
    }

    pub(super) fn to_protobuf(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, &self.0);
        bytes
    }

    /// Returns the request as JSON. The bits of `spelling` choose among equal ones: names of
    /// enumerations, a null parent, numbers of 64 bits, names as in the `.proto` files, unknown
    /// fields, digits of ids.
    pub(super) fn to_json(&self, spelling: u32) -> Vec<u8> {
        json_of(&self.0, spelling).to_string().into_bytes()
    }
}

fn resource_spans(block: &SentBlock, flaw: Option<Flaw>) -> Content {
    let mut fields = Vec::new();
    if let Some(attributes) = &block.resource {
        fields.push(one(1, "resource", Message(attributes_of(1, attributes))));
    }
    let scope = Message(
        [
            vec![
                one(1, "name", Text(block.scope.name.clone())),
                one(2, "version", Text(block.scope.version.clone())),
            ],
            attributes_of(3, &block.scope.attributes),
        ]
        .into_iter()
        .flatten()
        .collect(),
    );
    let mut scope_spans = vec![one(1, "scope", scope)];
    let last = block.spans.len().wrapping_sub(1);
    for (index, span) in block.spans.iter().enumerate() {
        scope_spans.push(many(2, "spans", span_of(span, flaw.filter(|_| index == last))));
    }
    fields.push(many(2, "scopeSpans", Message(scope_spans)));
    fields.push(one(3, "schemaUrl", Text(block.schema_url.clone())));
    Message(fields)
}

fn span_of(span: &SentSpan, flaw: Option<Flaw>) -> Content {
    let trace_id = match flaw {
        Some(Flaw::ZeroTraceId) => vec![0; 16],
        _ => span.trace_id.to_vec(),
    };
    let span_id = match flaw {
        Some(Flaw::ShortSpanId) => span.span_id[..7].to_vec(),
        _ => span.span_id.to_vec(),
    };
    let name = match flaw {
        Some(Flaw::InvalidUtf8) => RawText(vec![0xff, 0xfe]),
        _ => Text(span.name.clone()),
    };
    let mut fields = vec![
        one(1, "traceId", Id(trace_id)),
        one(2, "spanId", Id(span_id)),
        one(3, "traceState", Text(span.trace_state.clone())),
        one(4, "parentSpanId", Id(span.parent.iter().flatten().copied().collect())),
        one(5, "name", name),
        one(6, "kind", Enum(span.kind, KINDS)),
        one(7, "startTimeUnixNano", Fixed64(span.start)),
        one(8, "endTimeUnixNano", Fixed64(span.end)),
    ];
    fields.extend(attributes_of(9, &span.attributes));
    if let Some((time, name, attributes)) = &span.event {
        let mut event = vec![
            one(1, "timeUnixNano", Fixed64(*time)),
            one(2, "name", Text(name.clone())),
        ];
        event.extend(attributes_of(3, attributes));
        fields.push(many(11, "events", Message(event)));
    }
    if let Some((trace, linked, attributes)) = &span.link {
        let mut link = vec![
            one(1, "traceId", Id(trace.to_vec())),
            one(2, "spanId", Id(linked.to_vec())),
        ];
        link.extend(attributes_of(4, attributes));
        fields.push(many(13, "links", Message(link)));
    }
    if let Some((message, code)) = &span.status {
        let status = vec![
            one(2, "message", Text(message.clone())),
            one(3, "code", Enum(*code, CODES)),
        ];
        fields.push(one(15, "status", Message(status)));
    }
    if let Some(unknown) = &span.unknown {
        fields.push(one(900, "fieldOfALaterVersion", Text(unknown.clone())));
    }
    if flaw == Some(Flaw::TwoNames) {
        fields.push(one(5, "name", Text("another name".to_owned())));
    }
    Message(fields)
}

fn attributes_of(number: u32, attributes: &Attributes) -> Vec<Field> {
    let of = |(key, value): &(String, Value)| many(number, "attributes", Message(key_value(key, value)));
    attributes.iter().map(of).collect()
}

fn key_value(key: &str, value: &Value) -> Vec<Field> {
    vec![
        one(1, "key", Text(key.to_owned())),
        one(2, "value", Message(vec![any_value(value)])),
    ]
}

fn any_value(value: &Value) -> Field {
    match value {
        Value::Bool(value) => one(2, "boolValue", Bool(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => one(3, "intValue", Int(integer)),
            None => one(4, "doubleValue", Double(number.as_f64().unwrap_or_default())),
        },
        Value::Array(values) => {
            let values = values
                .iter()
                .map(|value| many(1, "values", Message(vec![any_value(value)])));
            one(5, "arrayValue", Message(values.collect()))
        }
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| many(1, "values", Message(key_value(key, value))));
            one(6, "kvlistValue", Message(entries.collect()))
        }
        Value::String(text) => one(1, "stringValue", Text(text.clone())),
        Value::Null => one(1, "stringValue", Text(String::new())),
    }
}

fn write(out: &mut Vec<u8>, fields: &[Field]) {
    let key = |out: &mut Vec<u8>, field: &Field, wire: u64| varint(out, u64::from(field.number) << 3 | wire);
    for field in fields {
        match &field.content {
            Fixed64(number) => {
                key(out, field, 1);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Double(number) => {
                key(out, field, 1);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Bool(value) => {
                key(out, field, 0);
                varint(out, u64::from(*value));
            }
            Int(number) => {
                key(out, field, 0);
                varint(out, number.cast_unsigned());
            }
            Enum(number, _) => {
                key(out, field, 0);
                varint(out, u64::from(*number));
            }
            Text(text) => delimited(out, field, text.as_bytes()),
            Id(bytes) | RawText(bytes) => delimited(out, field, bytes),
            Message(fields) => {
                let mut message = Vec::new();
                write(&mut message, fields);
                delimited(out, field, &message);
            }
        }
    }
}

fn delimited(out: &mut Vec<u8>, field: &Field, bytes: &[u8]) {
    // Only values of attributes may be empty texts.
    if bytes.is_empty() && matches!(field.name, "traceState" | "parentSpanId") {
        return;
    }
    varint(out, u64::from(field.number) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

fn json_of(fields: &[Field], spelling: u32) -> Value {
    let has = |bit: u32| spelling >> bit & 1 == 1;
    let mut object = Map::new();
    for field in fields {
        let value = match &field.content {
            Text(text) => json!(text),
            RawText(bytes) => json!(String::from_utf8_lossy(bytes)),
            Id(bytes) if bytes.is_empty() && has(0) => Value::Null,
            Id(bytes) => {
                let digits = hex(bytes);
                json!(if has(1) { digits.to_uppercase() } else { digits })
            }
            Fixed64(number) if has(2) => json!(number),
            Fixed64(number) => json!(number.to_string()),
            Int(number) if has(2) => json!(number),
            Int(number) => json!(number.to_string()),
            Double(number) => json!(number),
            Bool(value) => json!(value),
            Enum(number, names) if has(3) => json!(names[usize::from(*number)]),
            Enum(number, _) => json!(number),
            Message(fields) => json_of(fields, spelling),
        };
        let name = if has(4) {
            snake(field.name)
        } else {
            field.name.to_owned()
        };
        if field.is_repeated {
            let list = object.entry(name).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(value);
            }
        } else {
            object.insert(name, value);
        }
    }
    if has(5) {
        object.insert("unknownField".to_owned(), json!({"traceId": [null, {"a": 1}]}));
    }
    Value::Object(object)
}

fn snake(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}

/// Returns the number of rejected spans in the answer to an export in protobuf.
pub(super) fn rejected(answer: &[u8]) -> Option<u64> {
    let partial = match first_field(answer)? {
        (1, rest) => message(rest)?,
        _ => return None,
    };
    match first_field(partial)? {
        (1, mut rest) => read_varint(&mut rest),
        _ => Some(0),
    }
}

fn first_field(mut bytes: &[u8]) -> Option<(u64, &[u8])> {
    let tag = read_varint(&mut bytes)?;
    Some((tag >> 3, bytes))
}

fn message(mut bytes: &[u8]) -> Option<&[u8]> {
    let length = read_varint(&mut bytes)?;
    bytes.get(..usize::try_from(length).ok()?)
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}
