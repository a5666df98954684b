//! Model check (loom) of the interaction between application threads and the engine at a lane's
//! lock. Run by `.ci/model`.
//!
//! A lost wake-up makes a thread wait forever, which the checker reports: a lost flush event, an
//! engine that is not notified of spans, a retired lane that is never merged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use tokio::sync::mpsc::UnboundedReceiver;
#[cfg(feature = "spool")]
use tracer_registry_spool::Kind;
#[cfg(feature = "spool")]
use tracer_registry_spool::test::TestStore;

use super::lane::Lane;
use super::sync::set_thread_number;
use super::tests::{Parts, small};
use crate::config::Binding;
#[cfg(feature = "spool")]
use crate::config::SpoolMode;
use crate::export::accounting::counted_lane::{CountedLane, Pending};
use crate::export::schedule::engine_event::{Cause, EngineEvent};
use crate::export::send::outcome::Outcome;
#[cfg(feature = "spool")]
use crate::export::spool::{Spool, persist};
use crate::export::test_fixtures::span;

/// Acts as the engine until `is_over` and no event is left. Returns the names of the sent spans.
fn engine(lane: &Arc<Lane>, events_rx: &mut UnboundedReceiver<EngineEvent>, is_over: impl Fn() -> bool) -> Vec<String> {
    let mut sent = Vec::new();
    loop {
        let over = is_over();
        let Ok(event) = events_rx.try_recv() else {
            if over {
                return sent;
            }
            thread::yield_now();
            continue;
        };
        let cause = match event {
            EngineEvent::Timed(_) => Cause::Deadline(Instant::now() + Duration::from_secs(3600)),
            EngineEvent::Ready(_) => Cause::Ready,
            EngineEvent::Flush(_) | EngineEvent::Session(_) | EngineEvent::Log(_) | EngineEvent::MemoryPressure => {
                continue;
            }
        };
        let started = lane.start(cause).is_some();
        while started && lane.is_due() {
            let batch = lane.take_batch();
            sent.extend(batch.names());
            lane.complete(batch.numbers(&(0..batch.len())), Outcome::Delivered { rejected: 0 });
        }
    }
}

/// Runs the model in every order with at most two preemptions, besides switches where a thread
/// blocks.
fn every_order(model: impl Fn(&Parts) + Send + Sync + 'static) {
    let model = Arc::new(model);
    // Created once, outside the checker's thread, which has a small stack.
    let parts = Arc::new(Parts::of(Binding::new(), small()));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let (model, parts) = (Arc::clone(&model), Arc::clone(&parts));
        spawn(move || model(&parts)).join().expect("the thread does not panic");
    });
}

/// Spawns a thread with enough stack for unoptimized code.
fn spawn(run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let builder = thread::Builder::new().stack_size(1 << 20);
    builder.spawn(run).expect("the thread is spawned")
}

#[test]
fn every_span_is_sent_and_every_flush_completes() {
    every_order(|parts| {
        let (lane, ledger, mut events_rx) = parts.lane();
        let over = Arc::new(AtomicBool::new(false));
        let ends_spans = {
            let lane = Arc::clone(&lane);
            spawn(move || lane.push(span("a".to_owned())))
        };
        let flushes = {
            let (lane, over) = (Arc::clone(&lane), Arc::clone(&over));
            spawn(move || {
                lane.push(span("b".to_owned()));
                let mark = Arc::clone(&lane).begin_flush();
                lane.await_flush(&mark, Instant::now() + Duration::from_secs(3600));
                assert_eq!(lane.pending(&mark), Pending::default());
                ends_spans.join().expect("the thread does not panic");
                over.store(true, Ordering::SeqCst);
            })
        };
        let mut sent = engine(&lane, &mut events_rx, || over.load(Ordering::SeqCst));
        flushes.join().expect("the thread does not panic");
        sent.sort();
        assert_eq!(sent, ["a", "b"]);
        let snapshot = ledger.snapshot().ledgers.spans.snapshot();
        assert_eq!((snapshot.accepted, snapshot.delivered), (2, 2));
    });
}

#[test]
fn spans_in_stripes_are_sent_and_every_flush_completes() {
    every_order(|parts| {
        let (lane, ledger, mut events_rx) = parts.lane();
        lane.stripes.create();
        let over = Arc::new(AtomicBool::new(false));
        let ends_spans = {
            let lane = Arc::clone(&lane);
            spawn(move || {
                // The second span takes the grant that the first one leaves.
                lane.push(span("a".to_owned()));
                lane.push(span("b".to_owned()));
            })
        };
        let flushes = {
            let (lane, over) = (Arc::clone(&lane), Arc::clone(&over));
            spawn(move || {
                set_thread_number(1);
                lane.push(span("c".to_owned()));
                let mark = Arc::clone(&lane).begin_flush();
                lane.await_flush(&mark, Instant::now() + Duration::from_secs(3600));
                assert_eq!(lane.pending(&mark), Pending::default());
                ends_spans.join().expect("the thread does not panic");
                over.store(true, Ordering::SeqCst);
            })
        };
        let mut sent = engine(&lane, &mut events_rx, || over.load(Ordering::SeqCst));
        flushes.join().expect("the thread does not panic");
        sent.sort();
        assert_eq!(sent, ["a", "b", "c"]);
        let snapshot = ledger.snapshot().ledgers.spans.snapshot();
        assert_eq!((snapshot.accepted, snapshot.delivered), (3, 3));
    });
}

