//! Property test: several lanes against a model of the fate of each span. Steps are random pushes,
//! outcomes, flushes and shutdowns; after each step the ledgers must equal the model.
//!
//! The test acts as the engine, as in [`tests`](super::tests). A request that hangs or is retried
//! is one that gets no outcome for a while. The model does not predict whether a span fits; it
//! reads that from the ledger and compares the lanes' total memory with the budget.

mod model;

use super::lane::Lane;
#[cfg(feature = "encoded")]
use super::payloads::{NoRoom, Room};
use crate::export::accounting::counted_lane::{CountedLane, Pending};
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::queue::byte_size::byte_size;
use crate::export::schedule::engine_event::{Cause, EngineEvent, ScheduledLane, address};
use crate::export::send::outcome::Outcome;
use crate::ledger::DropReason;
use crate::selector::Selector;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use opentelemetry::KeyValue;
use proptest::prelude::*;
use tokio::sync::mpsc::UnboundedReceiver;

use super::tests::Parts;
use crate::config::{Binding, Export};
#[cfg(feature = "encoded")]
use crate::export::test_fixtures::payload;
use crate::export::test_fixtures::span;
use crate::selector::{SelectorKind, Slug};
use model::{LaneModel, Mark, Task, Totals};

/// The first two are tracers of one selector: a pooled one and a dedicated one.
const LANES: usize = 3;
/// Sessions of each lane.
const SESSIONS: usize = 2;
const QUEUE: usize = 9;
const BATCH: usize = 4;
/// Less than full queues need, so the budget refuses spans too.
const MAX_BYTES: usize = 12_000;
/// Memory of a session event.
const EVENT_BYTES: usize = 150;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Lane, bytes: a span of about this size ends.
    Push(usize, usize),
    /// Lane, number of spans: room is reserved for encoded spans.
    #[cfg(feature = "encoded")]
    Reserve(usize, usize),
    /// The oldest reserved room is used (true) or released.
    #[cfg(feature = "encoded")]
    EndReservation(bool),
    Flush(usize),
    HandleEvent,
    /// A deadline passes, or memory pressure comes before it (true).
    Deadline(bool),
    /// Lane, part, outcome: one step of the lane's task, which takes a batch or completes a part.
    Work(usize, usize, Outcome),
    /// Lane, session: a session event is accepted.
    AddEvent(usize, usize),
    /// Lane, session, most: events of the session are sent.
    SendEvents(usize, usize, usize),
    /// Lane, session, outcome: the session's request completes.
    CompleteEvents(usize, usize, Outcome),
    /// The tracer is dropped.
    Retire(usize),
    /// The end of a shutdown, for one lane.
    Abandon(usize),
}

struct World {
    striped: bool,
    lanes: Vec<Arc<Lane>>,
    ledgers: Vec<Arc<SelectorLedger>>,
    events_rx: UnboundedReceiver<EngineEvent>,
    engine_events: VecDeque<EngineEvent>,
    timed: VecDeque<Arc<dyn ScheduledLane>>,
    models: [LaneModel; LANES],
    marks: Vec<Mark>,
    spans: u64,
    events: u64,
    reservations: VecDeque<Reservation>,
    /// Number of encoded spans, reserved or queued.
    encoded: usize,
    /// Creation numbers of encoded spans by name.
    encoded_spans: HashMap<String, u64>,
}

/// Room for encoded spans.
struct Reservation {
    lane: usize,
    names: Vec<String>,
    #[cfg(feature = "encoded")]
    room: Room,
}

