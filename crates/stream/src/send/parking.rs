//! Reads and writes of the parking stream of one partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use tokio::time::timeout;
use tracer_registry_spool::Limit;
use uuid::Uuid;

use super::direct;
use super::window::Key;
use super::window::moves::{Counted, Delete, ParkedAt, ParkedMessage, ToPark};
use crate::books::Finished;
use crate::connection::Connection;
use crate::layout::names::{Names, queue_of};
use crate::message;

/// How long a scan waits for the next message.
const SCAN_TIMEOUT: Duration = Duration::from_secs(5);

/// The parking stream of a partition.
#[derive(Clone)]
pub(crate) struct Parking {
    connection: Connection,
    names: Names,
    partition: u16,
    stream: Stream<()>,
    /// Its last number at the take-over. What has a larger number was parked by this owner.
    pub(super) last: u64,
}

/// What a read found.
pub(crate) enum Read {
    Messages(Vec<ParkedMessage>),
    /// Nothing, by the word of the leader.
    Nothing,
    Failed,
}

/// What earlier owners parked.
#[derive(Default)]
pub(crate) struct Scanned {
    /// What waits of each queue.
    pub(crate) queues: BTreeMap<Key, Counted>,
    /// Messages that are finished, with their numbers here and in the hot stream.
    pub(crate) copies: Vec<(Key, u64, u64)>,
}

impl Parking {
    /// Finds the stream, and returns its queues.
    pub(crate) async fn open(
        connection: &Connection,
        names: &Names,
        partition: u16,
    ) -> Result<(Self, Vec<Key>), async_nats::Error> {
        let name = names.parking_stream(partition);
        let stream = connection.context.get_stream_no_info(&name).await?;
        let mut info = stream.info_with_subjects(names.parking_subjects(partition)).await?;
        let last = info.info.state.last_sequence;
        let mut queues = Vec::new();
        while let Some((subject, _)) = info.try_next().await? {
            queues.extend(key(&subject));
        }
        let parking = Self {
            connection: connection.clone(),
            names: names.clone(),
            partition,
            stream,
            last,
        };
        Ok((parking, queues))
    }

