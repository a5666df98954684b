//! Erases the data of a selector, in memory and on disk, and refuses later data.
//!
//! The order of the steps makes each race end in refused or erased data:
//! 1. The selector is listed as erased. From now on, no look-up creates a tracer for it: one that
//!    has opened a lane meanwhile closes it.
//! 2. The store deletes the rows, and refuses later ones of lanes from before. If it fails, the
//!    selector is taken off the list, and nothing has changed.
//! 3. The pool forgets the tracers, and their lanes are closed. Handles drop and count what they get.
//! 4. What the registry remembers of their data is forgotten: refused batches and explained traces.

use std::collections::BTreeSet;
use std::sync::Arc;
#[cfg(feature = "spool")]
use std::sync::mpsc;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};
#[cfg(feature = "spool")]
use tracer_registry_spool::{Done, Failing};

use crate::export::{ChangeKind, SelectorLedger};
use crate::ledger::{DropReason, Ledger};
use crate::registry::handle::{Inner, TracerRegistry};
use crate::selector::{Selector, SelectorError};
use crate::util::serde_display::debug_as_display;
use crate::util::wall_time;

/// What [`TracerRegistry::purge`] erased.
///
/// `memory` and `spooled` are added to the drop reason `purged` in the ledgers of the selectors. So
/// is `streamed` in those of the processes that held it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PurgeReceipt {
    /// The erased selector.
    pub selector: Selector,
    /// Number of the purge in the files on disk, or in this process if it has none.
    pub generation: u64,
    /// When it began.
    #[serde(with = "wall_time")]
    pub at: SystemTime,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Selectors with data or counts that it covered, sorted.
    pub selectors: Vec<Selector>,
    /// What was in memory: queued or in flight, with or without a copy on disk.
    pub memory: Erased,
    /// Spans of `memory` in a request that was in progress. They may have arrived.
    pub in_flight_spans: u64,
    /// Session events of `memory` in a request that was in progress. They may have arrived.
    pub in_flight_session_events: u64,
    /// What was on disk only.
    pub spooled: Erased,
    /// What this process had given to a store that processes share: others held it, or it was on
    /// its way to them.
    #[serde(default)]
    pub streamed: Erased,
    /// Rows deleted on disk, also those with a copy in memory, and those of `streamed`.
    pub rows: u64,
    /// Size of the file before, in bytes.
    pub file_bytes_before: u64,
    /// Size of the file after, in bytes.
    pub file_bytes_after: u64,
}

/// An amount of erased data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Erased {
    /// Spans.
    pub spans: u64,
    /// Starts and enrichments of sessions, and posted events.
    pub session_events: u64,
    /// Bytes: an estimate of what was in memory, or the size of what was on disk.
    pub bytes: u64,
}

/// Error of [`TracerRegistry::purge`] or [`TracerRegistry::allow`]. `Debug` prints the message.
///
/// Nothing was changed in memory yet.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeError {
    /// The selector is invalid.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The disk fails. If it had recorded the purge, the purge continues once the disk works, and
    /// then applies in memory too. Purge again for a receipt.
    #[error("the data on disk cannot be erased or allowed now: {0}")]
    Disk(String),
    /// The process was forked after the registry was created.
    #[error("the process was forked after the registry was created")]
    Forked,
    /// The registry was shut down.
    #[error("the registry was shut down")]
    Shutdown,
}

debug_as_display!(PurgeError);

