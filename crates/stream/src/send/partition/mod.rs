//! The task of one partition that this process owns: between the servers, the window and the lanes.
//!
//! It never waits for the servers itself, except at its end: everything that does is a job, and its
//! outcome changes the window. So no queue waits for another.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::Message;
use futures_util::future::{self};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tracer_registry_spool::{Done, Event, Failing, Limit, Lost, QueueDepth, RowId, Taken};

use super::consumer::{PullError, Pulls};
use super::count::{self};
use super::sending::Sending;
use super::window::moves::WindowBounds;
use super::window::{Key, Numbered, Take};
use crate::layout::wanted::MAX_ACK_PENDING;
use state::{Claimed, Command, Ended, Outcome, Partition};

mod end;
mod erase;
mod jobs;
mod messages;
mod start;
pub(crate) mod state;

/// Nothing is handed out if the books were last written longer ago: another sender may own the
/// partition.
const CONFIRMED: Duration = Duration::from_secs(5);
/// Most bytes of a message's subjects.
const SUBJECTS: usize = 4 << 10;
/// Most messages between two reports.
const AT_ONCE: usize = 64;

/// Sends what is in a partition until it is given up or lost.
pub(crate) async fn run(
    sending: Arc<Sending>,
    claimed: Claimed,
    mut commands_rx: mpsc::UnboundedReceiver<Command>,
) -> Ended {
    let partition = claimed.partition;
    let Some(mut task) = start::start(&sending, claimed, &mut commands_rx).await else {
        return Ended {
            partition,
            orphans: Vec::new(),
            left: drain(&mut commands_rx),
        };
    };
    task.run(&mut commands_rx).await;
    let orphans = Box::pin(task.end()).await;
    Ended {
        partition,
        orphans,
        left: drain(&mut commands_rx),
    }
}

fn drain(commands_rx: &mut mpsc::UnboundedReceiver<Command>) -> Vec<Command> {
    commands_rx.close();
    std::iter::from_fn(|| commands_rx.try_recv().ok()).collect()
}

impl Partition {
    async fn run(&mut self, commands_rx: &mut mpsc::UnboundedReceiver<Command>) {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_over() {
            let has_room = self.has_room();
            tokio::select! {
                command = commands_rx.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                message = next(&mut self.pulls), if has_room => self.receive_ready(message).await,
                Some(outcome) = self.jobs.next(), if !self.jobs.is_empty() => self.outcome(outcome).await,
                _ = tick.tick() => self.tick().await,
            }
            self.follow();
            self.report();
        }
    }

