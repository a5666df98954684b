//! OTLP trace requests as the bytes that clients sent.
//!
//! A request is checked and counted by one walk over its bytes and never decoded. Parts of it are
//! cut out and attributes are added in its bytes, so fields of later OTLP versions survive.
//!
//! | file | owns |
//! |---|---|
//! | `wire` | the wire format |
//! | `schema` | the message types of OTLP |
//! | `error` | why a request is refused |
//! | `check` | the walk |
//! | `rewrite` | cutting and inserting |
//! | `parts` | spans and blocks of a request, requests with a part of them |
//! | `splice` | attributes of the binding |
//! | `redact` | what is removed from the data of clients |

mod check;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod parts;
#[cfg(feature = "redact")]
mod redact;
#[cfg(any(test, fuzzing))]
mod reference;
mod rewrite;
mod schema;
mod splice;
#[cfg(test)]
mod tests;
mod wire;

use std::ops::Range;

use bytes::Bytes;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

pub(crate) use error::PayloadError;

use crate::backend::Edits;
use crate::export::encode::otlp;
#[cfg(feature = "redact")]
use crate::policy::redaction::Redaction;
#[cfg(feature = "redact")]
use redact::TooManyChanges;

/// A checked OTLP trace request of one tracer, as the bytes that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    bytes: Bytes,
    spans: usize,
    /// Whether the request, or the one that it is a part of, has a key that chooses a project.
    has_project_attribute: bool,
    /// The gzip body that the request arrived in, if it may be sent unchanged.
    gzip: Option<Bytes>,
    /// Whether the rules of redaction were applied to it.
    is_redacted: bool,
}

/// What identifies a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanSummary<'a> {
    pub(crate) name: &'a str,
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
}

impl Payload {
    /// Checks an `ExportTraceServiceRequest` and counts its spans.
    ///
    /// Stricter than protobuf: known fields must have their wire type, singular ones must not be
    /// repeated, text must be UTF-8, and spans and links need valid ids. Unknown fields are allowed.
    pub(crate) fn check(bytes: Bytes) -> Result<Self, PayloadError> {
        let check::Checked {
            spans,
            has_project_attribute,
        } = check::check(&bytes)?;
        Ok(Self {
            bytes,
            spans,
            has_project_attribute,
            gzip: None,
            is_redacted: false,
        })
    }

    /// Encodes one span. Its ids must be valid.
    pub(crate) fn of_span(span: &SpanData, resource: &Resource) -> Self {
        Self::of_spans(&[span], resource)
    }

    /// Encodes spans. Their ids must be valid.
    pub(crate) fn of_spans(spans: &[&SpanData], resource: &Resource) -> Self {
        Self {
            bytes: otlp::request(spans, resource),
            spans: spans.len(),
            // Not checked, so it may have any.
            has_project_attribute: true,
            gzip: None,
            is_redacted: false,
        }
    }

    /// Adds the gzip body that the request arrived in. It is dropped when the request changes.
    pub(crate) fn with_gzip(self, original: Bytes) -> Self {
        Self {
            gzip: Some(original),
            ..self
        }
    }

    /// Marks whether the rules of redaction were applied, so that they are not applied again: that
    /// would hash hashes.
    #[cfg(any(feature = "spool", feature = "redact"))]
    pub(crate) fn with_redacted(self, is_redacted: bool) -> Self {
        Self { is_redacted, ..self }
    }

    /// Returns whether the rules of redaction were applied.
    #[cfg(feature = "spool")]
    pub(crate) fn is_redacted(&self) -> bool {
        self.is_redacted
    }

    pub(crate) fn gzip(&self) -> Option<&Bytes> {
        self.gzip.as_ref()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the number of spans, which may be zero.
    pub(crate) fn spans(&self) -> usize {
        self.spans
    }

    /// Returns the memory that the request holds, in bytes.
    pub(crate) fn byte_size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.gzip.as_ref().map_or(0, Bytes::len)
    }