#[test]
fn a_retired_lane_is_sent_and_merged_into_the_selector_ledger() {
    every_order(|parts| {
        let (lane, ledger, mut events_rx) = parts.lane();
        let over = Arc::new(AtomicBool::new(false));
        let retires = {
            let (lane, over) = (Arc::clone(&lane), Arc::clone(&over));
            spawn(move || {
                lane.push(span("a".to_owned()));
                lane.push(span("b".to_owned()));
                lane.retire();
                over.store(true, Ordering::SeqCst);
            })
        };
        let sent = engine(&lane, &mut events_rx, || over.load(Ordering::SeqCst));
        retires.join().expect("the thread does not panic");
        assert_eq!(sent, ["a", "b"]);
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.lanes, snapshot.ledgers.spans.snapshot().delivered), (0, 2));
    });
}

#[test]
fn abandoning_a_lane_leaves_nothing_pending() {
    abandoning_leaves_nothing_pending(false);
}

#[test]
fn abandoning_a_lane_with_stripes_leaves_nothing_pending() {
    abandoning_leaves_nothing_pending(true);
}

fn abandoning_leaves_nothing_pending(striped: bool) {
    every_order(move |parts| {
        let (lane, ledger, mut events_rx) = parts.lane();
        if striped {
            lane.stripes.create();
        }
        let over = Arc::new(AtomicBool::new(false));
        let ends_spans = {
            let lane = Arc::clone(&lane);
            spawn(move || {
                lane.push(span("a".to_owned()));
                Arc::clone(&lane).begin_flush();
                lane.push(span("b".to_owned()));
            })
        };
        let shuts_down = {
            let (lane, over) = (Arc::clone(&lane), Arc::clone(&over));
            spawn(move || {
                lane.abandon();
                over.store(true, Ordering::SeqCst);
            })
        };
        engine(&lane, &mut events_rx, || over.load(Ordering::SeqCst));
        shuts_down.join().expect("the thread does not panic");
        ends_spans.join().expect("the thread does not panic");
        let snapshot = ledger.snapshot().ledgers.spans.snapshot();
        assert_eq!((snapshot.accepted, snapshot.pending()), (2, 0));
    });
}

#[cfg(feature = "spool")]
#[test]
fn spans_of_a_lane_that_spills_are_saved_and_sent_and_every_flush_completes() {
    every_order(|parts| {
        let disk = TestStore::by_hand();
        let store = disk.open(&(Arc::new(|_| {}) as _));
        let spool = Spool::new(store, SpoolMode::Overflow, Duration::from_secs(3600), usize::MAX);
        let (lane, ledger, mut events_rx) = parts.spooled_lane(&spool);
        let over = Arc::new(AtomicBool::new(false));
        // Only this thread locks the ledger of the selector, which has no lock of the checker.
        lane.push(span("a".to_owned()));
        let mark = Arc::clone(&lane).begin_flush();
        let waits = {
            let (lane, over) = (Arc::clone(&lane), Arc::clone(&over));
            spawn(move || {
                lane.push(span("b".to_owned()));
                lane.await_flush(&mark, Instant::now() + Duration::from_secs(3600));
                assert_eq!(lane.pending(&mark), Pending::default());
                over.store(true, Ordering::SeqCst);
            })
        };
        lane.spill(Kind::Spans);
        let mut sent = Vec::new();
        loop {
            let is_over = over.load(Ordering::SeqCst);
            let Ok(event) = events_rx.try_recv() else {
                if is_over {
                    break;
                }
                thread::yield_now();
                continue;
            };
            let cause = match event {
                EngineEvent::Timed(_) => Cause::Deadline(Instant::now() + Duration::from_secs(3600)),
                EngineEvent::Ready(_) => Cause::Ready,
                _ => continue,
            };
            if lane.start_saving(cause) {
                while let Some(batch) = lane.take_staged() {
                    let (pieces, rows) = persist::rows(&lane, batch);
                    let of = Arc::clone(&lane);
                    lane.append(rows, move |result| drop(of.note_saved(pieces, result)));
                    disk.run();
                }
            }
            let started = lane.start(cause).is_some();
            while started && lane.is_due() {
                let batch = lane.take_batch();
                sent.extend(batch.names());
                lane.complete(batch.numbers(&(0..batch.len())), Outcome::Delivered { rejected: 0 });
            }
        }
        waits.join().expect("the thread does not panic");
        disk.run();
        let snapshot = ledger.snapshot().ledgers.spans.snapshot();
        assert_eq!((snapshot.accepted, snapshot.queued, snapshot.spooled), (2, 0, 0));
        assert_eq!(sent, ["a", "b"]);
        assert!(disk.all().is_empty(), "rows of sent spans are deleted");
    });
}
