//! Rows of queues in the local store: appended while the servers are down, published afterwards.
//!
//! While a queue has a backlog, its new rows follow it to the local store, except if the last rows
//! of the backlog are on their way: then they wait. So no row overtakes another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracer_registry_spool::{AppendError, Failing, Row, RowId};

use super::availability::Reach;
use super::local::{self, LocalEvent};
use super::publisher::{Group, Part, Publisher, Source};

/// When a back-fill that failed begins again.
const FILL_RETRY: Duration = Duration::from_millis(500);

impl Publisher {
    /// Appends rows to the local store, or refuses them if there is none.
    pub(super) fn store_locally(&mut self, part: Part) {
        let name = Arc::clone(&part.rows[0].queue);
        if let Some(local) = &mut self.local {
            let queue = self.queues.entry(Arc::clone(&name)).or_default();
            let backlog = queue.backlog.get_or_insert_default();
            backlog.appending += 1;
            backlog.is_last = false;
            local.append(name, part.rows, part.answer);
        } else {
            let error = self.failing();
            self.answers.settle(part.answer, Err(AppendError::Failing(error)));
            self.schedule(&name);
        }
    }

    /// Moves rows that wait to the local store.
    pub(super) fn flush(&mut self, name: &Arc<str>) {
        let waiting = self
            .queues
            .get_mut(name)
            .map(|queue| std::mem::take(&mut queue.waiting));
        for part in waiting.unwrap_or_default() {
            self.store_locally(part);
        }
    }

    /// Begins to publish the oldest rows of a backlog.
    pub(super) fn fill(&mut self, name: &Arc<str>, now: Instant) {
        if self.is_closing {
            return self.flush(name);
        }
        let queue = self.queues.get_mut(name);
        let (Some(backlog), Some(local)) = (queue.and_then(|queue| queue.backlog.as_mut()), &self.local) else {
            return;
        };
        if !backlog.is_filling && backlog.retry_at.is_none_or(|at| at <= now) {
            backlog.is_filling = true;
            backlog.has_new = false;
            backlog.retry_at = None;
            self.fills += 1;
            local.take(name);
        }
    }

    /// Deletes the first `stored` rows in the local store, and gives the others back.
    pub(super) fn note_filled(
        &mut self,
        name: &Arc<str>,
        mut rows: Vec<RowId>,
        stored: usize,
        is_refused: bool,
        now: Instant,
    ) {
        self.fills -= 1;
        let rest = rows.split_off(stored);
        if let Some(local) = &self.local {
            local.complete(rows);
            local.release(&rest);
        }
        let backlog = self.queues.get_mut(name).and_then(|queue| queue.backlog.as_mut());
        if let Some(backlog) = backlog {
            backlog.is_filling = false;
            if is_refused {
                backlog.retry_at = Some(now + FILL_RETRY);
                backlog.is_last = false;
                self.flush(name);
            }
        }
    }

    pub(super) fn note_local(&mut self, event: LocalEvent) {
        match event {
            LocalEvent::Appended { queue, answer, result } => {
                if let Some(backlog) = self.queues.get_mut(&queue).and_then(|queue| queue.backlog.as_mut()) {
                    backlog.appending -= 1;
                    backlog.has_new |= result.is_ok();
                }
                let ids = result.map(|count| vec![RowId::new(0, 0); count]);
                self.answers.settle(answer, ids);
                self.schedule(&queue);
            }
            LocalEvent::Taken { queue, result } => self.note_taken(&queue, result),
        }
    }

    fn note_taken(&mut self, name: &Arc<str>, result: Result<Vec<(RowId, Row)>, Failing>) {
        let now = Instant::now();
        let was_empty = result.as_ref().is_ok_and(Vec::is_empty);
        let is_short = result.as_ref().is_ok_and(|rows| local::is_short(rows));
        let result = result.map(|rows| self.publishable(rows));
        let (Some(queue), Some(local)) = (self.queues.get_mut(name), &self.local) else {
            return;
        };
        let partition = queue.partition;
        let Some(backlog) = &mut queue.backlog else { return };
        let is_nothing_new = backlog.appending == 0 && !backlog.has_new;
        let rows = match result {
            Ok(rows) if self.is_closing || self.availability.reach(partition, now) != Reach::Up => {
                local.release(&rows.iter().map(|(id, _)| *id).collect::<Vec<_>>());
                Vec::new()
            }
            Ok(rows) if was_empty => {
                if is_nothing_new {
                    queue.backlog = None;
                }
                rows
            }
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(queue = &**name, %error, "rows of the local store cannot be read");
                backlog.retry_at = Some(now + FILL_RETRY);
                backlog.is_last = false;
                Vec::new()
            }
        };
        if rows.is_empty() {
            self.fills -= 1;
            let mut is_last = true;
            if let Some(backlog) = &mut queue.backlog {
                backlog.is_filling = false;
                is_last = backlog.is_last;
            }
            if !is_last {
                self.flush(name);
            }
            self.schedule(name);
            return;
        }
        queue.is_publishing = true;
        if let Some(backlog) = &mut queue.backlog {
            backlog.is_last = is_short && is_nothing_new;
            if !backlog.is_last {
                self.flush(name);
            }
        }
        let (numbers, messages) = self.messages(partition, rows.iter().map(|(_, row)| row));
        self.attempt(
            Group {
                queue: Arc::clone(name),
                partition,
                numbers,
                source: Source::Local(rows.into_iter().map(|(id, _)| id).collect()),
            },
            messages,
        );
    }

    /// Takes rows out that cannot be published.
    fn publishable(&self, mut rows: Vec<(RowId, Row)>) -> Vec<(RowId, Row)> {
        let max_body = self.max_body();
        let mut erased = Vec::new();
        rows.retain(|(id, row)| {
            let (fits, is_erased) = (row.body.len() <= max_body, self.is_erased(row));
            if is_erased {
                erased.push(*id);
            } else if !fits {
                // It stays taken, so that the rows after it are published. Another start tries again.
                let bytes = row.body.len();
                tracing::warn!(queue = &*row.queue, bytes, "a row is too large for the servers");
            }
            fits && !is_erased
        });
        if let Some(local) = self.local.as_ref().filter(|_| !erased.is_empty()) {
            local.complete(erased);
        }
        rows
    }
}