impl World {
    fn new(striped: bool) -> Self {
        let ledger =
            |name| SelectorLedger::standalone(&Selector::of(SelectorKind::Tenant, Slug::new(name).expect("a name")));
        let ledgers = [ledger("acme"), ledger("globex")];
        // The last lane is idle until the end.
        let lane_ledgers = [0, 0, 1, 1].map(|at: usize| Arc::clone(&ledgers[at]));
        let export = Export {
            max_queue_size: Some(QUEUE),
            max_export_batch_size: Some(BATCH),
            max_queue_bytes: Some(MAX_BYTES),
            ..Export::default()
        };
        let (lanes, events_rx) = Parts::of(Binding::new(), export).lanes(&lane_ledgers);
        if striped {
            for lane in &lanes {
                lane.stripes.create();
            }
        }
        Self {
            striped,
            lanes,
            ledgers: ledgers.into(),
            events_rx,
            engine_events: VecDeque::new(),
            timed: VecDeque::new(),
            models: Default::default(),
            marks: Vec::new(),
            spans: 0,
            events: 0,
            reservations: VecDeque::new(),
            encoded: 0,
            encoded_spans: HashMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push(at, bytes) if !self.models[at].retired => self.push(at, bytes),
            #[cfg(feature = "encoded")]
            Step::Reserve(at, count) if !self.models[at].retired => self.reserve(at, count),
            #[cfg(feature = "encoded")]
            Step::EndReservation(is_used) => self.end_reservation(is_used),
            Step::Flush(at) => {
                let until = Arc::clone(&self.lanes[at]).begin_flush();
                self.marks.push(Mark {
                    lane: at,
                    until,
                    spans: self.spans,
                    events: self.events,
                });
            }
            Step::HandleEvent => match self.engine_events.pop_front() {
                Some(EngineEvent::Timed(lane)) => self.timed.push_back(lane),
                Some(EngineEvent::Ready(lane)) => {
                    self.start(&lane, Cause::Ready);
                }
                Some(
                    EngineEvent::Flush(_) | EngineEvent::Session(_) | EngineEvent::Log(_) | EngineEvent::MemoryPressure,
                )
                | None => {}
            },
            Step::Deadline(early) => {
                if let Some(lane) = self.timed.pop_front() {
                    let cause = if early {
                        Cause::Memory
                    } else {
                        Cause::Deadline(Instant::now() + Duration::from_secs(3600))
                    };
                    self.start(&lane, cause);
                }
            }
            Step::Work(at, which, outcome) => self.work(at, which, outcome),
            Step::AddEvent(at, session) if !self.models[at].retired => self.add_event(at, session),
            Step::SendEvents(at, session, most) => self.send_events(at, session, most),
            Step::CompleteEvents(at, session, outcome) => self.complete_events(at, session, outcome),
            // A reservation keeps the tracer's handle.
            Step::Retire(at) if !self.models[at].retired && self.reserved(at) == 0 => {
                self.models[at].retired = true;
                self.lanes[at].retire();
            }
            Step::Abandon(at) => {
                self.lanes[at].abandon();
                self.models[at].close();
            }
            Step::Push(..) | Step::AddEvent(..) | Step::Retire(_) => {}
            #[cfg(feature = "encoded")]
            Step::Reserve(..) => {}
        }
        while let Ok(event) = self.events_rx.try_recv() {
            self.engine_events.push_back(event);
        }
        self.check();
    }

    fn start(&mut self, lane: &Arc<dyn ScheduledLane>, cause: Cause) {
        let is_same = |known: &Arc<Lane>| Arc::as_ptr(known).addr() == address(lane);
        let at = self.lanes.iter().position(is_same).expect("a lane of this world");
        let model = &mut self.models[at];
        if self.lanes[at].start(cause).is_some() {
            assert!(model.task == Task::None, "two tasks for one lane");
            model.task = Task::Runs;
        }
    }

    fn push(&mut self, at: usize, bytes: usize) {
        let reserved = self.reserved(at);
        let (lane, model) = (&self.lanes[at], &mut self.models[at]);
        let queued = lane.snapshot().ledgers.spans.queued();
        // A second span may fit the grant that the first one leaves.
        let count = if self.striped { 2 } else { 1 };
        for number in self.spans..self.spans + count {
            let mut one = span(number.to_string());
            one.attributes = vec![KeyValue::new("text", "x".repeat(bytes))];
            lane.push(one);
        }
        let fits = lane.snapshot().ledgers.spans.queued() - queued;
        for number in self.spans..self.spans + count {
            if model.closed {
                model.spans.drop(1, DropReason::AfterShutdown);
            } else if number < self.spans + fits {
                assert!(model.queue.len() + reserved < QUEUE, "the queue was full");
                model.queue.push_back(number);
            } else {
                model.spans.drop(1, DropReason::QueueFull);
            }
        }
        self.spans += count;
    }

