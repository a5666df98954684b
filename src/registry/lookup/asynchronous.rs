//! Look-ups that wait without blocking a thread.

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::yield_now;

use super::blocking::checked;
use crate::registry::bindings::SourceQuery;
use crate::registry::error::LookupError;
use crate::registry::handle::{Inner, TracerRegistry};
#[cfg(feature = "tower")]
use crate::selector::SelectorKind;
use crate::selector::{Selector, SelectorError};
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// Returns the tracer of a tenant without blocking the thread. Required for the first look-up
    /// of a tenant whose binding comes from an
    /// [`AsyncBindingSource`](crate::source::AsyncBindingSource).
    ///
    /// ```
    /// # use tracer_registry::{LookupError, TracerRegistry};
    /// # async fn demo(registry: &TracerRegistry) -> Result<(), LookupError> {
    /// let acme = registry.tenant_async("acme").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Same as [`tenant`](Self::tenant).
    ///
    /// # Cancel safety
    /// Same as [`get_async`](Self::get_async).
    pub fn tenant_async(
        &self,
        slug: &str,
    ) -> impl Future<Output = Result<TracerHandle, LookupError>> + Send + 'static + use<> {
        self.get_async(Selector::tenant(slug))
    }

    /// Returns the tracer of a selector without blocking the thread. Waits for its key and binding
    /// and, if `pool.when_full` is `reject`, up to 250 ms for a free slot.
    ///
    /// An existing tracer is returned at once. A missing one is created on a blocking thread of the
    /// tokio runtime that polls the future, because reading the key may block. Outside tokio, or if
    /// the runtime is shutting down or has no thread to spare, it is created on the polling thread,
    /// like [`get`](Self::get). Concurrent look-ups of one selector create its tracer once and ask
    /// an [`AsyncBindingSource`](crate::source::AsyncBindingSource) once.
    ///
    /// # Errors
    /// Same as [`tenant`](Self::tenant).
    ///
    /// # Cancel safety
    /// Dropping the future does not affect other look-ups of the same selector. If there are none,
    /// the look-up is cancelled and leaves nothing behind.
    pub fn get_async<S>(
        &self,
        selector: S,
    ) -> impl Future<Output = Result<TracerHandle, LookupError>> + Send + 'static + use<S>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let (registry, selector) = (Arc::clone(&self.0), checked(selector));
        async move { registry.get_or_wait(selector?).await }
    }

    /// Returns the tracer of a selector if it exists and its binding is fresh. Never waits.
    #[cfg(feature = "tower")]
    pub(crate) fn ready(&self, selector: &Selector) -> Option<Result<TracerHandle, LookupError>> {
        self.0.fresh(self.0.find(selector)?)
    }

    /// Like [`ready`](Self::ready), for a selector of one part. Does not allocate.
    #[cfg(feature = "tower")]
    pub(crate) fn ready_single(&self, part: SelectorKind, name: &str) -> Option<Result<TracerHandle, LookupError>> {
        self.0.fresh(self.0.state.pool.find_single(part, name)?)
    }
}

impl Inner {
    #[cfg(feature = "tower")]
    fn fresh(&self, found: TracerHandle) -> Option<Result<TracerHandle, LookupError>> {
        (!found.is_stale()).then(|| self.state.check_open().map(|()| found))
    }

    async fn get_or_wait(self: Arc<Self>, selector: Selector) -> Result<TracerHandle, LookupError> {
        let found = match self.find(&selector) {
            Some(found) if !found.is_stale() => return self.state.check_open().map(|()| found),
            found => found,
        };
        // Refuse re-entrant look-ups: a source polled by a look-up of this registry could wait for
        // that same look-up.
        match (self.guard_reentrancy(&selector), found) {
            (Ok(_), _) => {}
            // Keep the stale tracer: a later look-up refreshes it.
            (Err(_), Some(found)) => return self.state.check_open().map(|()| found),
            (Err(error), None) => return Err(error),
        }
        let panicked = Err(LookupError::Panicked(selector.clone()));
        // The generation in the key keeps a look-up after a reload or removal from joining an
        // earlier one.
        let key = (selector.clone(), self.state.bindings.generation());
        let registry = Arc::clone(&self);
        let look_up = self.look_ups.join(&key, || registry.look_up_async(selector), panicked);
        look_up.await
    }

    /// Tries without the source; if only the source knows the binding, asks it and tries again with
    /// its answer.
    async fn look_up_async(self: Arc<Self>, selector: Selector) -> Result<TracerHandle, LookupError> {
        match self.look_up_with(&selector, SourceQuery::Ask).await {
            Err(LookupError::OnlyAsync(_)) => {}
            other => return other,
        }
        let Some((cache, tenant)) = self.state.bindings.source_of(&selector) else {
            // A reload added a table for the tenant in the meantime.
            return self.look_up_with(&selector, SourceQuery::Ask).await;
        };
        let before = self.find(&selector).map(|found| (found.freshness().snapshot(), found));
        let mut asked = cache.ask(&self.state.bindings.config(), tenant);
        let answer = poll_fn(|cx| {
            let _guard = self.guard_reentrancy(&selector);
            asked.poll_unpin(cx)
        });
        match answer.await {
            Ok(answer) => self.look_up_with(&selector, SourceQuery::Answer(answer)).await,
            Err(error) => match (self.find(&selector), before) {
                (Some(found), Some((seen, before))) if found == before => self.keep_unless_unknown(&found, seen, error),
                (Some(newer), _) => self.open(newer),
                (None, _) => Err(error),
            },
        }
    }

    async fn look_up_with(
        self: &Arc<Self>,
        selector: &Selector,
        query: SourceQuery,
    ) -> Result<TracerHandle, LookupError> {
        let (registry, wanted) = (Arc::clone(self), selector.clone());
        let work = Arc::new(move || match registry.find(&wanted) {
            Some(found) if found.is_stale() => registry.renew(&found, &query),
            Some(found) => registry.state.check_open().map(|()| found),
            None => registry.look_up(&wanted, &query),
        });
        for _ in 0..2 {
            let Ok(runtime) = Handle::try_current() else { break };
            let work = Arc::clone(&work);
            // `spawn_blocking` panics if it cannot start a thread. The tracer is then created here,
            // as outside tokio.
            let Ok(made) = catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(move || work()))) else {
                break;
            };
            match made.await {
                Ok(result) => return result,
                Err(error) if error.is_panic() => return Err(LookupError::Panicked(selector.clone())),
                // This runtime is shutting down. Yield: look-ups of the same tracer may be polled
                // in another runtime.
                Err(_) => yield_now().await,
            }
        }
        work()
    }
}
