//! The schedule against a model of the engine: whatever happens in whatever order, no span is forgotten.

use super::lane::Lane;
use super::state::Schedule;
use crate::backend::CUT_VALUES;
use crate::backend::Destination;
use crate::export::accounting::counted_lane::{CountedLane, FlushMark, Pending};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::net::connections::Connections;
use crate::export::schedule::engine_event::{Cause, EngineEvent, ScheduledLane, address};
use crate::export::send::outcome::Outcome;
use crate::export::shared::Shared;
use crate::ledger::DropReason;
use crate::selector::Selector;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::LazyLock;
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
use crate::export::send::deliver::see_through;
use crate::export::test_fixtures::span;
use crate::secret::{KeyReader, KeySource, SecretError, SecretSources};
use crate::selector::{SelectorKind, Slug};

/// Made once, since a client reads the system's certificates. Where something is sent, the test moves the clock, and not to the end of a request.
static TRANSPORT: LazyLock<Transport> =
    LazyLock::new(|| Transport::new(Duration::from_secs(24 * 60 * 60), Protocol::HttpProtobuf, false));

const QUEUE: usize = 7;
const BATCH: usize = 3;

/// The engine's part, one step at a time.
struct Engine {
    lane: Arc<Lane>,
    account: Arc<SelectorLedger>,
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
    Bell,
    Deadline,
    Run,
    Retire,
    Abandon,
}

/// What lanes are made of.
pub(crate) struct Parts {
    settings: ExportSettings,
    destination: Arc<Destination>,
    connections: Arc<Connections>,
    source: KeySource,
    sources: SecretSources,
}

/// A lane that nobody sends for, in books of its own, and the other end of its bell.
pub(crate) fn lane(binding: Binding) -> (Arc<Lane>, Arc<SelectorLedger>, UnboundedReceiver<EngineEvent>) {
    Parts::of(binding, small()).lane()
}

/// Queues and batches of a few spans.
pub(super) fn small() -> Export {
    Export {
        max_queue_size: Some(QUEUE),
        max_export_batch_size: Some(BATCH),
        ..Export::default()
    }
}

impl Parts {
    /// The key and the destination of one tenant.
    pub(crate) fn of(binding: Binding, export: Export) -> Self {
        let mut document = Document::default();
        let provider = |name: &str| KeySource::Provider {
            provider: "test".into(),
            name: name.into(),
        };
        document
            .tenants
            .insert("acme".into(), binding.api_key(provider("acme")));
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
        let account = SelectorLedger::alone(&Selector::of(SelectorKind::Tenant, Slug::new("acme").expect("a name")));
        let (mut lanes, events_rx) = self.lanes(std::slice::from_ref(&account));
        (lanes.remove(0), account, events_rx)
    }

    /// Lanes that nobody sends for, one in each of these books, with one bound on what they hold; and the other end of their bell.
    pub(crate) fn lanes(&self, books: &[Arc<SelectorLedger>]) -> (Vec<Arc<Lane>>, UnboundedReceiver<EngineEvent>) {
        let reader = KeyReader::new(self.sources.clone(), false);
        let (shared, events_rx) = Shared::without_threads(self.settings.clone(), TRANSPORT.clone(), reader);
        let scheme = self.destination.key_scheme;
        let key = shared.keys.open(&self.source, scheme).expect("a key");
        let made = books.iter().map(|account| {
            let (destination, connections) = (Arc::clone(&self.destination), Arc::clone(&self.connections));
            let lane = Lane::new(destination, connections, Arc::clone(&key), Arc::clone(&shared), account);
            account.open(Arc::clone(&lane) as _);
            lane
        });
        (made.collect(), events_rx)
    }
}

