//! Actions of an operator on one selector.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::bindings::SourceQuery;
use super::error::LookupError;
use super::handle::TracerRegistry;
use crate::export::{ChangeKind, after};
use crate::secret::Fingerprint;
use crate::selector::{Selector, SelectorError};

/// Result of [`TracerRegistry::rotate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rotation {
    /// Fingerprint of the key that the newest tracer of the selector had. `None` without a tracer.
    pub before: Option<Fingerprint>,
    /// Fingerprint of the key that its source returned.
    pub fingerprint: Fingerprint,
    /// Existing tracers of the selector that use it now.
    pub tracers: usize,
}

impl TracerRegistry {
    /// Stops sending for all tracers of a selector, also for later ones, until
    /// [`resume`](Self::resume) or a shutdown. Returns whether it was not paused before.
    ///
    /// A request in progress is completed. Data keeps queueing within the bounds of a queue; beyond
    /// them it is dropped as `queue_full`. Waiting data does not expire. A flush does not wait for
    /// it and reports it as pending. The pool does not evict a tracer with waiting data. A pause
    /// ends with the process.
    ///
    /// Reads no key. If the selector has no tracer, blocks the thread like a look-up while a
    /// binding source answers.
    ///
    /// # Errors
    /// [`LookupError`] if the selector has neither a tracer nor a valid binding, or after a
    /// shutdown.
    pub fn pause<S>(&self, selector: S) -> Result<bool, LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        let _guard = self.0.guard_reentrancy(&selector)?;
        self.0.state.check_open()?;
        let ledger = if let Some(ledger) = self.0.accounting.find(&selector) {
            ledger
        } else {
            let binding = self.0.state.bindings.resolve(&selector, &SourceQuery::Ask)?.binding;
            let destination = self.0.destination(&binding)?;
            self.0.accounting.ledger(&selector, &destination.traces_url)
        };
        let was_open = ledger.pause();
        if was_open {
            self.note_action(ChangeKind::Paused, &selector);
        }
        Ok(was_open)
    }

    /// Continues sending after a [`pause`](Self::pause). Returns whether the selector was paused.
    ///
    /// Data that waited has the full `export.retry.max_elapsed` again. Does nothing in a forked
    /// child of the registry's process.
    ///
    /// # Errors
    /// [`SelectorError`] if the selector is not valid.
    pub fn resume<S>(&self, selector: S) -> Result<bool, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        if self.0.engine.is_forked() {
            return Ok(false);
        }
        let ledger = self.0.accounting.find(&selector);
        let was_paused = ledger.as_ref().is_some_and(|ledger| ledger.resume());
        #[cfg(feature = "spool")]
        if let Some(ledger) = &ledger {
            self.0.engine.load(ledger);
        }
        if was_paused {
            self.note_action(ChangeKind::Resumed, &selector);
        }
        Ok(was_paused)
    }

    /// Sends what the tracers of one selector have accepted so far, and waits up to `timeout`.
    /// Returns how many spans and session events of that still wait. `None` without a tracer, and
    /// in a forked child of the registry's process.
    ///
    /// Unlike the [flush of a handle](crate::TracerHandle::force_flush), it reports nothing: the
    /// next report still contains all losses. Blocks the thread.
    ///
    /// # Errors
    /// [`SelectorError`] if the selector is not valid.
    pub fn flush<S>(&self, selector: S, timeout: Duration) -> Result<Option<u64>, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        if self.0.engine.is_forked() {
            return Ok(None);
        }
        let Some(ledger) = self.0.accounting.find(&selector) else {
            return Ok(None);
        };
        let flush = [ledger.begin_flush()];
        self.0.engine.await_flushes(&flush, after(timeout));
        let [flush] = flush;
        let pending = flush.pending();
        let has_tracer = !flush.lanes.is_empty();
        Ok(has_tracer.then_some(pending.spans + pending.events))
    }

    /// Reads the key of a selector from its source now, and uses it for its tracers. An error
    /// changes nothing. Blocks the thread like a look-up.
    ///
    /// Tracers of other selectors with the same source use the key too. Tracers from before a
    /// change of the source, which live as long as their handles, keep their own.
    /// [`check_selector`](Self::check_selector) tries the key and changes nothing.
    ///
    /// # Errors
    /// [`LookupError`] if the selector has no valid binding, or its key cannot be read.
    pub fn rotate<S>(&self, selector: S) -> Result<Rotation, LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        let _guard = self.0.guard_reentrancy(&selector)?;
        self.0.state.check_open()?;
        let binding = self.0.state.bindings.resolve(&selector, &SourceQuery::Ask)?.binding;
        let destination = self.0.destination(&binding)?;
        let ledger = self.0.accounting.find(&selector);
        let before = ledger.as_ref().and_then(|ledger| ledger.fingerprint());
        let key = self.0.engine.keys().open(&binding.api_key, destination.key_scheme)?;
        let mut tracers = 0;
        if let Some(ledger) = ledger {
            ledger.each_lane(|lane| tracers += usize::from(Arc::ptr_eq(lane.key(), &key)));
        }
        Ok(Rotation {
            before,
            fingerprint: key.fingerprint(),
            tracers,
        })
    }

    /// Checks that a selector has a tracer, counts or a binding, or is a part of one with counts: that
    /// its name is not misspelt.
    ///
    /// Reads no key and asks no binding source. A tenant that only the source may know passes, and
    /// every selector in a forked child of the registry's process.
    ///
    /// # Errors
    /// [`LookupError`] if the selector is not valid, or its binding is unknown or broken.
    pub fn check_known<S>(&self, selector: S) -> Result<(), LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        let bindings = &self.0.state.bindings;
        let passes = self.0.engine.is_forked()
            || self.0.accounting.find(&selector).is_some()
            || bindings.source_of(&selector).is_some();
        if passes {
            return Ok(());
        }
        let is_part = || {
            let ledgers = self.0.accounting.all().0;
            ledgers.iter().any(|ledger| ledger.selector.contains(&selector))
        };
        match bindings.resolve(&selector, &SourceQuery::Ask) {
            Err(error) if error.is_unknown() && is_part() => Ok(()),
            result => result.map(drop),
        }
    }

    pub(super) fn note_action(&self, kind: ChangeKind, selector: &Selector) {
        self.0.engine.changes().record(kind, Some(selector), None, None);
    }
}
