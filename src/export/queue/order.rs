//! Order numbers of queued spans, which decide their place on disk and which flushes wait for them,
//! and their moves between queues and rows.

use std::collections::VecDeque;
use std::ops::Range;

use opentelemetry_sdk::trace::SpanData;

use super::encoded::Encoded;
use super::span_queue::{Batch, Chunk, Queue};
use crate::export::payload::Payload;

/// Spans of a batch that become one row, or several.
pub(crate) enum Run<'a> {
    Spans(Vec<&'a SpanData>),
    /// A range of the spans of a request.
    Encoded {
        payload: &'a Payload,
        spans: Range<usize>,
        is_finished: bool,
    },
}

impl Queue {
    /// Gives order numbers to the chunks that have none: consecutive ones, from the one that `next`
    /// returns for this many spans.
    pub(crate) fn number(&mut self, next: impl FnOnce(u64) -> u64) {
        number(&mut self.chunks, next);
    }

    /// Returns the order number of the first span, if it has one.
    pub(crate) fn first_order(&self) -> Option<u64> {
        self.chunks.front().map(|chunk| chunk.order).filter(|order| *order > 0)
    }

    /// Returns how many spans a flush waits for that begins at this order number.
    pub(crate) fn before_flush(&self, order: u64) -> u64 {
        let before = self.chunks.iter().filter(|chunk| chunk.flush_order() < order);
        before.map(|chunk| chunk.len() as u64).sum()
    }

    /// Queues the spans of a row behind all others.
    pub(crate) fn push_row(&mut self, row: Encoded, order: u64, bytes: usize) {
        self.push_encoded(row, bytes);
        self.chunks.back_mut().expect("a row was pushed").order = order;
    }

    /// Queues the spans of a row in front of all others. Call only for a queue that counts no taken
    /// spans.
    pub(crate) fn put_back(&mut self, row: Encoded, order: u64, bytes: usize) {
        self.len += row.len();
        let chunk = Chunk::encoded(row, bytes);
        self.chunks.push_front(Chunk { order, ..chunk });
    }

    /// Moves all spans of another queue behind those of this one.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.len += std::mem::take(&mut other.len);
        self.chunks.append(&mut other.chunks);
        // An empty queue holds no memory.
        other.chunks = VecDeque::new();
    }

    /// Removes all spans but the first `count`, which end with a chunk.
    pub(crate) fn split_off(&mut self, count: usize) -> Self {
        let mut rest = Self::default();
        while self.len > count {
            let Some(last) = self.chunks.pop_back() else { break };
            self.len -= last.len();
            rest.len += last.len();
            rest.chunks.push_front(last);
        }
        rest
    }
}

fn number(chunks: &mut VecDeque<Chunk>, next: impl FnOnce(u64) -> u64) {
    let count = chunks
        .iter()
        .filter(|chunk| chunk.order == 0)
        .map(|chunk| chunk.len() as u64);
    let count = count.sum();
    if count > 0 {
        let mut order = next(count);
        for chunk in chunks.iter_mut().filter(|chunk| chunk.order == 0) {
            chunk.order = order;
            order += chunk.len() as u64;
        }
    }
}

impl Batch {
    /// Like [`Queue::number`].
    pub(crate) fn number_chunks(&mut self, next: impl FnOnce(u64) -> u64) {
        number(&mut self.chunks, next);
    }

    /// Returns the order number of the first span of a part.
    pub(crate) fn order(&self, part: &Range<usize>) -> u64 {
        let first = self.chunks_of(part).next();
        first.map_or(0, |(chunk, range)| chunk.order + range.start as u64)
    }

    /// Returns the order number for flushes: that of the oldest chunk.
    pub(crate) fn flush_order(&self) -> u64 {
        self.chunks.iter().map(Chunk::flush_order).min().unwrap_or_default()
    }

    /// Returns the spans of a part as requests, with the order number of their first span. Spans that
    /// are not encoded become one request if their order numbers are consecutive.
    pub(crate) fn runs(&self, part: &Range<usize>) -> Vec<(u64, Run<'_>)> {
        let mut runs: Vec<(u64, Run<'_>)> = Vec::new();
        for (chunk, range) in self.chunks_of(part) {
            let first = chunk.order + range.start as u64;
            if let Some(encoded) = &chunk.encoded {
                let (payload, spans) = encoded.part(range);
                let is_finished = encoded.is_finished();
                let run = Run::Encoded {
                    payload,
                    spans,
                    is_finished,
                };
                runs.push((first, run));
                continue;
            }
            match runs.last_mut() {
                Some((order, Run::Spans(spans))) if *order + spans.len() as u64 == first => {
                    spans.extend(&chunk.spans[range]);
                }
                _ => runs.push((first, Run::Spans(chunk.spans[range].iter().collect()))),
            }
        }
        runs
    }
}
