//! Several lanes against a model that knows the fate of every span by its name, with whatever a receiver and a shutdown may do, in whatever
//! order: after every step the ledgers say what the model says.
//!
//! The test is the engine, as in [`tests`](super::tests): it hears the bell, and every batch has the outcome that a step gives it. A request
//! that hangs or is repeated is one that no step gives an outcome to for a while. What the model does not foresee is whether there is room
//! for a span; that is read from the ledger, and what the lanes hold together is compared with the bound.

mod model;

use super::lane::Lane;
use crate::export::accounting::counted_lane::{CountedLane, Pending};
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::queue::byte_size::byte_size;
use crate::export::schedule::engine_event::{Cause, EngineEvent, ScheduledLane, address};
use crate::export::send::outcome::Outcome;
use crate::ledger::DropReason;
use crate::selector::Selector;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use opentelemetry::KeyValue;
use proptest::prelude::*;
use tokio::sync::mpsc::UnboundedReceiver;

use super::tests::Parts;
use crate::config::{Binding, Export};
use crate::export::test_fixtures::span;
use crate::selector::{SelectorKind, Slug};
use model::{Books, LaneModel, Mark, Task};

/// The first two are tracers of one selector: a pooled one and a dedicated one.
const LANES: usize = 3;
/// Sessions of each lane.
const SESSIONS: usize = 2;
const QUEUE: usize = 9;
const BATCH: usize = 4;
/// Fewer than all queues could take: spans are refused for their bytes too.
const MAX_BYTES: usize = 12_000;
/// What a session event takes.
const EVENT_BYTES: usize = 150;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A span of about so many bytes ends.
    Push(usize, usize),
    Flush(usize),
    Bell,
    /// A deadline has come, or memory is short before it has.
    Deadline(bool),
    /// The task of a lane does the next thing: it takes a batch, or one of the parts that are under way has this outcome.
    Work(usize, usize, Outcome),
    /// A session event of a lane.
    Tell(usize, usize),
    /// A session's events go out, so many at the most.
    Send(usize, usize, usize),
    /// The session's request has this outcome.
    Answer(usize, usize, Outcome),
    /// The tracer is gone.
    Retire(usize),
    /// The end of a shutdown, for one lane.
    Abandon(usize),
}

struct World {
    lanes: Vec<Arc<Lane>>,
    accounts: Vec<Arc<SelectorLedger>>,
    events_rx: UnboundedReceiver<EngineEvent>,
    engine_events: VecDeque<EngineEvent>,
    timed: VecDeque<Arc<dyn ScheduledLane>>,
    models: [LaneModel; LANES],
    marks: Vec<Mark>,
    spans: u64,
    events: u64,
}

