//! Generated requests.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::array::{uniform8, uniform16};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::export::payload::schema::{ANY_VALUE, Content, KEY_VALUE, REQUEST, SPAN, Schema};
use crate::export::payload::wire::{FIXED_32, FIXED_64, LENGTH, VARINT, fields, put_varint, tag};

/// Keys of generated attributes: few, so that they repeat and meet those of edits.
pub(super) const KEYS: [&str; 9] = [
    "",
    "model_id",
    "mlflow.experimentId",
    "wandb.project",
    "tenant.id",
    "session",
    "honeyhive_event_type",
    "gen_ai.operation.name",
    "openinference.span.kind",
];

/// A valid request, encoded, with unknown fields and lengths that are not minimal.
pub(super) fn request() -> impl Strategy<Value = Vec<u8>> {
    // Half of the requests stay as prost encodes them.
    (messages(), any::<u64>()).prop_map(|(request, seed)| encoded(&request, true, seed))
}

/// A valid request, decoded.
pub(super) fn messages() -> impl Strategy<Value = ExportTraceServiceRequest> {
    vec(resource_spans(), 0..4).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

/// Encodes a request with lengths that are not minimal and unknown fields, also in attributes or only
/// elsewhere.
pub(super) fn encoded(request: &ExportTraceServiceRequest, unknown_values: bool, seed: u64) -> Vec<u8> {
    let plain = request.encode_to_vec();
    if seed.is_multiple_of(2) {
        plain
    } else {
        with_unknown_fields(&REQUEST, &plain, unknown_values, &mut StdRng::seed_from_u64(seed))
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-zA-Z]{1,6}",
        "\\PC{0,20}",
        (120..136_usize).prop_map(|length| "x".repeat(length))
    ]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let operation = proptest::sample::select(vec!["chat", "execute_tool", "invoke_agent", "LLM", "CHAIN", "acme"]);
    let leaf = prop_oneof![
        Just(None),
        operation.prop_map(|text| Some(Value::StringValue(text.to_owned()))),
        text().prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        (-1e9..1e9).prop_map(|value| Some(Value::DoubleValue(value))),
        vec(any::<u8>(), 0..20).prop_map(|value| Some(Value::BytesValue(value))),
        any::<i32>().prop_map(|value| Some(Value::StringValueStrindex(value))),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 12, 3, |inner| {
        let table = vec((key(), option::of(inner.clone())), 0..3).prop_map(|entries| {
            let values = entries.into_iter().map(|(key, value)| KeyValue {
                key,
                value,
                key_strindex: 0,
            });
            Value::KvlistValue(KeyValueList {
                values: values.collect(),
            })
        });
        let list = vec(inner, 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values }));
        prop_oneof![table, list].prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn key() -> impl Strategy<Value = String> {
    proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned)
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = (
        key(),
        option::weighted(0.9, value()),
        prop_oneof![4 => Just(0), 1 => any::<i32>()],
    );
    vec(
        attribute.prop_map(|(key, value, key_strindex)| KeyValue {
            key,
            value,
            key_strindex,
        }),
        0..4,
    )
}

fn resource_spans() -> impl Strategy<Value = ResourceSpans> {
    (option::weighted(0.8, resource()), vec(scope_spans(), 0..3), text()).prop_map(
        |(resource, scope_spans, schema_url)| ResourceSpans {
            resource,
            scope_spans,
            schema_url,
        },
    )
}

fn resource() -> impl Strategy<Value = Resource> {
    let entity = (text(), text(), vec(text(), 0..2), vec(text(), 0..2)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef {
            schema_url,
            r#type,
            id_keys,
            description_keys,
        },
    );
    (attributes(), 0..3_u32, vec(entity, 0..2)).prop_map(|(attributes, dropped_attributes_count, entity_refs)| {
        Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        }
    })
}

fn scope_spans() -> impl Strategy<Value = ScopeSpans> {
    let scope =
        (text(), text(), attributes(), 0..3_u32).prop_map(|(name, version, attributes, dropped_attributes_count)| {
            InstrumentationScope {
                name,
                version,
                attributes,
                dropped_attributes_count,
            }
        });
    (option::of(scope), vec(span(), 0..4), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    })
}

