//! Rows that wait in the local store until the servers answer.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracer_registry_spool::{AppendError, Failing, Health, Kind, Limit, Row, RowId, Store};

use crate::options::{Local, OwnerOf};

/// What one back-fill of a queue reads, of each kind.
const MAX_TAKE: Limit = Limit {
    rows: 128,
    bytes: 1 << 20,
    before: u64::MAX,
};

/// The local store, as the publisher uses it.
pub(crate) struct LocalRows {
    store: Arc<dyn Store>,
    owner_of: OwnerOf,
    /// Orders of this process replace those of the rows, so that the store returns rows in the order of
    /// the appends, after all rows of earlier processes.
    next_order: u64,
    events_tx: mpsc::UnboundedSender<LocalEvent>,
}

/// What the local store answered.
pub(crate) enum LocalEvent {
    /// Part of an append is committed, or not.
    Appended {
        queue: Arc<str>,
        answer: u64,
        result: Result<usize, AppendError>,
    },
    /// Rows to publish. None if the queue has none.
    Taken {
        queue: Arc<str>,
        result: Result<Vec<(RowId, Row)>, Failing>,
    },
}

impl LocalRows {
    pub(crate) fn new(local: &Local, events_tx: mpsc::UnboundedSender<LocalEvent>) -> Self {
        Self {
            store: Arc::clone(&local.store),
            owner_of: local.owner_of,
            next_order: local.held.next_order,
            events_tx,
        }
    }

    /// Appends rows of one queue. They may be taken after the commit.
    pub(crate) fn append(&mut self, queue: Arc<str>, mut rows: Vec<Row>, answer: u64) {
        for row in &mut rows {
            row.order = self.next_order;
            self.next_order += u64::from(row.items).max(1);
        }
        let (events_tx, store) = (self.events_tx.clone(), Arc::clone(&self.store));
        let done = move |result: Result<Vec<RowId>, AppendError>| {
            let result = result.map(|rows| {
                let count = rows.len();
                store.release(rows.into_iter().map(|row| (row, None)).collect());
                count
            });
            let _ = events_tx.send(LocalEvent::Appended { queue, answer, result });
        };
        self.store.append(rows, Box::new(done));
    }

    /// Takes the oldest rows of each kind of a queue.
    pub(crate) fn take(&self, queue: &Arc<str>) {
        let (events_tx, store) = (self.events_tx.clone(), Arc::clone(&self.store));
        let (queue, owner) = (Arc::clone(queue), (self.owner_of)(queue));
        tokio::spawn(async move {
            let result = take(&*store, &owner, &queue).await;
            let _ = events_tx.send(LocalEvent::Taken { queue, result });
        });
    }

    pub(crate) fn release(&self, rows: &[RowId]) {
        self.store.release(rows.iter().map(|row| (*row, None)).collect());
    }

    pub(crate) fn complete(&self, rows: Vec<RowId>) {
        self.store.complete(rows);
    }

    pub(crate) fn health(&self) -> Health {
        self.store.depth().health
    }
}

/// Whether these rows are probably the last ones of their queue.
pub(crate) fn is_short(rows: &[(RowId, Row)]) -> bool {
    let bytes: usize = rows.iter().map(|(_, row)| row.body.len()).sum();
    rows.len() < MAX_TAKE.rows / 2 && bytes < MAX_TAKE.bytes / 2
}

async fn take(store: &dyn Store, owner: &Arc<str>, queue: &Arc<str>) -> Result<Vec<(RowId, Row)>, Failing> {
    let mut rows = Vec::new();
    for kind in [Kind::Spans, Kind::SessionEvents] {
        let (taken_tx, taken_rx) = oneshot::channel();
        let done = Box::new(move |taken| drop(taken_tx.send(taken)));
        store.take(queue, kind, MAX_TAKE, done);
        let closed = || Failing {
            what: "take",
            error: "the local store is closed".to_owned(),
        };
        let taken = match taken_rx.await.map_err(|_| closed()).flatten() {
            Ok(taken) => taken,
            Err(error) => {
                store.release(rows.into_iter().map(|(id, _): (RowId, Row)| (id, None)).collect());
                return Err(error);
            }
        };
        rows.extend(taken.into_iter().map(|taken| {
            let row = Row {
                queue: Arc::clone(queue),
                owner: Arc::clone(owner),
                kind,
                order: taken.order,
                items: taken.items,
                generation: taken.generation,
                created: taken.created,
                format: taken.format,
                body: taken.body,
            };
            (taken.id, row)
        }));
    }
    Ok(rows)
}
