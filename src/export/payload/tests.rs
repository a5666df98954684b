//! Comparison with `prost` and opentelemetry-proto's types, on generated and on damaged requests.

mod checking;
mod generated;
mod parts;
mod splicing;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;

use super::*;

fn payload(bytes: impl Into<Bytes>) -> Payload {
    Payload::check(bytes.into()).expect("a valid request")
}

fn decoded(bytes: &[u8]) -> Request {
    Request::decode(bytes).expect("a request that prost can decode")
}

/// Returns a field with a length.
fn field(number: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_header(&mut out, number, value.as_ref().len());
    out.extend_from_slice(value.as_ref());
    out
}

/// A span or a block without spans, and the other fields of the blocks around it, byte for byte.
#[derive(Debug, PartialEq)]
struct Leaf<'a> {
    resource_spans: Vec<&'a [u8]>,
    scope_spans: Vec<&'a [u8]>,
    span: Option<&'a [u8]>,
}

/// Returns a request's leaves and the fields that it has besides blocks.
fn leaves(source: &[u8]) -> (Vec<Leaf<'_>>, Vec<&[u8]>) {
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

/// Returns the leaves that are spans.
fn spans(source: &[u8]) -> Vec<Leaf<'_>> {
    leaves(source)
        .0
        .into_iter()
        .filter(|leaf| leaf.span.is_some())
        .collect()
}

/// Returns the blocks of a decoded request with one span each, or none.
fn split_up(request: &Request) -> Vec<ResourceSpans> {
    let mut single = Vec::new();
    for block in &request.resource_spans {
        let with = |scope_spans| ResourceSpans {
            scope_spans,
            ..block.clone()
        };
        if block.scope_spans.is_empty() {
            single.push(block.clone());
        }
        for scope in &block.scope_spans {
            if scope.spans.is_empty() {
                single.push(with(vec![scope.clone()]));
            }
            for span in &scope.spans {
                let spans = vec![span.clone()];
                single.push(with(vec![ScopeSpans { spans, ..scope.clone() }]));
            }
        }
    }
    single
}
