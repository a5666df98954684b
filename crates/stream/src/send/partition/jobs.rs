//! What a partition asks of the servers, and what comes of it.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use tracer_registry_spool::{Done, Event, Failing, Limit, Lost, QueueDepth, Taken};

use super::state::{Outcome, Partition, Written};
use crate::send::count::{self, Count};
use crate::send::lease::LeaseError;
use crate::send::parking::{Read, Scanned};
use crate::send::window::Key;
use crate::send::window::moves::{Delete, ParkedAt, ParkedMessage};

/// Most queues that are deleted from at the same time.
const DELETES: usize = 16;

impl Partition {
    pub(super) async fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Read {
                key,
                from,
                limit,
                done,
                read,
            } => self.was_read(key, from, limit, done, read),
            Outcome::Parked(key, results) => self.parked(&key, results),
            Outcome::Deleted(deleted) => {
                for (key, deleted) in deleted {
                    self.window.deleted(&key, &deleted);
                    self.forget_route(&key);
                }
            }
            Outcome::Written(written) => self.written(*written).await,
            Outcome::Scanned(scanned) => self.scanned(scanned),
            Outcome::Totals(read) => self.note_totals(read),
            Outcome::Pulls(pulls) => {
                self.pull_errors = 0;
                self.pulls = pulls.filter(|_| self.giving_up.is_none());
            }
            Outcome::Erased => {}
            Outcome::Old(messages) => self.drop_old(messages),
            Outcome::Over(processes) => {
                for process in processes {
                    self.books.forget(process);
                    self.is_dirty = true;
                }
            }
        }
    }

    fn was_read(&mut self, key: Key, from: u64, limit: Limit, done: Done<Result<Vec<Taken>, Failing>>, read: Read) {
        let rows = match read {
            Read::Messages(mut messages) => {
                self.drop_copies(&messages);
                self.drop_erased(&key, &mut messages);
                let read = self.window.read(&key, from, messages, limit, Instant::now());
                read.map(|read| {
                    self.report_moved(count::merge([(key.0.clone(), read.copies)].into_iter()));
                    read.rows
                })
            }
            Read::Failed => {
                self.window.read_failed(&key);
                Some(Vec::new())
            }
            Read::Nothing => self.window.read_nothing(&key).map(|missing| {
                self.note_missing(&key, missing);
                Vec::new()
            }),
        };
        match rows {
            Some(rows) => done(Ok(self.taken(rows))),
            // Older rows were released meanwhile.
            None => self.take(key, limit, done),
        }
    }

    /// Deletes copies of messages that are finished: these were parked although an earlier
    /// publication had no answer, or by a process that did not know yet that it lost the partition.
    fn drop_copies(&mut self, messages: &[ParkedMessage]) {
        for message in messages
            .iter()
            .filter(|message| self.books.is_finished(&message.published))
        {
            let (key, count) = of_parked(message);
            // What came after the scan is not counted, unless this owner parked it and has the
            // servers' answer.
            let is_counted = message.sequence <= self.parking.last && !self.copies.contains(&message.sequence);
            let unread = if is_counted { count } else { Count::default() };
            if self.window.drop_copy(&key, message.sequence, message.hot, &unread) {
                self.is_dirty = true;
                self.report_moved(count::merge([(key.0, unread)].into_iter()));
            }
        }
    }

    /// Drops messages that were erased while no process owned the partition.
    fn drop_erased(&mut self, key: &Key, messages: &mut Vec<ParkedMessage>) {
        let (erased, kept): (Vec<_>, Vec<_>) = std::mem::take(messages)
            .into_iter()
            .partition(|message| self.is_erased(&message.row));
        *messages = kept;
        for message in erased {
            let count = Count::of(key.1, message.row.items, message.row.body.len() as u64);
            if self.window.drop_unread(key, message.sequence, message.hot, &count) {
                self.books.erased += u64::from(message.row.items);
                self.is_dirty = true;
                self.report_moved(count::merge([(key.0.clone(), count)].into_iter()));
            }
        }
    }

    /// Parked messages are not there any more.
    fn note_missing(&mut self, key: &Key, missing: Count) {
        if missing.rows == 0 {
            return;
        }
        let items = missing.items.iter().sum::<u64>();
        tracing::error!(partition = self.number, queue = %key.0, items, "the servers lost parked data");
        self.books.buffer_lost += items;
        self.is_dirty = true;
        self.report_moved(count::merge([(key.0.clone(), missing)].into_iter()));
    }

    fn parked(&mut self, key: &Key, results: Vec<(u64, Option<ParkedAt>)>) {
        for moved in self.window.moved(key, results) {
            self.books.settle(&moved.published, moved.items);
            self.books.finish_part(key.1, moved.finished);
            self.acks.settle(moved.hot);
            self.is_dirty = true;
            self.report_moved(count::merge([(key.0.clone(), moved.repeated)].into_iter()));
        }
    }

    /// Writes the books. Then acknowledges and deletes what they cover.
    pub(super) fn checkpoint(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        self.is_dirty = false;
        let (books, started) = (self.books.clone(), Instant::now());
        let (acks, deletes) = (self.acks.take_settled(), self.window.deletes());
        self.jobs.push(Box::pin(async move {
            let (lease, error) = match lease.clone().write(&books).await {
                Ok(lease) => (lease, None),
                Err(error) => (lease, Some(error)),
            };
            Outcome::Written(Box::new(Written {
                started,
                lease,
                error,
                acks,
                deletes,
            }))
        }));
    }

    pub(super) async fn written(&mut self, written: Written) {
        let Written {
            started,
            lease,
            error,
            acks,
            deletes,
        } = written;
        self.lease = Some(lease);
        let Some(error) = error else {
            self.confirmed_at = started;
            self.acks.acknowledge(acks).await;
            self.delete(deletes);
            return;
        };
        if error == LeaseError::Lost {
            tracing::info!(partition = self.number, "another process took a partition over");
            self.is_lost = true;
        } else {
            tracing::debug!(partition = self.number, %error, "the books were not written");
        }
        self.acks.put_back(acks);
        for (key, _) in deletes {
            self.window.deleted(&key, &[]);
        }
        self.is_dirty = true;
    }

    fn delete(&mut self, deletes: Vec<(Key, Vec<Delete>)>) {
        if deletes.is_empty() {
            return;
        }
        let parking = self.parking.clone();
        self.jobs.push(Box::pin(async move {
            let deletes = futures_util::stream::iter(deletes.into_iter().map(|(key, deletes)| {
                let parking = parking.clone();
                async move { (key.clone(), parking.delete(key, deletes).await) }
            }));
            Outcome::Deleted(deletes.buffer_unordered(DELETES).collect().await)
        }));
    }

    /// Counts what earlier owners parked.
    pub(super) fn scan(&mut self) {
        if self.uncounted.is_empty() {
            return;
        }
        let scan = self.parking.clone().scan(self.books.all_finished());
        let partition = self.number;
        self.jobs.push(Box::pin(async move {
            let scanned = scan.await;
            Outcome::Scanned(
                scanned
                    .inspect_err(|error| tracing::warn!(partition, %error, "cannot count parked data"))
                    .ok(),
            )
        }));
    }

    fn scanned(&mut self, scanned: Option<Scanned>) {
        let Some(Scanned { mut queues, copies }) = scanned else {
            self.scan_failed = true;
            return;
        };
        tracing::debug!(partition = self.number, queues = queues.len(), "parked data is counted");
        // Nothing is left of a queue that was not found.
        for key in std::mem::take(&mut self.uncounted) {
            queues.entry(key).or_default();
        }
        for (key, counted) in queues {
            if let Some(waiting) = self.window.count_parked(&key, counted) {
                self.arrived.push((key.0, waiting));
            }
        }
        for (key, sequence, hot) in copies {
            self.copies.insert(sequence);
            self.is_dirty |= self.window.drop_copy(&key, sequence, hot, &Count::default());
        }
    }

    /// Does what is due.
    pub(super) async fn tick(&mut self) {
        let now = Instant::now();
        if self.timers.renew.is_due(now) {
            self.acks.renew(self.window.hot_numbers()).await;
        }
        let is_due = self.timers.checkpoint.is_due(now) && self.is_dirty;
        if (self.timers.touch.is_due(now) || is_due) && self.lease.is_some() {
            self.checkpoint();
        }
        if self.timers.count.is_due(now) {
            self.report_parked();
        }
        if self.giving_up.is_some() {
            return;
        }
        if self.settle_at.is_some_and(|at| at <= now) {
            self.settle_at = None;
            tracing::debug!(partition = self.number, "all data of the earlier owner has arrived");
            self.arrived.extend(self.window.settle());
        }
        if self.timers.park.is_due(now) {
            for key in self.window.due(self.bounds(), now) {
                self.park(key);
            }
        }
        if self.timers.totals.is_due(now) {
            self.read_totals();
        }
        if self.timers.resolve.is_due(now) {
            self.resolve();
        }
        if self.timers.retry.is_due(now) {
            if self.pulls.is_none() {
                self.pull();
            }
            if std::mem::take(&mut self.scan_failed) {
                self.scan();
            }
        }
        if self.timers.clean.is_due(now) {
            self.clean();
        }
    }

    fn clean(&mut self) {
        let parking = self.parking.clone();
        self.jobs
            .push(Box::pin(async move { Outcome::Old(parking.read_first().await) }));
        let over = self.books.over(Instant::now());
        if over.is_empty() {
            return;
        }
        let (context, bucket) = (
            self.sending.connection.context.clone(),
            self.sending.shared.names.bucket("totals"),
        );
        let partition = self.number;
        self.jobs.push(Box::pin(async move {
            let mut deleted = Vec::new();
            if let Ok(bucket) = context.get_key_value(bucket).await {
                for process in over {
                    let key = format!("{}.{partition}", process.simple());
                    if bucket.purge(key).await.is_ok() {
                        deleted.push(process);
                    }
                }
            }
            Outcome::Over(deleted)
        }));
    }

    /// Drops parked messages that are too old, and looks at the next ones if all were.
    fn drop_old(&mut self, messages: Vec<ParkedMessage>) {
        self.drop_copies(&messages);
        let (mut dropped, mut is_last) = (Vec::new(), messages.is_empty());
        for message in messages {
            is_last |= !self.is_expired(message.row.created);
            let (key, count) = of_parked(&message);
            if !is_last && self.window.drop_unread(&key, message.sequence, message.hot, &count) {
                self.books.expired += count.items.iter().sum::<u64>();
                self.is_dirty = true;
                dropped.push((key.0, count));
            }
        }
        is_last |= dropped.is_empty();
        for depth in count::merge(dropped.into_iter()) {
            self.report_expired(depth);
        }
        if !is_last {
            // After the next checkpoint has deleted these.
            self.timers.clean.hasten(Instant::now());
        }
    }

    fn report_expired(&self, depth: QueueDepth) {
        (self.sending.shared.options.report)(Event::Lost {
            why: Lost::Expired,
            depth,
        });
    }
}

fn of_parked(message: &ParkedMessage) -> (Key, Count) {
    let row = &message.row;
    let key = (Arc::clone(&row.queue), row.kind);
    (key, Count::of(row.kind, row.items, row.body.len() as u64))
}
