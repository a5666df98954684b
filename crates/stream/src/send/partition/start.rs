//! How a partition begins: the consumer is reset, and queues with parked messages are found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::state::{Claimed, Command, Partition, ReadTotals, file_of};
use crate::layout::names::CONSUMER;
use crate::layout::wanted::ACK_WAIT;
use crate::send::acks::Acks;
use crate::send::consumer;
use crate::send::count::Count;
use crate::send::parking::Parking;
use crate::send::sending::Sending;
use crate::send::timers::Timers;
use crate::send::window::Window;

/// How long to wait after an error.
const RETRY: Duration = Duration::from_secs(1);

/// Begins with a partition that was taken over. Tries until it is given up. Returns `None` then.
pub(super) async fn start(
    sending: &Arc<Sending>,
    claimed: Claimed,
    commands_rx: &mut mpsc::UnboundedReceiver<Command>,
) -> Option<Partition> {
    let mut opened = Box::pin(open(sending, claimed.partition));
    loop {
        tokio::select! {
            opened = &mut opened => return Some(opened.begin(sending, claimed)),
            command = commands_rx.recv() => match command {
                Some(Command::Take { done, .. }) => done(Ok(Vec::new())),
                // What is erased is dropped when it arrives.
                Some(Command::Release(_) | Command::Complete(_) | Command::Erase(..)) => {}
                Some(Command::GiveUp(_)) => {
                    let mut books = claimed.books;
                    books.owner = None;
                    if let Err(error) = claimed.lease.write(&books).await {
                        tracing::debug!(partition = claimed.partition, %error, "a partition was not given up");
                    }
                    return None;
                }
                None => return None,
            },
        }
    }
}

/// What the servers say at a take-over.
struct Opened {
    hot: Stream<()>,
    parking: Parking,
    queues: Vec<crate::send::window::Key>,
    received_before: u64,
    /// Whether messages of the earlier owner arrive late, and maybe after newer ones.
    is_late: bool,
}

async fn open(sending: &Sending, partition: u16) -> Opened {
    loop {
        match try_open(sending, partition).await {
            Ok(opened) => return opened,
            Err(error) => tracing::warn!(partition, %error, "cannot begin to send what is in a partition"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn try_open(sending: &Sending, partition: u16) -> Result<Opened, async_nats::Error> {
    let names = &sending.shared.names;
    let hot = sending
        .connection
        .context
        .get_stream_no_info(names.hot_stream(partition))
        .await?;
    let info = hot.consumer_info(CONSUMER).await?;
    let (received_before, pending) = (info.delivered.stream_sequence, info.num_ack_pending);
    let is_late = !consumer::reset(&hot).await && pending > 0;
    let (parking, queues) = Parking::open(&sending.connection, names, partition).await?;
    Ok(Opened {
        hot,
        parking,
        queues,
        received_before,
        is_late,
    })
}

impl Opened {
    fn begin(self, sending: &Arc<Sending>, claimed: Claimed) -> Partition {
        let now = Instant::now();
        let mut window = Window::default();
        for queue in &self.queues {
            window.expect_parked(queue.clone());
        }
        if !self.is_late {
            window.settle();
        }
        let mut partition = Partition {
            sending: Arc::clone(sending),
            number: claimed.partition,
            file: file_of(claimed.partition, claimed.lease.epoch()),
            hot: self.hot,
            parking: self.parking,
            pulls: None,
            pull_errors: 0,
            books: claimed.books,
            lease: Some(claimed.lease),
            confirmed_at: claimed.since,
            is_dirty: false,
            window,
            acks: Acks::new(sending.connection.client.clone()),
            jobs: FuturesUnordered::new(),
            arrived: Vec::new(),
            received_before: self.received_before,
            settle_at: self.is_late.then(|| now + ACK_WAIT + Duration::from_secs(1)),
            uncounted: self.queues,
            scan_failed: false,
            copies: BTreeSet::new(),
            totals: ReadTotals::default(),
            timers: Timers::new(now),
            giving_up: None,
            is_lost: false,
            reported: Count::default(),
            reported_parked: [0; 2],
        };
        tracing::debug!(
            partition = partition.number,
            parked = partition.uncounted.len(),
            is_late = self.is_late,
            "begins to send what is in a partition"
        );
        partition.pull();
        partition.scan();
        partition
    }
}