fn engine() -> Engine {
    let (lane, account, events_rx) = lane(Binding::new());
    Engine {
        lane,
        account,
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
            Step::Push => {
                self.lane.push(span(self.accepted.to_string()));
                self.accepted += 1;
            }
            Step::Flush => {
                let mark = Arc::clone(&self.lane).begin_flush();
                self.marks.push(mark);
            }
            Step::Bell => match self.events.pop_front() {
                Some(EngineEvent::Timed(lane)) => self.timed.push_back(lane),
                Some(EngineEvent::Ready(lane)) => {
                    assert_eq!(address(&lane), Arc::as_ptr(&self.lane).addr());
                    let started = self.lane.start(Cause::Ready);
                    self.start(started.is_some());
                }
                Some(EngineEvent::Flush(_) | EngineEvent::Session(_) | EngineEvent::Log(_) | EngineEvent::Pressed)
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
                    self.sent
                        .extend(batch.iter().map(|span| span.name.clone().into_owned()));
                    self.lane.shared.chunks.give_back(batch);
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
        let snapshot = self.account.snapshot();
        assert_eq!(snapshot.ledgers.spans.snapshot().accepted, self.accepted);
        let state = self.lane.state.lock();
        let in_bell = |wanted: fn(&EngineEvent) -> bool| self.events.iter().any(wanted);
        match state.schedule {
            Schedule::Idle => assert!(state.spans.is_empty(), "forgotten: {}", state.spans.len()),
            Schedule::Timed => {
                assert!(
                    !self.timed.is_empty() || in_bell(|event| matches!(event, EngineEvent::Timed(_))),
                    "no deadline"
                );
            }
            Schedule::Ready => assert!(
                in_bell(|event| matches!(event, EngineEvent::Ready(_))),
                "nobody was rung"
            ),
            Schedule::Running => assert!(self.runs, "nobody runs"),
            Schedule::Closed => assert_eq!(state.ledger.pending(), 0),
        }
        assert_eq!(state.ledger.queued(), state.spans.len() as u64);
    }

    /// Lets the engine work until it has nothing to do.
    fn drain(&mut self) {
        while self.runs || !self.events.is_empty() || !self.timed.is_empty() {
            for step in [Step::Bell, Step::Deadline, Step::Run] {
                self.step(step);
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Push),
        1 => Just(Step::Flush),
        3 => Just(Step::Bell),
        1 => Just(Step::Deadline),
        3 => Just(Step::Run),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn whatever_the_order_every_span_is_sent_once_in_order_and_flushes_end(steps in steps()) {
        let mut engine = engine();
        engine.all(steps);
        engine.drain();
        let spans = engine.account.snapshot().ledgers.spans.snapshot();
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
    fn a_lane_whose_tracer_is_gone_sends_what_it_has_and_leaves_its_ledger_to_the_account(steps in steps()) {
        let mut engine = engine();
        engine.all(steps);
        engine.step(Step::Retire);
        // Without any deadline: what is left goes at once.
        while engine.runs || !engine.events.is_empty() {
            engine.step(Step::Bell);
            engine.step(Step::Run);
        }
        let books = engine.account.snapshot();
        prop_assert_eq!(books.lanes, 0);
        prop_assert_eq!(books.ledgers.spans.pending(), 0);
        engine.drain();
    }

    #[test]
    fn after_the_end_nothing_is_pending_and_nothing_comes_back(before in steps(), after in steps(), retire: bool) {
        let mut engine = engine();
        engine.all(before);
        if retire {
            engine.step(Step::Retire);
        }
        engine.step(Step::Abandon);
        let settled = engine.account.snapshot().ledgers.spans.snapshot();
        prop_assert_eq!(settled.pending(), 0);
        engine.all(after.into_iter().filter(|step| !(retire && matches!(step, Step::Push))));
        engine.drain();
        let spans = engine.account.snapshot().ledgers.spans.snapshot();
        prop_assert_eq!(spans.delivered, settled.delivered);
        prop_assert_eq!(engine.account.snapshot().lanes, usize::from(!retire));
    }
}

#[test]
fn a_flush_after_the_attempt_began_ends_the_wait_before_the_next_one() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let engine = engine();
    let _inside = runtime.enter();
    let flushes = engine.lane.flushes();
    let wait = || engine.lane.wait_before_repeating(Duration::from_secs(600), flushes);
    let mut waiting = std::pin::pin!(wait());
    assert!(waiting.as_mut().now_or_never().is_none(), "nobody is in a hurry");
    Arc::clone(&engine.lane).begin_flush();
    assert!(waiting.as_mut().now_or_never().is_some(), "a flush while it waits");
    assert!(
        wait().now_or_never().is_some(),
        "a flush while the attempt was under way"
    );
}

#[test]
fn a_full_queue_is_sent_though_a_batch_would_take_more() {
    let mut engine = engine();
    (0..BATCH).for_each(|_| engine.step(Step::Push));
    assert_eq!(engine.lane.state.lock().schedule, Schedule::Ready);
}

#[test]
fn a_batch_whose_sending_panics_is_dropped_and_the_lane_goes_on() {
    let mut engine = engine();
    engine.all([Step::Push, Step::Flush, Step::Bell, Step::Bell]);
    assert!(engine.lane.is_due());
    let batch = engine.lane.take_batch();
    let panics = async {
        let outcome = batch.iter().next().map(|_| Outcome::Delivered { rejected: 0 });
        assert_eq!(outcome, None, "on purpose");
        Ok(Outcome::Delivered { rejected: 0 })
    };
    let outcome = see_through(&engine.lane, RequestKind::Spans, panics)
        .now_or_never()
        .expect("it does not wait");
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
fn cut_values_are_kept_until_their_span_ends_and_no_longer() {
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
        state.spans.last().expect("it was taken").attributes.clone()
    };
    lane.note_cut(SpanId::from(1), 2);
    lane.note_cut(SpanId::from(2), 1);
    lane.note_cut(SpanId::from(1), 3);
    assert_eq!(ended(1), [KeyValue::new(CUT_VALUES, 5)]);
    assert_eq!(ended(1), []);
    lane.forget_cut(SpanId::from(2));
    assert_eq!(ended(2), []);
    assert!(lane.state.lock().seldom().cut_values.is_empty());
    lane.note_cut(SpanId::from(3), 1);
    lane.abandon();
    push(3);
    assert!(
        lane.state.lock().seldom().cut_values.is_empty(),
        "also where the span is refused"
    );
}
