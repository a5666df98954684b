//! The store: a thread with a runtime, and the commands to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tracer_registry_spool::{
    AppendError, Depth, Done, Event, Failing, Health, Kind, Limit, Purged, Recovery, Rest, Row, RowId, Store, Taken,
    Usage,
};
use uuid::Uuid;

use crate::bindings::SharedBindings;
use crate::cluster;
use crate::commands::{ClusterCommand, PublishCommand, SendCommand};
use crate::connection::{self, Connection};
use crate::error::OpenError;
use crate::layout::names::Names;
use crate::ledger::ClusterLedger;
use crate::options::StreamOptions;
use crate::publish;
use crate::send;
use crate::shared::{Counts, Shared};
use crate::start;
use crate::status::{self, StreamStatus};

/// Largest body of a message, if its row can be divided.
const MAX_BODY: usize = 512 << 10;

/// A [`Store`] on NATS JetStream, which many processes share.
pub struct StreamStore {
    shared: Arc<Shared>,
    connection: Connection,
    publish: mpsc::UnboundedSender<PublishCommand>,
    send: mpsc::UnboundedSender<SendCommand>,
    cluster: mpsc::UnboundedSender<ClusterCommand>,
    thread: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
}

impl StreamStore {
    /// Connects, checks the streams and the servers, and starts the thread of the store.
    ///
    /// Waits for the servers for five seconds at most. If they cannot be reached, the store starts
    /// without them: it fails until they can, and checks them then.
    ///
    /// # Errors
    /// [`OpenError`] if the options are not valid, the streams differ from them, or the servers may
    /// lose acknowledged data. Nothing was started.
    pub fn open(options: StreamOptions) -> Result<Arc<Self>, OpenError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OpenError::Thread)?;
        let connection = runtime.block_on(connection::connect(&options))?;
        let shared = Arc::new(Shared {
            names: Names::new(&options.prefix),
            process: Uuid::new_v4(),
            waiting_bytes: AtomicU64::new(0),
            held: Default::default(),
            health: Mutex::new(Health::Failing),
            link: Mutex::default(),
            counts: Counts::default(),
            erased: Mutex::default(),
            bindings: Arc::default(),
            ready: watch::Sender::new(false),
            options,
        });
        let checked = runtime.block_on(start::check_first(&connection, &shared))?;
        (shared.options.report)(Event::Opened(Recovery {
            queues: Vec::new(),
            next_order: 0,
            generation: 0,
            erased: Vec::new(),
            usage: Vec::new(),
        }));
        let (publish, publish_rx) = mpsc::unbounded_channel();
        let (send, mut send_rx) = mpsc::unbounded_channel();
        let (cluster, cluster_rx) = mpsc::unbounded_channel();
        let (of_thread, to_sender) = (Arc::clone(&shared), send.clone());
        let of_store = connection.clone();
        let thread = thread::Builder::new()
            .name("tracer-stream".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let publish = publish::run(connection.clone(), Arc::clone(&of_thread), publish_rx);
                    let send = async {
                        if start::wait_until_ready(&of_thread, &mut send_rx).await {
                            Box::pin(send::run(connection.clone(), Arc::clone(&of_thread), send_rx)).await;
                        }
                    };
                    let cluster = cluster::run(connection.clone(), Arc::clone(&of_thread), to_sender, cluster_rx);
                    let work = async { tokio::join!(publish, send, cluster) };
                    tokio::select! {
                        _ = work => {}
                        () = start::check_again(&connection, &of_thread, checked) => {}
                    }
                });
            })
            .map_err(OpenError::Thread)?;
        Ok(Arc::new(Self {
            shared,
            connection: of_store,
            publish,
            send,
            cluster,
            thread: Mutex::new(Some(thread)),
            closed: AtomicBool::new(false),
        }))
    }
}

impl StreamStore {
    /// Adds up the ledgers of all replicas. Blocks the thread for some requests to the servers.
    ///
    /// # Errors
    /// [`Failing`] if the servers do not answer, or the store is closed.
    pub fn cluster(&self) -> Result<ClusterLedger, Failing> {
        self.ask(ClusterCommand::Ledger)
    }

