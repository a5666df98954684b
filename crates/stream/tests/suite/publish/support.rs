//! A stream with one store that publishes, and what its streams and buckets hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::oneshot;
use tracer_registry_spool::{AppendError, Event, Kind, Options, Recovery, Row, RowId, SqliteStore, Store};
use tracer_registry_stream::test::TestCluster;
use tracer_registry_stream::{Limits, Local, Mode, Role, StreamOptions, StreamStore, init};

/// How long a condition may take.
const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PARTITIONS: u16 = 2;

/// How a test differs from the others.
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) limits: Limits,
    /// Whether there is a local store.
    pub(crate) local: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 1,
            limits: Limits {
                max_bytes: 512 << 20,
                max_parked_bytes: 64 << 20,
                ..Limits::default()
            },
            local: false,
        }
    }
}

pub(crate) struct Publishing {
    pub(crate) cluster: TestCluster,
    pub(crate) context: jetstream::Context,
    pub(crate) local: Option<Arc<dyn Store>>,
    setup: Setup,
    folder: tempfile::TempDir,
    store: Option<Arc<StreamStore>>,
    events: Arc<Mutex<Vec<String>>>,
}

/// A message in a hot stream.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) id: String,
    pub(crate) process: String,
    pub(crate) number: u64,
    pub(crate) sum: u64,
    pub(crate) items: u64,
    pub(crate) body: String,
}

/// A value of the bucket `totals`.
#[derive(Debug, Deserialize)]
pub(crate) struct Totals {
    pub(crate) number: u64,
    pub(crate) sum: u64,
    pub(crate) withdrawn: Vec<(u64, u64)>,
    pub(crate) ended: bool,
}

impl Publishing {
    pub(crate) async fn start(setup: Setup) -> Self {
        let cluster = TestCluster::start(setup.nodes).await;
        let client = async_nats::connect(cluster.urls()).await.expect("a connection");
        let context = jetstream::new(client);
        let options = options(&cluster, &setup, Arc::new(|_| {}));
        init(&options, Mode::Create).await.expect("streams");
        let mut publishing = Self {
            cluster,
            context,
            local: None,
            setup,
            folder: tempfile::TempDir::new().expect("a folder"),
            store: None,
            events: Arc::default(),
        };
        publishing.open().await;
        publishing.wait_for_event("Working").await;
        publishing
    }

    /// Opens a store, as another process would.
    pub(crate) async fn open(&mut self) {
        let events = Arc::clone(&self.events);
        let report = Arc::new(move |event: Event| {
            let text = format!("{event:?}");
            events.lock().expect("no panic").push(text);
        });
        let mut options = options(&self.cluster, &self.setup, report);
        if self.setup.local {
            let (store, held) = open_local(self.folder.path());
            self.local = Some(Arc::clone(&store));
            options.local = Some(Local {
                store,
                held,
                owner_of: |queue| queue.into(),
            });
        }
        let opened = tokio::task::spawn_blocking(move || StreamStore::open(options));
        self.store = Some(opened.await.expect("no panic").expect("a store"));
    }

    pub(crate) fn store(&self) -> &Arc<StreamStore> {
        self.store.as_ref().expect("an open store")
    }

    /// Appends rows. The answer comes later.
    pub(crate) fn append(&self, rows: Vec<Row>) -> oneshot::Receiver<Result<Vec<RowId>, AppendError>> {
        let (done, answer) = oneshot::channel();
        self.store()
            .append(rows, Box::new(move |result| drop(done.send(result))));
        answer
    }

    pub(crate) async fn close(&mut self, within: Duration) {
        let store = self.store.take().expect("an open store");
        let closed = tokio::task::spawn_blocking(move || store.close(Instant::now() + within));
        closed.await.expect("no panic");
        self.local = None;
    }

    /// Waits for an event that has this text, and forgets all events up to it.
    pub(crate) async fn wait_for_event(&self, text: &str) {
        until(text, async || {
            let mut events = self.events.lock().expect("no panic");
            let found = events.iter().position(|event| event.contains(text));
            found.map(|found| events.drain(..=found)).is_some()
        })
        .await;
    }

    pub(crate) fn has_event(&self, text: &str) -> bool {
        self.events
            .lock()
            .expect("no panic")
            .iter()
            .any(|event| event.contains(text))
    }

    /// Waits until the local store has no rows.
    pub(crate) async fn wait_for_back_fill(&self) {
        let local = self.local.as_ref().expect("a local store");
        until("an empty local store", async || local.depth().rows == 0).await;
    }

