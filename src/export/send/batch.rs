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

mod aside;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::deliver::{OnFault, Outcome, Sending, deliver, first_place, patience_unsent, see_through};
use crate::config::{Compression, ServerErrors};
use crate::export::ExportError;
use crate::export::encode::body;
use crate::export::engine::Shared;
use crate::export::lane::{Age, Lane, UnderWay};
use crate::export::net::transport::Call;
use crate::export::queue::span_queue::Batch;
use crate::export::schedule::permits::{Admission, Load};
use crate::ledger::DropReason;

/// Whether a lane divides what is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Halving {
    is_barren: bool,
    /// Requests of which spans were taken.
    taken: u64,
}

impl Halving {
    pub(crate) fn taken_requests(self) -> u64 {
        self.taken
    }

    pub(crate) fn may_divide(self) -> bool {
        !self.is_barren
    }

    /// A batch was divided, and nothing of it was taken.
    pub(crate) fn note_barren(&mut self) {
        self.is_barren = true;
    }

    /// Spans were taken.
    pub(crate) fn note_taken(&mut self) {
        self.is_barren = false;
        self.taken += 1;
    }
}

/// What of a batch is still to be sent, and what was refused and may be sent again in halves.
struct Parts {
    /// In the order of the queue; the last one is the next to be sent.
    waiting: Vec<Range<usize>>,
    /// Refused on the path, in the order of sending.
    kept: Vec<Refused>,
    path: Path,
    /// Spans that the receiver failed on before it took others: if it does again, it is them.
    suspects: BTreeSet<usize>,
}

/// Spans that were refused together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    part: Range<usize>,
    reason: DropReason,
    /// Not refused: the receiver failed on them, and may have been down.
    by_fault: bool,
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
            suspects: BTreeSet::new(),
        }
    }

    fn next(&mut self) -> Option<Range<usize>> {
        self.waiting.pop()
    }

    /// Spans of the last part were taken. Returns the spans that are now refused permanently.
    fn note_taken(&mut self) -> Vec<Refused> {
        self.path = Path::Taken;
        let kept = std::mem::take(&mut self.kept).into_iter();
        let (alone, several): (Vec<_>, Vec<_>) = kept.partition(|refused| refused.part.len() == 1);
        // In the order of the queue: what is divided last is sent next.
        several.iter().rev().for_each(|refused| self.divide(&refused.part));
        let (faulted, refused): (Vec<_>, Vec<_>) = alone.into_iter().partition(|alone| alone.by_fault);
        for Refused { part, .. } in faulted.into_iter().rev() {
            self.suspects.insert(part.start);
            self.waiting.push(part);
        }
        refused
    }

    /// The last part was refused. Returns it if the refusal is permanent.
    fn note_refused(&mut self, refused: Refused) -> Option<Refused> {
        let is_alone = refused.part.len() == 1;
        if is_alone && refused.by_fault && self.suspects.contains(&refused.part.start) {
            return Some(refused);
        }
        // What was taken says nothing of whether the receiver is down by now.
        if refused.by_fault && self.path == Path::Taken {
            self.path = Path::Descending;
        }
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

    /// What is kept is to be sent again, neighbours together.
    fn repeat_kept(&mut self) {
        let mut kept: Vec<_> = self.kept.drain(..).map(|kept| kept.part).collect();
        kept.sort_by_key(|part| part.start);
        for part in kept.into_iter().rev() {
            match self.waiting.last_mut() {
                Some(next) if next.start == part.end => next.start = part.start,
                _ => self.waiting.push(part),
            }
        }
        self.path = Path::Descending;
    }

    /// The part that came last is to be sent again.
    fn put_back(&mut self, part: Range<usize>) {
        self.waiting.push(part);
    }

    fn divide(&mut self, part: &Range<usize>) {
        let middle = part.start + part.len() / 2;
        self.waiting.extend([middle..part.end, part.start..middle]);
    }
}

/// A batch, and what of it has no outcome yet.
struct Carried {
    batch: Batch,
    parts: Parts,
    age: Age,
    /// All of its spans are as they are sent.
    finished: bool,
}

/// Sends the next batch of a lane, when it is its turn, and settles all of it, unless the receiver fails on it: then it is set aside, and
/// others go on.
pub(crate) async fn send_next(lane: &Arc<Lane>, shared: &Shared) {
    // Not taken before: while the lane waits for its turn its spans are in the queue, and others may go with them.
    let request = lane.begin_request(Load::Spans);
    let Some(place) = first_place(shared, lane, &request, Age::Queue).await else {
        lane.give_up(&[], lane.gates.for_spans().reason(), patience_unsent(shared));
        return;
    };
    let mut place = Some(place);
    let on_fault = match shared.settings.retry.server_errors {
        ServerErrors::Halve => OnFault::SetAside,
        ServerErrors::Repeat => OnFault::Repeat,
    };
    let mut carried = Carried::new(lane.take_batch());
    while let Some(part) = carried.parts.next() {
        if lane.is_closed() {
            return;
        }
        match carried
            .send(lane, shared, &request, &part, on_fault, place.take())
            .await
        {
            Outcome::Faulted => {
                carried.parts.put_back(part);
                let (lane, shared) = (Arc::clone(lane), Arc::clone(lane.shared()));
                tokio::spawn(async move { aside::run(&lane, &shared, carried).await });
                return;
            }
            outcome => carried.note(lane, part, outcome),
        }
    }
    carried.end(lane);
}

