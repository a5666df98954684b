//! Retries over hours of paused time, against a scripted receiver.

mod pause;
#[cfg(feature = "spool")]
mod spool;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::yield_now;
use tokio::time::advance;
use uuid::Uuid;

use super::*;
use crate::config::{Binding, Compression, Export, Retry, ServerErrors};
use crate::export::accounting::counted_lane::CountedLane;
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::lane::tests::Parts;
use crate::export::queue::session_event::SessionEvent;
use crate::export::schedule::engine_event::{Cause, EngineEvent, ScheduledLane};
use crate::export::send::session_queue::SessionQueue;
use crate::export::test_fixtures::span;
use crate::export::test_receiver::{Answer, Receiver, Seen};
use crate::ledger::LedgerSnapshot;
use crate::selector::{Selector, SelectorKind, Slug};

const SECOND: Duration = Duration::from_secs(1);
/// Also the real-time limit of each wait in these tests.
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a test on a paused clock that only the test advances.
fn on_a_paused_clock(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // Tokio advances a paused clock when the runtime is idle, except while a blocking task runs.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let blocked = runtime.spawn_blocking(move || is_done.recv());
    runtime.block_on(async {
        test.await;
        drop(done);
        blocked.await.expect("no panic").expect_err("the sender is dropped");
    });
}

struct World {
    receiver: Receiver,
    lane: Arc<Lane>,
    ledger: Arc<SelectorLedger>,
    events_rx: UnboundedReceiver<EngineEvent>,
}

impl World {
    /// Creates a lane with batches of three spans, due at once, and a receiver.
    fn new(retry: Retry, answer: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        Self::with_batches(3, retry, answer)
    }

    fn with_batches(size: usize, retry: Retry, answer: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let receiver = Receiver::new(answer);
        let export = Export {
            max_export_batch_size: Some(size),
            scheduled_delay: Some(Duration::ZERO),
            compression: Some(Compression::None),
            retry,
            ..Export::default()
        };
        let parts = Parts::of(Binding::new().endpoint(receiver.url.clone()), export);
        let (lane, ledger, events_rx) = parts.lane();
        Self {
            receiver,
            lane,
            ledger,
            events_rx,
        }
    }

    fn push(&mut self, count: usize) {
        let names: Vec<_> = (1..=count).map(|number| number.to_string()).collect();
        self.push_named(&names);
    }

    fn push_named<Slug: AsRef<str>>(&mut self, names: &[Slug]) {
        for (number, name) in (1..).zip(names) {
            let mut span = span(name.as_ref().to_owned());
            let (trace, flags) = (TraceId::from(1), TraceFlags::SAMPLED);
            span.span_context = SpanContext::new(trace, SpanId::from(number), flags, false, TraceState::NONE);
            self.lane.push(span);
        }
        self.handle_events();
    }

    /// Acts as the engine.
    fn handle_events(&mut self) {
        while let Ok(event) = self.events_rx.try_recv() {
            match event {
                EngineEvent::Ready(lane) | EngineEvent::Timed(lane) => {
                    // Timed lanes are due at once here.
                    let ready = Arc::clone(&lane).send_due(Cause::Ready);
                    ready.or_else(|| lane.send_due(Cause::Deadline(Instant::now() + HOUR)));
                }
                EngineEvent::Session(queue) => queue.send_all(),
                EngineEvent::Flush(_) | EngineEvent::MemoryPressure | EngineEvent::Log(_) => {}
            }
        }
    }

    fn spans(&self) -> LedgerSnapshot {
        self.ledger.snapshot().ledgers.spans.snapshot()
    }

    fn events(&self) -> LedgerSnapshot {
        self.ledger.snapshot().ledgers.events.snapshot()
    }

    fn last_error(&self) -> String {
        let failures = self.ledger.snapshot().failures;
        failures.map(|last| last.error.to_string()).unwrap_or_default()
    }

    /// Runs tasks without advancing the clock until `is` holds for the value of `look`.
    async fn until<T: std::fmt::Debug>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Self) -> T,
        is: impl Fn(&T) -> bool,
    ) {
        let begun = Instant::now();
        loop {
            self.handle_events();
            let seen = look(self);
            if is(&seen) {
                return;
            }
            assert!(
                begun.elapsed() < MINUTE,
                "{what}: last seen {seen:?}; {}",
                self.last_error()
            );
            yield_now().await;
        }
    }

    /// Advances the clock, then runs tasks for 20 ms of real time.
    async fn pass(&mut self, time: Duration) {
        advance(time).await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            self.handle_events();
            yield_now().await;
        }
    }
}

