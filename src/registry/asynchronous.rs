//! Look-ups that wait without a thread.

use std::future::poll_fn;

use futures_util::FutureExt;
use tokio::runtime::Handle;

use super::bindings::Asking;
use super::lookup::checked;
use super::{LookupError, TracerRegistry};
#[cfg(feature = "tower")]
use crate::selector::Part;
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

    /// The tracer of a selector, as [`get`](Self::get) gives it, waited for without blocking the thread.
    ///
    /// A tracer that is there is found at once. One that is not is made on a thread for blocking work of the tokio runtime that this is polled
    /// in: reading its key may block. Outside tokio it is made on the thread that polls, as [`get`](Self::get) does. However many wait
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
    pub(crate) fn ready(&self, selector: &Selector) -> Option<Result<TracerHandle, LookupError>> {
        self.find(selector).and_then(|found| self.fresh(found))
    }

    /// As [`ready`](Self::ready), for a selector of one part. Allocates nothing.
    #[cfg(feature = "tower")]
    pub(crate) fn ready_single(&self, part: Part, name: &str) -> Option<Result<TracerHandle, LookupError>> {
        let found = self.0.pool.find_single(part, name);
        found.and_then(|found| self.fresh(found))
    }

    fn fresh(&self, found: TracerHandle) -> Option<Result<TracerHandle, LookupError>> {
        (!found.is_stale()).then(|| self.open(found))
    }

    async fn found_or_flown(self, selector: Selector) -> Result<TracerHandle, LookupError> {
        if let Some(ready) = self.ready(&selector) {
            return ready;
        }
        // Where this is polled by a source that a look-up of this registry asks, they could wait for each other.
        drop(self.0.begin_making(&selector)?);
        let panicked = Err(LookupError::Panicked(selector.clone()));
        let registry = self.clone();
        let flown = selector.clone();
        let flight = self.0.flights.join(&selector, || registry.fly(flown), panicked);
        flight.await
    }

    /// Tries without asking, asks, and tries with the answer.
    async fn fly(self, selector: Selector) -> Result<TracerHandle, LookupError> {
        match self.clone().try_with(&selector, Asking::Source).await {
            Err(LookupError::OnlyAsync(_)) => {}
            other => return other,
        }
        let Some((answers, tenant)) = self.0.bindings.asks_for(&selector) else {
            // A reload gave it a table in the meantime.
            return self.clone().try_with(&selector, Asking::Source).await;
        };
        let mut asked = answers.ask(&self.0.bindings.config(), tenant);
        let answer = poll_fn(|cx| {
            let _making = self.0.begin_making(&selector);
            asked.poll_unpin(cx)
        });
        match answer.await {
            Ok(answer) => self.clone().try_with(&selector, Asking::Told(answer)).await,
            Err(error) => match self.find(&selector) {
                Some(found) => self.kept_after(&found, error),
                None => Err(error),
            },
        }
    }

    async fn try_with(self, selector: &Selector, asking: Asking) -> Result<TracerHandle, LookupError> {
        let wanted = selector.clone();
        let work = move || match self.find(&wanted) {
            Some(found) if found.is_stale() => self.renewed(&found, &asking),
            Some(found) => self.open(found),
            None => self.look_up(&wanted, &asking),
        };
        let Ok(runtime) = Handle::try_current() else {
            return work();
        };
        match runtime.spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(LookupError::Panicked(selector.clone())),
            // The runtime is being shut down, and with it whoever asks.
            Err(_) => Err(LookupError::Shutdown),
        }
    }
}
