//! Tests of single steps of a lane with a spool. [`spool_property`](super::spool_property) tests all
//! orders of steps.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::yield_now;
use tracer_registry_spool::test::TestStore;
use tracer_registry_spool::{AppendError, Failing, Health, Kind, Limit, Taken};

use super::durable::Saved;
use super::lane::Lane;
use super::payloads::NoRoom;
use super::place::Placed;
use super::tests::{Parts, small};
use crate::config::{Binding, Export, SpoolMode};
use crate::export::accounting::counted_lane::CountedLane;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::queue::span_queue::Batch;
use crate::export::schedule::breaker_chain::AttemptSignal;
use crate::export::schedule::engine_event::{Cause, EngineEvent};
use crate::export::send::outcome::Outcome;
use crate::export::spool::{Spool, persist, row};
use crate::export::test_fixtures::{payload, span};
use crate::ledger::{DropReason, LedgerSnapshot};

struct World {
    disk: TestStore,
    spool: Arc<Spool>,
    lane: Arc<Lane>,
    ledger: Arc<SelectorLedger>,
    _events_rx: UnboundedReceiver<EngineEvent>,
}

impl World {
    /// The lane has room for seven spans, and sends three at a time.
    fn new(mode: SpoolMode) -> Self {
        Self::with(mode, small())
    }

    fn with(mode: SpoolMode, export: Export) -> Self {
        let disk = TestStore::by_hand();
        let store = disk.open(&(Arc::new(|_| {}) as _));
        let spool = Spool::new(store, mode, Duration::from_secs(3600), usize::MAX);
        let (lane, ledger, events_rx) = Parts::of(Binding::new(), export).spooled_lane(&spool);
        Self {
            disk,
            spool,
            lane,
            ledger,
            _events_rx: events_rx,
        }
    }

    fn push(&self, count: usize) {
        (0..count).for_each(|number| self.lane.push(span(number.to_string())));
    }

    /// Saves what is staged, as far as the store takes it.
    fn save(&self) {
        let later = Instant::now() + Duration::from_secs(3600);
        if self.lane.start_saving(Cause::Ready) || self.lane.start_saving(Cause::Deadline(later)) {
            self.go_on_saving();
        }
    }

    /// Goes on until nothing is due, or the store does not take it now.
    fn go_on_saving(&self) {
        while let Some(batch) = self.lane.take_staged() {
            let (pieces, rows) = persist::rows(&self.lane, batch);
            let (lane, saved) = (Arc::clone(&self.lane), Arc::new(Mutex::new(None)));
            let next = Arc::clone(&saved);
            self.lane.append(rows, move |result| {
                *next.lock().expect("not poisoned") = Some(lane.note_saved(pieces, result));
            });
            self.disk.run();
            if matches!(*saved.lock().expect("not poisoned"), Some(Saved::Later(_))) {
                return;
            }
        }
    }

    /// Takes a batch as the task that sends does.
    fn take(&self) -> Batch {
        let later = Instant::now() + Duration::from_secs(3600);
        let _ = self
            .lane
            .start(Cause::Ready)
            .or_else(|| self.lane.start(Cause::Deadline(later)));
        self.lane.take_batch()
    }

    /// Places a request of this many spans.
    fn place(&self, spans: usize) -> Result<Placed, NoRoom> {
        let names: Vec<String> = (0..spans).map(|number| number.to_string()).collect();
        self.lane.place(payload(&names))
    }

    /// Appends the rows of a request, and commits it once they are on disk.
    fn append(&self, mut placed: Placed) -> Arc<Mutex<Option<Result<(), AppendError>>>> {
        let result = Arc::new(Mutex::new(None));
        let rows = placed.take_rows();
        assert!(!rows.is_empty(), "it goes to disk");
        let answer = Arc::clone(&result);
        self.lane.append(rows, move |rows| {
            let rows = rows.map(|rows| placed.commit(0, None, &rows));
            *answer.lock().expect("not poisoned") = Some(rows);
        });
        self.disk.run();
        result
    }

