//! Batches that go back to disk instead of being dropped, over minutes of paused time.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU16;

use tracer_registry_spool::test::TestStore;
use tracer_registry_spool::{AppendError, Event, Failing, Health, Kind, Row};

use super::*;
use crate::config::SpoolMode;
use crate::export::payload::Payload;
use crate::export::spool::Spool;

/// A world with a disk that works when it is looked at.
struct Disk {
    store: TestStore,
    spool: Arc<Spool>,
}

fn world(
    mode: SpoolMode,
    size: usize,
    retry: Retry,
    answer: impl FnMut(&Seen) -> Answer + Send + 'static,
) -> (World, Disk) {
    let store = TestStore::by_hand();
    let known: Arc<OnceLock<Arc<Spool>>> = Arc::default();
    let events = Arc::clone(&known);
    let notify = move |event| {
        let Some(spool) = events.get() else { return };
        match event {
            Event::Failing(_) => spool.note_health(Health::Failing),
            Event::Full => spool.note_health(Health::Full),
            Event::Working => spool.note_health(Health::Working),
            _ => {}
        }
    };
    let spool = Spool::new(store.open(&(Arc::new(notify) as _)), mode, HOUR, usize::MAX);
    assert!(known.set(Arc::clone(&spool)).is_ok());
    let receiver = Receiver::new(answer);
    let export = Export {
        max_export_batch_size: Some(size),
        scheduled_delay: Some(Duration::ZERO),
        compression: Some(Compression::None),
        retry,
        ..Export::default()
    };
    let parts = Parts::of(Binding::new().endpoint(receiver.url.clone()), export);
    let (lane, ledger, events_rx) = parts.spooled_lane(&spool);
    let world = World {
        receiver,
        lane,
        ledger,
        events_rx,
    };
    (world, Disk { store, spool })
}

impl Disk {
    /// Returns the spans on disk that no lane has in memory.
    fn spans(&self) -> u64 {
        while self.store.run() > 0 {}
        let rows = self.store.rows("tenant:acme", Kind::Spans).len();
        if self.store.taken() == 0 {
            self.items().iter().map(|items| u64::from(*items)).sum()
        } else {
            1_000 + rows as u64
        }
    }

    fn items(&self) -> Vec<u32> {
        let rows = self.store.rows("tenant:acme", Kind::Spans);
        rows.iter().map(|row| row.items).collect()
    }

    fn names(&self) -> Vec<String> {
        let rows = self.store.rows("tenant:acme", Kind::Spans);
        rows.iter().flat_map(names).collect()
    }
}

fn names(row: &Row) -> Vec<String> {
    let body = if row.format & 7 == 1 {
        zstd::decode_all(&row.body[..]).expect("a frame")
    } else {
        row.body.to_vec()
    };
    let payload = Payload::check(body.into()).expect("a request");
    assert_eq!(payload.spans(), row.items as usize);
    let name = |index| payload.describe(index).expect("a span").name.to_owned();
    (0..payload.spans()).map(name).collect()
}

fn status(status: &Arc<AtomicU16>) -> impl FnMut(&Seen) -> Answer + Send + 'static {
    let status = Arc::clone(status);
    move |_| (status.load(Ordering::SeqCst), "")
}

#[test]
fn an_expired_batch_and_what_waits_behind_it_are_left_on_disk() {
    on_a_paused_clock(async {
        let (mut world, disk) = world(SpoolMode::Overflow, 3, retry(5 * MINUTE), |_| (503, ""));
        world.push_named(&["a", "b", "c", "d", "e"]);
        world
            .until("a refusal", World::last_error, |error| !error.is_empty())
            .await;
        for _ in 0..70 {
            world.pass(5 * SECOND).await;
            disk.spans();
        }
        world.until("all on disk", |_| disk.spans(), |spans| *spans == 5).await;
        let spans = world.spans();
        assert_eq!(
            (spans.accepted, spans.spooled, spans.pending(), spans.lost()),
            (5, 5, 0, 0)
        );
        assert_eq!(disk.names(), ["a", "b", "c", "d", "e"]);
        assert_eq!(world.lane.snapshot().held_bytes, 0);
    });
}

#[test]
fn of_a_partly_delivered_row_only_the_rest_is_left_on_disk() {
    on_a_paused_clock(async {
        let mut came = 0;
        let (mut world, disk) = world(SpoolMode::Through, 4, retry(5 * MINUTE), move |_| {
            came += 1;
            match came {
                1 => (413, ""),
                2 => ACCEPTED,
                _ => (503, ""),
            }
        });
        world.push_named(&["a", "b", "c", "d"]);
        world
            .until(
                "half of it",
                |world| (disk.spans(), world.spans().delivered),
                |(_, spans)| *spans == 2,
            )
            .await;
        assert_eq!(disk.items(), [4], "complete until the batch has an outcome");
        for _ in 0..8 {
            world.pass(5 * SECOND).await;
        }
        world.until("the rest", |_| disk.spans(), |spans| *spans == 2).await;
        assert_eq!(disk.names(), ["c", "d"]);
        let spans = world.spans();
        assert_eq!(
            (spans.delivered, spans.spooled, spans.pending(), spans.lost()),
            (2, 2, 0, 0)
        );
    });
}

