//! Applies a binding's changes to a request that was checked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use foldhash::fast::RandomState;
use opentelemetry::KeyValue;
use opentelemetry::trace::TraceId;
use uuid::fmt::Hyphenated;

use super::parts::{CHILDREN, RESOURCE, RESOURCE_ATTRIBUTES, RESOURCE_SPANS, fields_of, key_of, text_of, trace_id};
use super::rewrite::Rewrite;
use super::wire::{Field, fields, put_header};
use crate::backend::{Edits, EventType, event_type, trace_session_id};
use crate::export::encode::{otlp, protobuf::ReverseWriter};

/// `scope` of `ScopeSpans`.
pub(super) const SCOPE: u32 = 1;
/// `attributes` of a scope.
pub(super) const SCOPE_ATTRIBUTES: u32 = 3;
/// `attributes` of a span.
pub(super) const SPAN_ATTRIBUTES: u32 = 9;

/// Returns the changed request, or `None` if nothing has to change. Without `has_project_attribute`, the
/// request has no forced key.
pub(super) fn splice(source: &[u8], edits: &Edits, has_project_attribute: bool) -> Option<Bytes> {
    let of_client = |keys: &[&'static str]| {
        if has_project_attribute {
            keys.to_vec()
        } else {
            Vec::new()
        }
    };
    let forced = of_client(&edits.forced_keys);
    let forced_on_resource = [forced.as_slice(), &of_client(&edits.forced_on_resource)].concat();
    let mut splice = Splice {
        source,
        resource: Attributes::new(RESOURCE_ATTRIBUTES, &forced_on_resource),
        scope: Attributes::new(SCOPE_ATTRIBUTES, &forced),
        span: Attributes::new(SPAN_ATTRIBUTES, &forced),
    };
    for attribute in &edits.resource {
        splice.resource.add_fixed(attribute);
    }
    if let Some(key) = edits.session_id {
        let template = encoded(SPAN_ATTRIBUTES, &KeyValue::new(key, " ".repeat(Hyphenated::LENGTH)));
        splice.span.add(key, Addition::SessionId(template));
    }
    if let Some(names) = edits.event_type {
        let by_type = [EventType::Model, EventType::Tool, EventType::Chain]
            .map(|event_type| encoded(SPAN_ATTRIBUTES, &names.event_type(event_type)));
        splice.span.add(names.event_type_key(), Addition::EventType(by_type));
    }
    for attribute in &edits.span_attributes {
        splice.span.add_fixed(attribute);
    }
    splice.request()
}

/// Returns an attribute as a field of its owner.
fn encoded(field: u32, attribute: &KeyValue) -> Bytes {
    let mut out = ReverseWriter::with_capacity(128);
    otlp::attribute(&mut out, field, &attribute.key, &attribute.value);
    out.finish()
}

struct Splice<'a> {
    source: &'a [u8],
    resource: Attributes<'a>,
    scope: Attributes<'a>,
    span: Attributes<'a>,
}

impl Splice<'_> {
    fn request(mut self) -> Option<Bytes> {
        let mut rewrite = Rewrite::new(self.source);
        if self.resource.has_work() || self.scope.has_work() || self.span.has_work() {
            for block in fields_of(self.source, 0..self.source.len(), RESOURCE_SPANS) {
                rewrite.message(&block, |rewrite| self.resource_spans(rewrite, &block));
            }
        }
        rewrite.finish()
    }

    fn resource_spans(&mut self, rewrite: &mut Rewrite<'_>, block: &Field) -> bool {
        let has_resource = fields_of(self.source, block.value.clone(), RESOURCE).next().is_some();
        if !has_resource && !self.resource.additions.is_empty() {
            let mut attributes = Vec::new();
            for addition in &self.resource.additions {
                addition.write(&mut attributes, self.source, &block.value);
            }
            rewrite.insert(block.value.start, |out| {
                put_header(out, RESOURCE, attributes.len());
                out.append(&mut attributes);
            });
        }
        for field in fields(self.source, block.value.clone()) {
            match field.number {
                RESOURCE => self.resource.edit(self.source, rewrite, &field),
                CHILDREN if self.scope.has_work() || self.span.has_work() => {
                    rewrite.message(&field, |rewrite| self.scope_spans(rewrite, &field));
                }
                _ => {}
            }
        }
        true
    }

    fn scope_spans(&mut self, rewrite: &mut Rewrite<'_>, block: &Field) -> bool {
        for field in fields(self.source, block.value.clone()) {
            match field.number {
                SCOPE => self.scope.edit(self.source, rewrite, &field),
                CHILDREN => self.span.edit(self.source, rewrite, &field),
                _ => {}
            }
        }
        true
    }
}

