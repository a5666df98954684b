//! Property test: a lane with a spool against a model of the fate of each span. The test acts as the
//! engine, as the tasks that save and load, and decides when the store commits or fails.
//!
//! After each step the ledger equals the model, no span that was on disk is lost, and spans are sent
//! in the order of acceptance, unless the disk fails.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::SpanData;
use proptest::prelude::*;
use tokio::sync::mpsc::UnboundedReceiver;
use tracer_registry_spool::test::TestStore;
use tracer_registry_spool::{AppendError, Failing, Health, Kind, Limit, Rest, Row, Store, Taken};

use super::lane::Lane;
use super::tests::Parts;
use crate::config::{Binding, Export, SpoolMode};
use crate::export::accounting::counted_lane::{CountedLane, FlushMark};
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::lane::durable::Saved;
use crate::export::payload::Payload;
use crate::export::queue::span_queue::Batch;
use crate::export::schedule::engine_event::{Cause, EngineEvent, ScheduledLane};
use crate::export::send::outcome::Outcome;
use crate::export::spool::backlog::{Load, Next, Rows};
use crate::export::spool::{Spool, persist, row};
use crate::export::test_fixtures::{payload, span};
use crate::ledger::DropReason;

const QUEUE: usize = 16;
const BATCH: usize = 4;
const MAX_BYTES: usize = 60_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Spans of the program end.
    Push(usize),
    /// A request of a client with this many spans arrives.
    Place(usize),
    HandleEvent,
    /// A deadline passes, or memory pressure comes before it (true).
    Deadline(bool),
    /// One step of the task that saves.
    Save,
    /// The store commits the next append.
    Commit,
    Fault(Fault),
    /// One step of the task that sends.
    Work(usize, Outcome),
    /// A batch without an outcome goes back to the disk.
    LeaveOnDisk(usize),
    /// A request waited at a breaker, or a newer tracer was created (false).
    Spill(bool),
    /// One step of the task that loads.
    Load,
    Flush,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Full,
    Failing,
}

/// A part of a batch: sequence numbers, creation numbers and order numbers.
type Part = (Range<u64>, Vec<u64>, Vec<u64>);

/// Creation numbers of a request of a client, and whether it is accepted.
type PlacedRequest = (Range<u64>, bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    None,
    Runs,
    /// The task that sends waits for a permit, or the one that saves for the store.
    Waits,
}

struct World {
    disk: TestStore,
    store: Arc<dyn Store>,
    spool: Arc<Spool>,
    lane: Arc<Lane>,
    ledger: Arc<SelectorLedger>,
    events_rx: UnboundedReceiver<EngineEvent>,
    timed: VecDeque<Arc<dyn ScheduledLane>>,
    saving: Task,
    saved: Arc<Mutex<Option<Saved>>>,
    sending: Task,
    load: Option<(Load, Vec<Taken>)>,
    /// Requests with an append that has ended: creation numbers, and whether they are accepted.
    placed: Arc<Mutex<Vec<PlacedRequest>>>,
    created: u64,
    accepted: u64,
    /// Accepted, not in flight, and without an outcome.
    waiting: BTreeSet<u64>,
    batches: Vec<Vec<Part>>,
    delivered: u64,
    lost: u64,
    /// Without an outcome, and once on disk.
    on_disk: BTreeSet<u64>,
    /// Loaded from disk. Earlier flushes do not wait for them.
    loaded: BTreeSet<u64>,
    has_failed: bool,
    marks: Vec<(FlushMark, u64)>,
}

