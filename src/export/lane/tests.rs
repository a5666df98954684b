//! Property tests of the lane's schedule against a model of the engine: no order of events loses a
//! span.

use super::lane::{Lane, LaneParts};
use super::state::Schedule;
use super::sync::set_thread_number;
use crate::backend::CUT_VALUES;
use crate::backend::Destination;
use crate::export::accounting::counted_lane::{CountedLane, FlushMark, Pending};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::net::connections::Connections;
use crate::export::schedule::engine_event::{Cause, EngineEvent, ScheduledLane, address};
use crate::export::send::outcome::Outcome;
use crate::export::shared::Shared;
#[cfg(feature = "spool")]
use crate::export::spool::Spool;
use crate::ledger::DropReason;
use crate::selector::Selector;
use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use futures_util::FutureExt;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use proptest::prelude::*;
use secrecy::SecretString;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::config::{Binding, Config, Document, Export, ExportSettings, Protocol};
use crate::export::ExportError;
use crate::export::net::connections::ConnectionKey;
use crate::export::net::transport::Transport;
use crate::export::queue::byte_size::byte_size;
use crate::export::send::deliver::run_request;
use crate::export::test_fixtures::span;
use crate::policy::Policies;
use crate::secret::{KeyReader, KeySource, SecretError, SecretSources};
use crate::selector::{SelectorKind, Slug};

/// Shared, because a client reads the system's certificates. Its timeout is never reached by tests
/// that advance the clock.
static TRANSPORT: LazyLock<Transport> =
    LazyLock::new(|| Transport::new(Duration::from_secs(24 * 60 * 60), Protocol::HttpProtobuf, false));

const QUEUE: usize = 7;
const BATCH: usize = 3;

/// Model of the engine, driven step by step.
struct Engine {
    lane: Arc<Lane>,
    ledger: Arc<SelectorLedger>,
    events_rx: UnboundedReceiver<EngineEvent>,
    events: VecDeque<EngineEvent>,
    timed: VecDeque<Arc<dyn ScheduledLane>>,
    runs: bool,
    in_flight: Option<Range<u64>>,
    sent: Vec<String>,
    accepted: u64,
    marks: Vec<FlushMark>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Flush,
    HandleEvent,
    Deadline,
    Run,
    Retire,
    Abandon,
}

/// Everything needed to create lanes.
pub(crate) struct Parts {
    settings: ExportSettings,
    destination: Arc<Destination>,
    connections: Arc<Connections>,
    source: KeySource,
    sources: SecretSources,
}

/// Creates a lane without an engine, with its own ledger. Returns the receiver of its events.
pub(crate) fn lane(binding: Binding) -> (Arc<Lane>, Arc<SelectorLedger>, UnboundedReceiver<EngineEvent>) {
    Parts::of(binding, small()).lane()
}

/// Settings with queues and batches of a few spans.
pub(super) fn small() -> Export {
    Export {
        max_queue_size: Some(QUEUE),
        max_export_batch_size: Some(BATCH),
        ..Export::default()
    }
}

impl Parts {
    /// Creates the parts of tenant `acme`.
    pub(crate) fn of(binding: Binding, export: Export) -> Self {
        let mut document = Document::default();
        let provider = |name: &str| KeySource::Provider {
            provider: "test".into(),
            name: name.into(),
        };
        document
            .tenants
            .insert("acme".into(), binding.api_key(provider("acme")).into());
        document.export = export;
        let config = Config::from_document(document).expect("valid");
        let selector = Selector::of(SelectorKind::Tenant, Slug::new("acme").expect("a name"));
        let binding = config.resolve(&selector).expect("configured");
        let mut sources = SecretSources::default();
        sources.insert("test", |_: &str| Ok::<_, SecretError>(SecretString::from("key")));
        let settings = config.export().clone();
        let destination = Arc::new(Destination::new(&binding, settings.protocol).expect("a destination"));
        let connections = TRANSPORT.connections(&ConnectionKey::new(&destination.traces_url, &binding.tls, None, None));
        Self {
            connections: connections.expect("no files"),
            source: binding.api_key,
            sources,
            destination,
            settings,
        }
    }

    pub(crate) fn lane(&self) -> (Arc<Lane>, Arc<SelectorLedger>, UnboundedReceiver<EngineEvent>) {
        let ledger =
            SelectorLedger::standalone(&Selector::of(SelectorKind::Tenant, Slug::new("acme").expect("a name")));
        let (mut lanes, events_rx) = self.lanes(std::slice::from_ref(&ledger));
        (lanes.remove(0), ledger, events_rx)
    }

