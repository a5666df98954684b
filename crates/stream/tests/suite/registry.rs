//! A stand-in for the registry, which takes what arrives, and helpers that look at the streams.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use tracer_registry_spool::{Event, Kind, Limit, Lost, QueueDepth, Rest, RowId, Store, Taken};
use tracer_registry_stream::test::TestCluster;
use tracer_registry_stream::{Limits, Mode, StreamOptions, StreamStore, init};
use uuid::Uuid;

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What happens to taken rows of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) enum Receiver {
    /// They are delivered.
    #[default]
    Accepts,
    /// They are released, and taken again soon.
    Refuses,
    /// They are kept, and nothing more is taken.
    Hangs,
    /// All but this is delivered, once. Then it accepts.
    Leaves(Rest),
}

/// A store, and what takes from it. If it is dropped without `close`, its process has died.
pub(crate) struct Replica {
    store: Option<Arc<StreamStore>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    receivers: HashMap<String, Receiver>,
    /// Delivered bodies, with their queues, in order.
    pub(crate) delivered: Vec<(String, String)>,
    /// Rows that a receiver which hangs keeps.
    pub(crate) kept: Vec<(String, RowId)>,
    pub(crate) arrived: BTreeMap<String, u64>,
    pub(crate) moved: BTreeMap<String, u64>,
    lanes: HashMap<(Arc<str>, Kind), Lane>,
}

#[derive(Default)]
struct Lane {
    rows: u64,
    is_taking: bool,
    not_before: Option<Instant>,
}

enum Input {
    Event(Event),
    Taken(Arc<str>, Kind, Vec<Taken>),
    Changed,
}