    fn is_over(&self) -> bool {
        let gives_up = |until| self.window.taken() == 0 || Instant::now() >= until;
        self.is_lost || self.giving_up.is_some_and(gives_up)
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Take { key, limit, done } => self.take(key, limit, done),
            Command::Release(rows) => {
                for (hot, rest) in rows {
                    self.window.release(hot, rest, now);
                }
            }
            Command::Complete(rows) => {
                for hot in rows {
                    self.complete(hot);
                }
            }
            Command::Erase(what, done) => self.erase(&what, done),
            Command::GiveUp(until) => {
                tracing::debug!(
                    partition = self.number,
                    taken = self.window.taken(),
                    "gives a partition up"
                );
                self.giving_up = Some(until);
                self.pulls = None;
            }
        }
    }

    fn take(&mut self, key: Key, limit: Limit, done: Done<Result<Vec<Taken>, Failing>>) {
        // Another process may own the partition already.
        if self.giving_up.is_some() || self.confirmed_at.elapsed() >= CONFIRMED {
            return done(Ok(Vec::new()));
        }
        match self.window.take(&key, limit) {
            Take::Rows(rows) => done(Ok(self.taken(rows))),
            Take::Read(from) => {
                let read = self.parking.clone().read(key.clone(), from, limit);
                self.jobs.push(Box::pin(async move {
                    let read = read.await;
                    Outcome::Read {
                        key,
                        from,
                        limit,
                        done,
                        read,
                    }
                }));
            }
        }
    }

    fn taken(&self, rows: Vec<Numbered>) -> Vec<Taken> {
        let taken = |(hot, row): Numbered| Taken {
            id: RowId::new(self.file, hot.cast_signed()),
            order: hot,
            items: row.items,
            generation: row.generation,
            created: row.created,
            format: row.format,
            body: row.body,
        };
        rows.into_iter().map(taken).collect()
    }

    fn complete(&mut self, hot: u64) {
        let Some(completed) = self.window.complete(hot) else {
            return;
        };
        self.books
            .finish(&completed.published, completed.key.1, completed.items);
        if let Some((published, items)) = completed.settled {
            self.books.settle(&published, items);
            self.acks.settle(hot);
        }
        self.is_dirty = true;
        self.forget_route(&completed.key);
    }

    /// Parks messages that must follow others.
    fn follow(&mut self) {
        if self.giving_up.is_none() {
            for key in self.window.following() {
                self.park(key);
            }
        }
    }

    fn park(&mut self, key: Key) {
        let messages = self.window.park(&key);
        if messages.is_empty() {
            return;
        }
        let publish = self.parking.clone().publish(messages);
        self.jobs.push(Box::pin(async move {
            let results = publish.await;
            Outcome::Parked(key, results)
        }));
    }

    /// Bounds of the window: an equal part of what this process may hold.
    fn bounds(&self) -> WindowBounds {
        let owned = self.sending.owned.load(std::sync::atomic::Ordering::Relaxed).max(1);
        WindowBounds {
            messages: usize::try_from(MAX_ACK_PENDING).unwrap_or(usize::MAX),
            bytes: (self.sending.shared.options.limits.window_bytes / owned) as u64,
        }
    }

    fn has_room(&self) -> bool {
        let (bounds, (messages, bytes)) = (self.bounds(), self.window.hot());
        self.giving_up.is_none() && messages < bounds.messages && bytes < bounds.bytes
    }

    /// Opens the pulls again.
    fn pull(&mut self) {
        let share = usize::try_from(self.bounds().bytes / 2).unwrap_or(usize::MAX);
        // One message must fit, or it would never arrive. The servers count its subjects too.
        let bytes = share.max(self.sending.connection.client.server_info().max_payload + SUBJECTS);
        let connection = self.sending.connection.clone();
        let stream = self.sending.shared.names.hot_stream(self.number);
        self.jobs.push(Box::pin(async move {
            Outcome::Pulls(Pulls::open(&connection, &stream, bytes).await.ok().map(Box::new))
        }));
    }

    fn forget_route(&self, key: &Key) {
        use tracer_registry_spool::Kind::{SessionEvents, Spans};
        let has = |kind| self.window.has(&(Arc::clone(&key.0), kind));
        if !has(Spans) && !has(SessionEvents) {
            self.sending
                .routes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&key.0);
        }
    }

    /// Reports what arrived, and updates the counters of the store.
    fn report(&mut self) {
        if !self.arrived.is_empty() {
            let arrived = std::mem::take(&mut self.arrived);
            {
                let mut routes = self.sending.routes.lock().unwrap_or_else(PoisonError::into_inner);
                for (queue, _) in &arrived {
                    routes.insert(Arc::clone(queue), self.number);
                }
            }
            (self.sending.shared.options.report)(Event::Arrived(count::merge(arrived.into_iter())));
        }
        let held = self.window.held();
        if held != self.reported {
            let (from, to) = (self.reported, held);
            let pairs = [
                (from.rows, to.rows),
                (from.items[0], to.items[0]),
                (from.items[1], to.items[1]),
                (from.bytes, to.bytes),
            ];
            for (counter, (from, to)) in self.sending.shared.held.iter().zip(pairs) {
                counter.fetch_add(to.wrapping_sub(from), std::sync::atomic::Ordering::Relaxed);
            }
            self.reported = held;
        }
    }

    /// Updates what the status shows of parked messages.
    fn report_parked(&mut self) {
        let counts = &self.sending.shared.counts;
        let parked = self.window.parked();
        for (counter, index) in [(&counts.parked_selectors, 0), (&counts.parked_items, 1)] {
            let grown = parked[index].wrapping_sub(self.reported_parked[index]);
            counter.fetch_add(grown, std::sync::atomic::Ordering::Relaxed);
        }
        self.reported_parked = parked;
    }

    /// Another process sends these rows, or they are gone.
    fn report_moved(&self, depths: Vec<QueueDepth>) {
        for depth in depths {
            (self.sending.shared.options.report)(Event::Lost {
                why: Lost::Moved,
                depth,
            });
        }
    }

    /// Handles a message, and those that have arrived behind it.
    async fn receive_ready(&mut self, first: Result<Message, PullError>) {
        let mut message = first;
        for left in (0..AT_ONCE).rev() {
            match message {
                Ok(message) => {
                    self.pull_errors = 0;
                    self.receive(message).await;
                }
                Err(error) => {
                    self.pull_errors += 1;
                    tracing::debug!(partition = self.number, %error, "a pull failed");
                    if self.pull_errors >= 5 || matches!(error, PullError::Closed) {
                        self.pulls = None;
                    }
                }
            }
            if left == 0 || !self.has_room() {
                return;
            }
            message = match next(&mut self.pulls).now_or_never() {
                Some(message) => message,
                None => return,
            };
        }
    }
}

async fn next(pulls: &mut Option<Box<Pulls>>) -> Result<Message, PullError> {
    match pulls {
        Some(pulls) => pulls.next().await,
        None => future::pending().await,
    }
}
