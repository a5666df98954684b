//! Messages of the hot stream, and the books about them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream;
use async_nats::jetstream::stream::Stream;
use uuid::Uuid;

use super::state::{Outcome, Partition, TotalsRead};
use crate::books::Seen;
use crate::layout::names::{CONSUMER, Names};
use crate::message;
use crate::send::count::Count;
use crate::send::direct;
use crate::send::window::Found;

/// How long a process may be without a report until it counts as ended. Longer than it takes to write
/// one once the servers are there again.
const DEAD_AFTER: Duration = Duration::from_secs(30);

impl Partition {
    /// Takes a message of the hot stream into the window, unless it is settled already.
    pub(super) async fn receive(&mut self, message: jetstream::Message) {
        let now = Instant::now();
        let (Ok(info), Some(reply)) = (message.info(), message.reply.clone()) else {
            return;
        };
        let (hot, is_redelivered) = (info.stream_sequence, info.delivered > 1);
        let is_redelivered = is_redelivered || info.stream_sequence <= self.received_before;
        let read = message::read(&message.subject, message.headers.as_ref(), message.payload.clone());
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(partition = self.number, message = hot, %error, "a message was deleted");
                return self.acks.terminate(reply).await;
            }
        };
        match self.window.find(hot, &read.published) {
            Some(Found::Held) => return self.acks.hold(hot, reply),
            // Its acknowledgement was lost.
            Some(Found::Parked) => {
                self.acks.settle_again(reply);
                self.is_dirty = true;
                return;
            }
            // It stays until the other one is completed.
            Some(Found::Conflict) => return,
            None => {}
        }
        if self.books.see(&read.published, read.row.items, is_redelivered, now) == Seen::Again {
            self.acks.settle_again(reply);
            self.is_dirty = true;
            return;
        }
        // An earlier owner finished it, and could not say before it lost the partition that it is
        // settled.
        if self.books.is_finished(&read.published) {
            self.books.settle(&read.published, read.row.items);
            self.books.duplicates += u64::from(read.row.items);
            self.acks.settle_again(reply);
            self.is_dirty = true;
            return;
        }
        let is_erased = self.is_erased(&read.row);
        if is_erased || self.is_expired(read.row.created) {
            self.books.settle(&read.published, read.row.items);
            let counter = if is_erased {
                &mut self.books.erased
            } else {
                &mut self.books.expired
            };
            *counter += u64::from(read.row.items);
            self.acks.settle_again(reply);
            self.is_dirty = true;
            return;
        }
        self.acks.hold(hot, reply);
        let (queue, kind) = (Arc::clone(&read.row.queue), read.row.kind);
        let count = Count::of(kind, read.row.items, read.row.body.len() as u64);
        if self.window.insert(hot, read, now) {
            self.arrived.push((queue, count));
        }
    }

    /// Whether data that was accepted then is too old. In milliseconds since 1970.
    pub(super) fn is_expired(&self, created: u64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let max_age = self.sending.shared.options.limits.max_age;
        u128::from(created) + max_age.as_millis() < now.as_millis()
    }

    pub(super) fn read_totals(&mut self) {
        if std::mem::replace(&mut self.totals.is_reading, true) {
            return;
        }
        let (client, hot) = (self.sending.connection.client.clone(), self.hot.clone());
        let (names, partition) = (self.sending.shared.names.clone(), self.number);
        self.jobs.push(Box::pin(async move {
            let read = read(&client, &names, partition, &hot).await;
            Outcome::Totals(
                read.inspect_err(|error| tracing::debug!(partition, %error, "cannot read totals"))
                    .ok(),
            )
        }));
    }

    pub(super) fn note_totals(&mut self, read: Option<TotalsRead>) {
        self.totals.is_reading = false;
        let Some(mut read) = read else { return };
        let now = Instant::now();
        self.note_dead(&mut read, now);
        if let Some((totals, last)) = self.totals.waiting.take() {
            if read.delivered >= last || read.pending == 0 {
                for (process, totals) in totals {
                    self.books.note_totals(process, totals, true, now);
                }
            } else {
                self.totals.waiting = Some((totals, last));
            }
        }
        for (process, totals) in &read.totals {
            self.books.note_totals(*process, totals.clone(), false, now);
        }
        self.totals.waiting.get_or_insert((read.totals, read.last));
    }

    /// A process that was killed writes nothing any more, and could not write that it ended. Its
    /// report is deleted by its age, as are those of all others while the servers are away.
    fn note_dead(&mut self, read: &mut TotalsRead, now: Instant) {
        let silent = &mut self.totals.silent;
        silent.retain(|process, _| !read.live.contains(process));
        let known = self.books.processes().chain(read.totals.keys().copied());
        for process in known.filter(|process| !read.live.contains(process)).collect::<Vec<_>>() {
            let since = *silent.entry(process).or_insert(now);
            if now.saturating_duration_since(since) >= DEAD_AFTER {
                read.totals.entry(process).or_default().ended = true;
            }
        }
    }

    /// Counts what is missing for too long.
    pub(super) fn resolve(&mut self) {
        // Otherwise messages may be here that the books have not seen.
        if self.has_room() && self.pulls.is_some() && self.settle_at.is_none() {
            let before = self.books.buffer_lost;
            self.is_dirty |= self.books.resolve(Instant::now());
            let items = self.books.buffer_lost.saturating_sub(before);
            if items > 0 {
                tracing::error!(partition = self.number, items, "the servers lost acknowledged data");
            }
        }
    }
}

async fn read(
    client: &async_nats::Client,
    names: &Names,
    partition: u16,
    hot: &Stream<()>,
) -> Result<TotalsRead, async_nats::Error> {
    let values = direct::values(client, &names.bucket("totals"), &format!("*.{partition}")).await?;
    let reports = direct::values(client, &names.bucket("replicas"), "replica.*").await?;
    let reports = reports.iter().filter_map(|report| report.key.strip_prefix("replica."));
    let live = reports.filter_map(|process| Uuid::try_parse(process).ok()).collect();
    let totals = values.into_iter().filter_map(|value| {
        let process = Uuid::try_parse(value.key.split_once('.')?.0).ok()?;
        Some((process, serde_json::from_slice(&value.body).ok()?))
    });
    let totals = totals.collect();
    let last = hot.get_info().await?.state.last_sequence;
    let consumer = hot.consumer_info(CONSUMER).await?;
    Ok(TotalsRead {
        totals,
        live,
        last,
        delivered: consumer.delivered.stream_sequence,
        pending: consumer.num_pending,
    })
}