    /// Counts what earlier owners parked, by reading the headers of all of it.
    pub(crate) async fn scan(self, finished: BTreeMap<Uuid, Finished>) -> Result<Scanned, async_nats::Error> {
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: SCAN_TIMEOUT * 2,
            ..pull::Config::default()
        };
        let consumer: PullConsumer = self.stream.create_consumer(config).await?;
        let mut scanned = Scanned::default();
        let mut left = consumer.cached_info().num_pending;
        let mut messages = consumer.stream().max_messages_per_batch(4096).messages().await?;
        while left > 0 {
            let Some(message) = timeout(SCAN_TIMEOUT, messages.next()).await? else {
                break;
            };
            let message = message?;
            let info = message.info()?;
            let (sequence, pending) = (info.stream_sequence, info.pending);
            if sequence > self.last {
                break;
            }
            left = pending;
            let size = message
                .headers
                .as_ref()
                .and_then(|headers| headers.get_last("Nats-Msg-Size"));
            let size = size.and_then(|size| size.as_str().parse().ok()).unwrap_or(0);
            let Ok(read) = message::read(&message.subject, message.headers.as_ref(), message.payload.clone()) else {
                continue;
            };
            let key = (read.row.queue, read.row.kind);
            let of_process = finished.get(&read.published.process);
            if let Some(hot) = read.hot
                && of_process.is_some_and(|finished| finished.contains(read.published.number))
            {
                scanned.copies.push((key, sequence, hot));
                continue;
            }
            let counted = scanned.queues.entry(key).or_insert(Counted {
                first: sequence,
                ..Counted::default()
            });
            counted.count.add(read.row.kind, read.row.items, size);
        }
        let _ = self.stream.delete_consumer(&consumer.cached_info().name).await;
        Ok(scanned)
    }

    /// Publishes messages of one queue in order. Returns where they are now.
    pub(crate) async fn publish(self, messages: Vec<ToPark>) -> Vec<(u64, Option<ParkedAt>)> {
        let mut sent = Vec::new();
        for ToPark { hot, row, published } in messages {
            let subject = self.names.parking_subject(self.partition, &row.queue, row.kind);
            let headers = message::headers(&row, self.partition, &published, Some(hot));
            let acknowledged = self
                .connection
                .context
                .publish_with_headers(subject, headers, row.body)
                .await;
            sent.push((hot, acknowledged));
        }
        let mut results = Vec::new();
        for (hot, acknowledged) in sent {
            let at = match acknowledged {
                Ok(acknowledged) => acknowledged.await.ok(),
                Err(_) => None,
            };
            let at = at.map(|at| ParkedAt {
                sequence: at.sequence,
                is_counted: at.duplicate && at.sequence <= self.last,
            });
            results.push((hot, at));
        }
        results
    }

    /// Reads messages of a queue from a number on.
    pub(crate) async fn read(self, key: Key, from: u64, limit: Limit) -> Read {
        let subject = self.names.parking_subject(self.partition, &key.0, key.1);
        let request = direct::Request {
            from: Some(from.max(1)),
            subject: Some(subject.clone()),
            batch: Some(limit.rows.clamp(1, 256)),
            // The servers count headers too.
            max_bytes: Some(limit.bytes.clamp(64 << 10, 8 << 20)),
            ..direct::Request::default()
        };
        let stream = self.names.parking_stream(self.partition);
        let read = direct::read(&self.connection.client, &stream, &request).await;
        let messages: Vec<ParkedMessage> = match read {
            Ok(messages) => messages.into_iter().filter_map(parked).collect(),
            Err(error) => {
                tracing::debug!(%error, stream, "cannot read parked messages");
                return Read::Failed;
            }
        };
        if !messages.is_empty() {
            return Read::Messages(messages);
        }
        // The copy that answered may not have it yet. The leader has.
        let of_leader = self.stream.raw_message_builder().sequence(from.max(1));
        match of_leader.next_by_subject(subject).send().await {
            Ok(message) => {
                let stored = direct::Stored {
                    subject: message.subject.to_string(),
                    sequence: message.sequence,
                    headers: message.headers,
                    body: message.payload,
                };
                parked(stored).map_or(Read::Failed, |message| Read::Messages(vec![message]))
            }
            Err(error) if is_missing(&error) => Read::Nothing,
            Err(_) => Read::Failed,
        }
    }

    /// Deletes all messages of a queue. Returns false if that failed.
    pub(crate) async fn purge(&self, key: &Key) -> bool {
        let subject = self.names.parking_subject(self.partition, &key.0, key.1);
        self.stream.purge().filter(subject).await.is_ok()
    }

    /// Reads the first messages, of all queues.
    pub(crate) async fn read_first(self) -> Vec<ParkedMessage> {
        let request = direct::Request {
            from: Some(1),
            subject: Some(self.names.parking_subjects(self.partition)),
            batch: Some(64),
            max_bytes: Some(8 << 20),
            ..direct::Request::default()
        };
        let stream = self.names.parking_stream(self.partition);
        let read = direct::read(&self.connection.client, &stream, &request).await;
        read.map(|messages| messages.into_iter().filter_map(parked).collect())
            .unwrap_or_default()
    }

    /// Deletes messages of a queue. Returns those that were.
    pub(crate) async fn delete(self, key: Key, deletes: Vec<Delete>) -> Vec<Delete> {
        let subject = self.names.parking_subject(self.partition, &key.0, key.1);
        let mut gone = Vec::new();
        for delete in deletes {
            let is_done = match delete {
                Delete::UpTo(last) => {
                    let purge = self.stream.purge().filter(subject.as_str()).sequence(last + 1);
                    purge.await.is_ok()
                }
                // A message that is not there is gone, too.
                Delete::One(sequence) => match self.stream.delete_message(sequence).await {
                    Ok(_) => true,
                    Err(error) => matches!(
                        error.kind(),
                        async_nats::jetstream::stream::DeleteMessageErrorKind::JetStream(_)
                    ),
                },
            };
            if !is_done {
                break;
            }
            gone.push(delete);
        }
        gone
    }
}

fn key(subject: &str) -> Option<Key> {
    queue_of(subject).map(|(queue, kind)| (Arc::from(queue), kind))
}

fn parked(stored: direct::Stored) -> Option<ParkedMessage> {
    let message = message::read(&stored.subject, Some(&stored.headers), stored.body).ok()?;
    Some(ParkedMessage {
        sequence: stored.sequence,
        hot: message.hot?,
        row: message.row,
        published: message.published,
    })
}

fn is_missing(error: &async_nats::jetstream::stream::RawMessageError) -> bool {
    use async_nats::jetstream::stream::RawMessageErrorKind;
    matches!(error.kind(), RawMessageErrorKind::NoMessageFound)
}