impl TracerRegistry {
    /// Erases the data of a selector and of all selectors that contain all of its parts: what is
    /// queued, in flight and on disk. Later data of them is refused until [`allow`](Self::allow),
    /// with `[spool]` also after a restart.
    ///
    /// `Selector::tenant("acme")` covers every selector of the tenant. Their tracers end: existing
    /// handles drop and count what they get, and look-ups fail with
    /// [`LookupError::Erased`](crate::LookupError::Erased). A request in progress is broken off;
    /// its data may have arrived. Refused batches and explanations of their traces are forgotten.
    /// Blocks the thread until the disk has it. Works without `[spool]` too, for this process alone.
    ///
    /// # Errors
    /// [`PurgeError`] if the selector is not valid, the disk fails, or after a shutdown. It changes
    /// nothing in memory then.
    pub fn purge<S>(&self, selector: S) -> Result<PurgeReceipt, PurgeError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        self.0.check_purge()?;
        let receipt = self.0.purge(selector)?;
        receipt.log();
        self.note_action(ChangeKind::Purged, &receipt.selector);
        Ok(receipt)
    }

    /// Takes data of an erased selector again. Returns whether it was erased.
    ///
    /// Handles from before the purge stay closed: look the tracer up again. Blocks the thread until
    /// the disk has it.
    ///
    /// # Errors
    /// [`PurgeError`] if the selector is not valid, the disk fails, or after a shutdown. It changes
    /// nothing then.
    pub fn allow<S>(&self, selector: S) -> Result<bool, PurgeError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        self.0.check_purge()?;
        let erased = &self.0.state.erased;
        let _others_wait = erased.lock();
        let was_on_disk = self.0.allow_on_disk(&selector)?;
        let was_erased = erased.remove(&selector) || was_on_disk;
        if was_erased {
            self.0.state.copies.note_change();
            tracing::info!(%selector, "data is allowed again");
            self.note_action(ChangeKind::Allowed, &selector);
        }
        Ok(was_erased)
    }
}

impl Inner {
    fn check_purge(&self) -> Result<(), PurgeError> {
        if self.engine.is_forked() {
            return Err(PurgeError::Forked);
        }
        self.state.check_open().map_err(|_| PurgeError::Shutdown)
    }

    fn purge(&self, selector: Selector) -> Result<PurgeReceipt, PurgeError> {
        let (at, began) = (SystemTime::now(), Instant::now());
        let erased = &self.state.erased;
        let mut generation = erased.lock();
        let is_new = erased.add([selector.clone()]);
        let mut receipt = PurgeReceipt::new(selector, *generation + 1, at);
        let mut selectors = BTreeSet::new();
        if let Err(error) = self.purge_disk(&mut receipt, &mut selectors) {
            if is_new {
                erased.remove(&receipt.selector);
            }
            return Err(error);
        }
        *generation = receipt.generation;
        self.purge_memory(&mut receipt, &mut selectors);
        receipt.selectors = selectors.into_iter().collect();
        receipt.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(receipt)
    }

    /// Erases what is in memory, and counts it and what was on disk.
    fn purge_memory(&self, receipt: &mut PurgeReceipt, selectors: &mut BTreeSet<Selector>) {
        self.forget_tracers(&receipt.selector);
        for ledger in self.accounting.all().0 {
            if ledger.selector.contains(&receipt.selector) {
                receipt.close(&ledger);
                ledger.refused.clear();
                if let Some(explained) = &self.engine.shared.explain {
                    explained.forget(&ledger.selector);
                }
                selectors.insert(ledger.selector.clone());
            }
        }
    }

    /// Ends a purge that the store had recorded when it failed. It deletes the rows by itself.
    #[cfg(feature = "spool")]
    pub(crate) fn end_purge(&self, selector: &Selector) {
        let _others_wait = self.state.erased.lock();
        if !self.state.erased.covers(selector) {
            // It is allowed again.
            return;
        }
        let mut receipt = PurgeReceipt::new(selector.clone(), 0, SystemTime::now());
        self.purge_memory(&mut receipt, &mut BTreeSet::new());
        receipt.log();
        self.engine
            .changes()
            .record(ChangeKind::Purged, Some(selector), None, None);
    }

    /// Erases what is on disk. Adds it, and the selectors that it had.
    #[cfg(feature = "spool")]
    fn purge_disk(&self, receipt: &mut PurgeReceipt, selectors: &mut BTreeSet<Selector>) -> Result<(), PurgeError> {
        let Some(open) = &self.spool else { return Ok(()) };
        let what = receipt.selector.to_string();
        let purged = wait(|done| open.spool.store.purge(&what, done))?;
        open.spool.note_generation(purged.generation);
        receipt.generation = purged.generation;
        receipt.file_bytes_before = purged.file_bytes_before;
        receipt.file_bytes_after = purged.file_bytes_after;
        for queue in purged.queues.iter().chain(&purged.streamed) {
            receipt.rows += queue.span_rows + queue.event_rows;
            selectors.extend(queue.queue.parse::<Selector>());
        }
        for queue in &purged.streamed {
            receipt.streamed.add(queue.spans, queue.events, queue.bytes);
        }
        Ok(())
    }