    /// Returns the messages of each hot stream, in order.
    pub(crate) async fn stored(&self) -> Vec<Vec<Stored>> {
        let mut all = Vec::new();
        for partition in 0..PARTITIONS {
            let stream = self
                .context
                .get_stream(format!("tr-hot-{partition}"))
                .await
                .expect("a stream");
            let state = &stream.cached_info().state;
            let mut messages = Vec::new();
            for sequence in state.first_sequence.max(1)..=state.last_sequence {
                if let Ok(message) = stream.direct_get(sequence).await {
                    let header = |name| message.headers.get(name).expect("a header").as_str().to_owned();
                    let published = header("Tr-Published");
                    let mut published = published.split(' ');
                    let mut next = || published.next().expect("a field").to_owned();
                    let number = |text: String| text.parse().expect("a number");
                    messages.push(Stored {
                        subject: message.subject.to_string(),
                        id: header("Nats-Msg-Id"),
                        process: next(),
                        number: number(next()),
                        sum: number(next()),
                        items: number(header("Tr-Row").split(' ').nth(1).expect("a field").to_owned()),
                        body: String::from_utf8_lossy(&message.payload).into_owned(),
                    });
                }
            }
            all.push(messages);
        }
        all
    }

    /// Returns the bodies of all messages by subject, in order.
    pub(crate) async fn bodies(&self) -> BTreeMap<String, Vec<String>> {
        let mut bodies: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for message in self.stored().await.into_iter().flatten() {
            bodies.entry(message.subject).or_default().push(message.body);
        }
        bodies
    }

    /// Returns what the bucket has, by partition. For tests with one process.
    pub(crate) async fn totals(&self) -> BTreeMap<u16, Totals> {
        let mut totals = BTreeMap::new();
        let bucket = self.context.get_key_value("tr-totals").await.expect("a bucket");
        let stream = self.context.get_stream("KV_tr-totals").await.expect("a stream");
        for sequence in 1..=stream.cached_info().state.last_sequence {
            let Ok(message) = stream.direct_get(sequence).await else {
                continue;
            };
            let key = message.subject.rsplit_once("tr-totals.").expect("a key").1.to_owned();
            let value = bucket.get(&key).await.expect("a value").expect("a value");
            let partition = key.rsplit_once('.').expect("a partition").1.parse().expect("a number");
            totals.insert(partition, serde_json::from_slice(&value).expect("totals"));
        }
        totals
    }
}

fn options(cluster: &TestCluster, setup: &Setup, report: Arc<dyn Fn(Event) + Send + Sync>) -> StreamOptions {
    StreamOptions {
        replicas: setup.nodes,
        partitions: PARTITIONS,
        monitor: cluster.monitor_urls(),
        role: Role::Ingest,
        limits: setup.limits,
        ..StreamOptions::new(cluster.urls(), |_, _| false, report)
    }
}

fn open_local(folder: &std::path::Path) -> (Arc<dyn Store>, Recovery) {
    let opened: Arc<Mutex<Option<Recovery>>> = Arc::default();
    let of_notify = Arc::clone(&opened);
    let notify = Arc::new(move |event| {
        if let Event::Opened(recovery) = event {
            *of_notify.lock().expect("no panic") = Some(recovery);
        }
    });
    let mut options = Options::new(folder.join("spool"), 256 << 20, |_, _| false, notify);
    options.wait_for_lock = Duration::from_secs(5);
    let store = SqliteStore::open(options).expect("a local store");
    let held = opened.lock().expect("no panic").take().expect("an event");
    (store, held)
}

/// A row with one item for each byte of the text, at least one.
pub(crate) fn row(queue: &str, kind: Kind, order: u64, body: impl Into<Bytes>) -> Row {
    let body = body.into();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Row {
        queue: queue.into(),
        owner: queue.into(),
        kind,
        order,
        items: u32::try_from(body.len()).expect("a short body").max(1),
        generation: 0,
        created: u64::try_from(now.as_millis()).expect("before the year 500 million"),
        format: 0,
        body,
    }
}

pub(crate) fn spans(queue: &str, order: u64) -> Row {
    row(queue, Kind::Spans, order, format!("{order:06}"))
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns an answer, which must come.
pub(crate) async fn answer<T>(answer: oneshot::Receiver<T>) -> T {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.expect("an answer in time").expect("an answer")
}