    /// Returns the number of spans that room is reserved for.
    fn reserved(&self, at: usize) -> usize {
        let of_lane = self.reservations.iter().filter(|reservation| reservation.lane == at);
        of_lane.map(|reservation| reservation.names.len()).sum()
    }

    #[cfg(feature = "encoded")]
    fn reserve(&mut self, at: usize, count: usize) {
        let held = self.models[at].queue.len() + self.reserved(at);
        let numbers = self.encoded..self.encoded + count;
        self.encoded = numbers.end;
        let names: Vec<String> = numbers.map(|number| format!("encoded {number}")).collect();
        match self.lanes[at].reserve(payload(&names)) {
            Ok(room) => {
                assert!(held == 0 || held + count <= QUEUE, "the queue was full");
                self.reservations.push_back(Reservation { lane: at, names, room });
            }
            Err(NoRoom::Full(reason)) => assert_eq!(reason, DropReason::QueueFull),
            Err(reason) => assert!(reason == NoRoom::Closed && self.models[at].closed, "{reason:?}"),
        }
    }

    #[cfg(feature = "encoded")]
    fn end_reservation(&mut self, is_used: bool) {
        let Some(Reservation { lane, names, room }) = self.reservations.pop_front() else {
            return;
        };
        if !is_used {
            return;
        }
        room.commit(0, None);
        let model = &mut self.models[lane];
        if model.closed {
            model.spans.drop(names.len(), DropReason::AfterShutdown);
        }
        for name in names {
            if !model.closed {
                model.queue.push_back(self.spans);
            }
            self.encoded_spans.insert(name, self.spans);
            self.spans += 1;
        }
    }

    /// Runs one step of the lane's task.
    fn work(&mut self, at: usize, which: usize, outcome: Outcome) {
        let (lane, model) = (&self.lanes[at], &mut self.models[at]);
        // The receiver fails on the batch: it is quarantined, and the task goes on.
        let goes_on = outcome == Outcome::Faulted && lane.has_quarantine_slot();
        if model.parts.is_empty() || goes_on {
            if model.task == Task::None {
                return;
            }
            if model.task == Task::Runs {
                model.task = if lane.is_due() { Task::Waits } else { Task::None };
                return;
            }
            // The state may have changed while the task waited for a permit.
            model.task = Task::Runs;
            let batch = lane.take_batch();
            let numbers = batch.numbers(&(0..batch.len()));
            let number = |name: String| name.parse().unwrap_or_else(|_| self.encoded_spans[&name]);
            let taken: Vec<u64> = batch.names().into_iter().map(number).collect();
            lane.shared.chunks.recycle(batch);
            assert_eq!(taken.is_empty(), model.closed);
            assert!(taken.len() <= BATCH);
            assert_eq!(taken, model.queue.drain(..taken.len()).collect::<Vec<u64>>());
            if !taken.is_empty() {
                model.parts.push((numbers, taken));
            }
            return;
        }
        // In any order: a refused part may wait until others are sent.
        let (numbers, mut part) = model.parts.swap_remove(which % model.parts.len());
        if matches!(outcome, Outcome::Refused(_)) && part.len() > 1 && lane.may_split() {
            let second = part.split_off(part.len() / 2);
            let middle = numbers.start + part.len() as u64;
            model.parts.push((numbers.start..middle, part));
            model.parts.push((middle..numbers.end, second));
            return;
        }
        let outcome = bounded(outcome, part.len());
        lane.complete(numbers, outcome);
        model.spans.complete(part.len(), outcome);
        if model.parts.is_empty() {
            lane.retire_if_done();
        }
    }

