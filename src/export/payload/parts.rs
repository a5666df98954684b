//! Spans, blocks and attributes of a request that was checked, and requests with a part of them.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::error::{PayloadError, Rule, Segment};
use super::rewrite::Rewrite;
use super::wire::{Field, fields};

/// Values of one attribute in a request: bounds what a split adds to the size of a request.
pub(super) const MAX_PARTS: usize = 1024;

/// `resource_spans` of a request.
pub(super) const RESOURCE_SPANS: u32 = 1;
/// `resource` of `ResourceSpans`.
pub(super) const RESOURCE: u32 = 1;
/// `attributes` of a resource.
pub(super) const RESOURCE_ATTRIBUTES: u32 = 1;
/// `scope_spans` of `ResourceSpans`, and `spans` of `ScopeSpans`.
pub(super) const CHILDREN: u32 = 2;

/// Iterates over fields of one number.
pub(super) fn fields_of(source: &[u8], message: Range<usize>, number: u32) -> impl Iterator<Item = Field> {
    fields(source, message).filter(move |field| field.number == number)
}

/// Iterates over the spans of a block with a resource.
fn spans_of(source: &[u8], block: Range<usize>) -> impl Iterator<Item = Field> {
    let scopes = fields_of(source, block, CHILDREN);
    scopes.flat_map(|scope| fields_of(source, scope.value, CHILDREN))
}

/// Iterates over the spans of a request.
pub(super) fn spans(source: &[u8]) -> impl Iterator<Item = Field> {
    let blocks = fields_of(source, 0..source.len(), RESOURCE_SPANS);
    blocks.flat_map(|block| spans_of(source, block.value))
}

/// Returns the value of a field that a message has at most once, or nothing if it does not have it.
fn bytes_of(source: &[u8], message: Range<usize>, number: u32) -> &[u8] {
    let found = fields_of(source, message, number).next();
    found.map_or(&[], |field| &source[field.value])
}

pub(super) fn trace_id(span: &[u8]) -> [u8; 16] {
    bytes_of(span, 0..span.len(), 1).try_into().unwrap_or_default()
}

pub(super) fn span_id(span: &[u8]) -> [u8; 8] {
    bytes_of(span, 0..span.len(), 2).try_into().unwrap_or_default()
}

pub(super) fn name(span: &[u8]) -> &str {
    std::str::from_utf8(bytes_of(span, 0..span.len(), 5)).unwrap_or_default()
}

/// Returns the key of an attribute.
pub(super) fn key_of<'a>(source: &'a [u8], attribute: &Field) -> &'a [u8] {
    bytes_of(source, attribute.value.clone(), 1)
}

/// Returns the value of an attribute, if it is a string.
pub(super) fn text_of<'a>(source: &'a [u8], attribute: &Field) -> Option<&'a str> {
    let value = fields_of(source, attribute.value.clone(), 2).next()?;
    let text = fields_of(source, value.value, 1).next()?;
    std::str::from_utf8(&source[text.value]).ok()
}

/// Returns a request with a part of the spans, or `None` if nothing is to be removed.
///
/// `keep` decides about each span (its bytes) and each block without spans (`None`), in order.
/// Removes blocks that lose all their spans.
pub(super) fn retain(source: &[u8], mut keep: impl FnMut(Option<&[u8]>) -> bool) -> Option<Bytes> {
    let mut rewrite = Rewrite::new(source);
    for block in fields_of(source, 0..source.len(), RESOURCE_SPANS) {
        rewrite.message(&block, |rewrite| {
            let (mut is_empty, mut kept) = (true, false);
            for scope in fields_of(source, block.value.clone(), CHILDREN) {
                is_empty = false;
                kept |= rewrite.message(&scope, |rewrite| retain_spans(source, rewrite, &scope, &mut keep));
            }
            if is_empty { keep(None) } else { kept }
        });
    }
    rewrite.finish()
}

/// Removes spans of a block with a scope. Returns whether to keep the block.
fn retain_spans(
    source: &[u8],
    rewrite: &mut Rewrite<'_>,
    scope: &Field,
    keep: &mut impl FnMut(Option<&[u8]>) -> bool,
) -> bool {
    let (mut is_empty, mut kept) = (true, false);
    for span in fields_of(source, scope.value.clone(), CHILDREN) {
        is_empty = false;
        if keep(Some(&source[span.value])) {
            kept = true;
        } else {
            rewrite.cut(&span.whole);
        }
    }
    if is_empty { keep(None) } else { kept }
}

/// The part of a request whose resources have the same value of an attribute.
pub(super) struct Part {
    pub(super) value: Option<String>,
    pub(super) bytes: Vec<u8>,
    pub(super) spans: usize,
}

/// Splits a request by an attribute of its resources. Returns one part without its bytes if all
/// resources have the same value.
pub(super) fn split(source: &[u8], key: &str) -> Result<Vec<Part>, PayloadError> {
    let mut indices: HashMap<Option<&str>, usize, RandomState> = HashMap::default();
    let mut parts: Vec<Part> = Vec::new();
    let mut lengths: Vec<usize> = Vec::new();
    let blocks = || fields_of(source, 0..source.len(), RESOURCE_SPANS);
    for (index, block) in blocks().enumerate() {
        let value = resource_value(source, &block, key).map_err(|rule| {
            let resource = PayloadError::from(rule).within(Segment::new("resource", None));
            resource.within(Segment::new("resource_spans", Some(index)))
        })?;
        let part = *indices.entry(value).or_insert(parts.len());
        if part == parts.len() {
            if part == MAX_PARTS {
                return Err(Rule::Parts(MAX_PARTS).into());
            }
            parts.push(Part {
                value: value.map(str::to_owned),
                bytes: Vec::new(),
                spans: 0,
            });
            lengths.push(0);
        }
        parts[part].spans += spans_of(source, block.value).count();
        lengths[part] += block.whole.len();
    }
    if parts.len() < 2 {
        return Ok(parts);
    }
    if let Some(unknown) = fields(source, 0..source.len()).find(|field| field.number != RESOURCE_SPANS) {
        let segment = Segment::new(format!("field {}", unknown.number), None);
        return Err(PayloadError::from(Rule::Unassigned).within(segment));
    }
    for (part, length) in parts.iter_mut().zip(lengths) {
        part.bytes.reserve_exact(length);
    }
    for block in blocks() {
        let value = resource_value(source, &block, key)?;
        parts[indices[&value]].bytes.extend_from_slice(&source[block.whole]);
    }
    Ok(parts)
}

/// Returns the value of an attribute of a block's resource, if it is a string.
fn resource_value<'a>(source: &'a [u8], block: &Field, key: &str) -> Result<Option<&'a str>, Rule> {
    let Some(resource) = fields_of(source, block.value.clone(), RESOURCE).next() else {
        return Ok(None);
    };
    let attributes = fields_of(source, resource.value, RESOURCE_ATTRIBUTES);
    let mut found = attributes.filter(|attribute| key_of(source, attribute) == key.as_bytes());
    let first = found.next();
    if found.next().is_some() {
        return Err(Rule::SeveralValues(key.to_owned()));
    }
    Ok(first.and_then(|attribute| text_of(source, &attribute)))
}
