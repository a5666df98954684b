//! Sessions with a spool, without an engine: the test acts as the tasks that send and load, and
//! decides when the store commits or fails.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tracer_registry_spool::test::TestStore;
use tracer_registry_spool::{Event, Limit};

use super::*;
use crate::config::{BackendName, Binding, Export, SpoolMode};
use crate::export::accounting::counted_lane::CountedLane as _;
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::lane::tests::Parts;
use crate::export::queue::session_event::SessionEvent;
use crate::export::schedule::engine_event::EngineEvent;
use crate::export::spool::Spool;
use crate::export::spool::backlog::Rows;
use crate::ledger::LedgerSnapshot;

const QUEUE: usize = 6;

struct World {
    disk: TestStore,
    spool: Arc<Spool>,
    lane: Arc<Lane>,
    ledger: Arc<SelectorLedger>,
    _events_rx: UnboundedReceiver<EngineEvent>,
}

impl World {
    fn new(mode: SpoolMode) -> Self {
        let disk = TestStore::by_hand();
        let report: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(|_| {});
        let spool = Spool::new(disk.open(&report), mode, Duration::from_secs(3600), usize::MAX);
        let binding = Binding::new().backend(BackendName::Honeyhive);
        let export = Export {
            max_queue_size: Some(QUEUE),
            max_export_batch_size: Some(2),
            ..Export::default()
        };
        let (lane, ledger, events_rx) = Parts::of(binding, export).spooled_lane(&spool);
        Self {
            disk,
            spool,
            lane,
            ledger,
            _events_rx: events_rx,
        }
    }

    fn queue(&self, session: usize) -> Arc<SessionQueue> {
        SessionQueue::of(&self.lane, Uuid::from_u128(session as u128 + 1))
    }

    fn snapshot(&self) -> LedgerSnapshot {
        let mut all = self.lane.snapshot().ledgers;
        // Of the lane alone, what it loaded beyond what it left there would be negative.
        all.add(&self.ledger.on_disk(|_, retired| *retired));
        all.events.snapshot()
    }

    /// Loads as the task does that loads.
    fn load(&self) {
        let limit = Limit {
            rows: 3,
            bytes: usize::MAX,
            before: self.lane.first_unsaved_order(Kind::SessionEvents),
        };
        let taken = Arc::new(Mutex::new(Vec::new()));
        let result = Arc::clone(&taken);
        let done = move |rows: Result<Vec<Taken>, _>| *result.lock().expect("not poisoned") = rows.unwrap_or_default();
        let queue = Arc::from(self.lane.selector.to_string());
        self.spool
            .store
            .take(&queue, Kind::SessionEvents, limit, Box::new(done));
        self.disk.run();
        let taken = std::mem::take(&mut *taken.lock().expect("not poisoned"));
        let bytes: BTreeMap<RowId, u64> = taken.iter().map(|row| (row.id, row.body.len() as u64)).collect();
        let rows = taken
            .into_iter()
            .map(|row| (row::event(&row).expect("whole"), row))
            .collect();
        let refused = self.ledger.on_disk(|backlog, _| {
            let refused = SessionQueue::push_loaded(&self.lane, rows);
            let loaded = bytes.iter().filter(|(id, _)| !refused.contains(id));
            let rows = Rows {
                count: loaded.clone().count() as u64,
                bytes: loaded.map(|(_, bytes)| bytes).sum(),
            };
            backlog.remove(Kind::SessionEvents, rows);
            refused
        });
        self.spool
            .store
            .release(refused.into_iter().map(|row| (row, None)).collect());
        self.disk.run();
    }
}

fn event(number: u64) -> SessionEvent {
    // Starts are sent alone, in order.
    SessionEvent::Start(json!(number))
}

fn number(queued: &QueuedEvent) -> u64 {
    let SessionEvent::Start(body) = &queued.content.event else {
        panic!("{:?}", queued.content.event)
    };
    body.as_u64().expect("a number")
}

fn deliver(world: &World, queue: &Arc<SessionQueue>) -> Vec<u64> {
    let Some(events) = queue.next() else { return Vec::new() };
    assert!(world.lane.take_events(events.len()), "the lane is open");
    queue.complete(&events, Outcome::Delivered { rejected: 0 });
    events.iter().map(number).collect()
}

#[test]
fn an_event_has_its_row_before_it_is_queued_and_until_it_is_delivered() {
    let world = World::new(SpoolMode::Through);
    let queue = world.queue(0);
    queue.push(event(1));
    assert!(deliver(&world, &queue).is_empty(), "it is not on disk");
    assert_eq!((world.snapshot().accepted, world.snapshot().queued), (1, 1));
    world.disk.run();
    assert_eq!((world.disk.all().len(), world.disk.taken()), (1, 1));
    assert_eq!(deliver(&world, &queue), [1]);
    world.disk.run();
    assert_eq!((world.disk.all().len(), world.disk.completed()), (0, 1));
    assert_eq!((world.snapshot().delivered, world.lane.snapshot().held_bytes), (1, 0));
}