impl Replica {
    pub(crate) fn open(cluster: &TestCluster, partitions: u16, receivers: &[(&str, Receiver)]) -> Self {
        let (inputs, inputs_rx) = mpsc::channel();
        let events = Mutex::new(inputs.clone());
        let report = Arc::new(move |event| drop(lock(&events).send(Input::Event(event))));
        let options = options(cluster, partitions, report);
        // The store waits for its servers on a runtime of its own.
        let open = thread::spawn(move || StreamStore::open(options).expect("a store"));
        let store = open.join().expect("a store");
        let receivers = receivers
            .iter()
            .map(|(queue, receiver)| ((*queue).to_owned(), receiver.clone()));
        let state = Arc::new(Mutex::new(State {
            receivers: receivers.collect(),
            ..State::default()
        }));
        let (weak, of_thread) = (Arc::downgrade(&store), Arc::clone(&state));
        thread::spawn(move || serve(&weak, &of_thread, &inputs, &inputs_rx));
        Self {
            store: Some(store),
            state,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn set(&self, queue: &str, receiver: Receiver) {
        self.state().receivers.insert(queue.to_owned(), receiver);
    }

    pub(crate) fn store(&self) -> &StreamStore {
        self.store.as_ref().expect("a store that is open")
    }

    pub(crate) fn close(mut self) {
        if let Some(store) = self.store.take() {
            let close = thread::spawn(move || store.close(Instant::now() + Duration::from_secs(10)));
            close.join().expect("closed");
        }
    }

    /// What was delivered of a queue.
    pub(crate) fn delivered(&self, queue: &str) -> Vec<String> {
        let state = self.state();
        let of_queue = state.delivered.iter().filter(|(of, _)| of == queue);
        of_queue.map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.state().delivered.len()
    }

    /// Items of a queue that arrived, and those that moved to another process.
    pub(crate) fn net(&self, queue: &str) -> (u64, u64) {
        let state = self.state();
        let of = |counts: &BTreeMap<String, u64>| counts.get(queue).copied().unwrap_or_default();
        (of(&state.arrived), of(&state.moved))
    }

    /// How many rows a receiver that hangs keeps.
    pub(crate) fn kept(&self) -> usize {
        self.state().kept.len()
    }
}

fn options(cluster: &TestCluster, partitions: u16, report: Arc<dyn Fn(Event) + Send + Sync>) -> StreamOptions {
    StreamOptions {
        partitions,
        replicas: cluster.nodes(),
        monitor: cluster.monitor_urls(),
        limits: Limits {
            max_bytes: 256 << 20,
            max_parked_bytes: 256 << 20,
            ..Limits::default()
        },
        ..StreamOptions::new(cluster.urls(), |_, _| false, report)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes and delivers until the store is gone.
fn serve(
    store: &Weak<StreamStore>,
    state: &Mutex<State>,
    inputs: &mpsc::Sender<Input>,
    inputs_rx: &mpsc::Receiver<Input>,
) {
    loop {
        let input = inputs_rx
            .recv_timeout(Duration::from_millis(20))
            .unwrap_or(Input::Changed);
        let Some(store) = store.upgrade() else { return };
        let state = &mut *lock(state);
        match input {
            Input::Event(Event::Arrived(depths)) => depths.iter().for_each(|depth| state.count(depth, true)),
            Input::Event(Event::Lost {
                why: Lost::Moved,
                depth,
            }) => state.count(&depth, false),
            Input::Event(_) | Input::Changed => {}
            Input::Taken(queue, kind, rows) => state.taken(&store, &queue, kind, rows),
        }
        let receivers = &state.receivers;
        let hangs = |queue: &str| matches!(receivers.get(queue), Some(Receiver::Hangs));
        let kept = &state.kept;
        for ((queue, kind), lane) in &mut state.lanes {
            let is_full = hangs(queue) && kept.iter().any(|(of, _)| **of == **queue);
            let waits = lane.not_before.is_some_and(|at| Instant::now() < at);
            if lane.rows == 0 || lane.is_taking || waits || is_full {
                continue;
            }
            lane.is_taking = true;
            let (inputs, queue, kind) = (inputs.clone(), Arc::clone(queue), *kind);
            let limit = Limit {
                rows: 64,
                bytes: 1 << 20,
                before: u64::MAX,
            };
            let of_done = Arc::clone(&queue);
            let done = Box::new(move |taken: Result<Vec<Taken>, _>| {
                drop(inputs.send(Input::Taken(of_done, kind, taken.unwrap_or_default())));
            });
            store.take(&queue, kind, limit, done);
        }
    }
}

impl State {
    fn count(&mut self, depth: &QueueDepth, is_more: bool) {
        for (kind, rows, items) in [
            (Kind::Spans, depth.span_rows, depth.spans),
            (Kind::SessionEvents, depth.event_rows, depth.events),
        ] {
            let lane = self.lanes.entry((Arc::clone(&depth.queue), kind)).or_default();
            let counts = if is_more { &mut self.arrived } else { &mut self.moved };
            *counts.entry(depth.queue.to_string()).or_default() += items;
            lane.rows = if is_more {
                lane.rows + rows
            } else {
                lane.rows.saturating_sub(rows)
            };
        }
    }

    fn taken(&mut self, store: &StreamStore, queue: &Arc<str>, kind: Kind, rows: Vec<Taken>) {
        let receiver = self.receivers.get(&**queue).cloned().unwrap_or_default();
        let lane = self.lanes.entry((Arc::clone(queue), kind)).or_default();
        lane.is_taking = false;
        lane.not_before = rows.is_empty().then(|| Instant::now() + Duration::from_millis(50));
        lane.rows = lane.rows.saturating_sub(rows.len() as u64);
        let ids = rows.iter().map(|row| row.id);
        match receiver {
            Receiver::Accepts => {
                store.complete(ids.collect());
                for row in rows {
                    let body = String::from_utf8(row.body.to_vec()).expect("a text");
                    self.delivered.push((queue.to_string(), body));
                }
            }
            Receiver::Refuses => {
                lane.rows += rows.len() as u64;
                lane.not_before = Some(Instant::now() + Duration::from_millis(50));
                store.release(ids.map(|id| (id, None)).collect());
            }
            Receiver::Hangs => self.kept.extend(ids.map(|id| (queue.to_string(), id))),
            Receiver::Leaves(rest) => {
                lane.rows += rows.len() as u64;
                store.release(ids.map(|id| (id, Some(rest.clone()))).collect());
                self.receivers.insert(queue.to_string(), Receiver::Accepts);
            }
        }
    }
}

/// Waits for a condition. If it does not become true, the test fails with the text of `state`.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<(), String>) {
    let end = Instant::now() + DEADLINE;
    loop {
        match holds().await {
            Ok(()) => return,
            Err(last) => assert!(Instant::now() < end, "{what}: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn check(holds: bool, last: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{last:?}")) }
}

/// The streams, as another program sees them.
pub(crate) struct Streams {
    pub(crate) context: Context,
    process: Uuid,
    /// Numbers and sums by partition.
    published: HashMap<u16, (u64, u64)>,
}

impl Streams {
    /// Connects, and creates the streams and buckets.
    pub(crate) async fn create(cluster: &TestCluster, partitions: u16) -> Self {
        let report = init(&options(cluster, partitions, Arc::new(|_| {})), Mode::Create).await;
        let report = report.expect("streams");
        assert!(report.is_as_configured(), "{report:?}");
        let client = async_nats::connect(cluster.urls()).await.expect("a connection");
        let context = jetstream::new(client);
        Self {
            context,
            process: Uuid::new_v4(),
            published: HashMap::new(),
        }
    }

    /// Publishes spans to the parking stream, as a sender would: those with this number of the
    /// process and in the hot stream.
    pub(crate) async fn park(&mut self, partition: u16, queue: &str, items: u64, number: u64, hot: u64, body: &str) {
        let mut headers = self.headers(partition, queue, items, (number, number * items));
        headers.insert("Tr-Hot", hot.to_string());
        let subject = format!("tr.park.{partition}.{queue}.s");
        let sent = self
            .context
            .publish_with_headers(subject, headers, body.to_owned().into());
        sent.await.expect("sent").await.expect("stored");
    }

    fn headers(&self, partition: u16, queue: &str, items: u64, (number, sum): (u64, u64)) -> HeaderMap {
        let process = self.process.simple();
        let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let created = created.expect("a time").as_millis();
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{process}.{partition}.{number}"));
        headers.insert("Tr-Row", format!("1 {items} 0 {created} 1 {number}"));
        headers.insert("Tr-Owner", queue);
        headers.insert("Tr-Published", format!("{process} {number} {sum}"));
        headers
    }

    /// Publishes spans. Returns their number in the hot stream.
    pub(crate) async fn publish(&mut self, partition: u16, queue: &str, items: u64, body: &str) -> u64 {
        let (number, sum) = self.published.entry(partition).or_default();
        *number += 1;
        *sum += items;
        let headers = self.headers(partition, queue, items, self.published[&partition]);
        let end = Instant::now() + DEADLINE;
        loop {
            let subject = format!("tr.hot.{partition}.{queue}.s");
            let sent = self
                .context
                .publish_with_headers(subject, headers.clone(), body.to_owned().into())
                .await;
            let error = match sent.expect("sent").await {
                Ok(acknowledged) => return acknowledged.sequence,
                Err(error) => error,
            };
            assert!(Instant::now() < end, "{error}");
        }
    }

    /// Writes the totals of what was published.
    pub(crate) async fn write_totals(&self, partition: u16) {
        let (number, sum) = self.published.get(&partition).copied().unwrap_or_default();
        let value = serde_json::json!({"number": number, "sum": sum, "withdrawn": [], "at": 0});
        let bucket = self.context.get_key_value("tr-totals").await.expect("a bucket");
        let key = format!("{}.{partition}", self.process.simple());
        bucket.put(key, value.to_string().into()).await.expect("written");
    }

    /// How many messages a stream has.
    pub(crate) async fn messages(&self, stream: &str) -> u64 {
        match self.context.get_stream(stream).await {
            Ok(stream) => stream.cached_info().state.messages,
            Err(_) => u64::MAX,
        }
    }

    /// Deletes a message behind the back of the store.
    pub(crate) async fn delete(&self, stream: &str, sequence: u64) {
        let stream = self.context.get_stream(stream).await.expect("a stream");
        assert!(stream.delete_message(sequence).await.expect("deleted"));
    }

    /// The books of a partition.
    pub(crate) async fn books(&self, partition: u16) -> serde_json::Value {
        let bucket = self.context.get_key_value("tr-books").await.expect("a bucket");
        let books = bucket.get(partition.to_string()).await.expect("books");
        books.map_or(serde_json::Value::Null, |books| {
            serde_json::from_slice(&books).expect("JSON")
        })
    }

    /// How many partitions each owner has.
    pub(crate) async fn owned(&self, partitions: u16) -> BTreeMap<String, usize> {
        let mut owned = BTreeMap::new();
        for partition in 0..partitions {
            if let Some(owner) = self.books(partition).await["owner"].as_str() {
                *owned.entry(owner.to_owned()).or_default() += 1;
            }
        }
        owned
    }
}
