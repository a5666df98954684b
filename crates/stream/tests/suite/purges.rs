//! Purges of all replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use tracer_registry_spool::{AppendError, Done, Event, Failing, Kind, Purged, Row, RowId, Store as _};
use tracer_registry_stream::test::TestCluster;
use tracer_registry_stream::{Mode, StreamStore, init};

use crate::support::options;

/// A store, and the generation that its registry knows.
struct Replica {
    store: Arc<StreamStore>,
    generation: Arc<AtomicU64>,
}

async fn answer<T: Send + 'static>(ask: impl FnOnce(Done<T>)) -> T {
    let (done, answer) = oneshot::channel();
    ask(Box::new(move |result| drop(done.send(result))));
    answer.await.expect("an answer")
}

impl Replica {
    async fn start(cluster: &TestCluster) -> Self {
        let (mut options, _) = options(cluster);
        let generation = Arc::<AtomicU64>::default();
        let known = Arc::clone(&generation);
        options.report = Arc::new(move |event| {
            let generation = match event {
                Event::Opened(recovery) => recovery.generation,
                Event::Erased { generation, .. } | Event::Allowed { generation, .. } => generation,
                _ => return,
            };
            known.fetch_max(generation, Ordering::SeqCst);
        });
        let opened = tokio::task::spawn_blocking(move || StreamStore::open(options));
        let store = opened.await.expect("no panic").expect("a store");
        Self { store, generation }
    }

    async fn append_of(&self, queue: &str, generation: u64) -> Result<Vec<RowId>, AppendError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let row = Row {
            queue: queue.into(),
            owner: queue.into(),
            kind: Kind::Spans,
            order: 1,
            items: 1,
            generation,
            created: u64::try_from(now.as_millis()).expect("a time"),
            format: 0,
            body: "a span".into(),
        };
        answer(|done| self.store.append(vec![row], done)).await
    }

    /// Appends a row as its registry would.
    async fn append(&self, queue: &str) -> Result<Vec<RowId>, AppendError> {
        self.append_of(queue, self.generation.load(Ordering::SeqCst)).await
    }

    /// Waits until a row of a queue is refused because it was erased, or accepted.
    async fn append_until(&self, queue: &str, is_erased: bool) {
        for _ in 0..1_500 {
            match self.append(queue).await {
                Ok(_) if !is_erased => return,
                Err(AppendError::Erased(_)) if is_erased => return,
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
        panic!(
            "{queue}: expected erased: {is_erased}, last {:?}",
            self.append(queue).await
        );
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_purge_applies_to_all_replicas_and_to_later_ones_until_the_data_is_allowed() {
    let cluster = TestCluster::start(1).await;
    init(&options(&cluster).0, Mode::Create).await.expect("streams");
    let (first, second) = (Replica::start(&cluster).await, Replica::start(&cluster).await);
    first.append("tenant:acme").await.expect("accepted");

    let purged: Result<Purged, Failing> = answer(|done| first.store.purge("tenant:acme", done)).await;
    let purged = purged.expect("purged");
    first.generation.fetch_max(purged.generation, Ordering::SeqCst);
    for replica in [&first, &second, &Replica::start(&cluster).await] {
        replica.append_until("tenant:acme", true).await;
        replica.append("tenant:globex").await.expect("another tenant");
    }
    assert_eq!(second.generation.load(Ordering::SeqCst), purged.generation);

    let allowed = answer(|done| first.store.allow("tenant:acme", done)).await;
    assert!(allowed.expect("allowed"), "it was erased");
    let allowed = answer(|done| first.store.allow("tenant:acme", done)).await;
    assert!(!allowed.expect("allowed"), "it was not erased any more");
    for replica in [&first, &second, &Replica::start(&cluster).await] {
        replica.append_until("tenant:acme", false).await;
        let before = replica.append_of("tenant:acme", purged.generation - 1).await;
        assert!(matches!(before, Err(AppendError::Erased(_))), "{before:?}");
    }
}
