//! Queues, and what happens to their rows.
//!
//! | rows | event | then |
//! |---|---|---|
//! | appended | servers up, nothing of the queue in the local store | wait for the group before them, then an attempt |
//! | appended | connection lost, for less than the publish timeout | wait |
//! | appended | servers down | to the local store; refused if there is none |
//! | appended | rows of the queue in the local store | to the local store; if these are the last ones, wait |
//! | attempt | acknowledged | success |
//! | attempt | stream or subject full | refused, numbers withdrawn |
//! | attempt | failed, no answer | to the local store, or refused; numbers withdrawn |
//! | local | servers up | an attempt with new numbers, then deleted or released |

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracer_registry_spool::{AppendError, Done, Health, Row, RowId};

use super::answers::Answers;
use super::attempt::{self, Attempted, Outgoing, Refusal};
use super::availability::{Availability, Reach};
use super::backlog::Backlog;
use super::byte_size;
use super::local::{LocalEvent, LocalRows};
use super::numbers::Numbers;
use super::totals::{TotalsWriter, Written};
use crate::connection::Connection;
use crate::layout::names::partition_of;
use crate::message::{self, Published};
use crate::shared::Shared;

/// Attempts that are under way at once.
const MAX_ATTEMPTS: usize = 512;
/// Back-fills that are under way at once.
const MAX_FILLS: usize = 16;
/// Bounds of a group of appends. One append may be larger.
const MAX_GROUP_ROWS: usize = 256;
const MAX_GROUP_BYTES: u64 = 4 << 20;
/// What headers take of the largest message.
const MAX_HEADERS: usize = 8 << 10;

pub(super) struct Publisher {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) answers: Answers,
    pub(super) numbers: Vec<Numbers>,
    pub(super) availability: Availability,
    pub(super) queues: HashMap<Arc<str>, Queue>,
    /// Queues to look at, those with local rows apart.
    ready: VecDeque<Arc<str>>,
    ready_fills: VecDeque<Arc<str>>,
    pub(super) fills: usize,
    pub(super) local: Option<LocalRows>,
    pub(super) totals: TotalsWriter,
    pub(super) reported: Health,
    pub(super) is_closing: bool,
    pub(super) attempts: FuturesUnordered<BoxFuture<'static, (Group, Attempted)>>,
    pub(super) probes: FuturesUnordered<BoxFuture<'static, (u16, bool)>>,
    pub(super) writes: FuturesUnordered<BoxFuture<'static, Written>>,
}

/// A queue with rows that wait or are on their way.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) partition: u16,
    pub(super) waiting: VecDeque<Part>,
    pub(super) is_publishing: bool,
    is_ready: bool,
    pub(super) backlog: Option<Backlog>,
}

/// Rows of one queue in one append.
pub(super) struct Part {
    pub(super) answer: u64,
    pub(super) rows: Vec<Row>,
}

/// Rows of a queue in one attempt.
pub(super) struct Group {
    pub(super) queue: Arc<str>,
    pub(super) partition: u16,
    pub(super) numbers: Range<u64>,
    pub(super) source: Source,
}

pub(super) enum Source {
    Appended(Vec<Part>),
    Local(Vec<RowId>),
}