    fn add_event(&mut self, at: usize, session: usize) {
        let model = &mut self.models[at];
        let number = self.events;
        self.events += 1;
        match self.lanes[at].accept_event(EVENT_BYTES) {
            Ok(ticket) => model.sessions[session].waiting.push_back((number, ticket)),
            Err(reason) => {
                // Otherwise the queue or the budget is full.
                let is_closed = reason == DropReason::AfterShutdown;
                assert_eq!(is_closed, model.closed);
                self.lanes[at].drop_event(reason);
                model.events.drop(1, reason);
            }
        }
    }

    fn send_events(&mut self, at: usize, session: usize, most: usize) {
        let session = &mut self.models[at].sessions[session];
        let count = most.min(session.waiting.len());
        if session.in_flight.is_empty() && count > 0 {
            assert!(self.lanes[at].take_events(count), "the lane is open");
            session.in_flight = session.waiting.drain(..count).collect();
        }
    }

    fn complete_events(&mut self, at: usize, session: usize, outcome: Outcome) {
        let model = &mut self.models[at];
        let completed = std::mem::take(&mut model.sessions[session].in_flight);
        if !completed.is_empty() {
            // Partial success applies to spans only.
            let outcome = bounded(outcome, 0);
            let tickets: Vec<_> = completed.iter().map(|(_, ticket)| *ticket).collect();
            self.lanes[at].complete_events(&tickets, outcome);
            model.events.complete(completed.len(), outcome);
        }
    }

    fn check(&self) {
        let mut accepted = (0, 0);
        for (ledger, models) in self.ledgers.iter().zip([&self.models[..2], &self.models[2..]]) {
            let sum = |of: fn(&LaneModel) -> usize| models.iter().map(of).sum();
            let snapshot = ledger.snapshot();
            let (spans, events) = (snapshot.ledgers.spans.snapshot(), snapshot.ledgers.events.snapshot());
            accepted = (accepted.0 + spans.accepted, accepted.1 + events.accepted);
            let totals: Vec<&Totals> = models.iter().map(|model| &model.spans).collect();
            let expected = Totals::expect(&totals, sum(|model| model.queue.len()), sum(LaneModel::spans_in_flight));
            assert_eq!(spans, expected);
            let totals: Vec<&Totals> = models.iter().map(|model| &model.events).collect();
            let expected = Totals::expect(
                &totals,
                sum(LaneModel::events_waiting),
                sum(LaneModel::events_in_flight),
            );
            assert_eq!(events, expected);
        }
        assert_eq!(accepted, (self.spans, self.events), "accepted equals created");

        let mut held = 0;
        for (at, (lane, model)) in self.lanes.iter().zip(&self.models).enumerate() {
            let of_lane = lane.snapshot().held_bytes;
            let events = model.events_waiting() + model.events_in_flight();
            // Closing a lane releases reserved room.
            let reserved = if model.closed { 0 } else { self.reserved(at) };
            let is_empty = model.queue.is_empty() && model.parts.is_empty() && events + reserved == 0;
            assert_eq!(of_lane == 0, is_empty, "{of_lane} bytes held");
            held += of_lane;
        }
        assert!(held <= MAX_BYTES, "{held} bytes held");
        for mark in &self.marks {
            let expected = self.models[mark.lane].pending(mark);
            assert_eq!(self.lanes[mark.lane].pending(&mark.until), expected);
        }
    }

    /// Delivers everything until no task or event is left.
    fn drain(&mut self) {
        let delivered = Outcome::Delivered { rejected: 0 };
        #[cfg(feature = "encoded")]
        while !self.reservations.is_empty() {
            self.step(Step::EndReservation(true));
        }
        for (at, session) in (0..LANES).flat_map(|at| (0..SESSIONS).map(move |session| (at, session))) {
            for step in [
                Step::CompleteEvents(at, session, delivered),
                Step::SendEvents(at, session, QUEUE),
                Step::CompleteEvents(at, session, delivered),
            ] {
                self.step(step);
            }
        }
        let has_work = |model: &LaneModel| model.task != Task::None || !model.parts.is_empty();
        while self.models.iter().any(has_work) || !self.engine_events.is_empty() || !self.timed.is_empty() {
            self.step(Step::HandleEvent);
            self.step(Step::Deadline(false));
            (0..LANES).for_each(|at| self.step(Step::Work(at, 0, delivered)));
        }
    }

