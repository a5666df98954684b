//! The way to a tracer that is not there, or whose binding must be resolved again. A look-up after a change never sees what was before.

use std::thread;
use std::time::Instant;

use super::reentrancy::ReentrancyGuard;
use crate::registry::bindings::Asking;
use crate::registry::error::LookupError;
use crate::registry::handle::Inner;
use crate::selector::Selector;
use crate::tracer::{Seen, TracerHandle};

impl Inner {
    pub(crate) fn check_not_forked(&self) -> Result<(), LookupError> {
        if self.engine.is_forked() {
            Err(LookupError::Forked)
        } else {
            Ok(())
        }
    }

    /// Call before taking any registry lock: after a fork, a lock held by another thread is never released.
    pub(crate) fn begin_making(&self, selector: &Selector) -> Result<ReentrancyGuard, LookupError> {
        self.check_not_forked()?;
        ReentrancyGuard::enter(self).ok_or_else(|| LookupError::Recursive {
            selector: selector.clone(),
            thread: thread::current().id(),
        })
    }

    /// Resolves the binding and makes the tracer, unless another caller does. The binding is resolved first: an unknown name never has a
    /// slot in the pool.
    pub(super) fn look_up(&self, selector: &Selector, asking: &Asking) -> Result<TracerHandle, LookupError> {
        let (bindings, pool) = (&self.state.bindings, &self.state.pool);
        self.state.check_open()?;
        // Before there is a slot that others could wait for, and before this thread waits for another.
        let _making = self.begin_making(selector)?;
        loop {
            let generation = bindings.generation();
            let bound = bindings.resolve(selector, asking)?;
            let tracer = pool.get_or_make(selector, || {
                // Resolved again now that there is a slot: a change from here on removes what is being made from the pool.
                if bindings.generation() == generation {
                    self.make(&bound)
                } else {
                    self.make(&bindings.resolve(selector, asking)?)
                }
            })?;
            // A change removed from the pool what it concerned; what is still there is what every caller gets.
            let is_kept = |there: TracerHandle| there == tracer;
            if bindings.generation() == generation || self.find(selector).is_some_and(is_kept) {
                return Ok(tracer);
            }
            // Not put back into the pool, though its binding may be the same: it may have been removed so that its key is read anew.
        }
    }

    /// As [`renew`](Self::renew); keeps the tracer if this caller cannot ask.
    pub(super) fn renew_or_keep(&self, found: TracerHandle) -> Result<TracerHandle, LookupError> {
        match self.renew(&found, &Asking::Source) {
            // The source is asynchronous and this look-up is not, a source looks up the tracer, or this is a forked child.
            Err(LookupError::OnlyAsync(_) | LookupError::Recursive { .. } | LookupError::Forked) => Ok(found),
            other => other,
        }
    }

    /// Resolves a tracer's binding again. The tracer stays if the binding is the same, and if the source fails: a database that is away
    /// does not stop what runs.
    pub(super) fn renew(&self, found: &TracerHandle, asking: &Asking) -> Result<TracerHandle, LookupError> {
        let selector = found.selector();
        loop {
            // Before the source is asked: a reload meanwhile marks the tracer again.
            let seen = found.freshness().seen();
            let bound = {
                let _making = self.begin_making(selector)?;
                self.state.bindings.resolve(selector, asking)
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
                    return self.look_up(selector, asking);
                }
                Err(error) => return self.keep_unless_unknown(found, seen, error),
            }
        }
    }

    /// Handles a failed refresh: removes the tracer if the tenant is gone, keeps it if the source failed.
    pub(super) fn keep_unless_unknown(
        &self,
        found: &TracerHandle,
        seen: Seen,
        error: LookupError,
    ) -> Result<TracerHandle, LookupError> {
        let selector = found.selector();
        match (error, self.state.bindings.of_source(selector)) {
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
