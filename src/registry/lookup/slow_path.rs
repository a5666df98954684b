//! Look-ups of tracers that are missing or must be refreshed. A look-up that begins after a change
//! never returns a tracer from before it.

use std::thread;
use std::time::Instant;

use super::reentrancy::ReentrancyGuard;
use crate::registry::bindings::SourceQuery;
use crate::registry::error::LookupError;
use crate::registry::handle::Inner;
use crate::selector::Selector;
use crate::tracer::{FreshnessSnapshot, TracerHandle};

impl Inner {
    pub(crate) fn check_not_forked(&self) -> Result<(), LookupError> {
        if self.engine.is_forked() {
            Err(LookupError::Forked)
        } else {
            Ok(())
        }
    }

    /// Call before taking any registry lock: after a fork, a lock held by another thread is never
    /// released.
    pub(crate) fn guard_reentrancy(&self, selector: &Selector) -> Result<ReentrancyGuard, LookupError> {
        self.check_not_forked()?;
        ReentrancyGuard::enter(self).ok_or_else(|| LookupError::Recursive {
            selector: selector.clone(),
            thread: thread::current().id(),
        })
    }

    /// Resolves the binding and creates the tracer, unless another caller does. Records a failure.
    pub(super) fn look_up(&self, selector: &Selector, query: &SourceQuery) -> Result<TracerHandle, LookupError> {
        let result = self.find_or_make(selector, query);
        self.state.failed.note(selector, &result);
        result
    }

    /// Resolves first, so that an unknown name never takes a pool slot.
    fn find_or_make(&self, selector: &Selector, query: &SourceQuery) -> Result<TracerHandle, LookupError> {
        let (bindings, pool) = (&self.state.bindings, &self.state.pool);
        self.state.check_open()?;
        // Before this thread takes a slot that others wait for, or waits for another thread.
        let _guard = self.guard_reentrancy(selector)?;
        loop {
            let generation = bindings.generation();
            let bound = bindings.resolve(selector, query)?;
            let tracer = pool.get_or_make(selector, || {
                // Check again under the slot: from here on a change removes the tracer that is
                // being built.
                if bindings.generation() == generation {
                    self.make(&bound, true)
                } else {
                    self.make(&bindings.resolve(selector, query)?, true)
                }
            })?;
            // A change removes the affected tracers from the pool; any tracer still there is
            // current.
            let is_kept = |there: TracerHandle| there == tracer;
            if bindings.generation() == generation || self.find(selector).is_some_and(is_kept) {
                return Ok(tracer);
            }
            // Not put back into the pool, even if its binding is the same: the removal may require
            // reading its key again.
        }
    }

    /// Like [`renew`](Self::renew); keeps the tracer if this caller cannot ask the source.
    pub(super) fn renew_or_keep(&self, found: TracerHandle) -> Result<TracerHandle, LookupError> {
        match self.renew(&found, &SourceQuery::Ask) {
            // The source is async, a source made this look-up, or this is a forked child.
            Err(LookupError::OnlyAsync(_) | LookupError::Recursive { .. } | LookupError::Forked) => Ok(found),
            other => other,
        }
    }

    /// Resolves a tracer's binding again. Keeps the tracer if the binding is unchanged or the
    /// source fails, so a database outage does not stop running tracers.
    pub(super) fn renew(&self, found: &TracerHandle, query: &SourceQuery) -> Result<TracerHandle, LookupError> {
        let selector = found.selector();
        loop {
            // Read before asking the source, so that a reload in the meantime marks the tracer
            // stale again.
            let seen = found.freshness().snapshot();
            let bound = {
                let _guard = self.guard_reentrancy(selector)?;
                self.state.bindings.resolve(selector, query)
            };
            match bound {
                Ok(bound) if bound.binding.digest() == found.digest() => {
                    if found.freshness().renew(seen, bound.expires) {
                        return Ok(found.clone());
                    }
                }
                Ok(_) => {
                    self.state.projects.forget(|changed| changed == selector);
                    self.state.pool.retire(found);
                    return self.look_up(selector, query);
                }
                Err(error) => return self.keep_unless_unknown(found, seen, error),
            }
        }
    }

    /// Handles a failed refresh: removes the tracer if the tenant is gone, keeps it if the source
    /// failed.
    pub(super) fn keep_unless_unknown(
        &self,
        found: &TracerHandle,
        seen: FreshnessSnapshot,
        error: LookupError,
    ) -> Result<TracerHandle, LookupError> {
        let selector = found.selector();
        match (error, self.state.bindings.source_of(selector)) {
            (
                error @ (LookupError::Source { .. } | LookupError::TenantBinding(_) | LookupError::Panicked(_)),
                Some((cache, _)),
            ) => {
                if let Some(granted) = self.engine.lines().take(Instant::now()) {
                    let left_out = granted.left_out;
                    tracing::warn!(%selector, left_out, "binding refresh failed; keeping the current tracer: {error}");
                }
                found.freshness().renew(seen, Some(cache.next_retry()));
                Ok(found.clone())
            }
            (error @ LookupError::Resolve(_), _) => {
                self.state.pool.retire(found);
                Err(error)
            }
            (error, _) => Err(error),
        }
    }
}