impl World {
    fn new(mode: SpoolMode) -> Self {
        let export = Export {
            max_queue_size: Some(QUEUE),
            max_export_batch_size: Some(BATCH),
            max_queue_bytes: Some(MAX_BYTES),
            ..Export::default()
        };
        let disk = TestStore::by_hand();
        let store = disk.open(&(Arc::new(|_| {}) as _));
        disk.hold();
        let spool = Spool::new(Arc::clone(&store), mode, Duration::from_secs(3600), usize::MAX);
        let (lane, ledger, events_rx) = Parts::of(Binding::new(), export).spooled_lane(&spool);
        Self {
            disk,
            store,
            spool,
            lane,
            ledger,
            events_rx,
            timed: VecDeque::new(),
            saving: Task::None,
            saved: Arc::default(),
            sending: Task::None,
            load: None,
            placed: Arc::default(),
            created: 0,
            accepted: 0,
            waiting: BTreeSet::new(),
            batches: Vec::new(),
            delivered: 0,
            lost: 0,
            on_disk: BTreeSet::new(),
            loaded: BTreeSet::new(),
            has_failed: false,
            marks: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push(count) => self.push(count),
            Step::Place(count) => self.place(count),
            Step::HandleEvent => match self.events_rx.try_recv() {
                Ok(EngineEvent::Timed(lane)) => self.timed.push_back(lane),
                Ok(EngineEvent::Ready(_)) => self.start(Cause::Ready),
                _ => {}
            },
            Step::Deadline(early) => {
                if self.timed.pop_front().is_some() {
                    let later = Instant::now() + Duration::from_secs(3600);
                    self.start(if early { Cause::Memory } else { Cause::Deadline(later) });
                }
            }
            Step::Save => self.save(),
            Step::Commit => self.disk.commit(1),
            Step::Fault(fault) => self.fail(fault),
            Step::Work(which, outcome) => self.work(which, outcome),
            Step::LeaveOnDisk(which) => self.leave_on_disk(which),
            Step::Spill(true) => {
                self.lane.spill(Kind::Spans);
            }
            Step::Spill(false) => self.lane.release_window(Kind::Spans),
            Step::Load => self.load(),
            Step::Flush => {
                let mark = Arc::clone(&self.lane).begin_flush();
                self.marks.push((mark, self.created));
            }
        }
        self.run_store();
        self.check();
    }

    /// Lets the store do what is not held.
    fn run_store(&mut self) {
        self.disk.run();
        for (numbers, is_accepted) in self.placed.lock().expect("not poisoned").drain(..) {
            if is_accepted {
                self.accepted += numbers.end - numbers.start;
                self.waiting.extend(numbers);
            }
        }
    }

    fn start(&mut self, cause: Cause) {
        if self.lane.start_saving(cause) {
            assert_eq!(self.saving, Task::None, "two tasks save");
            self.saving = Task::Runs;
        }
        if self.lane.start(cause).is_some() {
            assert_eq!(self.sending, Task::None, "two tasks send");
            self.sending = Task::Runs;
        }
    }

    fn queued(&self) -> u64 {
        self.lane.snapshot().ledgers.spans.queued()
    }

    fn push(&mut self, count: usize) {
        for _ in 0..count {
            let before = self.queued();
            self.lane.push(SpanData {
                span_context: SpanContext::new(
                    TraceId::from(1),
                    SpanId::from(self.created + 1),
                    TraceFlags::SAMPLED,
                    false,
                    TraceState::NONE,
                ),
                ..span(self.created.to_string())
            });
            if self.queued() > before {
                self.waiting.insert(self.created);
            } else {
                self.lost += 1;
            }
            self.created += 1;
            self.accepted += 1;
        }
    }

    fn place(&mut self, count: usize) {
        let numbers = self.created..self.created + count as u64;
        let names: Vec<String> = numbers.clone().map(|number| number.to_string()).collect();
        let Ok(mut placed) = self.lane.place(payload(&names)) else {
            return;
        };
        self.created = numbers.end;
        let rows = placed.take_rows();
        let log = Arc::clone(&self.placed);
        let note = move |is_accepted| log.lock().expect("not poisoned").push((numbers, is_accepted));
        if rows.is_empty() {
            placed.commit(0, None, &[]);
            return note(true);
        }
        let done = move |ids: Result<Vec<_>, AppendError>| {
            note(ids.is_ok());
            if let Ok(ids) = ids {
                placed.commit(0, None, &ids);
            }
        };
        self.store.append(rows, Box::new(done));
    }

    fn save(&mut self) {
        if self.saving == Task::Waits && self.saved.lock().expect("not poisoned").take().is_some() {
            self.saving = Task::Runs;
        }
        if self.saving != Task::Runs {
            return;
        }
        let Some(batch) = self.lane.take_staged() else {
            self.saving = Task::None;
            return;
        };
        let (pieces, rows) = persist::rows(&self.lane, batch);
        let (lane, saved) = (Arc::clone(&self.lane), Arc::clone(&self.saved));
        self.lane.append(rows, move |result| {
            let next = lane.note_saved(pieces, result);
            *saved.lock().expect("not poisoned") = Some(next);
        });
        self.saving = Task::Waits;
    }

