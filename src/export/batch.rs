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
//! A batch is finished once and encoded from where it is, whole or in parts: it is there until all of it has its outcome.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use super::ExportError;
use super::deliver::{Outcome, deliver, first_place, see_through};
use super::encode;
use super::engine::Shared;
use super::lane::Lane;
use super::permits::Load;
use super::queue::Batch;
use super::transport::Call;
use crate::config::Compression;
use crate::ledger::DropReason;

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
struct Parts {
    /// The next one is the last.
    waiting: Vec<Range<usize>>,
}

impl Parts {
    fn of(count: usize) -> Self {
        Self {
            waiting: std::iter::once(0..count).collect(),
        }
    }

    fn next(&mut self) -> Option<Range<usize>> {
        self.waiting.pop()
    }

    /// The part that came last is sent again, in halves.
    fn split(&mut self, part: Range<usize>) {
        let middle = part.start + part.len() / 2;
        self.waiting.extend([middle..part.end, part.start..middle]);
    }
}

/// Sends the next batch of a lane, when it is its turn, and settles all of it.
pub(super) async fn send_next(lane: &Arc<Lane>, shared: &Shared) {
    let mut started = None;
    // Not taken before: while the lane waits for its turn its spans are in the queue, and others may go with them.
    let mut place = first_place(shared, lane, Load::Spans, &mut started).await;
    let mut batch = lane.take_batch();
    if place.is_none() {
        lane.settle(batch.len() as u64, Outcome::Dropped(lane.gates.for_spans().reason()));
        return;
    }
    let mut finished = false;
    let mut parts = Parts::of(batch.len());
    while let Some(part) = parts.next() {
        if lane.is_closed() {
            return;
        }
        let sent = async {
            // All of it, with the first part, which is the whole.
            if !std::mem::replace(&mut finished, true) {
                batch.iter_mut().for_each(|span| lane.finish(span));
            }
            let call = call(lane, shared, &batch, &part)?;
            let load = (Load::Spans, part.len() as u64);
            Ok(deliver(shared, lane, &call, load, place.take(), &mut started).await)
        };
        let outcome = see_through(lane, Load::Spans, sent).await;
        if matches!(outcome, Outcome::Refused(_)) && part.len() > 1 && lane.may_split() {
            parts.split(part);
        } else {
            if let Outcome::Refused(reason) = outcome
                && part.len() == 1
            {
                note_refused(lane, shared, &batch, &part, reason);
            }
            lane.settle(part.len() as u64, outcome);
        }
    }
    shared.chunks.give_back(batch);
}

/// A span is refused by itself: its size is that of its request, as a receiver's limit counts it.
fn note_refused(lane: &Lane, shared: &Shared, batch: &Batch, part: &Range<usize>, reason: DropReason) {
    let Some(span) = batch.iter().nth(part.start) else {
        return;
    };
    let resource = lane.destination.resource(&lane.selector);
    let encoded = encode::spans(&[span], &resource, shared.settings.protocol, Compression::None);
    lane.note_refused_span(span, encoded.map_or(0, |encoded| encoded.body.len()), reason);
}

fn call(lane: &Lane, shared: &Shared, batch: &Batch, part: &Range<usize>) -> Result<Call, ExportError> {
    let settings = &shared.settings;
    let spans: Vec<_> = batch.iter().skip(part.start).take(part.len()).collect();
    let resource = lane.destination.resource(&lane.selector);
    let encoded = encode::spans(&spans, &resource, settings.protocol, settings.compression)?;
    Ok(Call::spans(settings.protocol, &lane.destination, encoded))
}