impl Publisher {
    pub(super) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        local_tx: mpsc::UnboundedSender<LocalEvent>,
    ) -> Self {
        let now = Instant::now();
        let options = &shared.options;
        let mut queues = HashMap::new();
        let mut ready_fills = VecDeque::new();
        if let Some(local) = &options.local {
            for held in local
                .held
                .queues
                .iter()
                .filter(|held| held.span_rows + held.event_rows > 0)
            {
                let queue = Queue {
                    partition: partition_of(&(local.owner_of)(&held.queue), options.partitions),
                    is_ready: true,
                    backlog: Some(Backlog::default()),
                    ..Queue::default()
                };
                queues.insert(Arc::clone(&held.queue), queue);
                ready_fills.push_back(Arc::clone(&held.queue));
            }
        }
        let bucket = shared.names.bucket("totals");
        Self {
            answers: Answers::default(),
            numbers: (0..options.partitions).map(|_| Numbers::default()).collect(),
            availability: Availability::new(options.partitions, options.limits.publish_timeout, now),
            queues,
            ready: VecDeque::new(),
            ready_fills,
            fills: 0,
            local: options.local.as_ref().map(|local| LocalRows::new(local, local_tx)),
            totals: TotalsWriter::new(connection.clone(), bucket, shared.process, now),
            reported: Health::Failing,
            is_closing: false,
            attempts: FuturesUnordered::new(),
            probes: FuturesUnordered::new(),
            writes: FuturesUnordered::new(),
            connection,
            shared,
        }
    }

    pub(super) fn append(&mut self, rows: Result<Vec<Row>, AppendError>, done: Done<Result<Vec<RowId>, AppendError>>) {
        let bytes = rows.as_ref().map_or(0, |rows| byte_size(rows));
        let rows = rows.and_then(|rows| self.check(&rows).map(|()| rows));
        match rows {
            Ok(rows) => {
                let mut parts: Vec<Vec<Row>> = Vec::with_capacity(1);
                for row in rows {
                    match parts.iter_mut().find(|part| part[0].queue == row.queue) {
                        Some(part) => part.push(row),
                        None => parts.push(vec![row]),
                    }
                }
                let answer = self.answers.push(done, parts.len(), bytes);
                for rows in parts {
                    self.append_part(Part { answer, rows });
                }
            }
            Err(error) => {
                let answer = self.answers.push(done, 1, bytes);
                self.answers.settle(answer, Err(error));
            }
        }
    }

    /// Returns why rows cannot be published at all.
    fn check(&self, rows: &[Row]) -> Result<(), AppendError> {
        if self.is_closing {
            return Err(AppendError::Closed);
        }
        let max = self.max_body();
        for row in rows {
            if row.body.len() > max {
                let bytes = row.body.len();
                return Err(AppendError::TooLarge { bytes, max });
            }
            if self.is_erased(row) {
                return Err(AppendError::Erased(Arc::clone(&row.queue)));
            }
        }
        Ok(())
    }

    pub(super) fn is_erased(&self, row: &Row) -> bool {
        let mut erased = self.shared.erased();
        erased.refuses(self.shared.options.covers, &row.queue, row.generation)
    }

    /// The largest body of a message, in bytes.
    pub(super) fn max_body(&self) -> usize {
        self.connection.client.max_payload().saturating_sub(MAX_HEADERS)
    }

    fn append_part(&mut self, part: Part) {
        let now = Instant::now();
        let row = &part.rows[0];
        let partition = partition_of(&row.owner, self.shared.options.partitions);
        let name = Arc::clone(&row.queue);
        let reach = self.availability.reach(partition, now);
        let queue = self.queues.entry(Arc::clone(&name)).or_default();
        queue.partition = partition;
        // An attempt that is under way may yet fail: the rows after it wait for its end.
        let waits = queue.is_publishing || !queue.waiting.is_empty();
        let in_order = match &queue.backlog {
            Some(backlog) => backlog.is_last,
            None => true,
        };
        if !in_order || (reach == Reach::Down && !waits) || (reach == Reach::Down && self.local.is_none()) {
            self.store_locally(part);
        } else if let Some(error) = self.availability.refusal(partition, &part.rows, now) {
            self.answers.settle(part.answer, Err(error));
            self.schedule(&name);
        } else {
            queue.waiting.push_back(part);
            self.schedule(&name);
        }
    }

    pub(super) fn schedule(&mut self, name: &Arc<str>) {
        let Some(queue) = self.queues.get_mut(name).filter(|queue| !queue.is_ready) else {
            return;
        };
        queue.is_ready = true;
        if queue.backlog.is_some() {
            self.ready_fills.push_back(Arc::clone(name));
        } else {
            self.ready.push_back(Arc::clone(name));
        }
    }

    pub(super) fn schedule_all(&mut self, is_due: impl Fn(&Queue) -> bool) {
        let names: Vec<_> = self
            .queues
            .iter()
            .filter(|(_, queue)| is_due(queue))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in names {
            self.schedule(&name);
        }
    }

    /// Starts what can be started, and runs answers that are due.
    pub(super) fn proceed(&mut self) {
        while self.attempts.len() < MAX_ATTEMPTS
            && let Some(name) = self.ready.pop_front()
        {
            self.start(&name);
        }
        while self.fills < MAX_FILLS
            && let Some(name) = self.ready_fills.pop_front()
        {
            self.start(&name);
        }
        self.report();
        self.deliver();
    }

    /// Runs answers that are due.
    pub(super) fn deliver(&mut self) {
        let waiting = &self.shared.waiting_bytes;
        self.answers.deliver(|bytes| {
            waiting.fetch_sub(bytes, Ordering::SeqCst);
        });
    }

    fn start(&mut self, name: &Arc<str>) {
        let now = Instant::now();
        let Some(queue) = self.queues.get_mut(name) else { return };
        queue.is_ready = false;
        if queue.is_publishing {
            return;
        }
        match self.availability.reach(queue.partition, now) {
            Reach::Up => {}
            Reach::Paused => return,
            Reach::Down => {
                self.flush(name);
                let is_idle = |queue: &Queue| queue.waiting.is_empty() && queue.backlog.is_none();
                if self.queues.get(name).is_some_and(is_idle) {
                    self.queues.remove(name);
                }
                return;
            }
        }
        if queue.backlog.is_some() {
            return self.fill(name, now);
        }
        let mut parts = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(part) = queue.waiting.front() {
            rows += part.rows.len();
            bytes += byte_size(&part.rows);
            if !parts.is_empty() && (rows > MAX_GROUP_ROWS || bytes > MAX_GROUP_BYTES) {
                break;
            }
            parts.extend(queue.waiting.pop_front());
        }
        if parts.is_empty() {
            self.queues.remove(name);
            return;
        }
        let partition = queue.partition;
        queue.is_publishing = true;
        let (numbers, messages) = self.messages(partition, parts.iter().flat_map(|part| &part.rows));
        self.attempt(
            Group {
                queue: Arc::clone(name),
                partition,
                numbers,
                source: Source::Appended(parts),
            },
            messages,
        );
    }

    /// Gives rows their numbers.
    pub(super) fn messages<'a>(
        &mut self,
        partition: u16,
        rows: impl Iterator<Item = &'a Row>,
    ) -> (Range<u64>, Vec<Outgoing>) {
        let mut numbers = 0..0;
        let messages = rows.map(|row| {
            let numbered = self.numbers[usize::from(partition)].assign(row.items);
            if numbers.is_empty() {
                numbers = numbered.number..numbered.number;
            }
            numbers.end = numbered.number + 1;
            let published = Published {
                process: self.shared.process,
                number: numbered.number,
                sum: numbered.sum,
            };
            Outgoing {
                subject: self.shared.names.hot_subject(partition, &row.queue, row.kind),
                headers: message::headers(row, partition, &published, None),
                body: row.body.clone(),
            }
        });
        let messages = messages.collect();
        (numbers, messages)
    }

    pub(super) fn attempt(&mut self, group: Group, messages: Vec<Outgoing>) {
        let client = self.connection.client.clone();
        let wait = self.shared.options.limits.publish_timeout;
        self.attempts.push(Box::pin(async move {
            let attempted = attempt::publish(client, messages, wait).await;
            (group, attempted)
        }));
    }

    pub(super) fn note_attempted(&mut self, group: Group, attempted: Attempted) {
        let now = Instant::now();
        let Group {
            queue: name,
            partition,
            numbers,
            source,
        } = group;
        let Attempted { stored, last, result } = attempted;
        let boundary = numbers.start + stored as u64;
        let of_partition = &mut self.numbers[usize::from(partition)];
        let published = of_partition.acknowledge(numbers.start..boundary);
        let withdrawn = of_partition.withdraw(boundary..numbers.end);
        let counts = &self.shared.counts;
        counts.published.fetch_add(published, Ordering::Relaxed);
        counts.withdrawn.fetch_add(withdrawn, Ordering::Relaxed);
        self.totals.note_change(partition, boundary < numbers.end, now);
        if stored > 0 {
            let was_down = self.availability.reach(partition, now) == Reach::Down;
            self.availability.note_answer(partition, true);
            if was_down {
                self.schedule_all(|queue| queue.partition == partition);
            }
        }
        if let Err(Refusal::Failed(error)) = &result {
            tracing::debug!(partition, %error, "messages are not published");
            self.shared.link().error = Some(error.clone());
            self.availability.note_failed(partition, error.clone(), now);
        }
        if matches!(result, Err(Refusal::StreamFull)) {
            self.availability.note_stream_full(partition, now);
        }
        match source {
            Source::Appended(parts) => self.settle(parts, stored, last, &result, now),
            Source::Local(rows) => self.note_filled(&name, rows, stored, result.is_err(), now),
        }
        if let Some(queue) = self.queues.get_mut(&name) {
            queue.is_publishing = false;
            if queue.backlog.as_ref().is_some_and(|backlog| !backlog.is_last) {
                self.flush(&name);
            }
        }
        self.schedule(&name);
    }

    /// Answers the parts of an attempt, the first `stored` rows of which are stored.
    fn settle(&mut self, parts: Vec<Part>, stored: usize, last: u64, result: &Result<(), Refusal>, now: Instant) {
        let mut left = stored;
        for mut part in parts {
            let count = part.rows.len();
            if count <= left {
                left -= count;
                // Only the number in the stream is known, not the epoch of its sender.
                let end = last.saturating_sub(left as u64);
                let ids = (0..count as u64)
                    .rev()
                    .map(|before| RowId::new(0, i64::try_from(end.saturating_sub(before)).unwrap_or(i64::MAX)));
                self.answers.settle(part.answer, Ok(ids.collect()));
                continue;
            }
            part.rows.drain(..left);
            left = 0;
            match result {
                Err(Refusal::SubjectFull) => {
                    // Of a batch it is not known which subject is full.
                    for row in &part.rows {
                        self.availability.note_subject_full(row, now);
                    }
                    let owner = Arc::clone(&part.rows[0].owner);
                    self.answers.settle(part.answer, Err(AppendError::OwnerFull(owner)));
                }
                Err(Refusal::StreamFull) => self.answers.settle(part.answer, Err(AppendError::Full)),
                Err(Refusal::Failed(_)) | Ok(()) => self.store_locally(part),
            }
        }
    }
}