    /// Creates lanes without an engine, one per ledger, with a shared memory budget. Returns the
    /// receiver of their events.
    pub(crate) fn lanes(&self, ledgers: &[Arc<SelectorLedger>]) -> (Vec<Arc<Lane>>, UnboundedReceiver<EngineEvent>) {
        let reader = KeyReader::new(self.sources.clone(), false);
        let (shared, events_rx) = Shared::without_threads(self.settings.clone(), TRANSPORT.clone(), reader);
        (self.lanes_of(&shared, ledgers), events_rx)
    }

    /// Like [`lane`](Self::lane), with a spool.
    #[cfg(feature = "spool")]
    pub(crate) fn spooled_lane(
        &self,
        spool: &Arc<Spool>,
    ) -> (Arc<Lane>, Arc<SelectorLedger>, UnboundedReceiver<EngineEvent>) {
        let ledger =
            SelectorLedger::standalone(&Selector::of(SelectorKind::Tenant, Slug::new("acme").expect("a name")));
        let reader = KeyReader::new(self.sources.clone(), false);
        let settings = self.settings.clone();
        let (shared, events_rx) = Shared::with_spool(settings, TRANSPORT.clone(), reader, Arc::clone(spool));
        let mut lanes = self.lanes_of(&shared, std::slice::from_ref(&ledger));
        (lanes.remove(0), ledger, events_rx)
    }

    fn lanes_of(&self, shared: &Arc<Shared>, ledgers: &[Arc<SelectorLedger>]) -> Vec<Arc<Lane>> {
        let scheme = self.destination.key_scheme;
        let key = shared.keys.open(&self.source, scheme).expect("a key");
        let lanes = ledgers.iter().map(|ledger| {
            let (destination, connections) = (Arc::clone(&self.destination), Arc::clone(&self.connections));
            let parts = LaneParts {
                destination,
                connections,
                key: Arc::clone(&key),
                policies: Policies::default(),
                copies: None,
            };
            let lane = Lane::new(
                parts,
                Arc::clone(shared),
                ledger,
                #[cfg(feature = "spool")]
                shared.spool().cloned(),
            );
            ledger.open(Arc::clone(&lane) as _);
            lane
        });
        lanes.collect()
    }
}

fn engine() -> Engine {
    let (lane, ledger, events_rx) = lane(Binding::new());
    Engine {
        lane,
        ledger,
        events_rx,
        events: VecDeque::new(),
        timed: VecDeque::new(),
        runs: false,
        in_flight: None,
        sent: Vec::new(),
        accepted: 0,
        marks: Vec::new(),
    }
}

impl Engine {
    fn step(&mut self, step: Step) {
        match step {
            Step::Push => self.push(),
            Step::Flush => {
                let mark = Arc::clone(&self.lane).begin_flush();
                self.marks.push(mark);
            }
            Step::HandleEvent => match self.events.pop_front() {
                Some(EngineEvent::Timed(lane)) => self.timed.push_back(lane),
                Some(EngineEvent::Ready(lane)) => {
                    assert_eq!(address(&lane), Arc::as_ptr(&self.lane).addr());
                    let started = self.lane.start(Cause::Ready);
                    self.start(started.is_some());
                }
                Some(
                    EngineEvent::Flush(_) | EngineEvent::Session(_) | EngineEvent::Log(_) | EngineEvent::MemoryPressure,
                )
                | None => {}
            },
            Step::Deadline => {
                if self.timed.pop_front().is_some() {
                    let now = Instant::now() + Duration::from_secs(3600);
                    let started = self.lane.start(Cause::Deadline(now));
                    self.start(started.is_some());
                }
            }
            Step::Run if self.runs => match self.in_flight.take() {
                Some(spans) => self.lane.complete(spans, Outcome::Delivered { rejected: 0 }),
                None if self.lane.is_due() => {
                    let batch = self.lane.take_batch();
                    self.in_flight = Some(batch.numbers(&(0..batch.len())));
                    assert!((1..=BATCH).contains(&batch.len()));
                    self.sent.extend(batch.names());
                    self.lane.shared.chunks.recycle(batch);
                }
                None => self.runs = false,
            },
            Step::Run => {}
            Step::Retire => self.lane.retire(),
            Step::Abandon => self.lane.abandon(),
        }
        while let Ok(event) = self.events_rx.try_recv() {
            self.events.push_back(event);
        }
        self.check();
    }

