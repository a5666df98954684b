//! Comparison with `prost` and opentelemetry-proto's types, on generated and on damaged requests.

mod checking;
mod generated;
mod parts;
#[cfg(feature = "redact")]
mod redacting;
mod splicing;

use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;

use super::reference::{Leaf, Request, decoded, edit, leaves, resource_text, spans_of, unknown_fields};
use super::*;

fn payload(bytes: impl Into<Bytes>) -> Payload {
    Payload::check(bytes.into()).expect("a valid request")
}

/// Returns a field with a length.
fn field(number: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_header(&mut out, number, value.as_ref().len());
    out.extend_from_slice(value.as_ref());
    out
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