    /// Leaves a row with one span of this name on disk only.
    fn spool(&self, name: &str) {
        let row = row::of_payload(
            &self.lane.place_at(self.spool.next_order(1)),
            &payload(&[name.to_owned()]),
            true,
        );
        let store = Arc::clone(&self.spool.store);
        self.lane.append(vec![row], move |rows| {
            store.release(rows.expect("appended").into_iter().map(|row| (row, None)).collect());
        });
        self.disk.run();
    }

    /// Loads all rows. Returns how many had no room.
    fn load(&self) -> usize {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let result = Arc::clone(&taken);
        let all = Limit {
            rows: 64,
            bytes: usize::MAX,
            before: u64::MAX,
        };
        let done = move |rows: Result<Vec<Taken>, _>| *result.lock().expect("not poisoned") = rows.expect("readable");
        self.spool
            .store
            .take(&"tenant:acme".into(), Kind::Spans, all, Box::new(done));
        self.disk.run();
        let taken = std::mem::take(&mut *taken.lock().expect("not poisoned"));
        let rows = taken.into_iter().map(|taken| {
            let (payload, is_finished) = row::payload(&taken).expect("whole");
            (payload, is_finished, taken)
        });
        let refused = self.ledger.on_disk(|_, _| self.lane.queue_loaded(rows.collect()));
        let count = refused.len();
        self.spool
            .store
            .release(refused.into_iter().map(|row| (row, None)).collect());
        self.disk.run();
        count
    }

    fn spans(&self) -> LedgerSnapshot {
        self.ledger.snapshot().ledgers.spans.snapshot()
    }

    fn break_disk(&self, fault: Option<AppendError>, health: Health) {
        self.disk.fail(fault);
        self.spool.note_health(health);
    }

    /// Fails requests until the breaker of spans opens.
    fn open_breaker(&self) {
        let chain = self.lane.breakers.chain(RequestKind::Spans);
        while let Some(pass) = chain.enter() {
            pass.end(AttemptSignal::Failing, &self.lane.shared().settings.retry);
        }
    }
}

const DELIVERED: Outcome = Outcome::Delivered { rejected: 0 };

#[test]
fn through_sends_spans_once_they_are_saved_and_deletes_their_rows_once_they_are_sent() {
    let world = World::new(SpoolMode::Through);
    world.push(2);
    assert_eq!(world.take().len(), 0, "nothing is on disk");
    world.save();
    assert_eq!((world.disk.all().len(), world.spans().queued), (1, 2));
    let batch = world.take();
    assert_eq!(batch.names(), ["0", "1"]);
    world.lane.complete(batch.numbers(&(0..1)), DELIVERED);
    world.disk.run();
    assert_eq!(world.disk.all().len(), 1, "a part of the row has no outcome");
    world.lane.complete(batch.numbers(&(1..2)), DELIVERED);
    world.disk.run();
    assert!(world.disk.all().is_empty());
    assert_eq!((world.spans().delivered, world.lane.snapshot().held_bytes), (2, 0));
}

#[test]
fn a_request_is_queued_once_it_is_on_disk() {
    let world = World::new(SpoolMode::Through);
    world.disk.hold();
    let result = world.append(world.place(2).expect("it fits"));
    assert!(result.lock().expect("not poisoned").is_none());
    assert_eq!(world.spans(), LedgerSnapshot::default());
    world.disk.resume();
    world.disk.run();
    assert!(matches!(*result.lock().expect("not poisoned"), Some(Ok(()))));
    assert_eq!((world.spans().queued, world.take().len()), (2, 2));
}

#[test]
fn a_request_that_is_not_saved_is_in_no_ledger_and_holds_no_memory() {
    let world = World::new(SpoolMode::Through);
    world.break_disk(Some(AppendError::Full), Health::Full);
    let result = world.append(world.place(2).expect("it fits"));
    assert!(matches!(
        *result.lock().expect("not poisoned"),
        Some(Err(AppendError::Full))
    ));
    assert_eq!(world.spans(), LedgerSnapshot::default());
    assert_eq!(world.lane.snapshot().held_bytes, 0);
}