    fn push(&mut self) {
        self.lane.push(span(self.accepted.to_string()));
        self.accepted += 1;
    }

    fn all(&mut self, steps: impl IntoIterator<Item = Step>) {
        for step in steps {
            self.step(step);
        }
    }

    fn start(&mut self, started: bool) {
        assert!(!(started && self.runs), "two tasks for one lane");
        self.runs |= started;
    }

    fn check(&self) {
        let snapshot = self.ledger.snapshot();
        assert_eq!(snapshot.ledgers.spans.snapshot().accepted, self.accepted);
        let state = self.lane.state.lock();
        let is_queued = |wanted: fn(&EngineEvent) -> bool| self.events.iter().any(wanted);
        match state.schedule {
            Schedule::Idle => assert!(state.spans.is_empty(), "idle with {} queued spans", state.spans.len()),
            Schedule::Timed => {
                assert!(
                    !self.timed.is_empty() || is_queued(|event| matches!(event, EngineEvent::Timed(_))),
                    "no deadline"
                );
            }
            Schedule::Ready => assert!(
                is_queued(|event| matches!(event, EngineEvent::Ready(_))),
                "the engine was not notified"
            ),
            Schedule::Running => assert!(self.runs, "no task is running"),
            Schedule::Closed => assert_eq!(state.ledger.pending(), 0),
        }
        assert_eq!(state.ledger.queued(), state.spans.len() as u64);
    }

