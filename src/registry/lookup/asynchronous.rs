//! Look-ups that wait without a thread.

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
use crate::registry::handle::TracerRegistry;
#[cfg(feature = "tower")]
use crate::selector::SelectorKind;
use crate::selector::{Selector, SelectorError};
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// The tracer of a tenant, as [`tenant`](Self::tenant) gives it, waited for without blocking the thread. The only way to a tenant of an
    /// [`AsyncBindingSource`](crate::AsyncBindingSource) whose tracer is not there yet.
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

    /// The tracer of a selector, as [`get`](Self::get) gives it, waited for without blocking the thread: for its key, its binding, and if
    /// `pool.when_full` is `reject` up to 250 ms for room.
    ///
    /// A tracer that is there is found at once. One that is not is made on a thread for blocking work of the tokio runtime that this is polled
    /// in: reading its key may block. Outside tokio, or where the runtime is being shut down or gets no thread, it is made on the thread that polls, as [`get`](Self::get) does. However many wait
    /// for one selector, its tracer is made once, and an [`AsyncBindingSource`](crate::AsyncBindingSource) is asked once.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    ///
    /// # Cancel safety
    /// A future that is dropped leaves the others that wait for the same selector alone, and nothing behind where there are none.
    pub fn get_async<S>(
        &self,
        selector: S,
    ) -> impl Future<Output = Result<TracerHandle, LookupError>> + Send + 'static + use<S>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let (registry, selector) = (self.clone(), checked(selector));
        async move { registry.found_or_flown(selector?).await }
    }

    /// The tracer of a selector, where it is there and nothing has to be asked. Never waits.
    #[cfg(feature = "tower")]
    pub(crate) fn ready(&self, selector: &Selector) -> Option<Result<TracerHandle, LookupError>> {
        self.find(selector).and_then(|found| self.fresh(found))
    }

    /// As [`ready`](Self::ready), for a selector of one part. Allocates nothing.
    #[cfg(feature = "tower")]
    pub(crate) fn ready_single(&self, part: SelectorKind, name: &str) -> Option<Result<TracerHandle, LookupError>> {
        let found = self.0.live.pool.find_single(part, name);
        found.and_then(|found| self.fresh(found))
    }

    #[cfg(feature = "tower")]
    fn fresh(&self, found: TracerHandle) -> Option<Result<TracerHandle, LookupError>> {
        (!found.is_stale()).then(|| self.open(found))
    }

    async fn found_or_flown(self, selector: Selector) -> Result<TracerHandle, LookupError> {
        let found = match self.find(&selector) {
            Some(found) if !found.is_stale() => return self.open(found),
            found => found,
        };
        // Where this is polled by a source that a look-up of this registry asks, they could wait for each other.
        match (self.0.begin_making(&selector), found) {
            (Ok(_), _) => {}
            // Until somebody asks who can it is as it was.
            (Err(_), Some(found)) => return self.0.live.check_open().map(|()| found),
            (Err(error), None) => return Err(error),
        }
        let panicked = Err(LookupError::Panicked(selector.clone()));
        let registry = self.clone();
        let flown = selector.clone();
        // Who comes after a reload or a removal does not join who began before.
        let flight = (selector, self.0.live.bindings.generation());
        let flight = self.0.flights.join(&flight, || registry.fly(flown), panicked);
        flight.await
    }

    /// Tries without asking, asks, and tries with the answer.
    async fn fly(self, selector: Selector) -> Result<TracerHandle, LookupError> {
        match self.clone().try_with(&selector, Asking::Source).await {
            Err(LookupError::OnlyAsync(_)) => {}
            other => return other,
        }
        let Some((answers, tenant)) = self.0.live.bindings.asks_for(&selector) else {
            // A reload gave it a table in the meantime.
            return self.clone().try_with(&selector, Asking::Source).await;
        };
        let before = self.find(&selector).map(|found| (found.marks(), found));
        let mut asked = answers.ask(&self.0.live.bindings.config(), tenant);
        let answer = poll_fn(|cx| {
            let _making = self.0.begin_making(&selector);
            asked.poll_unpin(cx)
        });
        match answer.await {
            Ok(answer) => self.clone().try_with(&selector, Asking::Told(answer)).await,
            Err(error) => match (self.find(&selector), before) {
                (Some(found), Some((marks, before))) if found.same_tracer(&before) => {
                    self.kept_after(&found, marks, error)
                }
                (Some(newer), _) => self.open(newer),
                (None, _) => Err(error),
            },
        }
    }

    async fn try_with(self, selector: &Selector, asking: Asking) -> Result<TracerHandle, LookupError> {
        let wanted = selector.clone();
        let work = Arc::new(move || match self.find(&wanted) {
            Some(found) if found.is_stale() => self.renewed(&found, &asking),
            Some(found) => self.open(found),
            None => self.look_up(&wanted, &asking),
        });
        for _ in 0..2 {
            let Ok(runtime) = Handle::try_current() else { break };
            let work = Arc::clone(&work);
            // It panics where there is no thread. Then the tracer is made here, as outside of tokio.
            let Ok(made) = catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(move || work()))) else {
                break;
            };
            match made.await {
                Ok(result) => return result,
                Err(error) if error.is_panic() => return Err(LookupError::Panicked(selector.clone())),
                // That runtime is being shut down. Others who wait for the same may be in another one.
                Err(_) => yield_now().await,
            }
        }
        work()
    }
}