    #[cfg(not(feature = "spool"))]
    #[expect(clippy::unnecessary_wraps, reason = "with a spool, the disk may fail")]
    fn purge_disk(&self, _: &mut PurgeReceipt, _: &mut BTreeSet<Selector>) -> Result<(), PurgeError> {
        Ok(())
    }

    /// Allows appends again. Returns whether the store had refused them.
    #[cfg(feature = "spool")]
    fn allow_on_disk(&self, selector: &Selector) -> Result<bool, PurgeError> {
        let Some(open) = &self.spool else { return Ok(false) };
        let what = selector.to_string();
        wait(|done| open.spool.store.allow(&what, done))
    }

    #[cfg(not(feature = "spool"))]
    #[expect(clippy::unnecessary_wraps, reason = "with a spool, the disk may fail")]
    fn allow_on_disk(&self, _: &Selector) -> Result<bool, PurgeError> {
        Ok(false)
    }

    /// Removes the tracers of all selectors that contain this one from the pool.
    fn forget_tracers(&self, erased: &Selector) {
        let pool = &self.state.pool;
        self.state.bindings.note_change();
        // First those that are being built: one that is ready by then is among the others.
        pool.remove_building(|selector| selector.contains(erased));
        for tracer in pool.tracers() {
            if tracer.selector().contains(erased) {
                pool.remove(tracer.selector());
            }
        }
    }
}

/// Waits for an answer of the store.
#[cfg(feature = "spool")]
fn wait<T: Send + 'static>(ask: impl FnOnce(Done<Result<T, Failing>>)) -> Result<T, PurgeError> {
    let (sender, answer) = mpsc::sync_channel(1);
    ask(Box::new(move |result| drop(sender.try_send(result))));
    match answer.recv() {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(failing)) => Err(PurgeError::Disk(failing.to_string())),
        Err(_) => Err(PurgeError::Disk("the spool is closed".to_owned())),
    }
}

impl PurgeReceipt {
    fn new(selector: Selector, generation: u64, at: SystemTime) -> Self {
        Self {
            selector,
            generation,
            at: wall_time::to_millis(at),
            took_ms: 0,
            selectors: Vec::new(),
            memory: Erased::default(),
            in_flight_spans: 0,
            in_flight_session_events: 0,
            spooled: Erased::default(),
            streamed: Erased::default(),
            rows: 0,
            file_bytes_before: 0,
            file_bytes_after: 0,
        }
    }

    fn log(&self) {
        let Self {
            memory,
            spooled,
            streamed,
            ..
        } = self;
        let (spans, events) = (
            memory.spans + spooled.spans + streamed.spans,
            memory.session_events + spooled.session_events + streamed.session_events,
        );
        tracing::info!(selector = %self.selector, spans, session_events = events, "data was erased");
    }

    /// Closes the lanes of a selector, and counts what they and the disk had.
    fn close(&mut self, ledger: &Arc<SelectorLedger>) {
        let before = ledger.summary();
        ledger.close(DropReason::Purged);
        let after = ledger.summary();
        let (before, held_bytes) = (before.ledgers, before.held_bytes);
        let grown = |after: &Ledger, before: &Ledger| purged(after) - purged(before);
        let spans = grown(&after.ledgers.spans, &before.spans);
        let events = grown(&after.ledgers.events, &before.events);
        self.memory.add(spans, events, held_bytes as u64);
        // Some of it may have got an answer before the lane was closed.
        self.in_flight_spans += before.spans.snapshot().in_flight.min(spans);
        self.in_flight_session_events += before.events.snapshot().in_flight.min(events);
        #[cfg(feature = "spool")]
        {
            let on_disk = ledger.purge_disk();
            self.spooled.add(on_disk.spans, on_disk.events, on_disk.bytes);
        }
    }
}

fn purged(ledger: &Ledger) -> u64 {
    ledger.dropped_for(DropReason::Purged)
}

impl Erased {
    fn add(&mut self, spans: u64, session_events: u64, bytes: u64) {
        self.spans += spans;
        self.session_events += session_events;
        self.bytes += bytes;
    }
}