    fn fail(&mut self, fault: Fault) {
        let (fault, health) = match fault {
            Fault::None => (None, Health::Working),
            Fault::Full => (Some(AppendError::Full), Health::Full),
            Fault::Failing => {
                self.has_failed = true;
                let (what, error) = ("a test", String::new());
                (Some(AppendError::Failing(Failing { what, error })), Health::Failing)
            }
        };
        self.disk.fail(fault);
        self.spool.note_health(health);
    }

    fn work(&mut self, which: usize, outcome: Outcome) {
        if self.batches.is_empty() || outcome == Outcome::Faulted && self.batches.len() < 3 {
            return self.take();
        }
        let at = which % self.batches.len();
        let batch = &mut self.batches[at];
        let (numbers, mut names, mut orders) = batch.swap_remove(which % batch.len());
        let batch = &mut self.batches[at];
        if matches!(outcome, Outcome::Refused(_)) && names.len() > 1 {
            let (second, last) = (names.split_off(1), orders.split_off(1));
            let middle = numbers.start + 1;
            batch.push((numbers.start..middle, names, orders));
            batch.push((middle..numbers.end, second, last));
            return;
        }
        let is_over = batch.is_empty();
        if is_over {
            self.batches.swap_remove(at);
        }
        let outcome = match outcome {
            Outcome::Faulted => Outcome::Delivered { rejected: 0 },
            other => other,
        };
        self.lane.complete(numbers, outcome);
        self.on_disk.retain(|name| !names.contains(name));
        match outcome {
            Outcome::Delivered { .. } => self.delivered += names.len() as u64,
            _ => self.lost += names.len() as u64,
        }
    }

    /// One step of the task that sends, besides outcomes.
    fn take(&mut self) {
        match self.sending {
            Task::None => {}
            Task::Runs => self.sending = if self.lane.is_due() { Task::Waits } else { Task::None },
            Task::Waits => {
                self.sending = Task::Runs;
                let batch = self.lane.take_batch();
                self.note_taken(&batch);
                self.lane.shared().chunks.recycle(batch);
            }
        }
    }

    fn note_taken(&mut self, batch: &Batch) {
        let numbers = batch.numbers(&(0..batch.len()));
        let names: Vec<u64> = batch
            .names()
            .iter()
            .map(|name| name.parse().expect("a number"))
            .collect();
        assert!(names.len() <= BATCH);
        if self.lane.state.lock().is_durable() {
            let on_disk: u64 = self
                .lane
                .ticket_parts(&numbers)
                .iter()
                .map(|part| part.numbers.end - part.numbers.start)
                .sum();
            assert_eq!(on_disk, names.len() as u64, "a durable lane sends only what is on disk");
        }
        for name in &names {
            assert!(self.waiting.remove(name), "{name} is sent twice");
            let is_next = self.waiting.range(..name).next().is_none();
            assert!(is_next || self.has_failed, "{name} is sent before an older span");
        }
        if !names.is_empty() {
            let orders = (0..names.len()).map(|at| batch.order(&(at..at + 1))).collect();
            self.batches.push(vec![(numbers, names, orders)]);
        }
    }

    fn leave_on_disk(&mut self, which: usize) {
        if self.batches.is_empty() || self.has_failed {
            return;
        }
        let batch = self.batches.swap_remove(which % self.batches.len());
        let ranges: Vec<Range<u64>> = batch.iter().map(|(numbers, ..)| numbers.clone()).collect();
        let (mut rows, mut names) = (Vec::new(), BTreeSet::<u64>::new());
        let mut rests: Vec<(_, Vec<u64>, bool)> = Vec::new();
        let mut parts = batch;
        parts.sort_by_key(|(numbers, ..)| numbers.start);
        for (numbers, of_part, orders) in parts {
            names.extend(&of_part);
            let mut of_rows = self.lane.ticket_parts(&numbers).into_iter().peekable();
            let mut number = numbers.start;
            while number < numbers.end {
                let at = usize::try_from(number - numbers.start).expect("small");
                let name = of_part[at];
                match of_rows.peek() {
                    Some(part) if part.numbers.contains(&number) => {
                        match rests.last_mut() {
                            Some((row, names, _)) if *row == part.row => names.push(name),
                            _ => rests.push((part.row, vec![name], part.is_whole)),
                        }
                        if number + 1 == part.numbers.end {
                            of_rows.next();
                        }
                    }
                    _ => rows.push(self.row(orders[at], &[name])),
                }
                number += 1;
            }
        }
        // All appends before this one are committed too.
        let appended = Arc::new(Mutex::new(None));
        let result = Arc::clone(&appended);
        let bytes = 1;
        self.store.append(
            rows,
            Box::new(move |ids| *result.lock().expect("not poisoned") = Some(ids)),
        );
        self.disk.commit(self.disk.waiting());
        self.run_store();
        let appended = appended.lock().expect("not poisoned").take().expect("it was committed");
        let Ok(appended) = appended else {
            for (numbers, count) in ranges.into_iter().map(|range| (range.clone(), range.end - range.start)) {
                self.lane
                    .complete(numbers, Outcome::Dropped(DropReason::RetriesExhausted));
                self.lost += count;
            }
            self.on_disk.retain(|name| !names.contains(name));
            return;
        };
        let rests = rests.into_iter().map(|(id, names, is_whole)| {
            let row = self.row(0, &names);
            let rest = Rest {
                items: row.items,
                format: row.format,
                body: row.body,
            };
            (id, (!is_whole).then_some(rest))
        });
        let released = rests.chain(appended.into_iter().map(|id| (id, None))).collect();
        self.lane.leave_on_disk(&ranges, released, bytes);
        self.waiting.extend(names);
    }