    fn check_end(&self) {
        for mark in &self.marks {
            assert_eq!(self.lanes[mark.lane].pending(&mark.until), Pending::default());
        }
        let retired = |models: &[LaneModel]| models.iter().filter(|model| model.retired).count();
        for (ledger, (lanes, retired)) in self
            .ledgers
            .iter()
            .zip([(2, retired(&self.models[..2])), (2, retired(&self.models[2..]))])
        {
            let snapshot = ledger.snapshot();
            assert_eq!(
                (
                    snapshot.ledgers.spans.pending(),
                    snapshot.ledgers.events.pending(),
                    snapshot.held_bytes
                ),
                (0, 0, 0)
            );
            assert_eq!(
                snapshot.lanes,
                lanes - retired,
                "retired lanes are merged into the ledger"
            );
        }
        // With an empty budget, one tracer may hold exactly half of it.
        let idle = self.lanes.last().expect("there are lanes");
        let mut half = span(String::new());
        half.attributes = vec![KeyValue::new("text", "")];
        let text = MAX_BYTES / 2 - byte_size(&half);
        half.attributes = vec![KeyValue::new("text", "x".repeat(text))];
        idle.push(half);
        assert_eq!(
            idle.snapshot().ledgers.spans.queued(),
            1,
            "the budget is not fully released"
        );
    }
}

/// Limits the rejected count to `count`.
fn bounded(outcome: Outcome, count: usize) -> Outcome {
    match outcome {
        Outcome::Delivered { rejected } => Outcome::Delivered {
            rejected: rejected.min(count as u64),
        },
        // Without a free quarantine slot it is retried; here, until it expires.
        Outcome::Faulted => Outcome::Dropped(DropReason::RetriesExhausted),
        other => other,
    }
}

/// Maps a number to an outcome. `prop_oneof` would create a random number generator per choice,
/// which dominated the test's time.
fn outcome(which: usize) -> Outcome {
    match which % 16 {
        which @ 0..4 => Outcome::Delivered { rejected: which as u64 },
        4..8 => Outcome::Delivered { rejected: 0 },
        8 | 9 => Outcome::Refused(DropReason::TooLarge),
        10 | 11 => Outcome::Refused(DropReason::Refused),
        12 => Outcome::Faulted,
        13 => Outcome::Dropped(DropReason::Unauthorized),
        14 => Outcome::Dropped(DropReason::RetriesExhausted),
        _ => Outcome::Dropped(DropReason::Encoding),
    }
}

fn step((what, at, session, detail): (u8, usize, usize, usize)) -> Step {
    match what {
        0..24 => Step::Push(at, detail),
        24..36 => Step::HandleEvent,
        36..40 => Step::Deadline(detail % 3 == 0),
        40..64 => Step::Work(at, session, outcome(detail)),
        64..72 => Step::AddEvent(at, session),
        72..76 => Step::SendEvents(at, session, 1 + detail % 3),
        76..80 => Step::CompleteEvents(at, session, outcome(detail)),
        80..83 => Step::Flush(at),
        83 => Step::Retire(at),
        84 => Step::Abandon(at),
        #[cfg(feature = "encoded")]
        85..92 => Step::Reserve(at, 1 + detail % (QUEUE + 3)),
        #[cfg(feature = "encoded")]
        92.. => Step::EndReservation(detail % 4 > 0),
        #[cfg(not(feature = "encoded"))]
        85.. => Step::HandleEvent,
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let numbers = (0..98_u8, 0..LANES, 0..SESSIONS, 0..600_usize);
    prop::collection::vec(numbers.prop_map(step), 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn ledgers_equal_the_model_after_any_steps(steps in steps(), striped: bool) {
        let mut world = World::new(striped);
        for step in steps {
            world.step(step);
        }
        world.drain();
        world.check_end();
    }
}