fn ids() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (uniform16(any::<u8>()), uniform8(any::<u8>())).prop_map(|(mut trace, mut span)| {
        (trace[0], span[0]) = (trace[0] | 1, span[0] | 1);
        (trace.to_vec(), span.to_vec())
    })
}

fn span() -> impl Strategy<Value = Span> {
    let event = (any::<u64>(), text(), attributes(), 0..3_u32).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    );
    let link = (ids(), text(), attributes(), 0..3_u32, any::<u32>()).prop_map(
        |((trace_id, span_id), trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    );
    let status = (text(), 0..3_i32).prop_map(|(message, code)| Status { message, code });
    let identity = (
        ids(),
        option::of(uniform8(any::<u8>())),
        text(),
        text(),
        any::<[u64; 2]>(),
    );
    let rest = (
        0..6_i32,
        attributes(),
        vec(event, 0..2),
        vec(link, 0..2),
        option::of(status),
        any::<[u32; 4]>(),
    );
    (identity, rest).prop_map(|(identity, rest)| {
        let ((trace_id, span_id), parent, trace_state, name, [start, end]) = identity;
        let (kind, attributes, events, links, status, [attributes_cut, events_cut, links_cut, flags]) = rest;
        Span {
            trace_id,
            span_id,
            trace_state,
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            flags,
            name,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            dropped_attributes_count: attributes_cut,
            events,
            dropped_events_count: events_cut,
            links,
            dropped_links_count: links_cut,
            status,
        }
    })
}

/// Encodes a message again, with unknown fields between its fields and longer lengths at all levels.
fn with_unknown_fields(schema: &Schema, message: &[u8], unknown_values: bool, random: &mut StdRng) -> Vec<u8> {
    let mut out = Vec::new();
    let is_value = [&raw const ANY_VALUE, &raw const KEY_VALUE].contains(&std::ptr::from_ref(schema));
    let may_have_unknown = unknown_values || !is_value;
    let put_unknown = |out: &mut Vec<u8>, random: &mut StdRng| {
        if may_have_unknown {
            put_unknown_field(out, random);
        }
    };
    put_unknown(&mut out, random);
    for field in fields(message, 0..message.len()) {
        let value = &message[field.value.clone()];
        let (key, _) = tag(&message[field.whole.start..]).expect("a tag");
        let nested = match schema.field(field.number).content {
            Content::Message(schema) | Content::Block(schema) => {
                with_unknown_fields(schema, value, unknown_values, random)
            }
            Content::Span => with_unknown_fields(&SPAN, value, unknown_values, random),
            Content::KeyValue => with_unknown_fields(&KEY_VALUE, value, unknown_values, random),
            Content::Value => with_unknown_fields(&ANY_VALUE, value, unknown_values, random),
            _ => value.to_vec(),
        };
        put_long_varint(&mut out, key.into(), random);
        if key & 7 == LENGTH {
            put_long_varint(&mut out, nested.len() as u64, random);
        }
        out.extend(nested);
        put_unknown(&mut out, random);
    }
    out
}

fn put_unknown_field(out: &mut Vec<u8>, random: &mut StdRng) {
    let wire = match random.random_range(0..12) {
        0 => VARINT,
        1 => FIXED_64,
        2 => LENGTH,
        3 => FIXED_32,
        _ => return,
    };
    let number: u32 = [17, 31, 1001, (1 << 29) - 1][random.random_range(0..4)];
    put_varint(out, u64::from(number << 3 | wire));
    match wire {
        VARINT => put_varint(out, random.random()),
        FIXED_64 => out.extend(random.random::<[u8; 8]>()),
        FIXED_32 => out.extend(random.random::<[u8; 4]>()),
        _ => {
            let bytes: Vec<u8> = (0..random.random_range(0..20)).map(|_| random.random()).collect();
            put_varint(out, bytes.len() as u64);
            out.extend(bytes);
        }
    }
}

/// Appends a varint, sometimes with more bytes than necessary.
fn put_long_varint(out: &mut Vec<u8>, value: u64, random: &mut StdRng) {
    put_varint(out, value);
    if random.random_ratio(1, 8) {
        *out.last_mut().expect("a byte was appended") |= 0x80;
        out.extend([0x80, 0]);
    }
}
