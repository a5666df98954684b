//! What requests must become, by `prost` and opentelemetry-proto's types.

use std::borrow::Cow;
use std::ops::Range;

use opentelemetry::KeyValue;
use opentelemetry::trace::TraceId;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Attribute};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message as _;

use super::wire;
use crate::backend::{Edits, event_type, trace_session_id};

pub(super) use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;

pub(super) fn decoded(bytes: &[u8]) -> Request {
    Request::decode(bytes).expect("a request that prost can decode")
}

/// Returns the spans of a decoded request, in order.
pub(super) fn spans_of(request: &Request) -> impl Iterator<Item = &Span> {
    let scopes = request.resource_spans.iter().flat_map(|block| &block.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}

/// A span or a block without spans, and the other fields of the blocks around it, byte for byte.
#[derive(Debug, PartialEq)]
pub(super) struct Leaf<'a> {
    pub(super) resource_spans: Vec<&'a [u8]>,
    pub(super) scope_spans: Vec<&'a [u8]>,
    pub(super) span: Option<&'a [u8]>,
}

/// Returns a request's leaves and the fields that it has besides blocks.
pub(super) fn leaves(source: &[u8]) -> (Vec<Leaf<'_>>, Vec<&[u8]>) {
    let children =
        |of: &Range<usize>| wire::fields(source, of.clone()).partition::<Vec<_>, _>(|field| field.number == 2);
    let raw = |fields: &[wire::Field]| {
        fields
            .iter()
            .map(|field| &source[field.whole.clone()])
            .collect::<Vec<_>>()
    };
    let (blocks, others) = wire::fields(source, 0..source.len()).partition::<Vec<_>, _>(|field| field.number == 1);
    let mut leaves = Vec::new();
    for block in blocks {
        let (scopes, of_resource) = children(&block.value);
        let mut leaf = |scope: &[wire::Field], span: Option<&wire::Field>| {
            leaves.push(Leaf {
                resource_spans: raw(&of_resource),
                scope_spans: raw(scope),
                span: span.map(|span| &source[span.whole.clone()]),
            });
        };
        for scope in &scopes {
            let (spans, of_scope) = children(&scope.value);
            for span in &spans {
                leaf(&of_scope, Some(span));
            }
            if spans.is_empty() {
                leaf(&of_scope, None);
            }
        }
        if scopes.is_empty() {
            leaf(&[], None);
        }
    }
    (leaves, raw(&others))
}

/// Returns the text of an attribute of a block's resource, or an error if the attribute occurs more
/// than once.
pub(super) fn resource_text(block: &ResourceSpans, key: &str) -> Result<Option<String>, ()> {
    let attributes = block.resource.iter().flat_map(|resource| &resource.attributes);
    let found: Vec<_> = attributes.filter(|attribute| attribute.key == key).collect();
    match found[..] {
        [] => Ok(None),
        [one] => Ok(text_of(one).map(str::to_owned)),
        _ => Err(()),
    }
}

fn text_of(attribute: &Attribute) -> Option<&str> {
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Appends an attribute if its key is not set.
fn add(attributes: &mut Vec<Attribute>, key: &str, text: &str) {
    if !attributes.iter().any(|attribute| attribute.key == key) {
        attributes.push(Attribute {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(text.to_owned())),
            }),
            key_strindex: 0,
        });
    }
}

/// Applies edits to a decoded request.
pub(super) fn edit(request: &mut Request, edits: &Edits) {
    let remove = |attributes: &mut Vec<Attribute>| attributes.retain(|set| !edits.forced_keys.contains(&&*set.key));
    let add_own = |attributes: &mut Vec<Attribute>, own: &[KeyValue]| {
        for own in own {
            add(attributes, own.key.as_str(), &own.value.as_str());
        }
    };
    for block in &mut request.resource_spans {
        if block.resource.is_none() && !edits.resource.is_empty() {
            block.resource = Some(Resource::default());
        }
        if let Some(resource) = &mut block.resource {
            remove(&mut resource.attributes);
            let forced = &edits.forced_on_resource;
            resource.attributes.retain(|set| !forced.contains(&&*set.key));
            add_own(&mut resource.attributes, &edits.resource);
        }
        for scope in &mut block.scope_spans {
            if let Some(scope) = &mut scope.scope {
                remove(&mut scope.attributes);
            }
            for span in &mut scope.spans {
                let attributes = &mut span.attributes;
                remove(attributes);
                // A later attribute replaces an earlier one of the same key.
                let last = |key: &str| attributes.iter().rfind(|attribute| attribute.key == key);
                let event_type = event_type(|key| last(key).and_then(text_of).map(Cow::Borrowed));
                if let Some(key) = edits.session_id {
                    let trace = span.trace_id.clone().try_into().expect("16 bytes");
                    add(
                        attributes,
                        key,
                        &trace_session_id(TraceId::from_bytes(trace)).to_string(),
                    );
                }
                if let Some(names) = edits.event_type {
                    let own = names.event_type(event_type);
                    add(attributes, own.key.as_str(), &own.value.as_str());
                }
                add_own(attributes, &edits.span_attributes);
            }
        }
    }
}

/// Returns the fields of blocks, scopes, resources and spans that OTLP does not define.
pub(super) fn unknown_fields(source: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut walk = |message: Range<usize>| {
        let fields: Vec<_> = wire::fields(source, message).collect();
        let unknown = fields.iter().filter(|field| field.number > 16);
        found.extend(unknown.map(|field| source[field.whole.clone()].to_vec()));
        fields
    };
    for block in walk(0..source.len()).into_iter().filter(|field| field.number == 1) {
        for of_block in walk(block.value).into_iter().filter(|field| field.number < 3) {
            for of_scope in walk(of_block.value)
                .into_iter()
                .filter(|field| of_block.number == 2 && field.number < 3)
            {
                walk(of_scope.value);
            }
        }
    }
    found
}