    fn row(&self, order: u64, names: &[u64]) -> Row {
        let names: Vec<String> = names.iter().map(u64::to_string).collect();
        row::of_payload(&self.lane.place_at(order), &payload(&names), true)
    }

    fn load(&mut self) {
        let Some((load, rows)) = self.load.take() else {
            let next = self.ledger.on_disk(|backlog, _| {
                backlog.try_now();
                backlog.next(Kind::Spans)
            });
            let Next::Load(load) = next else { return };
            let taken = Arc::new(Mutex::new(Vec::new()));
            let limit = Limit {
                rows: 3,
                bytes: usize::MAX,
                before: load.before,
            };
            let result = Arc::clone(&taken);
            let queue = "tenant:acme".into();
            let done = move |rows: Result<Vec<Taken>, Failing>| {
                *result.lock().expect("not poisoned") = rows.expect("it works");
            };
            self.store.take(&queue, Kind::Spans, limit, Box::new(done));
            self.run_store();
            let taken = std::mem::take(&mut *taken.lock().expect("not poisoned"));
            self.load = Some((load, taken));
            return;
        };
        let count = rows.len();
        self.loaded
            .extend(rows.iter().flat_map(|row| names(row.format, &row.body)));
        let refused = self.ledger.on_disk(|backlog, _| {
            let refused = if backlog.is_valid(&load) {
                let rows = rows.into_iter().map(|row| {
                    let (payload, is_finished) = decoded(row.format, &row.body);
                    (payload, is_finished, row)
                });
                Arc::clone(&self.lane).push_loaded(rows.collect())
            } else {
                rows.iter().map(|row| row.id).collect()
            };
            let gone = Rows {
                count: (count - refused.len()) as u64,
                bytes: 0,
            };
            backlog.remove(Kind::Spans, gone);
            backlog.end_load(&load, 1, refused.is_empty(), refused.len() < count);
            refused
        });
        self.store.release(refused.into_iter().map(|row| (row, None)).collect());
    }

    fn check(&mut self) {
        let snapshot = self.ledger.snapshot();
        let spans = snapshot.ledgers.spans.snapshot();
        let in_flight: usize = self.batches.iter().flatten().map(|(_, names, _)| names.len()).sum();
        assert_eq!(
            (spans.accepted, spans.queued + spans.spooled, spans.in_flight),
            (self.accepted, self.waiting.len() as u64, in_flight as u64)
        );
        assert_eq!((spans.delivered, spans.lost()), (self.delivered, self.lost));

        let rows = self.disk.all();
        let names = rows.iter().flat_map(|row| names(row.format, &row.body));
        let accepted = names.filter(|name| {
            let in_flight = self.batches.iter().flatten().any(|(_, names, _)| names.contains(name));
            in_flight || self.waiting.contains(name)
        });
        let now: BTreeSet<u64> = accepted.collect();
        let lost: Vec<&u64> = self.on_disk.difference(&now).collect();
        assert!(lost.is_empty(), "{lost:?} were on disk");
        self.on_disk = now;

        let loading = self.load.as_ref().map_or(0, |(_, rows)| rows.len());
        let on_disk_only = rows.len() - self.disk.taken() + loading;
        let is_empty = self.ledger.on_disk(|backlog, _| backlog.is_empty(Kind::Spans));
        assert_eq!(is_empty, on_disk_only == 0, "{on_disk_only} rows are on disk only");
        if spans.queued + spans.in_flight == 0 && self.disk.waiting() == 0 {
            assert_eq!(snapshot.held_bytes, 0);
        }
        assert!(snapshot.held_bytes <= MAX_BYTES);
        for (mark, created) in &self.marks {
            let pending = self.lane.pending(mark).spans;
            let in_flight = self.batches.iter().flatten().flat_map(|(_, names, _)| names);
            let before = self
                .waiting
                .iter()
                .chain(in_flight)
                .filter(|name| *name < created && !self.loaded.contains(name));
            assert!(pending <= spans.queued + spans.in_flight);
            assert!(
                pending + spans.spooled >= before.count() as u64,
                "a flush ends too early"
            );
        }
    }