    /// Runs the engine until it is idle.
    fn drain(&mut self) {
        while self.runs || !self.events.is_empty() || !self.timed.is_empty() {
            for step in [Step::HandleEvent, Step::Deadline, Step::Run] {
                self.step(step);
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Push),
        1 => Just(Step::Flush),
        3 => Just(Step::HandleEvent),
        1 => Just(Step::Deadline),
        3 => Just(Step::Run),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn each_span_is_sent_once_in_order_and_flushes_complete(steps in steps()) {
        let mut engine = engine();
        engine.all(steps);
        engine.drain();
        let spans = engine.ledger.snapshot().ledgers.spans.snapshot();
        prop_assert_eq!(spans.pending(), 0);
        prop_assert_eq!(spans.delivered, engine.sent.len() as u64);
        prop_assert_eq!(spans.delivered + spans.lost(), engine.accepted);
        let numbers: Vec<u64> = engine.sent.iter().map(|name| name.parse().expect("a number")).collect();
        prop_assert!(numbers.is_sorted_by(|one, next| one < next));
        for mark in &engine.marks {
            prop_assert_eq!(engine.lane.pending(mark), Pending::default());
        }
    }

    #[test]
    fn spans_of_several_threads_are_sent_once_and_flushes_complete(
        steps in steps(),
        threads in prop::collection::vec(0..3_usize, 120),
        abandon: bool,
    ) {
        let mut engine = engine();
        engine.lane.stripes.create();
        for (step, thread) in steps.into_iter().zip(threads) {
            set_thread_number(thread);
            match step {
                // Without checks, which collect the stripes.
                Step::Push => engine.push(),
                step => engine.step(step),
            }
        }
        // Also receives the events of the last pushes.
        engine.step(if abandon { Step::Abandon } else { Step::HandleEvent });
        engine.drain();
        let spans = engine.ledger.snapshot().ledgers.spans.snapshot();
        prop_assert_eq!(spans.pending(), 0);
        prop_assert_eq!(spans.accepted, engine.accepted);
        prop_assert!(abandon || spans.delivered == engine.sent.len() as u64);
        let sent: HashSet<&String> = engine.sent.iter().collect();
        prop_assert_eq!(sent.len(), engine.sent.len());
        for mark in &engine.marks {
            prop_assert_eq!(engine.lane.pending(mark), Pending::default());
        }
        prop_assert_eq!(engine.lane.snapshot().held_bytes, 0);
    }

    #[test]
    fn a_retired_lane_sends_its_queue_and_merges_into_the_selector_ledger(steps in steps()) {
        let mut engine = engine();
        engine.all(steps);
        engine.step(Step::Retire);
        // No deadline step: a retired lane sends immediately.
        while engine.runs || !engine.events.is_empty() {
            engine.step(Step::HandleEvent);
            engine.step(Step::Run);
        }
        let snapshot = engine.ledger.snapshot();
        prop_assert_eq!(snapshot.lanes, 0);
        prop_assert_eq!(snapshot.ledgers.spans.pending(), 0);
        engine.drain();
    }

    #[test]
    fn an_abandoned_lane_stays_empty(before in steps(), after in steps(), retire: bool) {
        let mut engine = engine();
        engine.all(before);
        if retire {
            engine.step(Step::Retire);
        }
        engine.step(Step::Abandon);
        let abandoned = engine.ledger.snapshot().ledgers.spans.snapshot();
        prop_assert_eq!(abandoned.pending(), 0);
        engine.all(after.into_iter().filter(|step| !(retire && matches!(step, Step::Push))));
        engine.drain();
        let spans = engine.ledger.snapshot().ledgers.spans.snapshot();
        prop_assert_eq!(spans.delivered, abandoned.delivered);
        prop_assert_eq!(engine.ledger.snapshot().lanes, usize::from(!retire));
    }
}

#[test]
fn a_flush_ends_the_wait_before_a_retry() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let engine = engine();
    let _inside = runtime.enter();
    let flushes = engine.lane.flushes();
    let wait = || engine.lane.wait_before_retry(Duration::from_secs(600), flushes);
    let mut waiting = std::pin::pin!(wait());
    assert!(waiting.as_mut().now_or_never().is_none(), "no flush yet");
    Arc::clone(&engine.lane).begin_flush();
    assert!(
        waiting.as_mut().now_or_never().is_some(),
        "a flush during the wait ends it"
    );
    assert!(
        wait().now_or_never().is_some(),
        "a flush during the attempt skips the wait"
    );
}

#[test]
fn a_full_queue_is_sent_before_a_batch_is_full() {
    let mut engine = engine();
    (0..BATCH).for_each(|_| engine.step(Step::Push));
    assert_eq!(engine.lane.state.lock().schedule, Schedule::Ready);
}

#[test]
fn a_panic_while_sending_drops_the_batch_and_the_lane_continues() {
    let mut engine = engine();
    engine.all([Step::Push, Step::Flush, Step::HandleEvent, Step::HandleEvent]);
    assert!(engine.lane.is_due());
    let batch = engine.lane.take_batch();
    let panics = async {
        let outcome = (batch.len() > 0).then_some(Outcome::Delivered { rejected: 0 });
        assert_eq!(outcome, None, "intentional panic");
        Ok(Outcome::Delivered { rejected: 0 })
    };
    let outcome = run_request(&engine.lane, RequestKind::Spans, panics)
        .now_or_never()
        .expect("it completes immediately");
    engine.lane.complete(0..1, outcome);
    let snapshot = engine.lane.snapshot();
    assert_eq!(snapshot.ledgers.spans.snapshot().dropped[&DropReason::Encoding], 1);
    assert!(matches!(
        snapshot.failures.map(|failures| failures.error),
        Some(ExportError::Encoding(_))
    ));
    assert_eq!(engine.lane.pending(&engine.marks[0]), Pending::default());
    engine.all([Step::Push]);
    engine.drain();
    assert_eq!(engine.sent, ["1"]);
}

#[test]
fn threads_that_meet_at_the_lock_get_stripes() {
    let (lane, ledger, _events_rx) = lane(Binding::new());
    let mut pushed = 0;
    while !lane.stripes.exist() {
        let held = lane.state.lock();
        thread::scope(|threads| {
            threads.spawn(|| lane.push(span("span")));
            thread::sleep(Duration::from_millis(1));
            drop(held);
        });
        pushed += 1;
    }
    assert_eq!(ledger.snapshot().ledgers.spans.snapshot().accepted, pushed);
}

#[test]
fn threads_that_meet_now_and_then_get_no_stripes() {
    let mut engine = engine();
    for _ in 0..100 {
        engine.lane.stripes.note_meeting(&mut engine.lane.state.lock());
        engine.step(Step::Push);
        engine.drain();
    }
    assert!(!engine.lane.stripes.exist());
}

#[test]
fn grants_cover_no_more_spans_than_are_queued() {
    let (lane, _ledger, _events_rx) = Parts::of(Binding::new(), Export::default()).lane();
    lane.stripes.create();
    for number in 0..300 {
        set_thread_number(number % 5);
        lane.push(span("span"));
        let state = lane.state.lock();
        assert!(state.granted <= state.spans.len(), "after {number}");
    }
    assert!(lane.state.lock().granted > 30);
}

#[test]
fn unused_grants_do_not_drop_a_session_event() {
    const BUDGET: usize = 1 << 20;
    let export = Export {
        max_queue_bytes: Some(BUDGET),
        ..Export::default()
    };
    let (lane, _ledger, _events_rx) = Parts::of(Binding::new(), export).lane();
    lane.stripes.create();
    (0..3).for_each(|_| lane.push(span("span")));
    assert!(lane.state.lock().granted > 1);
    // A lane may hold half of the budget.
    let bytes = BUDGET / 2 - 4 * byte_size(&span("span"));
    assert!(lane.accept_event(bytes).is_ok());
}

#[test]
fn spans_in_stripes_are_counted_read_and_given_up_like_others() {
    let (lane, ledger, _events_rx) = lane(Binding::new());
    lane.stripes.create();
    let is_in_stripe = || lane.state.lock().granted > 0 && lane.state.lock().spans.len() == 1;
    lane.note_started();
    lane.note_started();
    lane.push(span("first"));
    lane.push(span("second"));
    assert!(is_in_stripe());
    assert!(!lane.is_idle());
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.ledgers.spans.queued(), 2);
    assert_eq!(snapshot.held_bytes, 2 * byte_size(&span("first")));
    lane.abandon();
    assert!(lane.is_idle());
    lane.note_started();
    assert!(!lane.is_idle(), "a span is open");
    lane.push(span("third"));
    assert!(lane.is_idle());
}

