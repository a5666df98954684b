//! A paused selector sends nothing and loses nothing, for hours of paused time.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU16;

use proptest::prelude::*;

use super::*;
use crate::export::accounting::counted_lane::Pending;
use crate::export::accounting::lane_status::RequestState;

/// A receiver with answers that the test chooses, and the world that sends to it.
fn world(max_elapsed: Duration) -> (World, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(200));
    let chosen = Arc::clone(&answer);
    (
        World::new(retry(max_elapsed), move |_| (chosen.load(Ordering::SeqCst), "")),
        answer,
    )
}

fn start(id: &str) -> SessionEvent {
    SessionEvent::Start(json!({"session": {"session_id": id, "session_name": "s"}}))
}

fn names(numbers: Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("span-{number};")).collect()
}

impl World {
    fn requests(&self) -> usize {
        self.receiver.journal().len()
    }

    /// Returns the delivered spans of [`names`], in order of arrival.
    fn delivered_names(&self) -> Vec<String> {
        let journal = self.receiver.journal();
        let accepted = journal.iter().filter(|seen| seen.answer == 200);
        let of = |seen: &Seen| -> Vec<String> {
            let text = String::from_utf8_lossy(&seen.body).into_owned();
            let parts = text.split("span-").skip(1);
            let number = |part: &str| part.split(';').next().map(|number| format!("span-{number};"));
            parts.filter_map(number).collect()
        };
        accepted.flat_map(of).collect()
    }
}

#[test]
fn nothing_is_sent_or_expires_during_a_pause_and_then_all_has_the_full_retry_time() {
    on_a_paused_clock(async {
        for recovers in [true, false] {
            let (mut world, answer) = world(5 * MINUTE);
            answer.store(503, Ordering::SeqCst);
            let queue = SessionQueue::of(&world.lane, Uuid::from_u128(1));
            queue.push(start("one"));
            world.push_named(&names(0..3));
            world
                .until("two failures", World::requests, |requests| *requests >= 2)
                .await;
            assert!(world.ledger.pause() && !world.ledger.pause());
            // A batch, and a part of one.
            world.push_named(&names(3..7));
            queue.push(start("two"));
            world
                .until("requests in progress", |world| world.lane.is_sending(), |is| !is)
                .await;
            let sent = world.requests();
            for _ in 0..3 {
                world.pass(HOUR).await;
                let _mark = Arc::clone(&world.lane).begin_flush();
            }
            assert_eq!(world.requests(), sent, "requests during the pause");
            let (spans, events) = (world.spans(), world.events());
            assert_eq!((spans.pending(), spans.lost()), (7, 0));
            assert_eq!((events.pending(), events.lost()), (2, 0));
            let shown = world.lane.snapshot().oldest_request.expect("a request waits");
            assert_eq!((shown.state, shown.next_attempt), (RequestState::Paused, None));
            assert_eq!(
                world.lane.summary().oldest_request,
                None,
                "a paused request is not stuck"
            );
            if recovers {
                answer.store(200, Ordering::SeqCst);
            }
            assert!(world.ledger.resume() && !world.ledger.resume());
            if recovers {
                let done = |world: &World| (world.spans().delivered, world.events().delivered);
                for _ in 0..4 {
                    world.pass(MINUTE / 2).await;
                }
                world.until("everything", done, |done| *done == (7, 2)).await;
                assert_eq!(world.delivered_names(), names(0..7), "the order is kept");
                continue;
            }
            // Four minutes are less than the retry time.
            for _ in 0..24 {
                world.pass(10 * SECOND).await;
            }
            assert!(world.requests() > sent);
            assert_eq!((world.spans().lost(), world.events().lost()), (0, 0));
            let lost = |world: &World| (world.spans().lost(), world.events().lost());
            for _ in 0..30 {
                world.pass(10 * SECOND).await;
            }
            world
                .until("the end of the retry time", lost, |lost| *lost == (7, 2))
                .await;
        }
    });
}

