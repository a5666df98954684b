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
use crate::registry::bindings::Asking;
use crate::registry::error::LookupError;
use crate::registry::handle::{Inner, TracerRegistry};
#[cfg(feature = "tower")]
use crate::selector::SelectorKind;
use crate::selector::{Selector, SelectorError};
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// Returns the tracer of a tenant, without blocking the thread. The only way to a tenant of an
    /// [`AsyncBindingSource`](crate::source::AsyncBindingSource) whose tracer is not there yet.
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
    /// As [`tenant`](Self::tenant).
    ///
    /// # Cancel safety
    /// As of [`get_async`](Self::get_async).
    pub fn tenant_async(
        &self,
        slug: &str,
    ) -> impl Future<Output = Result<TracerHandle, LookupError>> + Send + 'static + use<> {
        self.get_async(Selector::tenant(slug))
    }

    /// Returns the tracer of a selector, without blocking the thread: waits for its key, its binding and, if `pool.when_full` is `reject`,
    /// up to 250 ms for room.
    ///
    /// A tracer that is there is found at once. One that is not is made on a thread for blocking work of the tokio runtime that this is
    /// polled in: reading its key may block. Outside tokio, or if the runtime is being shut down or gets no thread, it is made on the
    /// thread that polls, as [`get`](Self::get) does. However many wait for one selector, its tracer is made once, and an
    /// [`AsyncBindingSource`](crate::source::AsyncBindingSource) is asked once.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    ///
    /// # Cancel safety
    /// A future that is dropped leaves the others that wait for the same selector alone, and nothing behind if there are none.
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

    /// Returns the tracer of a selector if it is there and its binding is fresh. Never waits.
    #[cfg(feature = "tower")]
    pub(crate) fn ready(&self, selector: &Selector) -> Option<Result<TracerHandle, LookupError>> {
        self.0.fresh(self.0.find(selector)?)
    }

    /// As [`ready`](Self::ready), for a selector of one part. Allocates nothing.
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
        // A source that polls this while a look-up of this registry asks it could wait for that look-up.
        match (self.begin_making(&selector), found) {
            (Ok(_), _) => {}
            // It stays as it is until a caller asks that can.
            (Err(_), Some(found)) => return self.state.check_open().map(|()| found),
            (Err(error), None) => return Err(error),
        }
        let panicked = Err(LookupError::Panicked(selector.clone()));
        // A look-up after a reload or a removal does not join one that began before.
        let key = (selector.clone(), self.state.bindings.generation());
        let registry = Arc::clone(&self);
        let look_up = self.look_ups.join(&key, || registry.look_up_async(selector), panicked);
        look_up.await
    }

    /// Tries without the source, asks it, and tries with its answer.
    async fn look_up_async(self: Arc<Self>, selector: Selector) -> Result<TracerHandle, LookupError> {
        match self.look_up_with(&selector, Asking::Source).await {
            Err(LookupError::OnlyAsync(_)) => {}
            other => return other,
        }
        let Some((cache, tenant)) = self.state.bindings.of_source(&selector) else {
            // A reload gave it a table in the meantime.
            return self.look_up_with(&selector, Asking::Source).await;
        };
        let before = self.find(&selector).map(|found| (found.freshness().seen(), found));
        let mut asked = cache.ask(&self.state.bindings.config(), tenant);
        let answer = poll_fn(|cx| {
            let _making = self.begin_making(&selector);
            asked.poll_unpin(cx)
        });
        match answer.await {
            Ok(answer) => self.look_up_with(&selector, Asking::Answered(answer)).await,
            Err(error) => match (self.find(&selector), before) {
                (Some(found), Some((seen, before))) if found == before => self.keep_unless_unknown(&found, seen, error),
                (Some(newer), _) => self.open(newer),
                (None, _) => Err(error),
            },
        }
    }

    async fn look_up_with(self: &Arc<Self>, selector: &Selector, asking: Asking) -> Result<TracerHandle, LookupError> {
        let (registry, wanted) = (Arc::clone(self), selector.clone());
        let work = Arc::new(move || match registry.find(&wanted) {
            Some(found) if found.is_stale() => registry.renew(&found, &asking),
            Some(found) => registry.state.check_open().map(|()| found),
            None => registry.look_up(&wanted, &asking),
        });
        for _ in 0..2 {
            let Ok(runtime) = Handle::try_current() else { break };
            let work = Arc::clone(&work);
            // It panics if there is no thread. Then the tracer is made here, as outside tokio.
            let Ok(made) = catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(move || work()))) else {
                break;
            };
            match made.await {
                Ok(result) => return result,
                Err(error) if error.is_panic() => return Err(LookupError::Panicked(selector.clone())),
                // That runtime is being shut down. Others that wait for the same tracer may be in another one.
                Err(_) => yield_now().await,
            }
        }
        work()
    }
}
