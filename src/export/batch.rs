//! A batch on its way: whole at first, and in halves if it is refused, until what the receiver refuses is alone.
//!
//! A 4xx that is about what a request carries (the verdict `Refuse`) divides what was sent in two. The halves are sent one after the other,
//! in the order of the queue, each encoded anew; a span that is refused alone is dropped. One bad span of 512 costs 18 requests more.
//!
//! A receiver that refuses everything must not be asked for every span. So the first refusals divide along one path only: the first half, its
//! first half, down to one span, and then the other half of each. That is [`Parts`]; `log` is the depth of the path:
//!
//! | parts | event | next |
//! |---|---|---|
//! | descending | several spans are refused | descending: divided, the first half is next |
//! | descending | one span is refused | on the way back: it is kept |
//! | on the way back | a part is refused | on the way back: it is kept, undivided |
//! | descending, on the way back | spans are taken | taken: each part that is kept is divided, a kept span is dropped |
//! | taken | several spans are refused | taken: divided |
//! | taken | one span is refused | taken: dropped |
//! | descending, on the way back | no part is left | what is kept is dropped, and the lane is barren |
//!
//! A barren lane ([`Halving`]) divides nothing until one of its spans is taken: each refused batch is dropped after one request. So a receiver
//! that refuses everything gets `2 log + 1` requests at the most, and then one for each batch. If a receiver takes some of the spans of a
//! batch of `m`, that costs no more than `2m - 1` requests, one after the other.
//!
//! A batch is finished once and encoded from where it is, whole or in parts: it is there until all of it has its outcome.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use super::ExportError;
use super::deliver::{Outcome, Sending, deliver, first_place, patience_unsent, see_through};
use super::encode;
use super::engine::Shared;
use super::lane::{Age, Lane};
use super::permits::Load;
use super::queue::Batch;
use super::transport::Call;
use crate::config::Compression;
use crate::ledger::DropReason;

/// Whether a lane divides what is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Halving {
    is_barren: bool,
}

impl Halving {
    pub(super) fn may_divide(self) -> bool {
        !self.is_barren
    }

    /// A batch was divided, and nothing of it was taken.
    pub(super) fn note_barren(&mut self) {
        self.is_barren = true;
    }

    /// Spans were taken.
    pub(super) fn note_taken(&mut self) {
        self.is_barren = false;
    }
}

/// What of a batch is still to be sent, and what was refused and may be sent again in halves.
struct Parts {
    /// In the order of the queue; the last one is the next to be sent.
    waiting: Vec<Range<usize>>,
    /// Refused on the path, in the order of sending.
    kept: Vec<Refused>,
    path: Path,
}

/// Spans that were refused together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    part: Range<usize>,
    reason: DropReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Descending,
    Back,
    /// Spans of the batch were taken.
    Taken,
}

impl Parts {
    fn of(count: usize) -> Self {
        Self {
            waiting: std::iter::once(0..count).collect(),
            kept: Vec::new(),
            path: Path::Descending,
        }
    }

    fn next(&mut self) -> Option<Range<usize>> {
        self.waiting.pop()
    }

    /// Spans of the part that came last were taken. Returns the spans that are refused for good by that.
    fn note_taken(&mut self) -> Vec<Refused> {
        self.path = Path::Taken;
        let kept = std::mem::take(&mut self.kept).into_iter();
        let (alone, several): (Vec<_>, Vec<_>) = kept.partition(|refused| refused.part.len() == 1);
        // In the order of the queue: what is divided last is sent next.
        several.iter().rev().for_each(|refused| self.divide(&refused.part));
        alone
    }

    /// The part that came last was refused. Returns it if that is for good.
    fn note_refused(&mut self, refused: Refused) -> Option<Refused> {
        let is_alone = refused.part.len() == 1;
        match self.path {
            Path::Descending | Path::Taken if !is_alone => self.divide(&refused.part),
            Path::Taken => return Some(refused),
            Path::Descending | Path::Back => {
                self.path = Path::Back;
                self.kept.push(refused);
            }
        }
        None
    }

    /// All parts were sent: what was refused while nothing was taken.
    fn into_kept(self) -> Vec<Refused> {
        self.kept
    }

    fn divide(&mut self, part: &Range<usize>) {
        let middle = part.start + part.len() / 2;
        self.waiting.extend([middle..part.end, part.start..middle]);
    }
}

/// Sends the next batch of a lane, when it is its turn, and settles all of it.
pub(super) async fn send_next(lane: &Arc<Lane>, shared: &Shared) {
    // Not taken before: while the lane waits for its turn its spans are in the queue, and others may go with them.
    let request = lane.begin_request(Load::Spans);
    let Some(place) = first_place(shared, lane, &request, Age::Queue).await else {
        lane.give_up(&[], lane.gates.for_spans().reason(), patience_unsent(shared));
        return;
    };
    let mut place = Some(place);
    let mut batch = lane.take_batch();
    let age = Age::Spans(batch.numbers(&(0..batch.len())).end);
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
            let sending = Sending {
                call: &call(lane, shared, &batch, &part)?,
                request: &request,
                count: part.len() as u64,
                age,
            };
            Ok(deliver(shared, lane, &sending, place.take()).await)
        };
        let outcome = see_through(lane, Load::Spans, sent).await;
        if let Outcome::Refused(reason) = outcome
            && part.len() == 1
        {
            note_refused(lane, shared, &batch, &part, reason);
        }
        match outcome {
            Outcome::Refused(reason) if part.len() < batch.len() || lane.may_divide() => {
                let refused = Refused { part, reason };
                settle(lane, &batch, parts.note_refused(refused));
            }
            Outcome::Dropped(reason) if Outcome::Dropped(reason).is_expired() => {
                let unsent = std::iter::once(part).chain(parts.waiting.drain(..));
                let unsent: Vec<_> = unsent.map(|part| batch.numbers(&part)).collect();
                lane.give_up(&unsent, reason, shared.settings.retry.max_elapsed);
            }
            outcome => {
                lane.settle(batch.numbers(&part), outcome);
                if outcome.has_taken(part.len()) {
                    settle(lane, &batch, parts.note_taken());
                }
            }
        }
    }
    let kept = parts.into_kept();
    if kept.len() > 1 {
        lane.note_barren();
    }
    settle(lane, &batch, kept);
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

/// What is refused for good is dropped.
fn settle(lane: &Lane, batch: &Batch, refused: impl IntoIterator<Item = Refused>) {
    for Refused { part, reason } in refused {
        lane.settle(batch.numbers(&part), Outcome::Refused(reason));
    }
}

fn call(lane: &Lane, shared: &Shared, batch: &Batch, part: &Range<usize>) -> Result<Call, ExportError> {
    let settings = &shared.settings;
    let spans: Vec<_> = batch.iter().skip(part.start).take(part.len()).collect();
    let resource = lane.destination.resource(&lane.selector);
    let encoded = encode::spans(&spans, &resource, settings.protocol, settings.compression)?;
    Ok(Call::spans(settings.protocol, &lane.destination, encoded))
}