#[test]
fn a_quarantined_batch_has_the_full_retry_time_after_a_pause() {
    on_a_paused_clock(async {
        let (mut world, answer) = world(5 * MINUTE);
        answer.store(500, Ordering::SeqCst);
        world.push(3);
        world.until("a fault", World::requests, |requests| *requests == 1).await;
        world.pass(Duration::ZERO).await;
        world.ledger.pause();
        world.pass(2 * HOUR).await;
        assert_eq!((world.requests(), world.spans().pending()), (1, 3));
        world.ledger.resume();
        world.pass(4 * SECOND).await;
        answer.store(200, Ordering::SeqCst);
        for _ in 0..6 {
            world.pass(10 * SECOND).await;
        }
        world
            .until("the batch", |world| world.spans().delivered, |spans| *spans == 3)
            .await;
        assert!(world.requests() > 1);
    });
}

#[test]
fn a_session_event_that_was_refused_has_the_full_retry_time_after_a_pause() {
    on_a_paused_clock(async {
        let (mut world, answer) = world(5 * MINUTE);
        answer.store(503, Ordering::SeqCst);
        SessionQueue::of(&world.lane, Uuid::from_u128(1)).push(start("one"));
        world
            .until("a failure", World::requests, |requests| *requests == 1)
            .await;
        world.pass(Duration::ZERO).await;
        world.ledger.pause();
        world.pass(2 * HOUR).await;
        world.ledger.resume();
        for _ in 0..6 {
            world.pass(30 * SECOND).await;
        }
        assert!(
            world.requests() > 1 && world.events().lost() == 0,
            "{:?}",
            world.events()
        );
        answer.store(200, Ordering::SeqCst);
        for _ in 0..3 {
            world.pass(30 * SECOND).await;
        }
        world
            .until("the event", |world| world.events().delivered, |events| *events == 1)
            .await;
    });
}

#[test]
fn a_long_wait_that_is_requested_during_a_pause_drops_nothing() {
    on_a_paused_clock(async {
        let ledger: Arc<OnceLock<Arc<SelectorLedger>>> = Arc::default();
        let paused = Arc::clone(&ledger);
        let mut first = true;
        let mut world = World::new(retry(5 * MINUTE), move |_| {
            if !std::mem::take(&mut first) {
                return ACCEPTED;
            }
            // The pause begins while the request is in progress.
            paused.wait().pause();
            (429, ASKS)
        });
        assert!(ledger.set(Arc::clone(&world.ledger)).is_ok());
        world.push(3);
        world
            .until("the refusal", World::last_error, |error| error.contains("429"))
            .await;
        // Longer than the requested wait, which is longer than the retry time.
        world.pass(HOUR).await;
        assert_eq!((world.spans().pending(), world.requests()), (3, 1));
        world.ledger.resume();
        world
            .until("the spans", |world| world.spans().delivered, |spans| *spans == 3)
            .await;
    });
}

#[test]
fn a_flush_ends_when_a_pause_begins() {
    on_a_paused_clock(async {
        let (mut world, answer) = world(HOUR);
        answer.store(503, Ordering::SeqCst);
        world.push(3);
        world
            .until("a failure", World::requests, |requests| *requests == 1)
            .await;
        let mark = Arc::clone(&world.lane).begin_flush();
        let lane = Arc::clone(&world.lane);
        let flush = std::thread::spawn(move || lane.await_flush(&mark, Instant::now() + MINUTE));
        // Usually it waits by then.
        std::thread::sleep(Duration::from_millis(20));
        let begun = Instant::now();
        world.ledger.pause();
        flush.join().expect("no panic");
        assert!(begun.elapsed() < MINUTE / 2, "the flush waited for the paused lane");
        assert_eq!(world.lane.pending(&mark), Pending { spans: 3, events: 0 });
        // A flush that begins during the pause does not wait either.
        world.lane.await_flush(&mark, Instant::now() + MINUTE);
        assert!(begun.elapsed() < MINUTE / 2);
    });
}