#[test]
fn an_event_of_a_client_counts_once_it_is_on_disk() {
    let world = World::new(SpoolMode::Through);
    let queue = world.queue(0);
    let push = || match queue.try_push(event(1)).expect("accepted") {
        Pushed::OnceSaved(saved) => saved,
        Pushed::Now => panic!("it is not on disk"),
    };
    let saved = push();
    assert_eq!(world.snapshot(), LedgerSnapshot::default());
    assert!(world.lane.snapshot().held_bytes > 0);
    assert!(!world.lane.is_idle(), "its lane must not be retired");
    world.disk.fail(Some(AppendError::Full));
    world.disk.run();
    let result = saved.now_or_never().expect("answered").expect("answered");
    assert!(matches!(result, Err(AppendError::Full)), "{result:?}");
    assert_eq!((world.snapshot(), world.lane.snapshot().held_bytes), Default::default());
    assert!(world.lane.is_idle());
    world.disk.fail(None);
    let saved = push();
    world.disk.run();
    assert!(matches!(saved.now_or_never(), Some(Ok(Ok(())))));
    assert_eq!(deliver(&world, &queue), [1]);
}

#[test]
fn without_room_in_memory_an_event_goes_to_disk_and_later_ones_stay_behind_it() {
    let world = World::new(SpoolMode::Overflow);
    let queue = world.queue(0);
    for number in 0..QUEUE as u64 + 3 {
        queue.push(event(number));
    }
    world.disk.run();
    let ledger = world.snapshot();
    assert_eq!((ledger.queued, ledger.spooled, ledger.lost()), (QUEUE as u64, 3, 0));
    assert_eq!(deliver(&world, &queue), [0]);
    queue.push(event(9));
    world.disk.run();
    assert_eq!(world.snapshot().spooled, 4, "it must not overtake those on disk");
    world.load();
    assert_eq!(
        world.snapshot().spooled,
        4,
        "rows wait until older events have an outcome"
    );
    let mut sent = Vec::new();
    for _ in 0..3 {
        while let [number] = deliver(&world, &queue)[..] {
            sent.push(number);
        }
        world.load();
    }
    assert_eq!(sent, (1..10).collect::<Vec<_>>());
    queue.push(event(10));
    assert_eq!(deliver(&world, &queue), [10], "direct again");
    assert_eq!(world.lane.snapshot().held_bytes, 0);
}

#[test]
fn a_purge_refuses_what_waits() {
    let world = World::new(SpoolMode::Through);
    let queue = world.queue(0);
    queue.push(event(1));
    world.disk.fail(Some(AppendError::Erased("tenant:acme".into())));
    world.disk.run();
    let ledger = world.snapshot();
    assert_eq!(ledger.dropped, [(DropReason::Purged, 1)].into());
    assert_eq!(world.lane.snapshot().held_bytes, 0);
}

#[test]
fn a_shutdown_counts_events_with_rows_as_spooled_and_others_as_lost() {
    let world = World::new(SpoolMode::Through);
    let queue = world.queue(0);
    (0..3).for_each(|number| queue.push(event(number)));
    world.disk.run();
    let events = queue.next().expect("queued");
    assert!(world.lane.take_events(events.len()));
    queue.push(event(3));
    world.lane.abandon();
    let ledger = world.snapshot();
    assert_eq!((ledger.accepted, ledger.spooled, ledger.lost()), (4, 3, 1));
}

#[test]
fn a_store_that_answers_at_once_blocks_no_program() {
    let world = World::new(SpoolMode::Through);
    world.spool.store.close(Instant::now());
    let (queue, (done, is_done)) = (world.queue(0), channel());
    let pushed = Arc::clone(&queue);
    thread::spawn(move || {
        pushed.push(event(1));
        done.send(()).expect("awaited");
    });
    let waited = is_done.recv_timeout(Duration::from_secs(20));
    assert!(waited.is_ok(), "it waits for its own lock");
    assert_eq!(deliver(&world, &queue), [1], "sent from memory");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(usize),
    PushOfClient(usize),
    /// The store runs its commands.
    Run,
    /// The disk is full, or works again.
    Full(bool),
    Deliver(usize),
    /// The task of a session begins to leave its events, or goes on.
    Leave(usize),
    Load,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = 0..2_usize;
    let step = prop_oneof![
        4 => session.clone().prop_map(Step::Push),
        2 => session.clone().prop_map(Step::PushOfClient),
        4 => Just(Step::Run),
        1 => any::<bool>().prop_map(Step::Full),
        3 => session.clone().prop_map(Step::Deliver),
        2 => session.prop_map(Step::Leave),
        2 => Just(Step::Load),
    ];
    prop::collection::vec(step, 1..60)
}

/// An event of a client that waits for its append: session, number and answer.
type Asked = (usize, u64, oneshot::Receiver<Result<(), AppendError>>);
type Task<'t> = Pin<Box<dyn Future<Output = (Leaving, Vec<QueuedEvent>)> + 't>>;