#[test]
fn a_row_without_deliveries_is_left_as_it_was() {
    on_a_paused_clock(async {
        let mut came = 0;
        let (mut world, disk) = world(SpoolMode::Through, 4, retry(5 * MINUTE), move |_| {
            came += 1;
            if came == 1 { (413, "") } else { (503, "") }
        });
        world.push_named(&["a", "b", "c", "d"]);
        world
            .until(
                "the halves",
                |world| (disk.spans(), world.receiver.journal().len()),
                |(_, requests)| *requests > 1,
            )
            .await;
        let before = disk.store.rows("tenant:acme", Kind::Spans).remove(0).body;
        for _ in 0..8 {
            world.pass(5 * SECOND).await;
        }
        world.until("the row", |_| disk.spans(), |spans| *spans == 4).await;
        let after = disk.store.rows("tenant:acme", Kind::Spans).remove(0).body;
        assert_eq!(before.as_ptr(), after.as_ptr(), "not written again");
        assert_eq!((world.spans().spooled, world.spans().pending()), (4, 0));
    });
}

#[test]
fn a_shutdown_ends_requests_at_once_and_leaves_their_spans_on_disk() {
    on_a_paused_clock(async {
        for mode in [SpoolMode::Overflow, SpoolMode::Through] {
            let (mut world, disk) = world(mode, 3, retry(5 * MINUTE), |_| (503, ""));
            world.push_named(&["a", "b", "c", "d"]);
            world
                .until(
                    "a refusal",
                    |world| (disk.spans(), world.last_error()),
                    |(_, error)| !error.is_empty(),
                )
                .await;
            disk.spool.begin_hand_over();
            world.lane.shared().interrupts.notify_waiters();
            world.ledger.hand_over();
            world.until("all on disk", |_| disk.spans(), |spans| *spans == 4).await;
            let spans = world.spans();
            assert_eq!((spans.spooled, spans.pending(), spans.lost()), (4, 0, 0), "{mode:?}");
            assert_eq!(disk.names(), ["a", "b", "c", "d"]);
        }
    });
}

#[test]
fn while_the_disk_is_full_an_expired_batch_stays_in_memory() {
    on_a_paused_clock(async {
        let code = Arc::new(AtomicU16::new(503));
        let (mut world, disk) = world(SpoolMode::Overflow, 3, retry(MINUTE), status(&code));
        disk.store.fail(Some(AppendError::Full));
        world.push(3);
        for _ in 0..40 {
            world.pass(5 * SECOND).await;
            disk.spans();
        }
        let spans = world.spans();
        assert_eq!((spans.in_flight, spans.lost(), disk.store.all().len()), (3, 0, 0));
        // It is still sent.
        code.store(200, Ordering::SeqCst);
        for _ in 0..40 {
            world.pass(5 * SECOND).await;
            disk.spans();
        }
        world
            .until("the spans", |world| world.spans().delivered, |spans| *spans == 3)
            .await;
    });
}

#[test]
fn while_the_disk_fails_an_expired_batch_is_dropped() {
    on_a_paused_clock(async {
        let (mut world, disk) = world(SpoolMode::Overflow, 3, retry(5 * MINUTE), |_| (503, ""));
        disk.store.fail(Some(AppendError::Failing(Failing {
            what: "append",
            error: "i/o error".to_owned(),
        })));
        disk.spans();
        world.push(3);
        let lost = |world: &World| (disk.spans(), world.spans().lost());
        for _ in 0..50 {
            world.pass(5 * SECOND).await;
        }
        assert_eq!(lost(&world), (0, 0), "for as long as without a spool");
        for _ in 0..20 {
            world.pass(5 * SECOND).await;
            disk.spans();
        }
        world.until("the drop", lost, |(_, lost)| *lost == 3).await;
        assert_eq!(world.spans().dropped, [(DropReason::RetriesExhausted, 3)].into());
    });
}

#[test]
fn a_purge_ends_requests_at_once() {
    on_a_paused_clock(async {
        let (mut world, disk) = world(SpoolMode::Overflow, 3, retry(5 * MINUTE), |_| {
            (503, "retry-after: 200\r\n")
        });
        world.push(3);
        world
            .until("a refusal", World::last_error, |error| !error.is_empty())
            .await;
        let began = tokio::time::Instant::now();
        world.lane.close(DropReason::Purged);
        let requests = |world: &World| (disk.spans(), world.lane.snapshot().oldest_request);
        world
            .until("no request", requests, |(_, request)| request.is_none())
            .await;
        assert!(began.elapsed() < MINUTE, "without the wait that the receiver asked for");
        assert_eq!(world.spans().dropped, [(DropReason::Purged, 3)].into());
        assert_eq!(disk.store.all().len(), 0);
    });
}