/// Changes to the attributes of one type of message.
struct Attributes<'a> {
    /// Field of the message with its attributes.
    number: u32,
    changes: HashMap<&'a [u8], Change, RandomState>,
    additions: Vec<Addition>,
    /// Which additions the current message does not need.
    is_set: Vec<bool>,
}

/// What happens to an attribute of the client.
#[derive(Default)]
struct Change {
    /// Removes it. Otherwise, it replaces the addition.
    is_forced: bool,
    /// Index of the addition with this key.
    addition: Option<usize>,
}

/// An attribute to add.
enum Addition {
    Fixed(Bytes),
    /// The attribute for each event type.
    EventType([Bytes; 3]),
    /// The attribute, which ends with the place of the id.
    SessionId(Bytes),
}

impl<'a> Attributes<'a> {
    fn new(number: u32, forced: &[&'a str]) -> Self {
        let forced = forced.iter().map(|key| {
            let change = Change {
                is_forced: true,
                addition: None,
            };
            (key.as_bytes(), change)
        });
        Self {
            number,
            changes: forced.collect(),
            additions: Vec::new(),
            is_set: Vec::new(),
        }
    }

    fn add_fixed(&mut self, attribute: &'a KeyValue) {
        self.add(attribute.key.as_str(), Addition::Fixed(encoded(self.number, attribute)));
    }

    /// Adds an attribute to messages that do not have its key. Of several additions with one key,
    /// the first one counts.
    fn add(&mut self, key: &'a str, addition: Addition) {
        let change = self.changes.entry(key.as_bytes()).or_default();
        if change.addition.is_none() {
            change.addition = Some(self.additions.len());
            self.additions.push(addition);
            self.is_set.push(false);
        }
    }

    fn has_work(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Changes the attributes of a message.
    fn edit(&mut self, source: &[u8], rewrite: &mut Rewrite<'_>, message: &Field) {
        if !self.has_work() {
            return;
        }
        self.is_set.fill(false);
        rewrite.message(message, |rewrite| {
            for attribute in fields_of(source, message.value.clone(), self.number) {
                match self.changes.get(key_of(source, &attribute)) {
                    Some(change) if change.is_forced => rewrite.cut(&attribute.whole),
                    Some(Change {
                        addition: Some(addition),
                        ..
                    }) => self.is_set[*addition] = true,
                    _ => {}
                }
            }
            let missing = self.additions.iter().zip(&self.is_set).filter(|(_, is_set)| !**is_set);
            for (addition, _) in missing {
                rewrite.insert(message.value.end, |out| addition.write(out, source, &message.value));
            }
            true
        });
    }
}

impl Addition {
    /// Appends the attribute of a span.
    fn write(&self, out: &mut Vec<u8>, source: &[u8], span: &Range<usize>) {
        match self {
            Self::Fixed(attribute) => out.extend_from_slice(attribute),
            Self::EventType(by_type) => {
                // A later attribute replaces an earlier one of the same key.
                let text = |key: &str| {
                    let attributes = fields_of(source, span.clone(), SPAN_ATTRIBUTES);
                    let found = attributes
                        .filter(|attribute| key_of(source, attribute) == key.as_bytes())
                        .last()?;
                    text_of(source, &found).map(Cow::Borrowed)
                };
                out.extend_from_slice(&by_type[event_type(text) as usize]);
            }
            Self::SessionId(template) => {
                out.extend_from_slice(&template[..template.len() - Hyphenated::LENGTH]);
                let id = trace_session_id(TraceId::from_bytes(trace_id(&source[span.clone()])));
                out.extend_from_slice(id.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]).as_bytes());
            }
        }
    }
}