#[test]
fn a_paused_lane_does_not_delay_others_at_a_receiver_that_is_short_of_capacity() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let receiver = Receiver::new(move |_| {
        let fails = failing.load(Ordering::SeqCst);
        if fails { (503, "") } else { ACCEPTED }
    });
    let export = Export {
        max_export_batch_size: Some(3),
        scheduled_delay: Some(Duration::ZERO),
        retry: Retry {
            initial_backoff: Some(Duration::from_millis(2)),
            max_backoff: Some(Duration::from_millis(20)),
            ..Retry::default()
        },
        ..Export::default()
    };
    let parts = Parts::of(Binding::new().endpoint(receiver.url.clone()), export);
    let ledgers = ["t0", "t1"].map(|name| {
        let name = Slug::new(name).expect("a name");
        SelectorLedger::standalone(&Selector::of(SelectorKind::Tenant, name))
    });
    let (lanes, _events_rx) = parts.lanes(&ledgers);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let begun = Instant::now();
        let wait = async |what: &str, is: &dyn Fn() -> bool| {
            while !is() {
                assert!(begun.elapsed() < MINUTE, "{what}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let spans = |at: usize| ledgers[at].snapshot().ledgers.spans.snapshot();
        for lane in &lanes {
            (0..3).for_each(|_| lane.push(span("span")));
            assert!(Arc::clone(lane).send_due(Cause::Ready).is_some());
        }
        // Both wait in the queue of the receiver, the first one at its front.
        wait("failures", &|| receiver.journal().len() >= 6).await;
        ledgers[0].pause();
        let shown = || lanes[0].snapshot().oldest_request.map(|request| request.state);
        wait("the paused request", &|| shown() == Some(RequestState::Paused)).await;
        fails.store(false, Ordering::SeqCst);
        wait("the other lane", &|| spans(1).delivered == 3).await;
        assert_eq!(spans(0).pending(), 3);
        ledgers[0].resume();
        wait("the resumed lane", &|| spans(0).delivered == 3).await;
    });
}

#[test]
fn a_resume_ends_the_wait_before_a_retry() {
    on_a_paused_clock(async {
        let answer = Arc::new(AtomicU16::new(503));
        let chosen = Arc::clone(&answer);
        let retry = Retry {
            initial_backoff: Some(HOUR),
            max_backoff: Some(HOUR),
            ..retry(3 * HOUR)
        };
        let mut world = World::new(retry, move |_| (chosen.load(Ordering::SeqCst), ""));
        world.push(3);
        let state = |world: &World| world.lane.snapshot().oldest_request.map(|request| request.state);
        let waits = |state: &Option<RequestState>| *state == Some(RequestState::WaitsToRetry);
        world.until("a wait", state, waits).await;
        world.ledger.pause();
        answer.store(200, Ordering::SeqCst);
        world.ledger.resume();
        world
            .until("the spans", |world| world.spans().delivered, |spans| *spans == 3)
            .await;
    });
}