impl World {
    fn new() -> Self {
        let account =
            |name| SelectorLedger::alone(&Selector::of(SelectorKind::Tenant, Slug::new(name).expect("a name")));
        let accounts = [account("acme"), account("globex")];
        // The last one is idle until the end.
        let books = [0, 0, 1, 1].map(|at: usize| Arc::clone(&accounts[at]));
        let export = Export {
            max_queue_size: Some(QUEUE),
            max_export_batch_size: Some(BATCH),
            max_queue_bytes: Some(MAX_BYTES),
            ..Export::default()
        };
        let (lanes, events_rx) = Parts::of(Binding::new(), export).lanes(&books);
        Self {
            lanes,
            accounts: accounts.into(),
            events_rx,
            engine_events: VecDeque::new(),
            timed: VecDeque::new(),
            models: Default::default(),
            marks: Vec::new(),
            spans: 0,
            events: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push(at, bytes) if !self.models[at].gone => self.push(at, bytes),
            Step::Flush(at) => {
                let until = Arc::clone(&self.lanes[at]).begin_flush();
                self.marks.push(Mark {
                    lane: at,
                    until,
                    spans: self.spans,
                    events: self.events,
                });
            }
            Step::Bell => match self.engine_events.pop_front() {
                Some(EngineEvent::Timed(lane)) => self.timed.push_back(lane),
                Some(EngineEvent::Ready(lane)) => {
                    self.start(&lane, Cause::Ready);
                }
                Some(EngineEvent::Flush(_) | EngineEvent::Session(_) | EngineEvent::Log(_) | EngineEvent::Pressed)
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
            Step::Tell(at, session) if !self.models[at].gone => self.tell(at, session),
            Step::Send(at, session, most) => self.send(at, session, most),
            Step::Answer(at, session, outcome) => self.answer(at, session, outcome),
            Step::Retire(at) if !self.models[at].gone => {
                self.models[at].gone = true;
                self.lanes[at].retire();
            }
            Step::Abandon(at) => {
                self.lanes[at].abandon();
                self.models[at].close();
            }
            Step::Push(..) | Step::Tell(..) | Step::Retire(_) => {}
        }
        while let Ok(event) = self.events_rx.try_recv() {
            self.engine_events.push_back(event);
        }
        self.check();
    }

    fn start(&mut self, lane: &Arc<dyn ScheduledLane>, cause: Cause) {
        let is_it = |known: &Arc<Lane>| Arc::as_ptr(known).addr() == address(lane);
        let at = self.lanes.iter().position(is_it).expect("a lane of this world");
        let model = &mut self.models[at];
        if self.lanes[at].start(cause).is_some() {
            assert!(model.task == Task::None, "two tasks for one lane");
            model.task = Task::Runs;
        }
    }

    fn push(&mut self, at: usize, bytes: usize) {
        let (lane, model) = (&self.lanes[at], &mut self.models[at]);
        let queued = lane.snapshot().ledgers.spans.queued();
        let mut one = span(self.spans.to_string());
        one.attributes = vec![KeyValue::new("text", "x".repeat(bytes))];
        lane.push(one);
        if model.closed {
            model.spans.drop(1, DropReason::AfterShutdown);
        } else if lane.snapshot().ledgers.spans.queued() > queued {
            assert!(model.queue.len() < QUEUE, "there was no room");
            model.queue.push_back(self.spans);
        } else {
            model.spans.drop(1, DropReason::QueueFull);
        }
        self.spans += 1;
    }

    /// As the lane's task, one thing at a time.
    fn work(&mut self, at: usize, which: usize, outcome: Outcome) {
        let (lane, model) = (&self.lanes[at], &mut self.models[at]);
        // The receiver fails on what is under way: that is set aside, and the task goes on.
        let goes_on = outcome == Outcome::Faulted && lane.has_room_aside();
        if model.parts.is_empty() || goes_on {
            if model.task == Task::None {
                return;
            }
            if model.task == Task::Runs {
                model.task = if lane.is_due() { Task::Waits } else { Task::None };
                return;
            }
            // Anything may have happened while it waited for its turn.
            model.task = Task::Runs;
            let batch = lane.take_batch();
            let numbers = batch.numbers(&(0..batch.len()));
            let taken: Vec<u64> = batch.iter().map(|span| span.name.parse().expect("a number")).collect();
            lane.shared.chunks.give_back(batch);
            assert_eq!(taken.is_empty(), model.closed);
            assert!(taken.len() <= BATCH);
            assert_eq!(taken, model.queue.drain(..taken.len()).collect::<Vec<u64>>());
            if !taken.is_empty() {
                model.parts.push((numbers, taken));
            }
            return;
        }
        // In any order: what is refused may have to wait until others are sent.
        let (numbers, mut part) = model.parts.swap_remove(which % model.parts.len());
        if matches!(outcome, Outcome::Refused(_)) && part.len() > 1 && lane.may_divide() {
            let second = part.split_off(part.len() / 2);
            let middle = numbers.start + part.len() as u64;
            model.parts.push((numbers.start..middle, part));
            model.parts.push((middle..numbers.end, second));
            return;
        }
        let outcome = bounded(outcome, part.len());
        lane.complete(numbers, outcome);
        model.spans.settle(part.len(), outcome);
        if model.parts.is_empty() {
            lane.retire_if_done();
        }
    }

    fn tell(&mut self, at: usize, session: usize) {
        let model = &mut self.models[at];
        let number = self.events;
        self.events += 1;
        match self.lanes[at].accept_event(EVENT_BYTES) {
            Some(ticket) => model.sessions[session].waiting.push_back((number, ticket)),
            None if model.closed => model.events.drop(1, DropReason::AfterShutdown),
            // Full, or short of memory.
            None => model.events.drop(1, DropReason::QueueFull),
        }
    }

    fn send(&mut self, at: usize, session: usize, most: usize) {
        let session = &mut self.models[at].sessions[session];
        let count = most.min(session.waiting.len());
        if session.under_way.is_empty() && count > 0 {
            assert!(self.lanes[at].take_events(count), "it is open");
            session.under_way = session.waiting.drain(..count).collect();
        }
    }

    fn answer(&mut self, at: usize, session: usize, outcome: Outcome) {
        let model = &mut self.models[at];
        let settled = std::mem::take(&mut model.sessions[session].under_way);
        if !settled.is_empty() {
            // Partial success is for spans.
            let outcome = bounded(outcome, 0);
            self.lanes[at].complete_events(settled.iter().map(|(_, ticket)| *ticket), outcome);
            model.events.settle(settled.len(), outcome);
        }
    }

    fn check(&self) {
        let mut accepted = (0, 0);
        for (account, models) in self.accounts.iter().zip([&self.models[..2], &self.models[2..]]) {
            let sum = |of: fn(&LaneModel) -> usize| models.iter().map(of).sum();
            let snapshot = account.snapshot();
            let (spans, events) = (snapshot.ledgers.spans.snapshot(), snapshot.ledgers.events.snapshot());
            accepted = (accepted.0 + spans.accepted, accepted.1 + events.accepted);
            let books: Vec<&Books> = models.iter().map(|model| &model.spans).collect();
            let expected = Books::expect(&books, sum(|model| model.queue.len()), sum(LaneModel::spans_under_way));
            assert_eq!(spans, expected);
            let books: Vec<&Books> = models.iter().map(|model| &model.events).collect();
            let expected = Books::expect(&books, sum(LaneModel::events_waiting), sum(LaneModel::events_under_way));
            assert_eq!(events, expected);
        }
        assert_eq!(accepted, (self.spans, self.events), "as many as were made");

        let mut held = 0;
        for (lane, model) in self.lanes.iter().zip(&self.models) {
            let of_lane = lane.snapshot().held_bytes;
            let events = model.events_waiting() + model.events_under_way();
            let is_empty = model.queue.is_empty() && model.parts.is_empty() && events == 0;
            assert_eq!(of_lane == 0, is_empty, "{of_lane} bytes held");
            held += of_lane;
        }
        assert!(held <= MAX_BYTES, "{held} bytes held");
        for mark in &self.marks {
            let expected = self.models[mark.lane].pending(mark);
            assert_eq!(self.lanes[mark.lane].pending(&mark.until), expected);
        }
    }

    /// The receiver takes everything, until nobody has anything to do.
    fn drain(&mut self) {
        let delivered = Outcome::Delivered { rejected: 0 };
        for (at, session) in (0..LANES).flat_map(|at| (0..SESSIONS).map(move |session| (at, session))) {
            for step in [
                Step::Answer(at, session, delivered),
                Step::Send(at, session, QUEUE),
                Step::Answer(at, session, delivered),
            ] {
                self.step(step);
            }
        }
        let has_work = |model: &LaneModel| model.task != Task::None || !model.parts.is_empty();
        while self.models.iter().any(has_work) || !self.engine_events.is_empty() || !self.timed.is_empty() {
            self.step(Step::Bell);
            self.step(Step::Deadline(false));
            (0..LANES).for_each(|at| self.step(Step::Work(at, 0, delivered)));
        }
    }

    fn check_end(&self) {
        for mark in &self.marks {
            assert_eq!(self.lanes[mark.lane].pending(&mark.until), Pending::default());
        }
        let gone = |models: &[LaneModel]| models.iter().filter(|model| model.gone).count();
        for (account, (lanes, gone)) in self
            .accounts
            .iter()
            .zip([(2, gone(&self.models[..2])), (2, gone(&self.models[2..]))])
        {
            let books = account.snapshot();
            assert_eq!(
                (
                    books.ledgers.spans.pending(),
                    books.ledgers.events.pending(),
                    books.held_bytes
                ),
                (0, 0, 0)
            );
            assert_eq!(
                books.lanes,
                lanes - gone,
                "the account took over the ledgers of those that are gone"
            );
        }
        // One tracer may hold half of all, to the byte, where nobody has anything left.
        let idle = self.lanes.last().expect("there are some");
        let mut half = span(String::new());
        half.attributes = vec![KeyValue::new("text", "")];
        let text = MAX_BYTES / 2 - byte_size(&half);
        half.attributes = vec![KeyValue::new("text", "x".repeat(text))];
        idle.push(half);
        assert_eq!(
            idle.snapshot().ledgers.spans.queued(),
            1,
            "something was not given back"
        );
    }
}

/// No more of it is rejected than there was.
fn bounded(outcome: Outcome, count: usize) -> Outcome {
    match outcome {
        Outcome::Delivered { rejected } => Outcome::Delivered {
            rejected: rejected.min(count as u64),
        },
        // Without room aside it is repeated; here, until its time is over.
        Outcome::Faulted => Outcome::Dropped(DropReason::RetriesExhausted),
        other => other,
    }
}

/// By number and not by `prop_oneof`, which makes a generator of random numbers for each choice: that took longer than all the rest.
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
        24..36 => Step::Bell,
        36..40 => Step::Deadline(detail % 3 == 0),
        40..64 => Step::Work(at, session, outcome(detail)),
        64..72 => Step::Tell(at, session),
        72..76 => Step::Send(at, session, 1 + detail % 3),
        76..80 => Step::Answer(at, session, outcome(detail)),
        80..83 => Step::Flush(at),
        83 => Step::Retire(at),
        _ => Step::Abandon(at),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let numbers = (0..85_u8, 0..LANES, 0..SESSIONS, 0..600_usize);
    prop::collection::vec(numbers.prop_map(step), 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_in_whatever_order_the_ledgers_say_what_became_of_every_span(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.drain();
        world.check_end();
    }
}
