//! Appended rows to messages, with an acknowledgement of the servers for each.
//!
//! One task owns everything here. Rows of one queue are on their way one group at a time, so that an
//! attempt that fails can be repeated without changing the order; appends that wait meanwhile are
//! the next group. Many queues are on their way at once.
//!
//! | file | owns |
//! |---|---|
//! | `publisher` | queues, and what happens to their rows |
//! | `attempt` | one attempt to publish, and the answer of the servers |
//! | `availability` | whether the servers answer, and what is full |
//! | `backlog` | what a queue has in the local store |
//! | `backfill` | rows of queues that wait in the local store |
//! | `local` | the local store |
//! | `numbers` | running numbers and sums of messages |
//! | `totals` | what other replicas may know of these numbers |
//! | `upkeep` | what happens at times: probes, totals, reports, the end |
//! | `answers` | answers in the order of the calls |

mod answers;
mod attempt;
mod availability;
mod backfill;
mod backlog;
mod local;
mod numbers;
mod publisher;
mod totals;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracer_registry_spool::{AppendError, Row};

use self::answers::byte_size;
use self::publisher::Publisher;
use crate::commands::PublishCommand;
use crate::connection::Connection;
use crate::shared::Shared;

/// Bytes of rows that may wait for their answer.
const MAX_WAITING: u64 = 64 << 20;
/// How often the connection and deadlines are checked.
const TICK: Duration = Duration::from_millis(100);
/// How long a store that was dropped goes on to publish what was appended.
const AFTER_DROP: Duration = Duration::from_secs(5);

/// Counts rows as waiting, or refuses them because too much waits.
pub(crate) fn admit(shared: &Shared, rows: Vec<Row>) -> Result<Vec<Row>, AppendError> {
    let bytes = byte_size(&rows);
    let admitted = |waiting: u64| (waiting == 0 || waiting + bytes <= MAX_WAITING).then_some(waiting + bytes);
    let result = shared
        .waiting_bytes
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, admitted);
    result.map(|_| rows).map_err(|_| AppendError::Busy)
}

/// Runs until the store is closed.
pub(crate) async fn run(
    connection: Connection,
    shared: Arc<Shared>,
    mut commands_rx: mpsc::UnboundedReceiver<PublishCommand>,
) {
    let (local_tx, mut local_rx) = mpsc::unbounded_channel();
    let mut publisher = Publisher::new(connection, shared, local_tx);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closing: Option<Closing> = None;
    loop {
        let give_up_at = closing.as_ref().map(|closing| closing.give_up_at);
        tokio::select! {
            command = commands_rx.recv(), if !commands_rx.is_closed() || !commands_rx.is_empty() => match command {
                Some(PublishCommand::Append(rows, done)) => publisher.append(rows, done),
                Some(PublishCommand::Close(deadline, ended)) => {
                    publisher.close();
                    commands_rx.close();
                    closing = Some(Closing::new(deadline, Some(ended)));
                }
                None if closing.is_none() => {
                    publisher.close();
                    commands_rx.close();
                    closing = Some(Closing::new(Instant::now() + AFTER_DROP, None));
                }
                None => {}
            },
            Some((group, attempted)) = publisher.attempts.next() => publisher.note_attempted(group, attempted),
            Some((partition, is_there)) = publisher.probes.next() => publisher.note_probed(partition, is_there),
            Some(written) = publisher.writes.next() => publisher.note_written(written),
            Some(event) = local_rx.recv() => publisher.note_local(event),
            _ = tick.tick() => publisher.tick(),
            () = sleep_until(give_up_at.unwrap_or_else(Instant::now).into()), if give_up_at.is_some() => {
                publisher.give_up();
                break;
            }
        }
        publisher.proceed();
        if closing.is_some() && publisher.is_done() {
            break;
        }
    }
    while let Ok(command) = commands_rx.try_recv() {
        if let PublishCommand::Append(_, done) = command {
            done(Err(AppendError::Closed));
        }
    }
    if let Some(Closing { deadline, ended, .. }) = closing {
        publisher.write_last_totals(deadline).await;
        if let Some(ended) = ended {
            let _ = ended.send(());
        }
    }
}

/// The end of a store.
struct Closing {
    /// When what still waits is refused, which leaves time to write the totals.
    give_up_at: Instant,
    deadline: Instant,
    ended: Option<oneshot::Sender<()>>,
}

impl Closing {
    fn new(deadline: Instant, ended: Option<oneshot::Sender<()>>) -> Self {
        let now = Instant::now();
        Self {
            give_up_at: now + deadline.saturating_duration_since(now) * 3 / 4,
            deadline,
            ended,
        }
    }
}