/// Answers `first` once, then accepts everything.
fn once(first: Answer, is_for: impl Fn(&Seen) -> bool + Send + 'static) -> impl FnMut(&Seen) -> Answer + Send {
    let mut first = Some(first);
    move |seen| first.take_if(|_| is_for(seen)).unwrap_or(ACCEPTED)
}

const ACCEPTED: Answer = (200, "");
const ASKS: &str = "retry-after: 3000\r\n";

fn is_session(seen: &Seen) -> bool {
    seen.path.contains("session")
}

fn retry(max_elapsed: Duration) -> Retry {
    Retry {
        max_elapsed: Some(max_elapsed),
        ..Retry::default()
    }
}

#[test]
fn a_requested_wait_is_observed_within_max_elapsed() {
    on_a_paused_clock(async {
        for (requested, waited) in [
            ("retry-after: 3000\r\n", 50 * MINUTE),
            ("retry-after: 18446744073709551615\r\n", HOUR),
        ] {
            let mut world = World::new(retry(2 * HOUR), once((503, requested), |_| true));
            world.push(3);
            world
                .until("the refusal", World::last_error, |error| !error.is_empty())
                .await;
            world.pass(waited.saturating_sub(SECOND)).await;
            // A flush does not shorten it.
            let _mark = Arc::clone(&world.lane).begin_flush();
            world.pass(Duration::ZERO).await;
            assert_eq!(world.spans().in_flight, 3, "{requested}");
            advance(2 * SECOND).await;
            world
                .until("the spans", |world| world.spans().delivered, |spans| *spans == 3)
                .await;
        }
    });
}

#[test]
fn a_batch_that_would_expire_before_the_requested_wait_is_dropped_and_the_wait_applies_to_the_next() {
    on_a_paused_clock(async {
        let mut world = World::new(retry(5 * MINUTE), once((429, ASKS), |_| true));
        // The second batch was due when the first was refused, so both are dropped.
        world.push(6);
        let dropped = |world: &World| world.spans().dropped.get(&DropReason::RetriesExhausted).copied();
        world
            .until("six to be dropped", dropped, |count| *count == Some(6))
            .await;
        assert!(
            world.last_error().ends_with("retry after 3000s"),
            "{}",
            world.last_error()
        );
        world.pass(40 * MINUTE).await;
        world.push(1);
        world.until("one more", dropped, |count| *count == Some(7)).await;
        assert!(
            world.last_error().ends_with("retry after 3000s"),
            "{}",
            world.last_error()
        );
        world.pass(6 * MINUTE).await;
        world.push(3);
        world.pass((4 * MINUTE).saturating_sub(SECOND)).await;
        assert_eq!((world.spans().delivered, world.spans().pending()), (0, 3));
        advance(2 * SECOND).await;
        world
            .until("the last three", |world| world.spans().delivered, |spans| *spans == 3)
            .await;
        assert_eq!(world.receiver.journal().len(), 2);
    });
}

#[test]
fn session_events_observe_a_requested_wait() {
    on_a_paused_clock(async {
        let mut world = World::new(retry(5 * MINUTE), once((429, ASKS), is_session));
        let queue = SessionQueue::of(&world.lane, Uuid::from_u128(1));
        let start = |id: &str| SessionEvent::Start(json!({"session": {"session_id": id, "session_name": "s"}}));
        let dropped = |world: &World| world.events().dropped.get(&DropReason::RetriesExhausted).copied();
        queue.push(start("one"));
        queue.push(start("two"));
        world
            .until("two to be dropped", dropped, |count| *count == Some(2))
            .await;
        // Spans use another path of the receiver.
        world.push(3);
        world
            .until("the spans", |world| world.spans().delivered, |spans| *spans == 3)
            .await;
        world.pass(46 * MINUTE).await;
        // The wait applies to another session too.
        let other = SessionQueue::of(&world.lane, Uuid::from_u128(2));
        other.push(start("three"));
        world.pass((4 * MINUTE).saturating_sub(SECOND)).await;
        assert_eq!((world.events().delivered, world.events().pending()), (0, 1));
        advance(2 * SECOND).await;
        world
            .until("the event", |world| world.events().delivered, |events| *events == 1)
            .await;
    });
}

#[test]
fn failures_count_although_max_retry_after_is_zero() {
    on_a_paused_clock(async {
        let retry = Retry {
            max_retry_after: Some(Duration::ZERO),
            ..retry(5 * MINUTE)
        };
        let mut world = World::new(retry, |_| (503, ASKS));
        world.push(3);
        let failures = |world: &World| world.lane.breakers.chain(RequestKind::Spans).own.status().failures;
        let begun = Instant::now();
        while failures(&world) < 5 {
            world.pass(30 * SECOND).await;
            assert!(begun.elapsed() < MINUTE, "{} failures", failures(&world));
        }
    });
}

