//! A batch on its way: whole at first, and in halves where it is refused, until what the receiver refuses is alone.
//!
//! A 4xx that is about what a request carries (the verdict `Refuse`) splits what was sent in two. The halves are sent one after the other,
//! in the order of the queue, each encoded anew; a span that is refused alone is dropped. One bad span of 512 costs 18 requests more.
//!
//! A receiver that refuses everything must not be asked for every span. So a lane splits so many times in a row without any of its spans
//! being taken, and from then on not at all until one is. `n` is [`MAX_BARREN_SPLITS`]:
//!
//! | barren splits | spans are taken | several spans are refused | one span is refused |
//! |---|---|---|---|
//! | `b < n` | 0 | split, `b + 1` | dropped, `b` |
//! | `n` | 0 | dropped together, `n` | dropped, `n` |
//!
//! That is `2n + 1` requests at the most for all batches until then, and one for each batch after them. Where a receiver takes some of the
//! spans, a batch of `m` costs no more than `2m - 1` requests, one after the other.
//!
//! What may have to be sent in parts is kept as spans until there is an outcome, beside the encoded body: some 600 bytes for a span of
//! four attributes, 300 KiB for a full batch. The encoder takes a copy, which costs 0.1 to 0.2 microseconds a span beside the 1.4 of encoding
//! and compressing it. A span that is sent alone is neither kept nor copied.

#[cfg(test)]
mod tests;

use std::time::Instant;

use opentelemetry_sdk::trace::SpanData;

use super::ExportError;
use super::deliver::{Load, Outcome, deliver, see_through};
use super::encode;
use super::engine::Shared;
use super::lane::Lane;
use super::transport::Call;

/// How often a lane splits in a row without any of its spans being taken. A lone bad span in a batch of 512 takes 9.
const MAX_BARREN_SPLITS: u32 = 32;

/// Whether a lane splits what is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Halving {
    barren_splits: u32,
}

impl Halving {
    /// Several spans were refused: whether to split them. Counts the split.
    pub(super) fn may_split(&mut self) -> bool {
        let may = self.barren_splits < MAX_BARREN_SPLITS;
        self.barren_splits += u32::from(may);
        may
    }

    /// Spans were taken.
    pub(super) fn taken(&mut self) {
        self.barren_splits = 0;
    }
}

/// What of a batch is still to be sent, in the order of the queue.
struct Parts<T> {
    /// The next one is the last.
    waiting: Vec<Vec<T>>,
}

impl<T> Parts<T> {
    fn of(batch: Vec<T>) -> Self {
        Self { waiting: vec![batch] }
    }

    fn next(&mut self) -> Option<Vec<T>> {
        self.waiting.pop()
    }

    /// The part that came last is sent again, in halves.
    fn split(&mut self, mut part: Vec<T>) {
        let later = part.split_off(part.len() / 2);
        self.waiting.extend([later, part]);
    }
}

/// Sends a batch, and settles all of it.
pub(super) async fn send(lane: &Lane, shared: &Shared, batch: Vec<SpanData>) {
    let mut parts = Parts::of(batch);
    let mut started = None;
    while let Some(mut part) = parts.next() {
        if lane.is_closed() {
            return;
        }
        let count = part.len() as u64;
        let outcome = see_through(lane, send_part(lane, shared, &mut part, &mut started)).await;
        if matches!(outcome, Outcome::Refused(_)) && part.len() > 1 && lane.may_split() {
            parts.split(part);
        } else {
            lane.settle(count, outcome);
        }
    }
}

async fn send_part(
    lane: &Lane,
    shared: &Shared,
    part: &mut Vec<SpanData>,
    started: &mut Option<Instant>,
) -> Result<Outcome, ExportError> {
    let count = part.len() as u64;
    let mut spans = if part.len() > 1 {
        part.clone()
    } else {
        std::mem::take(part)
    };
    for span in &mut spans {
        lane.finish(span);
    }
    let settings = &shared.settings;
    let encoded = encode::spans(
        spans,
        &lane.destination.resource,
        settings.protocol,
        settings.compression,
    )?;
    let call = Call::spans(settings.protocol, &lane.destination, encoded);
    Ok(deliver(shared, lane, &call, Load::Spans(count), started).await)
}
