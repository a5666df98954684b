//! The way to a tracer that is not there, or whose binding must be asked for again: look-ups after a change never see what was before.

use std::time::Instant;

use crate::registry::bindings::Asking;
use crate::registry::error::LookupError;
use crate::registry::handle::TracerRegistry;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// Resolves the binding and makes the tracer, unless somebody else does. The binding is resolved first: a name that nobody knows never has a
    /// slot in the pool.
    pub(crate) fn look_up(&self, selector: &Selector, asking: &Asking) -> Result<TracerHandle, LookupError> {
        self.0.live.check_open()?;
        // Before there is a slot that others could wait for, and before this thread waits for anybody.
        let _making = self.0.begin_making(selector)?;
        loop {
            let generation = self.0.live.bindings.generation();
            let bound = self.0.live.bindings.resolve(selector, asking)?;
            let mut of_source = bound.of_source;
            let make = || {
                // Asked again now that there is a slot: what changes from here on takes what is being made out of the pool.
                let bound = if self.0.live.bindings.generation() == generation {
                    bound
                } else {
                    self.0.live.bindings.resolve(selector, asking)?
                };
                of_source = bound.of_source;
                self.0.make(&bound)
            };
            let tracer = self.0.live.pool.get_or_make(selector, make)?;
            // What a change concerned is gone from the pool, and what is still there is what everybody gets.
            let is_kept = |there: TracerHandle| there.same_tracer(&tracer);
            if self.0.live.bindings.generation() == generation || self.find(selector).is_some_and(is_kept) {
                self.mind_age(&tracer, of_source);
                return Ok(tracer);
            }
            // Not put back where it is gone, though its binding may be the same: it may have been removed, so that its key is read anew.
        }
    }

    /// Gives a tracer that was found, where nothing speaks against it.
    pub(crate) fn open(&self, found: TracerHandle) -> Result<TracerHandle, LookupError> {
        self.0.live.check_open()?;
        if !found.is_stale() {
            return Ok(found);
        }
        match self.renewed(&found, &Asking::Source) {
            // Only who looks up asynchronously can ask, a source not at all, and a fork neither; until somebody else does it is as it was.
            Err(LookupError::OnlyAsync(_) | LookupError::Recursive { .. } | LookupError::Forked) => Ok(found),
            other => other,
        }
    }

    /// Asks again what a tracer is made of. It stays where that is the same, and where the source fails: what runs is not stopped by a
    /// database that is away.
    pub(crate) fn renewed(&self, found: &TracerHandle, asking: &Asking) -> Result<TracerHandle, LookupError> {
        let selector = found.selector();
        loop {
            // Before it is asked: a reload in the meantime marks it once more.
            let marks = found.marks();
            let bound = {
                let _making = self.0.begin_making(selector)?;
                self.0.live.bindings.resolve(selector, asking)
            };
            match bound {
                Ok(bound) if bound.binding.digest() == found.digest() => {
                    if found.settle(marks) {
                        self.mind_age(found, bound.of_source);
                        return Ok(found.clone());
                    }
                }
                Ok(_) => {
                    self.0.live.projects.forget(|changed| changed == selector);
                    self.0.live.pool.retire(found);
                    return self.look_up(selector, asking);
                }
                Err(error) => return self.kept_after(found, marks, error),
            }
        }
    }

    /// What becomes of a tracer whose binding cannot be had: it goes where there is none any more, and stays where that is not known. `marks` is
    /// how often it was marked when that was asked for.
    pub(crate) fn kept_after(
        &self,
        found: &TracerHandle,
        marks: u32,
        error: LookupError,
    ) -> Result<TracerHandle, LookupError> {
        let selector = found.selector();
        match (error, self.0.live.bindings.asks_for(selector)) {
            (
                error @ (LookupError::Source { .. } | LookupError::TenantBinding(_) | LookupError::Panicked(_)),
                Some((answers, tenant)),
            ) => {
                if let Some(granted) = self.0.engine.lines().take(Instant::now()) {
                    let left_out = granted.left_out;
                    tracing::warn!(%selector, left_out, "the tracer stays as it was, for its binding cannot be asked for: {error}");
                }
                answers.note_failure(tenant);
                found.settle(marks);
                Ok(found.clone())
            }
            (error @ LookupError::Resolve(_), _) => {
                self.0.live.pool.retire(found);
                Err(error)
            }
            (error, _) => Err(error),
        }
    }

    /// Marks a tracer at once whose answer stopped holding while it was made: nobody else will.
    fn mind_age(&self, tracer: &TracerHandle, of_source: bool) {
        if of_source
            && let Some((answers, tenant)) = self.0.live.bindings.asks_for(tracer.selector())
            && !answers.holds(tenant)
        {
            tracer.mark_stale();
        }
    }
}
