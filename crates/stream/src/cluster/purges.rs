//! Purges of the whole cluster.
//!
//! 1. The replica that is asked writes a tombstone. Its revision is the generation of the purge.
//!    From now on each replica refuses the data, as soon as it sees the tombstone.
//! 2. It asks all replicas to erase. Each answers after it has removed the data from its memory, its
//!    local spool and the partitions that it owns.
//! 3. It waits for the owners of all partitions. A replica that is away erases when it sees the
//!    tombstone, before it sends anything.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracer_registry_spool::{Event, Failing, Purged, QueueDepth};

use super::answers::Answer;
use super::context::{Cluster, again, failing};
use crate::commands::{ErasedQueue, SendCommand};
use crate::connection::Connection;
use crate::erase::{Change, MAX_PURGES, Tombstone};
use crate::layout::names::escape;
use crate::shared::Shared;

/// How long a purge waits for the replicas.
const WAIT: Duration = Duration::from_secs(10);

/// Asks replicas to erase.
#[derive(Serialize, Deserialize)]
struct Request {
    what: String,
}

/// What a purge changed, of which the registry does not know yet.
pub(crate) struct Noted {
    change: Change,
    what: String,
    generation: u64,
}

/// Reads what was erased so far, so that nothing of it is taken or sent.
pub(crate) async fn read_erased(connection: &Connection, shared: &Shared) -> Result<(), Failing> {
    let failed = |error: &dyn std::error::Error| failing("the purges of the stream", error);
    let bucket = connection.context.get_key_value(shared.names.bucket("erased")).await;
    let bucket = bucket.map_err(|error| failed(&error))?;
    let status = bucket.status().await.map_err(|error| failed(&error))?;
    if status.info.state.messages == 0 {
        return Ok(());
    }
    let mut watch = bucket.watch_with_history(">").await.map_err(|error| failed(&error))?;
    while let Some(entry) = watch.next().await {
        let entry = entry.map_err(|error| failed(&error))?;
        let is_last = entry.seen_current;
        if let Some(noted) = note_entry(shared, &entry) {
            noted.report(shared);
            if let Some(local) = &shared.options.local
                && noted.change == Change::Erased
                && local.store.depth().rows > 0
            {
                local.store.purge(&noted.what, Box::new(|_| {}));
            }
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Notes an entry of the bucket: refuses data from now on, or accepts it again. Returns what
/// changed.
fn note_entry(shared: &Shared, entry: &Entry) -> Option<Noted> {
    match serde_json::from_slice::<Tombstone>(&entry.value) {
        Ok(tombstone) if entry.operation == Operation::Put => note(shared, tombstone, entry.revision),
        _ => {
            tracing::error!(key = entry.key, "an entry of the purges of the stream is damaged");
            None
        }
    }
}

/// Refuses data from now on, or accepts it again.
fn note(shared: &Shared, tombstone: Tombstone, revision: u64) -> Option<Noted> {
    let what = tombstone.what.clone();
    let generation = tombstone.allowed_after.unwrap_or(revision);
    let change = shared.erased().note(tombstone, revision);
    if let (Change::Allowed, Some(local)) = (change, &shared.options.local) {
        local.store.allow(&what, Box::new(|_| {}));
    }
    (change != Change::None).then_some(Noted {
        change,
        what,
        generation,
    })
}

impl Noted {
    /// Reports the change to the registry, if another replica made it.
    fn report(&self, shared: &Shared) {
        let (what, generation) = (self.what.clone(), self.generation);
        (shared.options.report)(match self.change {
            Change::Erased => Event::Erased { what, generation },
            _ => Event::Allowed { what, generation },
        });
    }
}

impl Cluster {
    /// Erases what the selector covers, on all replicas.
    pub(super) async fn purge(&self, what: &str) -> Result<Purged, Failing> {
        if self.shared.erased().is_full() {
            return Err(Failing {
                what: "purge",
                error: format!("{MAX_PURGES} selectors are erased already: allow some first"),
            });
        }
        let tombstone = Tombstone {
            what: what.to_owned(),
            allowed_after: None,
        };
        let generation = self.write(&tombstone).await?;
        note(&self.shared, tombstone, generation);
        let (queues, streamed) = self.ask_all(what).await?;
        Ok(Purged {
            generation,
            queues,
            streamed,
            file_bytes_before: 0,
            file_bytes_after: 0,
        })
    }

    /// Accepts data again, on all replicas.
    pub(super) async fn allow(&self, what: &str) -> Result<bool, Failing> {
        let generation = self.shared.erased().purged(what);
        let Some(generation) = generation else { return Ok(false) };
        let tombstone = Tombstone {
            what: what.to_owned(),
            allowed_after: Some(generation),
        };
        let revision = self.write(&tombstone).await?;
        note(&self.shared, tombstone, revision);
        Ok(true)
    }

    /// Follows the purges of all replicas.
    pub(super) async fn watch_purges(&self) {
        again(async || {
            let bucket = self.bucket("erased").await?;
            let watch = bucket.watch_with_history(">").await;
            let mut watch = watch.map_err(|error| failing("the purges of the stream", &error))?;
            while let Some(entry) = watch.next().await {
                let entry = entry.map_err(|error| failing("the purges of the stream", &error))?;
                if let Some(noted) = note_entry(&self.shared, &entry) {
                    if noted.change == Change::Erased {
                        let mut unasked = self.unasked.lock().await;
                        let answer = self.erase(&noted.what, Some(&noted)).await;
                        unasked.keep(&noted.what, answer);
                    } else {
                        noted.report(&self.shared);
                    }
                }
            }
            Ok(())
        })
        .await;
    }

    /// Erases what another replica asks for, and answers.
    pub(super) async fn answer_purges(&self) {
        again(async || {
            let requests = self.connection.client.subscribe(self.shared.names.purges()).await;
            let mut requests = requests.map_err(|error| failing("requests to purge", &error))?;
            while let Some(message) = requests.next().await {
                let Ok(request) = serde_json::from_slice::<Request>(&message.payload) else {
                    continue;
                };
                let Some(reply) = message.reply else { continue };
                // The bucket decides what is erased, not the request.
                let bucket = self.bucket("erased").await?;
                let entry = bucket.entry(escape(&request.what)).await;
                let Some(entry) = entry.map_err(|error| failing("the purges of the stream", &error))? else {
                    continue;
                };
                let noted = note_entry(&self.shared, &entry);
                if self.shared.erased().purged(&request.what).is_none() {
                    continue;
                }
                let mut unasked = self.unasked.lock().await;
                let mut answer = self.erase(&request.what, noted.as_ref()).await;
                unasked.add_to(&request.what, &mut answer);
                drop(unasked);
                for answer in answer.parts() {
                    let answer = serde_json::to_vec(&answer).unwrap_or_default();
                    let sent = self.connection.client.publish(reply.clone(), answer.into()).await;
                    sent.map_err(|error| failing("the answer to a purge", &error))?;
                }
            }
            Ok(())
        })
        .await;
    }

    async fn write(&self, tombstone: &Tombstone) -> Result<u64, Failing> {
        let value = serde_json::to_vec(tombstone).unwrap_or_default();
        let written = self
            .bucket("erased")
            .await?
            .put(escape(&tombstone.what), value.into())
            .await;
        written.map_err(|error| failing("the purges of the stream", &error))
    }

    /// Asks all replicas to erase, and waits for the owners of all partitions. Returns what this
    /// replica held, and what it had given away.
    async fn ask_all(&self, what: &str) -> Result<(Vec<QueueDepth>, Vec<QueueDepth>), Failing> {
        let client = &self.connection.client;
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(|error| failing("answers to a purge", &error))?;
        let request = Request { what: what.to_owned() };
        let request = Bytes::from(serde_json::to_vec(&request).unwrap_or_default());
        let sent = client
            .publish_with_reply(self.shared.names.purges(), inbox, request)
            .await;
        sent.map_err(|error| failing("a request to purge", &error))?;
        let mut missing: BTreeSet<u16> = (0..self.shared.options.partitions).collect();
        let (mut own, mut streamed) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + WAIT;
        while !missing.is_empty() {
            let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await else {
                break;
            };
            let Ok(answer) = serde_json::from_slice::<Answer>(&answer.payload) else {
                continue;
            };
            for partition in &answer.partitions {
                missing.remove(partition);
            }
            let is_own = answer.process == self.shared.process;
            for erased in &answer.queues {
                add(if is_own { &mut own } else { &mut streamed }, erased);
            }
            for erased in &answer.local {
                add(&mut streamed, erased);
            }
        }
        if !missing.is_empty() {
            tracing::warn!(
                selector = what,
                partitions = missing.len(),
                "no replica owns these partitions: their next owner erases the data before it sends anything"
            );
        }
        Ok((own, streamed))
    }

    /// Erases what this replica holds, and what is in the partitions that it owns. The registry
    /// hears of it afterwards: what its lanes drop would be finished, and not erased.
    async fn erase(&self, what: &str, noted: Option<&Noted>) -> Answer {
        let mut answer = Answer {
            process: self.shared.process,
            ..Answer::default()
        };
        let (done, erased) = oneshot::channel();
        let asked = self.send.send(SendCommand::Erase(what.to_owned(), done));
        if let Some(noted) = noted {
            noted.report(&self.shared);
        }
        if let Some(local) = &self.shared.options.local {
            let (done, purged) = oneshot::channel();
            local.store.purge(what, Box::new(|result| drop(done.send(result))));
            match purged.await {
                Ok(Ok(purged)) => answer.local.extend(purged.queues.into_iter().map(ErasedQueue::from)),
                Ok(Err(error)) => tracing::error!(selector = what, "the local spool was not erased: {error}"),
                Err(_) => {}
            }
        }
        if let (Ok(()), Ok((partitions, queues))) = (asked, erased.await) {
            (answer.partitions, answer.queues) = (partitions, queues);
        }
        answer
    }
}

/// Adds what one replica erased.
fn add(queues: &mut Vec<QueueDepth>, erased: &ErasedQueue) {
    let index = queues.iter().position(|queue| *queue.queue == *erased.queue);
    let index = index.unwrap_or_else(|| {
        queues.push(QueueDepth {
            queue: erased.queue.as_str().into(),
            spans: 0,
            events: 0,
            span_rows: 0,
            event_rows: 0,
            bytes: 0,
        });
        queues.len() - 1
    });
    let queue = &mut queues[index];
    queue.spans += erased.spans;
    queue.events += erased.events;
    queue.span_rows += erased.span_rows;
    queue.event_rows += erased.event_rows;
    queue.bytes += erased.bytes;
}