#[test]
fn an_expired_batch_does_not_disable_splitting_of_the_next() {
    on_a_paused_clock(async {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let mut came = 0;
        let mut world = World::with_batches(4, retry(5 * MINUTE), move |seen| {
            came += 1;
            match came {
                // The batch, its first half, and the two spans of that half.
                1..=4 => (400, ""),
                _ if !over.load(Ordering::Relaxed) => (503, ""),
                _ if seen.contains("bad") => (400, ""),
                _ => ACCEPTED,
            }
        });
        world.push(4);
        let lost = |world: &World| world.spans().lost();
        world
            .until("an outage", World::last_error, |error| error.contains("503"))
            .await;
        for _ in 0..32 {
            world.pass(10 * SECOND).await;
        }
        world.until("the first batch", lost, |lost| *lost == 4).await;
        is_over.store(true, Ordering::Relaxed);
        world.push_named(&["good", "bad", "better", "best"]);
        for _ in 0..6 {
            world.pass(10 * SECOND).await;
        }
        world
            .until("the neighbours", |world| world.spans().delivered, |spans| *spans == 3)
            .await;
    });
}

#[test]
fn spans_due_when_an_outage_began_are_dropped_together() {
    on_a_paused_clock(async {
        let mut world = World::new(retry(5 * MINUTE), |_| (503, ""));
        world.push(15);
        world
            .until("a refusal", World::last_error, |error| !error.is_empty())
            .await;
        for _ in 0..20 {
            world.pass(10 * SECOND).await;
            assert_eq!(world.spans().lost(), 0);
        }
        // A later span has its own retry time.
        world.push(1);
        for _ in 0..9 {
            world.pass(10 * SECOND).await;
            assert_eq!(world.spans().lost(), 0);
        }
        advance(15 * SECOND).await;
        let lost = |world: &World| world.spans().lost();
        world
            .until("all of them", lost, |lost| {
                assert!([0, 15].contains(lost), "{lost} of them first");
                *lost == 15
            })
            .await;
        for _ in 0..18 {
            world.pass(10 * SECOND).await;
            assert_eq!((world.spans().lost(), world.spans().pending()), (15, 1));
        }
        advance(MINUTE).await;
        world.until("the last one", lost, |lost| *lost == 16).await;
    });
}

#[test]
fn session_events_of_an_outage_are_dropped_together() {
    on_a_paused_clock(async {
        let mut world = World::new(retry(5 * MINUTE), |_| (503, ""));
        let queue = SessionQueue::of(&world.lane, Uuid::from_u128(1));
        for id in ["one", "two", "three"] {
            queue.push(SessionEvent::Start(
                json!({"session": {"session_id": id, "session_name": "s"}}),
            ));
        }
        world
            .until("a refusal", World::last_error, |error| !error.is_empty())
            .await;
        for _ in 0..29 {
            world.pass(10 * SECOND).await;
            assert_eq!(world.events().lost(), 0);
        }
        advance(15 * SECOND).await;
        let lost = |world: &World| world.events().lost();
        world
            .until("all of them", lost, |lost| {
                assert!([0, 3].contains(lost), "{lost} of them first");
                *lost == 3
            })
            .await;
    });
}

#[test]
fn a_session_event_that_always_fails_expires_although_others_are_delivered() {
    on_a_paused_clock(async {
        let answer = |seen: &Seen| if seen.contains("poisoned") { (500, "") } else { ACCEPTED };
        let mut world = World::new(retry(5 * MINUTE), answer);
        let start = |id: &str| SessionEvent::Start(json!({"session": {"session_id": id, "session_name": "s"}}));
        let poisoned = SessionQueue::of(&world.lane, Uuid::from_u128(1));
        poisoned.push(start("poisoned"));
        world
            .until("a refusal", World::last_error, |error| !error.is_empty())
            .await;
        for taken in 1..=31 {
            SessionQueue::of(&world.lane, Uuid::from_u128(2)).push(start("good"));
            world
                .until(
                    "a good one",
                    |world| world.events().delivered,
                    |events| *events == taken,
                )
                .await;
            world.pass(10 * SECOND).await;
        }
        world
            .until("the poisoned one", |world| world.events().lost(), |lost| *lost == 1)
            .await;
    });
}

