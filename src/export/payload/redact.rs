//! Applies the redaction of a tracer to a request that was checked.
//!
//! Covers the attributes of resources, scopes, spans, events and links, the messages of statuses,
//! and the names of spans and events. Everything else keeps its bytes, unknown fields too. Only an
//! unknown field in a value that a rule replaces is removed with it.
//!
//! | file | owns |
//! |---|---|
//! | `value` | attributes and their values |
//! | `shown` | values as texts |
//! | `model` | the same on decoded messages, for tests |

#[cfg(any(test, fuzzing))]
pub(super) mod model;
mod numbers;
mod shown;
mod value;

use bytes::Bytes;

use super::check::MAX_OWN_BYTES;
use super::parts::{CHILDREN, RESOURCE, RESOURCE_ATTRIBUTES, RESOURCE_SPANS, fields_of};
use super::rewrite::Rewrite;
use super::splice::{SCOPE, SCOPE_ATTRIBUTES, SPAN_ATTRIBUTES};
use super::wire::{Field, fields, put_header};
use crate::policy::redaction::{Path, Place, REDACTED, Redaction, Verdict};

/// `name` of a span.
const SPAN_NAME: u32 = 5;
/// `events` of a span.
const EVENTS: u32 = 11;
/// `links` of a span.
const LINKS: u32 = 13;
/// `status` of a span.
const STATUS: u32 = 15;
/// `name` and `attributes` of an event.
const EVENT_NAME: u32 = 2;
const EVENT_ATTRIBUTES: u32 = 3;
/// `attributes` of a link.
const LINK_ATTRIBUTES: u32 = 4;
/// `message` of a status.
const STATUS_MESSAGE: u32 = 2;
/// Longest header of a field: its tag and its length.
const HEADER_BYTES: usize = 10;

/// Most memory of the changes of one request. A value takes about 130 bytes: if values are small,
/// changes take many times their bytes.
#[cfg(feature = "gateway")]
pub(super) const MAX_MEMORY: usize = 32 << 20;

/// The changes of a request would take more memory than they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyChanges;

/// Returns the changed request, or `None` if no rule changes anything.
///
/// # Errors
/// The changes take more than `max_memory` bytes, beyond those that they replace.
pub(super) fn redact(source: &[u8], redaction: &Redaction, max_memory: usize) -> Result<Option<Bytes>, TooManyChanges> {
    let mut walk = Walk {
        source,
        redaction,
        key: "",
        path: Path::default(),
        level: 0,
        path_work: 0,
        shown: String::new(),
        max_memory,
        is_over: false,
    };
    let mut rewrite = Rewrite::new(source);
    for block in fields_of(source, 0..source.len(), RESOURCE_SPANS) {
        rewrite.message(&block, |rewrite| walk.resource_spans(rewrite, &block));
    }
    if walk.is_over {
        Err(TooManyChanges)
    } else {
        Ok(rewrite.finish())
    }
}

struct Walk<'a> {
    source: &'a [u8],
    redaction: &'a Redaction,
    /// Key of the current attribute.
    key: &'a str,
    /// Path of the current value, if it is in a list or map.
    path: Path,
    /// Lists and maps around it.
    level: usize,
    /// See [`MAX_PATH_WORK`](value::MAX_PATH_WORK).
    path_work: usize,
    /// The text of a number.
    shown: String,
    max_memory: usize,
    /// The changes take more memory. The walk ends.
    is_over: bool,
}