    /// Returns the spans of a range, by their order in the request, as a request of their own. The
    /// whole range returns the same bytes.
    ///
    /// Copies these spans with their blocks' other fields. Of the parts of a request, one has the
    /// blocks that had no spans. Takes time for each span of the whole request.
    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        let is_whole = range == (0..self.spans);
        let mut before = 0;
        let keep = |span: Option<&[u8]>| match span {
            Some(_) => {
                before += 1;
                range.contains(&(before - 1))
            }
            None => range.contains(&before) || (before == self.spans && range.end == before),
        };
        let part = if is_whole {
            None
        } else {
            parts::retain(&self.bytes, keep)
        };
        part.unwrap_or_else(|| self.bytes.clone())
    }

    /// Like [`slice`](Self::slice), as a payload.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let part = Self::check(self.slice(range)).expect("a part of a checked request is valid");
        Self {
            is_redacted: self.is_redacted,
            ..part
        }
    }

    /// Splits the request into requests of at most `max` spans, in order. Nothing changes if one is
    /// enough.
    ///
    /// [`slice`](Self::slice) walks over the whole request. So a large request is split before parts
    /// of it are sent.
    pub(crate) fn pieces(self, max: usize) -> Vec<Self> {
        if self.spans <= max {
            return vec![self];
        }
        let middle = (self.spans / 2).next_multiple_of(max);
        let halves = [0..middle, middle..self.spans].map(|range| Self {
            bytes: self.slice(range.clone()),
            spans: range.len(),
            has_project_attribute: self.has_project_attribute,
            gzip: None,
            is_redacted: self.is_redacted,
        });
        halves.into_iter().flat_map(|half| half.pieces(max)).collect()
    }

    /// Splits a payload into parts of at most `max` bytes. A part with one span may be larger.
    #[cfg(feature = "spool")]
    pub(crate) fn parts_within(self, max: usize) -> Vec<Self> {
        if self.bytes.len() <= max || self.spans <= 1 {
            return vec![self];
        }
        let middle = self.spans / 2;
        let halves = [self.part(0..middle), self.part(middle..self.spans)];
        halves.into_iter().flat_map(|half| half.parts_within(max)).collect()
    }

    /// Keeps spans for which `keep` returns true. Its arguments are the trace id and the encoded
    /// size. Nothing changes if all spans are kept.
    pub(crate) fn retain(mut self, mut keep: impl FnMut([u8; 16], usize) -> bool) -> Self {
        let mut kept = 0;
        let part = parts::retain(&self.bytes, |span| {
            let keep = span.is_none_or(|span| keep(parts::trace_id(span), span.len()));
            kept += usize::from(keep && span.is_some());
            keep
        });
        self.spans = kept;
        self.replace(part);
        self
    }

    /// Splits the request by an attribute of its resources: `None` if it is absent or not a string.
    /// Parts are in the order of first occurrence. Nothing changes if there is one part. An empty
    /// request has none.
    ///
    /// Fails if a resource has several attributes with this key, if there are too many parts, or if
    /// the request has unknown fields that belong to no resource.
    pub(crate) fn split_by_resource(self, key: &str) -> Result<Vec<(Option<String>, Self)>, PayloadError> {
        if self.bytes.is_empty() {
            return Ok(Vec::new());
        }
        let mut parts = parts::split(&self.bytes, key)?;
        if parts.len() < 2 {
            let value = parts.pop().and_then(|only| only.value);
            return Ok(vec![(value, self)]);
        }
        let payload = |part: parts::Part| {
            let payload = Self {
                bytes: part.bytes.into(),
                spans: part.spans,
                has_project_attribute: self.has_project_attribute,
                gzip: None,
                is_redacted: self.is_redacted,
            };
            (part.value, payload)
        };
        Ok(parts.into_iter().map(payload).collect())
    }

    /// Applies the changes of a binding. Nothing changes if the client has set everything.
    // `benches/instructions` counts what runs in it, by its name.
    #[inline(never)]
    pub(crate) fn splice(&mut self, edits: &Edits) {
        let spliced = splice::splice(&self.bytes, edits, self.has_project_attribute);
        self.replace(spliced);
    }

    /// Applies the rules of a tracer, unless they were applied. No byte changes if none matches.
    #[cfg(feature = "redact")]
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        let redacted = self.redact_within(redaction, usize::MAX);
        debug_assert!(redacted.is_ok(), "no changes take so much memory");
    }

    /// Applies the rules of a tracer to what a client sent, as [`redact`](Self::redact) does, in bounded
    /// memory.
    ///
    /// # Errors
    /// The changes take too much memory. The payload must not be used.
    #[cfg(all(feature = "gateway", feature = "redact"))]
    pub(crate) fn redact_bounded(&mut self, redaction: &Redaction) -> Result<(), TooManyChanges> {
        self.redact_within(redaction, redact::MAX_MEMORY)
    }

    #[cfg(feature = "redact")]
    fn redact_within(&mut self, redaction: &Redaction, max_memory: usize) -> Result<(), TooManyChanges> {
        if !self.is_redacted {
            let redacted = redact::redact(&self.bytes, redaction, max_memory)?;
            self.is_redacted = true;
            self.replace(redacted);
        }
        Ok(())
    }

    /// Returns what identifies a span, by its order in the request.
    pub(crate) fn describe(&self, index: usize) -> Option<SpanSummary<'_>> {
        let span = &self.bytes[parts::spans(&self.bytes).nth(index)?.value];
        Some(SpanSummary {
            name: parts::name(span),
            trace_id: TraceId::from_bytes(parts::trace_id(span)),
            span_id: SpanId::from_bytes(parts::span_id(span)),
        })
    }

    /// Returns the trace ids of a range of spans, in order. Takes time for each span before its end.
    pub(crate) fn trace_ids(&self, range: Range<usize>) -> impl Iterator<Item = TraceId> {
        let spans = parts::spans(&self.bytes).skip(range.start).take(range.len());
        spans.map(|span| TraceId::from_bytes(parts::trace_id(&self.bytes[span.value])))
    }

    fn replace(&mut self, changed: Option<Bytes>) {
        if let Some(bytes) = changed {
            self.bytes = bytes;
            self.gzip = None;
        }
    }
}
