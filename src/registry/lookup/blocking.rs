//! Looking tracers up on the calling thread.

use crate::registry::bindings::Asking;
use crate::registry::error::LookupError;
use crate::registry::handle::{Inner, TracerRegistry};
use crate::scope::Scope;
use crate::selector::{Selector, SelectorError, SelectorKind, Slug};
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// Returns the tracer of a tenant, by its slug. The first look-up of a slug blocks the thread: async code uses
    /// [`tenant_async`](Self::tenant_async).
    ///
    /// The first look-up reads the key and makes the tracer; callers that ask for the same slug meanwhile wait for it. A look-up that
    /// fails leaves nothing behind, and the next one tries again.
    ///
    /// # Waiting
    /// A tracer that is there is found without waiting. One that is not waits:
    /// - for its key: a file is read at once, a command may take its `timeout` (10 s by default), a source of the program's own as long as it does;
    /// - for a blocking source of bindings, as long as that takes;
    /// - for room, if there are `pool.max_tracers` and `pool.when_full` is `reject`: for 250 ms at the most. With `grow` it never waits for room.
    ///
    /// # Errors
    /// [`LookupError`] for a name that is not allowed, not configured, or whose key cannot be read. Never another tenant's tracer.
    pub fn tenant(&self, slug: &str) -> Result<TracerHandle, LookupError> {
        self.0.single(SelectorKind::Tenant, slug)
    }

    /// Returns the tracer of an environment, by its name. The first look-up blocks the thread as that of [`tenant`](Self::tenant) does;
    /// async code uses [`get_async`](Self::get_async).
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn environment(&self, name: &str) -> Result<TracerHandle, LookupError> {
        self.0.single(SelectorKind::Environment, name)
    }

    /// Returns the tracer of a feature, by its name. The first look-up blocks the thread as that of [`tenant`](Self::tenant) does; async
    /// code uses [`get_async`](Self::get_async).
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn feature(&self, name: &str) -> Result<TracerHandle, LookupError> {
        self.0.single(SelectorKind::Feature, name)
    }

    /// Returns the tracer of a selector. The first look-up blocks the thread as that of [`tenant`](Self::tenant) does; async code uses
    /// [`get_async`](Self::get_async).
    ///
    /// A selector may have several parts: their bindings are merged, and the result is a tracer of its own. Takes what
    /// [`Selector::tenant`] and its like make, with names not yet checked, or a `&Selector`.
    ///
    /// ```
    /// # use tracer_registry::{LookupError, Selector, TracerRegistry};
    /// # fn demo(registry: &TracerRegistry) -> Result<(), LookupError> {
    /// let both = registry.get(Selector::tenant("acme").feature("search"))?;
    /// let again = registry.get(both.selector())?;
    /// assert_eq!(again, both);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn get<S>(&self, selector: S) -> Result<TracerHandle, LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = checked(selector)?;
        match self.0.find(&selector) {
            Some(found) => self.0.open(found),
            None => self.0.look_up(&selector, &Asking::Source),
        }
    }

    /// Returns the tracer of the active environment. Blocks the thread as [`environment`](Self::environment) does.
    ///
    /// # Errors
    /// [`LookupError::NoActiveEnvironment`] if none is configured, else as [`tenant`](Self::tenant).
    pub fn active(&self) -> Result<TracerHandle, LookupError> {
        let config = self.0.state.bindings.loaded();
        let name = config.active_environment().ok_or(LookupError::NoActiveEnvironment)?;
        self.environment(name)
    }

    /// Makes a tracer outside the pool, for one request or one job. Blocks the thread while its key and its binding are read; never waits
    /// for room.
    ///
    /// It shares nothing with other tracers of the same selector but the engine and the books. When its last handle, span and session are
    /// gone, what it holds is sent, without anybody waiting.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn dedicated<S>(&self, selector: S) -> Result<TracerHandle, LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = checked(selector)?;
        self.0.state.check_open()?;
        let _making = self.0.begin_making(&selector)?;
        self.0.make(&self.0.state.bindings.resolve(&selector, &Asking::Source)?)
    }

    /// Returns the tracer of the current scope, of whichever registry: what [`TracerHandle::scope`] and its like made current, on this
    /// thread or in this task.
    ///
    /// ```
    /// use tracer_registry::TracerRegistry;
    ///
    /// fn deep_inside() {
    ///     if let Some(tracer) = TracerRegistry::current() {
    ///         tracer.in_span("deep inside", |_| ());
    ///     }
    /// }
    /// ```
    pub fn current() -> Option<TracerHandle> {
        Scope::current().tracer()
    }
}

impl Inner {
    /// Returns the tracer of a selector, if it is in the pool.
    pub(crate) fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        self.state.pool.find(selector)
    }

    fn single(&self, part: SelectorKind, name: &str) -> Result<TracerHandle, LookupError> {
        if let Some(found) = self.state.pool.find_single(part, name) {
            return self.open(found);
        }
        // Names are checked on the way to a new tracer only: what is in the pool was checked when it came in.
        let name = Slug::new(name).map_err(|source| SelectorError::Slug { part, source })?;
        self.look_up(&Selector::of(part, name), &Asking::Source)
    }

    /// Returns a tracer that was found in the pool, unless the registry is shut down or its binding changed.
    pub(super) fn open(&self, found: TracerHandle) -> Result<TracerHandle, LookupError> {
        self.state.check_open()?;
        if found.is_stale() {
            self.renew_or_keep(found)
        } else {
            Ok(found)
        }
    }
}

pub(super) fn checked<S>(selector: S) -> Result<Selector, LookupError>
where
    S: TryInto<Selector, Error: Into<SelectorError>>,
{
    selector.try_into().map_err(|error| LookupError::Selector(error.into()))
}