impl Walk<'_> {
    /// Returns whether the changes take too much memory.
    fn is_over(&mut self, rewrite: &Rewrite<'_>) -> bool {
        self.is_over |= rewrite.memory() > self.max_memory;
        self.is_over
    }

    fn resource_spans(&mut self, rewrite: &mut Rewrite<'_>, block: &Field) -> bool {
        for field in fields(self.source, block.value.clone()) {
            if self.is_over(rewrite) {
                break;
            }
            match field.number {
                RESOURCE => self.owner(rewrite, block, &field, RESOURCE_ATTRIBUTES),
                CHILDREN => {
                    rewrite.message(&field, |rewrite| self.scope_spans(rewrite, &field));
                }
                _ => {}
            }
        }
        true
    }

    fn scope_spans(&mut self, rewrite: &mut Rewrite<'_>, block: &Field) -> bool {
        for field in fields(self.source, block.value.clone()) {
            if self.is_over(rewrite) {
                break;
            }
            match field.number {
                SCOPE => self.owner(rewrite, block, &field, SCOPE_ATTRIBUTES),
                CHILDREN => {
                    rewrite.message(&field, |rewrite| self.span(rewrite, &field));
                }
                _ => {}
            }
        }
        true
    }

    /// The resource or the scope of a block. It is removed if it grows beyond what a block may have
    /// besides its children.
    fn owner(&mut self, rewrite: &mut Rewrite<'_>, block: &Field, owner: &Field, attributes: u32) {
        rewrite.message(owner, |rewrite| {
            self.attributes(rewrite, owner, attributes);
            let length = rewrite.length();
            if length <= owner.value.len() {
                return true;
            }
            let others = fields(self.source, block.value.clone())
                .filter(|field| field.number != CHILDREN && field.whole != owner.whole)
                .map(|field| field.whole.len());
            let fits = others.sum::<usize>() + HEADER_BYTES + length <= MAX_OWN_BYTES;
            if !fits {
                self.redaction.note_unreadable();
            }
            fits
        });
    }

    fn span(&mut self, rewrite: &mut Rewrite<'_>, span: &Field) -> bool {
        for field in fields(self.source, span.value.clone()) {
            if self.is_over(rewrite) {
                break;
            }
            match field.number {
                SPAN_NAME => self.text(rewrite, &field, Place::Name),
                SPAN_ATTRIBUTES => self.attribute(rewrite, &field),
                EVENTS => {
                    rewrite.message(&field, |rewrite| self.event(rewrite, &field));
                }
                LINKS => {
                    rewrite.message(&field, |rewrite| self.attributes(rewrite, &field, LINK_ATTRIBUTES));
                }
                STATUS => {
                    rewrite.message(&field, |rewrite| {
                        for message in fields_of(self.source, field.value.clone(), STATUS_MESSAGE) {
                            self.text(rewrite, &message, Place::Status);
                        }
                        true
                    });
                }
                _ => {}
            }
        }
        true
    }

    fn event(&mut self, rewrite: &mut Rewrite<'_>, event: &Field) -> bool {
        for field in fields(self.source, event.value.clone()) {
            if self.is_over(rewrite) {
                break;
            }
            match field.number {
                EVENT_NAME => self.text(rewrite, &field, Place::Name),
                EVENT_ATTRIBUTES => self.attribute(rewrite, &field),
                _ => {}
            }
        }
        true
    }

    fn attributes(&mut self, rewrite: &mut Rewrite<'_>, owner: &Field, number: u32) -> bool {
        for attribute in fields_of(self.source, owner.value.clone(), number) {
            if self.is_over(rewrite) {
                break;
            }
            self.attribute(rewrite, &attribute);
        }
        true
    }

    /// A name, or the message of a status.
    fn text(&mut self, rewrite: &mut Rewrite<'_>, field: &Field, place: Place<'_>) {
        // Checked to be UTF-8. Otherwise, nothing of it may leave.
        let text = std::str::from_utf8(&self.source[field.value.clone()]);
        match text.map_or(Verdict::Drop, |text| self.redaction.text(place, text)) {
            Verdict::Keep => {}
            Verdict::Replace(text) => put_text(rewrite, field, field.number, &text),
            Verdict::Drop if place == Place::Name => put_text(rewrite, field, field.number, REDACTED),
            Verdict::Drop => rewrite.cut(&field.whole),
        }
    }
}

/// Replaces a field by a text.
fn put_text(rewrite: &mut Rewrite<'_>, field: &Field, number: u32, text: &str) {
    rewrite.cut(&field.whole);
    rewrite.insert(field.whole.end, |out| {
        put_header(out, number, text.len());
        out.extend_from_slice(text.as_bytes());
    });
}