#[test]
fn overflow_keeps_requests_in_memory_and_puts_those_without_room_on_disk() {
    let world = World::new(SpoolMode::Overflow);
    let placed = world.place(7).expect("it fits");
    assert!(matches!(placed, Placed::Memory(_)));
    placed.commit(0, None, &[]);
    world.append(world.place(2).expect("the disk has room"));
    assert_eq!((world.spans().queued, world.spans().spooled), (7, 2));
    world.save();
    let rows = world.disk.rows("tenant:acme", Kind::Spans);
    let items: Vec<u32> = rows.iter().map(|row| row.items).collect();
    assert_eq!(items, [3, 3, 1, 2], "in the order of acceptance");
    assert_eq!(world.spans().spooled, 9, "nothing overtakes a row on disk");
}

#[test]
fn a_lane_that_spills_while_its_receiver_fails_holds_no_memory() {
    let world = World::new(SpoolMode::Overflow);
    world.push(3);
    world.open_breaker();
    world.lane.spill(Kind::Spans);
    world.save();
    assert_eq!((world.spans().queued, world.spans().spooled), (0, 3));
    assert_eq!(world.lane.snapshot().held_bytes, 0);
    assert_eq!(world.disk.taken(), 0, "all rows may be loaded");
}

#[test]
fn a_lane_that_spills_while_its_receiver_works_sends_from_memory_and_is_direct_again() {
    let world = World::new(SpoolMode::Overflow);
    world.push(6);
    world.lane.spill(Kind::Spans);
    world.save();
    let sent: usize = std::iter::repeat_with(|| world.take())
        .take_while(|batch| batch.len() > 0)
        .map(|batch| {
            world.lane.complete(batch.numbers(&(0..batch.len())), DELIVERED);
            batch.len()
        })
        .sum();
    world.disk.run();
    assert_eq!((sent, world.disk.all().len()), (6, 0));
    assert!(!world.lane.is_due());
    assert!(!world.lane.state.lock().is_durable());
}

#[test]
fn a_full_disk_drops_the_newest_spans_and_says_so() {
    let world = World::new(SpoolMode::Through);
    world.break_disk(Some(AppendError::Full), Health::Full);
    world.push(3);
    world.save();
    world.push(6);
    assert_eq!((world.spans().queued, world.spans().spooled), (7, 0));
    assert_eq!(world.spans().dropped, [(DropReason::SpoolFull, 2)].into());
}

#[test]
fn requests_do_not_take_the_room_that_older_spans_wait_for() {
    let world = World::new(SpoolMode::Overflow);
    world.place(3).expect("it fits").commit(0, None, &[]);
    world.open_breaker();
    world.lane.spill(Kind::Spans);
    // This one is on its way when the disk has no room for the others.
    let placed = world.place(1).expect("the disk has room");
    world.break_disk(Some(AppendError::OwnerFull("acme".into())), Health::Working);
    world.save();
    world.break_disk(None, Health::Working);
    world.append(placed);
    assert_eq!((world.spans().queued, world.spans().spooled), (3, 1));
    let order = world.disk.rows("tenant:acme", Kind::Spans)[0].order;
    assert!(world.lane.first_unsaved_order(Kind::Spans) < order, "it is newer");
    let long_ago = Instant::now().checked_sub(Duration::from_secs(30));
    let set = |since| {
        world
            .lane
            .state
            .lock()
            .spool
            .as_mut()
            .map(|of_lane| of_lane.full_since = since)
    };
    set(long_ago).expect("a lane with a spool");
    assert!(
        world.lane.first_unsaved_order(Kind::Spans) > order,
        "it is loaded all the same: else it would keep its room"
    );
    let full = NoRoom::Full(DropReason::SpoolFull);
    assert_eq!(world.place(1).err(), Some(full), "a later one takes no room");
    world.go_on_saving();
    assert_eq!((world.spans().queued, world.spans().spooled), (0, 4));
    assert!(world.place(1).is_ok());
}

