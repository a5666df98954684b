//! What happens at times: the connection, probes, totals, reports, and the end.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use futures_util::StreamExt as _;
use tokio::time::timeout_at;
use tracer_registry_spool::{AppendError, Event, Failing, Health};

use super::numbers::Numbers;
use super::publisher::Publisher;
use super::totals::Written;

/// How long a stream may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

impl Publisher {
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        // Until the streams are checked, it is as if there was no connection.
        let is_ready = *self.shared.ready.borrow();
        let is_connected = is_ready && self.connection.client.connection_state() == State::Connected;
        if self.availability.note_connection(is_connected, now) {
            self.shared.link().note(is_connected);
            if is_connected {
                self.schedule_all(|_| true);
            }
        }
        for partition in self.availability.tick(now) {
            let context = self.connection.context.clone();
            let stream = self.shared.names.hot_stream(partition);
            self.probes.push(Box::pin(async move {
                let found = tokio::time::timeout(PROBE_TIMEOUT, context.get_stream(stream)).await;
                (partition, matches!(found, Ok(Ok(_))))
            }));
        }
        if self.availability.is_impaired() {
            self.schedule_all(|queue| !queue.waiting.is_empty());
        }
        if self.local.is_some() {
            self.schedule_all(|queue| queue.backlog.as_ref().is_some_and(|backlog| backlog.is_due(now)));
        }
        if self.availability.is_connected() && self.totals.is_due(now) {
            let numbers = &self.numbers;
            let write = self
                .totals
                .write(|partition| numbers[usize::from(partition)].totals(), false);
            self.writes.push(write);
        }
    }

    pub(super) fn note_probed(&mut self, partition: u16, is_there: bool) {
        if is_there {
            self.availability.note_answer(partition, false);
            self.schedule_all(|queue| queue.partition == partition);
        }
    }

    pub(super) fn note_written(&mut self, written: Written) {
        self.totals.note_written(written, Instant::now());
    }

    /// Returns the failure of the servers.
    pub(super) fn failing(&self) -> Failing {
        Failing {
            what: "publish",
            error: self.availability.last_error().to_owned(),
        }
    }

    /// Reports the health of the store if it has changed. With a local store, that is its health
    /// while the servers fail.
    pub(super) fn report(&mut self) {
        let health = match (self.availability.health(Instant::now()), &self.local) {
            (Some(Health::Failing) | None, Some(local)) => local.health(),
            (Some(health), _) => health,
            (None, None) => return,
        };
        if health == self.reported {
            return;
        }
        self.reported = health;
        *self.shared.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
        (self.shared.options.report)(match health {
            Health::Working => Event::Working,
            Health::Full => Event::Full,
            Health::Failing => Event::Failing(self.failing()),
        });
    }

    /// Refuses appends from now on, and ends back-fills.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        self.schedule_all(|_| true);
    }

    /// Whether all that was appended has its answer, and nothing is on its way.
    pub(super) fn is_done(&self) -> bool {
        self.answers.is_empty() && self.attempts.is_empty() && self.fills == 0
    }

    /// Answers what still waits: it may be stored, or not.
    pub(super) fn give_up(&mut self) {
        let withdrawn = self.numbers.iter_mut().map(Numbers::withdraw_open).sum();
        self.shared.counts.withdrawn.fetch_add(withdrawn, Ordering::Relaxed);
        self.answers.refuse_all(&AppendError::Closed);
        self.deliver();
    }

    /// Writes the totals of all partitions: this process publishes nothing more.
    pub(super) async fn write_last_totals(&mut self, deadline: Instant) {
        if !self.availability.is_connected() {
            return;
        }
        let write = async {
            while let Some(written) = self.writes.next().await {
                self.totals.note_written(written, Instant::now());
            }
            let used = (0..).zip(&self.numbers).filter(|(_, numbers)| numbers.is_used());
            self.totals.end(used.map(|(partition, _)| partition));
            let numbers: &[Numbers] = &self.numbers;
            self.totals
                .write(|partition| numbers[usize::from(partition)].totals(), true)
                .await;
        };
        if timeout_at(deadline.into(), write).await.is_err() {
            tracing::warn!("the totals of this process are not written");
        }
    }
}