impl Carried {
    fn new(batch: Batch) -> Self {
        Self {
            parts: Parts::of(batch.len()),
            age: Age::Spans(batch.numbers(&(0..batch.len())).end),
            batch,
            finished: false,
        }
    }

    async fn send(
        &mut self,
        lane: &Arc<Lane>,
        shared: &Shared,
        request: &UnderWay<'_>,
        part: &Range<usize>,
        on_fault: OnFault,
        place: Option<Admission<'_>>,
    ) -> Outcome {
        let sent = async {
            // All of it, with the first part, which is the whole.
            if !std::mem::replace(&mut self.finished, true) {
                self.batch.iter_mut().for_each(|span| lane.finish(span));
            }
            let sending = Sending {
                call: &call(lane, shared, &self.batch, part)?,
                request,
                count: part.len() as u64,
                age: self.age,
                on_fault,
            };
            Ok(deliver(shared, lane, &sending, place).await)
        };
        see_through(lane, Load::Spans, sent).await
    }

    /// A part has an outcome. If it has to be sent again in halves, it is not settled by that.
    fn note(&mut self, lane: &Lane, part: Range<usize>, outcome: Outcome) {
        match outcome {
            Outcome::Refused(reason) if part.len() < self.batch.len() || lane.may_divide() => {
                let refused = self.parts.note_refused(Refused {
                    part,
                    reason,
                    by_fault: false,
                });
                self.settle(lane, refused);
            }
            Outcome::Dropped(reason) if outcome.is_expired() => self.give_up(lane, part, reason),
            Outcome::Refused(reason) => {
                let by_fault = false;
                self.settle(lane, [Refused { part, reason, by_fault }]);
            }
            outcome => {
                lane.settle(self.batch.numbers(&part), outcome);
                if outcome.has_taken(part.len()) {
                    let refused = self.parts.note_taken();
                    self.settle(lane, refused);
                }
            }
        }
    }

    /// The time of the batch is over, and so is that of all its parts. What the receiver refused before stays refused. Nothing follows from
    /// it for the next batch, since not all of it was sent.
    fn give_up(&mut self, lane: &Lane, part: Range<usize>, reason: DropReason) {
        let kept = std::mem::take(&mut self.parts.kept).into_iter();
        let (faulted, refused): (Vec<_>, Vec<_>) = kept.partition(|kept| kept.by_fault);
        let unsent = std::iter::once(part)
            .chain(self.parts.waiting.drain(..))
            .chain(faulted.into_iter().map(|faulted| faulted.part));
        let unsent: Vec<_> = unsent.map(|part| self.batch.numbers(&part)).collect();
        // The time of one that was set aside is its own.
        let patience = match self.age {
            Age::Since(_) => Duration::ZERO,
            Age::Queue | Age::Spans(_) | Age::Event(_) => lane.shared().settings.retry.max_elapsed,
        };
        lane.give_up(&unsent, reason, patience);
        self.settle(lane, refused);
    }

    /// What is refused for good is dropped.
    fn settle(&self, lane: &Lane, refused: impl IntoIterator<Item = Refused>) {
        for Refused { part, reason, .. } in refused {
            if part.len() == 1 {
                self.note_refused(lane, &part, reason);
            }
            lane.settle(self.batch.numbers(&part), Outcome::Refused(reason));
        }
    }

    /// A span is refused by itself: its size is that of its request, as a receiver's limit counts it.
    fn note_refused(&self, lane: &Lane, part: &Range<usize>, reason: DropReason) {
        let Some(span) = self.batch.iter().nth(part.start) else {
            return;
        };
        let resource = lane.destination.resource(&lane.selector);
        let protocol = lane.shared().settings.protocol;
        let encoded = body::spans(&[span], &resource, protocol, Compression::None);
        lane.note_refused_span(span, encoded.map_or(0, |encoded| encoded.body.len()), reason);
    }

    /// All parts were sent.
    fn end(mut self, lane: &Lane) {
        let kept = std::mem::take(&mut self.parts.kept);
        if kept.len() > 1 {
            lane.note_barren();
        }
        self.settle(lane, kept);
        lane.shared().chunks.give_back(self.batch);
    }
}

fn call(lane: &Lane, shared: &Shared, batch: &Batch, part: &Range<usize>) -> Result<Call, ExportError> {
    let settings = &shared.settings;
    let spans: Vec<_> = batch.iter().skip(part.start).take(part.len()).collect();
    let resource = lane.destination.resource(&lane.selector);
    let encoded = body::spans(&spans, &resource, settings.protocol, settings.compression)?;
    Ok(Call::spans(settings.protocol, &lane.destination, encoded))
}