/// Lets the task of a session leave what it has in flight and all that waits.
async fn leave(queue: &Arc<SessionQueue>, mut events: Vec<QueuedEvent>) -> (Leaving, Vec<QueuedEvent>) {
    let leaving = queue.leave(&mut events, Outcome::HandedOver).await;
    (leaving, events)
}

proptest! {
    #[test]
    fn each_session_is_sent_in_the_order_of_acceptance_and_nothing_is_lost(
        is_through in any::<bool>(),
        steps in steps(),
    ) {
        let world = World::new(if is_through { SpoolMode::Through } else { SpoolMode::Overflow });
        let queues = [world.queue(0), world.queue(1)];
        let mut sent: [Vec<u64>; 2] = Default::default();
        let mut accepted: [Vec<u64>; 2] = Default::default();
        let mut asked: VecDeque<Asked> = VecDeque::new();
        let mut tasks: [Option<Task<'_>>; 2] = [None, None];
        let mut next = 0;
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let clock = clock.expect("a runtime");
        let _inside = clock.enter();
        // Afterwards all is delivered.
        let rest = (0..60).flat_map(|_| {
            [Step::Full(false), Step::Run, Step::Leave(9), Step::Run, Step::Leave(9), Step::Load]
                .into_iter()
                .chain((0..2 * QUEUE).map(|at| Step::Deliver(at % 2)))
        });
        let refused = Arc::new(Mutex::new(0));
        for step in steps.into_iter().chain(rest) {
            match step {
                Step::Push(at) => {
                    queues[at].push(event(next));
                    accepted[at].push(next);
                    next += 1;
                }
                Step::PushOfClient(at) => {
                    match queues[at].try_push(event(next)) {
                        Ok(Pushed::Now) => accepted[at].push(next),
                        Ok(Pushed::OnceSaved(saved)) => {
                            // Refused ones are removed again.
                            accepted[at].push(next);
                            asked.push_back((at, next, saved));
                        }
                        Err(_) => *refused.lock().expect("not poisoned") += 1,
                    }
                    next += 1;
                }
                Step::Run => {
                    world.disk.run();
                }
                Step::Full(is_full) => world.disk.fail(is_full.then_some(AppendError::Full)),
                Step::Deliver(at) if tasks[at].is_none() => sent[at].extend(deliver(&world, &queues[at])),
                Step::Deliver(_) => {}
                Step::Leave(at) => {
                    clock.block_on(tokio::time::advance(2 * SAVE_AGAIN_AFTER));
                    for at in if at < 2 { at..at + 1 } else { 0..2 } {
                        if tasks[at].is_none() && at < 2 && matches!(step, Step::Leave(0 | 1)) {
                            let Some(events) = queues[at].next() else { continue };
                            prop_assert!(world.lane.take_events(events.len()));
                            tasks[at] = Some(Box::pin(leave(&queues[at], events)));
                        }
                        let ended = tasks[at].as_mut().and_then(|task| task.as_mut().now_or_never());
                        match ended {
                            Some((Leaving::Left, _)) => tasks[at] = None,
                            // As after a retry that succeeds.
                            Some((Leaving::Again, events)) => {
                                tasks[at] = None;
                                queues[at].complete(&events, Outcome::Delivered { rejected: 0 });
                                sent[at].extend(events.iter().map(number));
                            }
                            Some((Leaving::Dropped(outcome), _)) => panic!("{outcome:?}"),
                            None => {}
                        }
                    }
                }
                Step::Load => world.load(),
            }
            asked.retain_mut(|(at, number, saved)| match saved.now_or_never() {
                None => true,
                Some(result) => {
                    if result.expect("answered").is_err() {
                        accepted[*at].retain(|accepted| accepted != number);
                    }
                    false
                }
            });
            let ledger = world.snapshot();
            let sum = ledger.delivered + ledger.pending() + ledger.spooled + ledger.lost();
            prop_assert_eq!(ledger.accepted, sum);
            let arrived: usize = sent.iter().map(Vec::len).sum();
            prop_assert_eq!(ledger.delivered, arrived as u64);
        }
        let ledger = world.snapshot();
        let count: usize = accepted.iter().map(Vec::len).sum();
        prop_assert_eq!((ledger.accepted, ledger.pending(), ledger.spooled), (count as u64, 0, 0));
        let mut dropped = 0;
        for (accepted, sent) in accepted.iter().zip(&sent) {
            // In order, without those that were dropped because the disk was full.
            let mut left = accepted.iter();
            for number in sent {
                prop_assert!(left.any(|accepted| accepted == number), "{sent:?} of {accepted:?}");
            }
            dropped += accepted.len() - sent.len();
        }
        prop_assert_eq!(ledger.lost(), dropped as u64);
        prop_assert_eq!(world.lane.snapshot().held_bytes, 0);
        prop_assert_eq!(world.disk.all().len(), 0);
    }
}
