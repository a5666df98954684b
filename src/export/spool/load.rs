//! Loads rows that are on disk only into the newest lane of their selector.
//!
//! A load takes the oldest rows and queues them behind what the lane has in memory, as far as there
//! is room. The next load follows when half of that is delivered. So a lane holds little of a large
//! backlog, and sends it with its own share of permits. Rows that the receiver does not accept go
//! back to disk, and are loaded again after a back-off.

use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tracer_registry_spool::{Kind, Limit, Taken};

use super::Spool;
use super::backlog::{Load, Next};
use super::drain_events::DrainEvent;
use super::row;
use crate::export::accounting::loading::{Loaded, Placed};
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::shared::Shared;
use crate::ledger::DropReason;

/// Most rows that one load takes.
const ROWS: usize = 64;

/// Loads rows of a selector, if there are any and its lane may. Never blocks.
///
/// Call after whatever may allow it: rows were left on disk, a request was delivered, rows were
/// completed, a lane was opened or retired, a back-off or a pause ended.
pub(crate) fn wake(shared: &Arc<Shared>, ledger: &Arc<SelectorLedger>) {
    let Some(spool) = shared.spool() else { return };
    if shared.is_closing() || shared.driver.is_stopped() {
        return;
    }
    for kind in [Kind::Spans, Kind::SessionEvents] {
        match ledger.next_load(kind) {
            Next::Wait => {}
            Next::WaitUntil(at) => {
                let timer = wait(Arc::clone(shared), Arc::downgrade(ledger), kind, at);
                shared.driver.spawn(timer);
            }
            Next::NoLane => spool.drain.send(DrainEvent::Waiting(Arc::clone(ledger))),
            Next::Load(load) => {
                let (shared, spool, ledger) = (Arc::clone(shared), Arc::clone(spool), Arc::clone(ledger));
                let tasks = Arc::clone(&shared);
                tasks.driver.spawn(async move {
                    run(&spool, &ledger, &load).await;
                    drop(load);
                    wake(&shared, &ledger);
                });
            }
        }
    }
}

/// Loads again after a back-off.
async fn wait(shared: Arc<Shared>, ledger: Weak<SelectorLedger>, kind: Kind, at: Instant) {
    tokio::time::sleep_until(at.into()).await;
    if let Some(ledger) = ledger.upgrade() {
        ledger.on_disk(|backlog, _| backlog.end_timer(kind));
        wake(&shared, &ledger);
    }
}

async fn run(spool: &Spool, ledger: &Arc<SelectorLedger>, load: &Load) {
    let queue: Arc<str> = ledger.selector.to_string().into();
    let limit = Limit {
        rows: ROWS,
        bytes: load.bytes,
        before: load.before,
    };
    let (taken_tx, taken_rx) = oneshot::channel();
    // Fails only after the engine stopped. The rows stay on disk.
    let done = Box::new(|taken| drop(taken_tx.send(taken)));
    let take = async {
        spool.store.take(&queue, load.kind, limit, done);
        taken_rx.await.ok().and_then(Result::ok).unwrap_or_default()
    };
    let bytes = |taken: &Vec<Taken>| taken.iter().map(|row| row.body.len()).sum();
    let taken = spool.pace.keep(take, bytes).await;
    let found_any = !taken.is_empty();
    let (mut queued, mut gone, mut left) = (0, Vec::new(), Vec::new());
    let mut rows = taken.into_iter();
    while let Some(row) = rows.next() {
        let (id, bytes) = (row.id, row.body.len());
        match place(spool, ledger, load, row) {
            Placed::Queued => queued += bytes,
            Placed::Dropped => gone.push(id),
            Placed::NoRoom => {
                left.push((id, None));
                left.extend(rows.map(|row| (row.id, None)));
                break;
            }
        }
        // A row may be large. Let other tasks run in between.
        yield_now().await;
    }
    let fit = found_any && left.is_empty();
    let is_moving = queued > 0 || !gone.is_empty();
    spool.store.release(left);
    spool.store.complete(gone);
    ledger.on_disk(|backlog, _| backlog.end_load(load, queued, fit, is_moving));
}

/// Queues a row, or drops and counts it if it is too old or damaged.
fn place(spool: &Spool, ledger: &Arc<SelectorLedger>, load: &Load, row: Taken) -> Placed {
    let is_earlier = spool.is_of_earlier_process(row.order);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let loaded = if now.as_millis() > u128::from(row.created) + spool.max_age.as_millis() {
        Err(DropReason::SpoolExpired)
    } else {
        decode(load.kind, &row).map_err(|_| DropReason::SpoolDamaged)
    };
    ledger.place_loaded(load, row, loaded, is_earlier)
}

/// Returns the data of a row.
fn decode(kind: Kind, row: &Taken) -> Result<Loaded, row::Damaged> {
    Ok(match kind {
        Kind::Spans => {
            let (payload, is_finished) = row::payload(row)?;
            Loaded::Spans(payload, is_finished)
        }
        Kind::SessionEvents => Loaded::Event(row::event(row)?),
    })
}