#[test]
fn span_successes_do_not_cause_retries_of_failing_session_events() {
    on_a_paused_clock(async {
        let answer = |seen: &Seen| if is_session(seen) { (503, "") } else { ACCEPTED };
        let mut world = World::new(retry(5 * MINUTE), answer);
        world.push(3);
        let delivered = |world: &World| world.spans().delivered;
        world.until("the first spans", delivered, |spans| *spans == 3).await;
        SessionQueue::of(&world.lane, Uuid::from_u128(2)).push(SessionEvent::Start(
            json!({"session": {"session_id": "one", "session_name": "s"}}),
        ));
        world
            .until("a refusal", World::last_error, |error| error.contains("503"))
            .await;
        for taken in 2..=50 {
            world.push(3);
            world.until("spans", delivered, |spans| *spans == 3 * taken).await;
            yield_now().await;
        }
        let journal = world.receiver.journal();
        let tries = journal.iter().filter(|seen| is_session(seen)).count();
        assert!(tries < 3, "{tries} tries while no time passed");
    });
}

/// The receiver fails on requests with a span of this name.
const POISON: &str = "poison";

fn fails_on_poison(seen: &Seen) -> Answer {
    if seen.contains(POISON) { (500, "") } else { ACCEPTED }
}

#[test]
fn the_span_that_the_receiver_fails_on_is_found_while_other_batches_are_sent() {
    on_a_paused_clock(async {
        for bad in 0..3 {
            let mut world = World::new(retry(5 * MINUTE), fails_on_poison);
            let mut names = ["one", "two", "three"];
            names[bad] = POISON;
            world.push_named(&names);
            world.push(3);
            let mark = Arc::clone(&world.lane).begin_flush();
            // The clock is paused: the first batch waits for its second attempt.
            let delivered = |world: &World| world.spans().delivered;
            world.until("the second batch", delivered, |spans| *spans == 3).await;
            assert_eq!((world.spans().in_flight, world.lane.pending(&mark).spans), (3, 3));
            let mut waited = Duration::ZERO;
            while world.spans().pending() > 0 {
                world.pass(SECOND).await;
                waited += SECOND;
                assert!(waited < MINUTE, "{:?}", world.spans());
            }
            let spans = world.spans();
            assert_eq!((spans.delivered, spans.dropped[&DropReason::Refused]), (5, 1), "{bad}");
            assert_eq!(world.lane.pending(&mark).spans, 0);
            // Three times whole, then in halves; alone three times, and again after others were
            // delivered.
            let failed = world
                .receiver
                .journal()
                .iter()
                .filter(|seen| seen.answer == 500)
                .count();
            assert!((6..=10).contains(&failed), "{bad}: {failed}");
        }
    });
}

#[test]
fn a_receiver_that_fails_on_everything_gets_everything_after_it_recovers() {
    on_a_paused_clock(async {
        let is_back = Arc::new(AtomicBool::new(false));
        let back = Arc::clone(&is_back);
        let mut world = World::new(retry(5 * MINUTE), move |_| {
            if back.load(Ordering::Relaxed) {
                ACCEPTED
            } else {
                (500, "")
            }
        });
        world.push(24);
        for _ in 0..24 {
            world.pass(10 * SECOND).await;
            assert_eq!((world.spans().pending(), world.spans().lost()), (24, 0));
        }
        // Five batches once, one of them three times and in halves, then a few per pause of the
        // breaker.
        let requests = world.receiver.journal().len();
        assert!(requests < 60, "{requests}");
        is_back.store(true, Ordering::Relaxed);
        let mut waited = Duration::ZERO;
        while world.spans().delivered < 24 {
            world.pass(SECOND).await;
            waited += SECOND;
            assert!(waited < MINUTE, "{:?}", world.spans());
        }
    });
}

#[test]
fn spans_are_dropped_if_the_receiver_fails_for_longer_than_max_elapsed() {
    on_a_paused_clock(async {
        let mut world = World::new(retry(5 * MINUTE), |_| (500, ""));
        world.push(24);
        let mut waited = Duration::ZERO;
        while world.spans().pending() > 0 {
            world.pass(10 * SECOND).await;
            waited += 10 * SECOND;
            // Each batch's retry time starts with its own first answer.
            assert!(waited < 8 * MINUTE, "{:?}", world.spans());
        }
        assert_eq!(world.spans().dropped[&DropReason::RetriesExhausted], 24);
    });
}