#[test]
fn a_request_that_waits_for_a_permit_when_a_pause_begins_is_not_sent() {
    // Answers when the test sends.
    let (answers, is_answered) = std::sync::mpsc::channel();
    let receiver = Receiver::new(move |_| {
        is_answered.recv_timeout(MINUTE).expect("an answer");
        ACCEPTED
    });
    let export = Export {
        max_concurrent_exports: Some(1),
        scheduled_delay: Some(Duration::ZERO),
        timeout: Some(MINUTE),
        ..Export::default()
    };
    let parts = Parts::of(Binding::new().endpoint(receiver.url.clone()), export);
    let ledgers = ["t0", "t1"].map(|name| {
        let name = Slug::new(name).expect("a name");
        SelectorLedger::standalone(&Selector::of(SelectorKind::Tenant, name))
    });
    let (lanes, _events_rx) = parts.lanes(&ledgers);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let spans = |at: usize| ledgers[at].snapshot().ledgers.spans.snapshot();
        for lane in &lanes {
            lane.push(span("span"));
            assert!(
                Arc::clone(lane)
                    .send_due(Cause::Deadline(Instant::now() + HOUR))
                    .is_some()
            );
        }
        // Both tasks run once: the first one has the permit.
        tokio::task::yield_now().await;
        let state = |at: usize| lanes[at].snapshot().oldest_request.map(|request| request.state);
        assert_eq!(
            (state(0), state(1)),
            (Some(RequestState::Sent), Some(RequestState::WaitsForPermit))
        );
        ledgers[1].pause();
        let begun = Instant::now();
        answers.send(()).expect("the receiver waits");
        while state(1) != Some(RequestState::Paused) || spans(0).delivered == 0 {
            assert!(begun.elapsed() < MINUTE, "{:?}", state(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(receiver.journal().len(), 1);
        ledgers[1].resume();
        answers.send(()).expect("the receiver waits");
        while spans(1).delivered == 0 {
            assert!(begun.elapsed() < MINUTE, "{:?}", state(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(usize),
    Event(u128),
    Pause,
    Resume,
    Flush,
    NewKey,
    /// Seconds.
    Pass(u64),
    /// Status of the next answers.
    Answer(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..5_usize).prop_map(Step::Push),
        2 => (1..3_u128).prop_map(Step::Event),
        3 => Just(Step::Pause),
        3 => Just(Step::Resume),
        2 => Just(Step::Flush),
        1 => Just(Step::NewKey),
        4 => (0..90_u64).prop_map(Step::Pass),
        3 => prop::sample::select(vec![200, 200, 503, 500, 401, 400]).prop_map(Step::Answer),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_lane_sends_nothing_while_paused_and_completes_everything_after(steps in steps(), retires in any::<bool>()) {
        on_a_paused_clock(async {
            let (mut world, answer) = world(5 * MINUTE);
            let (mut pushed, mut events) = (0, 0);
            // Requests and expired spans when the pause began.
            let mut paused: Option<(usize, Option<u64>)> = None;
            let expired = |world: &World| world.spans().dropped.get(&DropReason::RetriesExhausted).copied();
            for step in steps {
                match step {
                    Step::Push(count) => {
                        world.push_named(&names(pushed..pushed + count));
                        pushed += count;
                    }
                    Step::Event(session) => {
                        events += 1;
                        SessionQueue::of(&world.lane, Uuid::from_u128(session)).push(start("s"));
                    }
                    Step::Pause => {
                        assert_eq!(world.ledger.pause(), paused.is_none());
                        world.until("requests in progress", |world| world.lane.is_sending(), |is| !is).await;
                        paused.get_or_insert((world.requests(), expired(&world)));
                    }
                    Step::Resume => assert_eq!(world.ledger.resume(), paused.take().is_some()),
                    Step::Flush => {
                        let mark = Arc::clone(&world.lane).begin_flush();
                        if paused.is_some() {
                            // Returns at once.
                            world.lane.await_flush(&mark, Instant::now() + HOUR);
                        }
                    }
                    Step::NewKey => world.lane.note_key_change(),
                    Step::Pass(seconds) => world.pass(Duration::from_secs(seconds)).await,
                    Step::Answer(status) => answer.store(status, Ordering::SeqCst),
                }
                if let Some((requests, expired_before)) = paused {
                    world.pass(HOUR).await;
                    assert_eq!((world.requests(), expired(&world)), (requests, expired_before), "{step:?}");
                }
                assert_eq!((world.spans().accepted, world.events().accepted), (pushed as u64, events));
            }
            if retires {
                world.lane.retire();
            }
            answer.store(200, Ordering::SeqCst);
            world.ledger.resume();
            let _mark = Arc::clone(&world.lane).begin_flush();
            let pending = |world: &World| world.spans().pending() + world.events().pending();
            let mut waited = Duration::ZERO;
            while pending(&world) > 0 {
                world.pass(10 * SECOND).await;
                waited += 10 * SECOND;
                assert!(waited < HOUR, "{:?} {:?}", world.spans(), world.events());
            }
            let delivered = world.delivered_names();
            assert_eq!(delivered.len() as u64, world.spans().delivered, "each delivered span once");
        });
    }
}