    /// Makes all replicas read the key of a selector again. Blocks the thread for a request.
    ///
    /// # Errors
    /// [`Failing`] if the servers do not answer, or the store is closed.
    pub fn nudge(&self, selector: &str) -> Result<(), Failing> {
        self.ask(|done| ClusterCommand::Nudge(selector.to_owned(), done))
    }

    fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(Done<Result<T, Failing>>) -> ClusterCommand,
    ) -> Result<T, Failing> {
        let (answer, answer_rx) = std::sync::mpsc::sync_channel(1);
        let done = Box::new(move |result| drop(answer.send(result)));
        let _ = self.cluster.send(command(done));
        // Dropped without an answer once the store is closed.
        let closed = |_| Failing {
            what: "ask the cluster",
            error: "the stream is closed".to_owned(),
        };
        answer_rx.recv().map_err(closed)?
    }

    /// Returns the state of this replica's stream. Asks no server.
    pub fn status(&self) -> StreamStatus {
        status::of(&self.connection, &self.shared, self.health())
    }

    fn health(&self) -> Health {
        *self.shared.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bindings that all replicas share.
    pub fn bindings(&self) -> Arc<SharedBindings> {
        Arc::clone(&self.shared.bindings)
    }
}

impl Store for StreamStore {
    fn append(&self, rows: Vec<Row>, done: Done<Result<Vec<RowId>, AppendError>>) {
        let rows = publish::admit(&self.shared, rows);
        if let Err(refused) = self.publish.send(PublishCommand::Append(rows, done))
            && let PublishCommand::Append(_, done) = refused.0
        {
            done(Err(AppendError::Closed));
        }
    }

    fn take(&self, queue: &Arc<str>, kind: Kind, limit: Limit, done: Done<Result<Vec<Taken>, Failing>>) {
        let take = SendCommand::Take {
            queue: Arc::clone(queue),
            kind,
            limit,
            done,
        };
        if let Err(refused) = self.send.send(take)
            && let SendCommand::Take { done, .. } = refused.0
        {
            done(Ok(Vec::new()));
        }
    }

    fn release(&self, rows: Vec<(RowId, Option<Rest>)>) {
        if !rows.is_empty() {
            let _ = self.send.send(SendCommand::Release(rows));
        }
    }

    fn complete(&self, rows: Vec<RowId>) {
        if !rows.is_empty() {
            let _ = self.send.send(SendCommand::Complete(rows));
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn max_body(&self) -> usize {
        MAX_BODY
    }

    fn save_usage(&self, usage: Vec<Usage>) {
        if let Some(local) = &self.shared.options.local {
            local.store.save_usage(usage);
        }
    }

    fn purge(&self, what: &str, done: Done<Result<Purged, Failing>>) {
        let _ = self.cluster.send(ClusterCommand::Purge(what.to_owned(), done));
    }

    fn allow(&self, what: &str, done: Done<Result<bool, Failing>>) {
        let _ = self.cluster.send(ClusterCommand::Allow(what.to_owned(), done));
    }

    fn depth(&self) -> Depth {
        let [rows, spans, events, bytes] =
            [0, 1, 2, 3].map(|index: usize| self.shared.held[index].load(Ordering::Relaxed));
        Depth {
            health: self.health(),
            rows,
            spans,
            events,
            bytes,
            max_bytes: self.shared.options.limits.max_bytes,
            waiting_bytes: self.shared.waiting_bytes.load(Ordering::Relaxed),
            generation: self.shared.erased().generation(),
        }
    }

    fn close(&self, deadline: Instant) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        let left = || deadline.saturating_duration_since(Instant::now());
        let (published, published_rx) = oneshot::channel();
        let (sent, sent_rx) = oneshot::channel();
        let (left_cluster, left_cluster_rx) = oneshot::channel();
        let _ = self.publish.send(PublishCommand::Close(deadline, published));
        let _ = self.send.send(SendCommand::Close(deadline, sent));
        wait(published_rx, left());
        wait(sent_rx, left());
        let _ = self.cluster.send(ClusterCommand::Close(left_cluster));
        wait(left_cluster_rx, left());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(local) = &self.shared.options.local {
            local.store.close(deadline);
        }
        if let Some(thread) = thread.filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

/// Waits for an end, on a thread without a runtime.
fn wait(mut ended: oneshot::Receiver<()>, timeout: Duration) {
    let until = Instant::now() + timeout;
    while matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty)) && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
}
