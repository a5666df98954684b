//! The hand-over between threads that end spans and the engine, in every order in which they may meet (`.ci/model`).
//!
//! What waits here waits for ever where it was forgotten, and the checker says so: a flush whose event was lost, an engine that is not told of
//! spans, a tracer that is gone and whose ledger stays open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use tokio::sync::mpsc::UnboundedReceiver;

use super::lane::Lane;
use super::tests::{Parts, small};
use crate::config::Binding;
use crate::export::accounting::counted_lane::{CountedLane, Pending};
use crate::export::schedule::engine_event::{Cause, EngineEvent};
use crate::export::send::outcome::Outcome;
use crate::export::test_fixtures::span;

/// Plays the engine until `is_over`, and then until it has nothing more to do.
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
            EngineEvent::Flush(_) | EngineEvent::Session(_) | EngineEvent::Log(_) | EngineEvent::Pressed => continue,
        };
        let started = lane.start(cause).is_some();
        while started && lane.is_due() {
            let batch = lane.take_batch();
            sent.extend(batch.iter().map(|span| span.name.to_string()));
            lane.complete(batch.numbers(&(0..batch.len())), Outcome::Delivered { rejected: 0 });
        }
    }
}

/// Each order of at most two forced changes between threads, besides those where one waits: few faults need more.
fn every_order(model: impl Fn(&Parts) + Send + Sync + 'static) {
    let model = Arc::new(model);
    // Made once, and not by the checker's own thread, which has little stack.
    let parts = Arc::new(Parts::of(Binding::new(), small()));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let (model, parts) = (Arc::clone(&model), Arc::clone(&parts));
        spawn(move || model(&parts)).join().expect("it does not panic");
    });
}

/// A thread with the stack that unoptimized code takes.
fn spawn(run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let builder = thread::Builder::new().stack_size(1 << 20);
    builder.spawn(run).expect("there is a thread for it")
}

#[test]
fn no_span_is_forgotten_and_every_flush_ends() {
    every_order(|parts| {
        let (lane, account, mut events_rx) = parts.lane();
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
                ends_spans.join().expect("it does not panic");
                over.store(true, Ordering::SeqCst);
            })
        };
        let mut sent = engine(&lane, &mut events_rx, || over.load(Ordering::SeqCst));
        flushes.join().expect("it does not panic");
        sent.sort();
        assert_eq!(sent, ["a", "b"]);
        let books = account.snapshot().ledgers.spans.snapshot();
        assert_eq!((books.accepted, books.delivered), (2, 2));
    });
}

#[test]
fn a_tracer_that_goes_is_sent_and_its_books_are_taken_over() {
    every_order(|parts| {
        let (lane, account, mut events_rx) = parts.lane();
        let over = Arc::new(AtomicBool::new(false));
        let goes = {
            let (lane, over) = (Arc::clone(&lane), Arc::clone(&over));
            spawn(move || {
                lane.push(span("a".to_owned()));
                lane.push(span("b".to_owned()));
                lane.retire();
                over.store(true, Ordering::SeqCst);
            })
        };
        let sent = engine(&lane, &mut events_rx, || over.load(Ordering::SeqCst));
        goes.join().expect("it does not panic");
        assert_eq!(sent, ["a", "b"]);
        let books = account.snapshot();
        assert_eq!((books.lanes, books.ledgers.spans.snapshot().delivered), (0, 2));
    });
}

#[test]
fn the_end_of_a_shutdown_leaves_nothing_pending_whatever_is_under_way() {
    every_order(|parts| {
        let (lane, account, mut events_rx) = parts.lane();
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
        shuts_down.join().expect("it does not panic");
        ends_spans.join().expect("it does not panic");
        let books = account.snapshot().ledgers.spans.snapshot();
        assert_eq!((books.accepted, books.pending()), (2, 0));
    });
}