#[test]
fn while_the_disk_fails_spans_are_sent_from_memory_and_requests_refused() {
    let world = World::new(SpoolMode::Through);
    let failing = Failing {
        what: "append",
        error: String::new(),
    };
    world.break_disk(Some(AppendError::Failing(failing)), Health::Failing);
    assert_eq!(world.place(1).err(), Some(NoRoom::Failing));
    world.push(3);
    world.save();
    assert_eq!(world.take().len(), 3);
    world.break_disk(None, Health::Working);
    world.push(1);
    world.save();
    assert_eq!(world.disk.all().len(), 1, "durable again");
}

#[test]
fn a_shutdown_leaves_what_is_on_disk_and_a_purge_drops_it() {
    for (reason, spooled, dropped) in [
        (DropReason::Shutdown, 3, [(DropReason::Shutdown, 1)]),
        (DropReason::Purged, 0, [(DropReason::Purged, 4)]),
    ] {
        let world = World::new(SpoolMode::Through);
        world.push(3);
        world.save();
        world.push(1);
        world.lane.close(reason);
        assert_eq!((world.spans().spooled, world.spans().pending()), (spooled, 0));
        assert_eq!(world.spans().dropped, dropped.into());
        assert_eq!(world.lane.snapshot().held_bytes, 0);
    }
}

#[test]
fn a_paused_lane_holds_no_saved_spans() {
    let world = World::new(SpoolMode::Through);
    world.push(3);
    world.save();
    assert_eq!(world.spans().queued, 3);
    world.ledger.pause();
    assert_eq!((world.spans().queued, world.spans().spooled), (0, 3));
    world.push(2);
    world.save();
    assert_eq!(world.spans().spooled, 5);
}

#[test]
fn a_row_larger_than_any_share_of_the_memory_is_sent_alone() {
    let export = Export {
        max_queue_bytes: Some(64 << 10),
        ..small()
    };
    let world = World::with(SpoolMode::Through, export);
    let [second, third] = ["2", "3"].map(|text| text.repeat(50 << 10));
    for name in ["1", &second, &third, "4"] {
        world.spool(name);
    }
    let mut sent = Vec::new();
    for left in [3, 2, 0] {
        assert_eq!(world.load(), left);
        let batch = world.take();
        assert_eq!(world.load(), left, "one in flight leaves no room");
        world.lane.complete(batch.numbers(&(0..batch.len())), DELIVERED);
        world.disk.run();
        sent.extend(batch.names());
    }
    assert_eq!(sent, ["1", &second, &third, "4"]);
    assert_eq!((world.disk.all().len(), world.lane.snapshot().held_bytes), (0, 0));
}

#[test]
fn a_lane_goes_on_after_an_answer_of_the_store_was_lost() {
    let world = World::new(SpoolMode::Through);
    world.push(3);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        persist::start(&world.lane, Cause::Ready);
        while world.disk.waiting() == 0 {
            yield_now().await;
        }
        // Forgets the append, as if its answer had panicked.
        drop(world.disk.open(&(Arc::new(|_| {}) as _)));
        for _ in 0..100 {
            yield_now().await;
        }
    });
    assert_eq!(world.spans().dropped, [(DropReason::Encoding, 3)].into());
    assert_eq!(world.lane.snapshot().held_bytes, 0);
    world.push(3);
    assert!(world.lane.start_saving(Cause::Ready), "it saves again");
}

#[test]
fn rows_that_are_loaded_while_a_lane_ends_are_counted_once_they_are_sent() {
    let world = World::new(SpoolMode::Through);
    world.spool("late");
    // The lane was found to be empty, and rows come before its ledger is merged.
    assert_eq!(world.load(), 0);
    world.ledger.retire(world.lane.as_ref());
    let batch = world.take();
    assert_eq!(batch.names(), ["late"]);
    world.lane.complete(batch.numbers(&(0..1)), DELIVERED);
    assert_eq!((world.spans().queued, world.spans().delivered), (0, 1));
    world.ledger.retire(world.lane.as_ref());
    assert_eq!((world.ledger.snapshot().lanes, world.spans().delivered), (0, 1));
}