    /// Delivers everything.
    fn drain(&mut self) {
        self.step(Step::Fault(Fault::None));
        self.disk.resume();
        let mut rounds = 0;
        while !self.waiting.is_empty() || !self.batches.is_empty() || self.disk.waiting() > 0 {
            for step in [
                Step::HandleEvent,
                Step::Deadline(false),
                Step::Save,
                Step::Load,
                Step::Work(0, Outcome::Delivered { rejected: 0 }),
            ] {
                self.step(step);
            }
            rounds += 1;
            assert!(rounds < 5_000, "{} spans are not sent", self.waiting.len());
        }
        if self.load.is_some() {
            self.step(Step::Load);
        }
        assert!(self.disk.all().is_empty(), "all rows are deleted");
        for (mark, _) in &self.marks {
            assert_eq!(self.lane.pending(mark).spans, 0);
        }
    }

    /// Shuts down now.
    fn abandon(&mut self) {
        self.lane.abandon();
        let spans = self.ledger.snapshot().ledgers.spans.snapshot();
        assert_eq!(spans.pending(), 0);
        assert_eq!(spans.accepted, self.accepted);
        let dropped = spans.dropped.get(&DropReason::Shutdown).copied().unwrap_or_default();
        let left = self.waiting.len() as u64
            + self
                .batches
                .iter()
                .flatten()
                .map(|(_, names, _)| names.len() as u64)
                .sum::<u64>();
        assert_eq!(spans.spooled + dropped, left);
        assert_eq!(
            spans.spooled,
            self.on_disk.len() as u64,
            "what is on disk is not dropped"
        );
    }
}

/// Returns the creation numbers of the spans of a row.
fn names(format: u8, body: &Bytes) -> Vec<u64> {
    let (payload, _) = decoded(format, body);
    let name = |at| payload.describe(at).expect("a span").name.parse().expect("a number");
    (0..payload.spans()).map(name).collect()
}

fn decoded(format: u8, body: &Bytes) -> (Payload, bool) {
    let body = match format & 7 {
        0 => body.clone(),
        _ => zstd::decode_all(&body[..]).expect("zstd").into(),
    };
    (Payload::check(body).expect("a request"), format & 8 > 0)
}

fn step((what, which, count): (u8, usize, usize)) -> Step {
    match what {
        0..16 => Step::Push(1 + count % 3),
        16..26 => Step::Place(1 + count % (BATCH + 3)),
        26..38 => Step::HandleEvent,
        38..42 => Step::Deadline(count % 3 == 0),
        42..54 => Step::Save,
        54..64 => Step::Commit,
        64 => Step::Fault(Fault::Full),
        65 if count % 4 == 0 => Step::Fault(Fault::Failing),
        65..68 => Step::Fault(Fault::None),
        68..86 => Step::Work(which, outcome(count)),
        86..89 => Step::LeaveOnDisk(which),
        89 => Step::Spill(true),
        90 => Step::Spill(false),
        91..97 => Step::Load,
        _ => Step::Flush,
    }
}

fn outcome(which: usize) -> Outcome {
    match which % 8 {
        0..4 => Outcome::Delivered { rejected: 0 },
        4 => Outcome::Refused(DropReason::TooLarge),
        5 => Outcome::Dropped(DropReason::Encoding),
        _ => Outcome::Faulted,
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let numbers = (0..100_u8, 0..8_usize, 0..100_usize);
    prop::collection::vec(numbers.prop_map(step), 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn nothing_that_was_on_disk_is_lost_and_ledgers_equal_the_model(steps in steps(), through: bool, is_drained: bool) {
        let mut world = World::new(if through { SpoolMode::Through } else { SpoolMode::Overflow });
        for step in steps {
            world.step(step);
        }
        if is_drained {
            world.drain();
        } else {
            world.abandon();
        }
    }
}