#[test]
fn cut_values_and_outages_end_grants() {
    let (lane, _ledger, _events_rx) = lane(Binding::new());
    lane.stripes.create();
    lane.push(span("first"));
    assert!(lane.state.lock().granted > 0);
    lane.note_cut(SpanId::from(1), 2);
    assert_eq!(lane.state.lock().granted, 0);
    lane.push(span("second"));
    assert_eq!(lane.state.lock().granted, 0);
    lane.forget_cut(SpanId::from(1));
    assert!(
        lane.start(Cause::Deadline(Instant::now() + Duration::from_secs(3600)))
            .is_some()
    );
    lane.push(span("third"));
    assert!(lane.state.lock().granted > 0);
    lane.note_breaker_wait(RequestKind::Spans);
    assert_eq!(lane.state.lock().granted, 0);
    lane.push(span("fourth"));
    assert_eq!(lane.state.lock().granted, 0);
}

#[test]
fn cut_values_are_removed_when_their_span_ends() {
    let lane = engine().lane;
    let push = |id: u64| {
        let mut span = span("span".to_owned());
        let (trace, flags) = (TraceId::from(1), TraceFlags::SAMPLED);
        span.span_context = SpanContext::new(trace, SpanId::from(id), flags, false, TraceState::NONE);
        lane.push(span);
    };
    let ended = |id: u64| {
        push(id);
        let state = lane.state.lock();
        state.spans.last().expect("the span is queued").attributes.clone()
    };
    lane.note_cut(SpanId::from(1), 2);
    lane.note_cut(SpanId::from(2), 1);
    lane.note_cut(SpanId::from(1), 3);
    assert_eq!(ended(1), [KeyValue::new(CUT_VALUES, 5)]);
    assert_eq!(ended(1), []);
    lane.forget_cut(SpanId::from(2));
    assert_eq!(ended(2), []);
    assert!(lane.state.lock().rare().cut_values.is_empty());
    lane.note_cut(SpanId::from(3), 1);
    lane.abandon();
    push(3);
    assert!(
        lane.state.lock().rare().cut_values.is_empty(),
        "a refused span removes them too"
    );
}

#[test]
fn the_count_of_cut_values_is_in_the_size_of_its_span() {
    let (lane, _ledger, _events_rx) = lane(Binding::new());
    let mut full = span("full".to_owned());
    let id = full.span_context.span_id();
    full.attributes = Vec::with_capacity(100);
    full.attributes.resize(100, KeyValue::new("key", true));
    lane.note_cut(id, 1);
    lane.push(full);
    let state = lane.state.lock();
    let queued = state.spans.last().expect("it is queued");
    assert_eq!(queued.attributes.len(), 101);
    assert!(state.spans.bytes() >= byte_size(queued));
}
