//! The consumer of a hot stream: one for each partition, shared by all senders.

use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{Context, Message};
use async_nats::{Client, StatusCode, Subject, Subscriber};
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::connection::Connection;
use crate::layout::names::CONSUMER;

/// Most messages of one pull.
const BATCH: usize = 128;
/// How long one pull waits. Shorter than [`PIN_TIMEOUT`](crate::layout::wanted::PIN_TIMEOUT), so that
/// the owner stays pinned.
const PULL: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_millis(900);
/// How long the servers may be silent.
const SILENCE: Duration = Duration::from_millis(1_800);

/// Pulls the messages of a hot stream. Asks for more when half of them have arrived.
///
/// In a cluster, the end of a pull with a bound of bytes overtakes its messages. The pulls of
/// `async-nats` then ask again before the first message names the pin of this client, and the servers
/// let a request without it wait until it expires: a sender with a backlog would begin with 128
/// messages, and pause for two seconds.
pub(crate) struct Pulls {
    client: Client,
    context: Context,
    subject: String,
    inbox: Subject,
    answers: Subscriber,
    /// Most bytes of one pull.
    bytes: usize,
    /// Messages that the servers were asked for and may still deliver.
    expected: usize,
    /// What the servers call this client, the only one that gets messages.
    pin: Option<String>,
    /// When the servers have been silent for too long.
    due: Instant,
}

/// Why no message arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error("the connection is closed")]
    Closed,
    #[error("the servers are silent")]
    Silent,
    #[error("the servers ended a pull: {status} {description}")]
    Ended { status: StatusCode, description: String },
}

#[derive(Serialize)]
struct Request<'a> {
    batch: usize,
    max_bytes: usize,
    /// In nanoseconds, as all times.
    expires: u128,
    idle_heartbeat: u128,
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

impl Pulls {
    /// `bytes` bounds those of one pull: one message must fit, with its subjects.
    pub(crate) async fn open(connection: &Connection, stream: &str, bytes: usize) -> Result<Self, PullError> {
        let (client, context) = (connection.client.clone(), connection.context.clone());
        let inbox = Subject::from(client.new_inbox());
        let answers = client.subscribe(inbox.clone()).await.map_err(|_| PullError::Closed)?;
        Ok(Self {
            client,
            context,
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{CONSUMER}"),
            inbox,
            answers,
            bytes,
            expected: 0,
            pin: None,
            due: Instant::now(),
        })
    }

    /// Waits for the next message.
    ///
    /// # Cancel safety
    /// No message is lost.
    pub(crate) async fn next(&mut self) -> Result<Message, PullError> {
        loop {
            if self.expected == 0 || (self.expected <= BATCH / 2 && self.pin.is_some()) {
                self.ask().await?;
            }
            let Ok(answer) = timeout_at(self.due, self.answers.next()).await else {
                self.expected = 0;
                return Err(PullError::Silent);
            };
            let message = answer.ok_or(PullError::Closed)?;
            self.due = Instant::now() + SILENCE;
            let header = |name| message.headers.as_ref()?.get_last(name);
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.expected = self.expected.saturating_sub(1);
                    // A publisher can write this header too. The servers' is the last.
                    let pin = header("Nats-Pin-Id").map(async_nats::HeaderValue::as_str);
                    if pin.is_some() && pin != self.pin.as_deref() {
                        self.pin = pin.map(str::to_owned);
                    }
                    let context = self.context.clone();
                    return Ok(Message { message, context });
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(status) => {
                    let left = header("Nats-Pending-Messages").and_then(|left| left.as_str().parse::<usize>().ok());
                    if status == StatusCode::PIN_ID_MISMATCH {
                        self.pin = None;
                    } else if left.is_none() {
                        self.expected = 0;
                        let description = message.description.unwrap_or_default();
                        return Err(PullError::Ended { status, description });
                    }
                    self.expected = self.expected.saturating_sub(left.unwrap_or(BATCH));
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<(), PullError> {
        let request = Request {
            batch: BATCH,
            max_bytes: self.bytes,
            expires: PULL.as_nanos(),
            idle_heartbeat: HEARTBEAT.as_nanos(),
            group: CONSUMER,
            id: self.pin.as_deref(),
        };
        let body = serde_json::to_vec(&request).unwrap_or_default();
        let (subject, inbox) = (self.subject.clone(), self.inbox.clone());
        let published = self.client.publish_with_reply(subject, inbox, body.into()).await;
        published.map_err(|_| PullError::Closed)?;
        self.expected += BATCH;
        self.due = Instant::now() + SILENCE;
        Ok(())
    }
}

/// Ends the pin of an earlier owner, and makes the servers deliver all that is not acknowledged again,
/// in order. Returns false if they cannot: before 2.14, or they did not answer.
pub(crate) async fn reset(hot: &Stream<()>) -> bool {
    let _ = hot.unpin_consumer(CONSUMER, CONSUMER).await;
    hot.reset_consumer(CONSUMER, None).await.is_ok()
}