#[test]
fn a_single_span_batch_that_always_fails_is_dropped_after_other_deliveries() {
    on_a_paused_clock(async {
        let mut world = World::new(retry(5 * MINUTE), fails_on_poison);
        // Alone in its batch, the span cannot be compared with others at first.
        world.push_named(&[POISON]);
        for _ in 0..6 {
            world.pass(10 * SECOND).await;
            assert_eq!(world.spans().pending(), 1);
        }
        world.push(3);
        let mut waited = Duration::ZERO;
        while world.spans().pending() > 0 {
            world.pass(SECOND).await;
            waited += SECOND;
            assert!(waited < 2 * MINUTE, "{:?}", world.spans());
        }
        let spans = world.spans();
        assert_eq!((spans.delivered, spans.dropped[&DropReason::Refused]), (3, 1));
    });
}

#[test]
fn with_server_errors_repeat_a_500_is_retried_like_a_503() {
    on_a_paused_clock(async {
        let repeat = Retry {
            server_errors: Some(ServerErrors::Repeat),
            ..retry(5 * MINUTE)
        };
        let mut world = World::new(repeat, fails_on_poison);
        world.push_named(&[POISON, "one", "two"]);
        world.push(3);
        for _ in 0..20 {
            world.pass(10 * SECOND).await;
            assert_eq!((world.spans().in_flight, world.spans().queued), (3, 3));
        }
    });
}

/// Sends with several lanes to a receiver that accepts one request per 20 ms. Returns the lane of
/// each accepted request.
fn accepted_lanes(lanes: usize, batches: usize) -> Vec<usize> {
    let mut free = Instant::now();
    let receiver = Receiver::new(move |_| {
        if Instant::now() < free {
            return (503, "");
        }
        free = Instant::now() + Duration::from_millis(20);
        ACCEPTED
    });
    let export = Export {
        max_export_batch_size: Some(3),
        scheduled_delay: Some(Duration::ZERO),
        compression: Some(Compression::None),
        retry: Retry {
            initial_backoff: Some(Duration::from_millis(2)),
            max_backoff: Some(4 * SECOND),
            ..Retry::default()
        },
        ..Export::default()
    };
    let parts = Parts::of(Binding::new().endpoint(receiver.url.clone()), export);
    let name = |at: usize| Slug::new(&format!("t{at}")).expect("a name");
    let ledgers: Vec<_> = (0..lanes)
        .map(|at| SelectorLedger::standalone(&Selector::of(SelectorKind::Tenant, name(at))))
        .collect();
    let (lanes, _events_rx) = parts.lanes(&ledgers);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for (at, lane) in lanes.iter().enumerate() {
            for _ in 0..3 * batches {
                lane.push(span(format!("of lane {at};")));
            }
            let lane = Arc::clone(lane);
            assert!(lane.send_due(Cause::Ready).is_some());
        }
        let begun = Instant::now();
        // Run while each lane has something to send.
        let spans = |ledger: &Arc<SelectorLedger>| ledger.snapshot().ledgers.spans.snapshot();
        while ledgers.iter().all(|ledger| spans(ledger).pending() > 0) {
            let seen: Vec<_> = ledgers.iter().map(|ledger| spans(ledger).delivered).collect();
            assert!(begun.elapsed() < MINUTE, "{seen:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let journal = receiver.journal();
    let taken = journal.iter().filter(|seen| seen.answer == 200);
    let of = |seen: &Seen| (0..lanes.len()).find(|at| seen.contains(&format!("of lane {at};")));
    taken
        .map(|seen| of(seen).expect("the request is of a known lane"))
        .collect()
}

#[test]
fn equal_tracers_take_turns_at_a_receiver_that_is_short_of_capacity() {
    for (lanes, batches) in [(2, 30), (8, 8)] {
        let taken = accepted_lanes(lanes, batches);
        for lane in 0..lanes {
            let gaps = taken.split(|at| *at == lane).map(<[usize]>::len);
            let longest = gaps.max().expect("split yields at least one gap");
            assert!(
                longest <= 4 * lanes,
                "{longest} requests between two of lane {lane}: {taken:?}"
            );
        }
    }
}

#[test]
fn a_shortage_is_503_or_unavailable_without_a_requested_wait() {
    let status = |status| ExportError::Status {
        url: String::new(),
        status,
        message: None,
        retry_after: None,
    };
    let grpc = |code| ExportError::Grpc {
        url: String::new(),
        code,
        message: None,
        retry_after: None,
    };
    let repeat = |error, after| Verdict::Retry { after, error };
    assert!(is_shortage(&repeat(status(503), None)));
    assert!(is_shortage(&repeat(grpc(14), None)));
    for other in [
        repeat(status(503), Some(SECOND)),
        repeat(grpc(14), Some(SECOND)),
        repeat(status(429), None),
        repeat(status(502), None),
        repeat(grpc(8), None),
        Verdict::Fault { error: status(500) },
    ] {
        assert!(!is_shortage(&other), "{other:?}");
    }
}
