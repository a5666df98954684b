//! Look-ups on the calling thread.

use crate::registry::bindings::SourceQuery;
use crate::registry::error::LookupError;
use crate::registry::handle::{Inner, TracerRegistry};
use crate::scope::Scope;
use crate::selector::{Selector, SelectorError, SelectorKind, Slug};
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// Returns the tracer of a tenant by its slug. The first look-up of a slug blocks the thread;
    /// async code uses [`tenant_async`](Self::tenant_async).
    ///
    /// The first look-up reads the key and creates the tracer; concurrent look-ups of the same slug
    /// wait for it. If it fails, the next look-up tries again. Never returns another tenant's
    /// tracer.
    ///
    /// # Waiting
    /// Returns an existing tracer at once, unless its binding from a blocking binding source has
    /// expired: then it waits for the source. To create a tracer, it waits for:
    /// - the key: a command runs for up to its `timeout` (default: 10 s), a custom secret source
    ///   without a limit;
    /// - a blocking binding source, without a limit;
    /// - a free slot, for up to 250 ms, if the pool holds `pool.max_tracers` tracers and
    ///   `pool.when_full` is `reject`. With `grow` it does not wait for a slot.
    ///
    /// # Errors
    /// [`LookupError`], for example if the name is invalid or not configured, or the key cannot be
    /// read.
    pub fn tenant(&self, slug: &str) -> Result<TracerHandle, LookupError> {
        self.0.single(SelectorKind::Tenant, slug)
    }

    /// Returns the tracer of an environment by its name. The first look-up blocks the thread, like
    /// [`tenant`](Self::tenant); async code uses [`get_async`](Self::get_async).
    ///
    /// # Errors
    /// Same as [`tenant`](Self::tenant).
    pub fn environment(&self, name: &str) -> Result<TracerHandle, LookupError> {
        self.0.single(SelectorKind::Environment, name)
    }

    /// Returns the tracer of a feature by its name. The first look-up blocks the thread, like
    /// [`tenant`](Self::tenant); async code uses [`get_async`](Self::get_async).
    ///
    /// # Errors
    /// Same as [`tenant`](Self::tenant).
    pub fn feature(&self, name: &str) -> Result<TracerHandle, LookupError> {
        self.0.single(SelectorKind::Feature, name)
    }

    /// Returns the tracer of a selector. The first look-up blocks the thread, like
    /// [`tenant`](Self::tenant); async code uses [`get_async`](Self::get_async).
    ///
    /// A selector with several parts has its own tracer, with the merged bindings of its parts.
    /// Accepts a `&Selector`, or a builder such as [`Selector::tenant`], and validates its names.
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
    /// Same as [`tenant`](Self::tenant).
    pub fn get<S>(&self, selector: S) -> Result<TracerHandle, LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = checked(selector)?;
        match self.0.find(&selector) {
            Some(found) => self.0.open(found),
            None => self.0.look_up(&selector, &SourceQuery::Ask),
        }
    }

    /// Returns the tracer of the active environment. Blocks the thread, like
    /// [`environment`](Self::environment).
    ///
    /// # Errors
    /// [`LookupError::NoActiveEnvironment`] if none is configured, otherwise the same as
    /// [`tenant`](Self::tenant).
    pub fn active(&self) -> Result<TracerHandle, LookupError> {
        let config = self.0.state.bindings.loaded();
        let name = config.active_environment().ok_or(LookupError::NoActiveEnvironment)?;
        self.environment(name)
    }

    /// Creates a tracer outside the pool, for one request or one job. Blocks the thread while it
    /// reads the key and the binding; never waits for a free slot.
    ///
    /// It has its own queue. Status and reports combine it with the other tracers of its selector.
    /// When its last handle, span and session are dropped, its remaining data is sent in the
    /// background.
    ///
    /// # Errors
    /// Same as [`tenant`](Self::tenant).
    pub fn dedicated<S>(&self, selector: S) -> Result<TracerHandle, LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = checked(selector)?;
        self.0.state.check_open()?;
        let _guard = self.0.guard_reentrancy(&selector)?;
        let bound = self.0.state.bindings.resolve(&selector, &SourceQuery::Ask);
        let result = bound.and_then(|bound| self.0.make(&bound, false));
        self.0.state.failed.note(&selector, &result);
        result
    }

    /// Returns the current tracer: the one that [`TracerHandle::scope`] or a similar call made
    /// current on this thread or in this task. It may belong to any registry of the process.
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
    /// Returns the tracer of a selector if it is in the pool.
    pub(crate) fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        self.state.pool.find(selector)
    }

    fn single(&self, part: SelectorKind, name: &str) -> Result<TracerHandle, LookupError> {
        if let Some(found) = self.state.pool.find_single(part, name) {
            return self.open(found);
        }
        // Validate only if the pool has no such name, because names in the pool are valid.
        let name = Slug::new(name).map_err(|source| SelectorError::Slug { part, source })?;
        self.look_up(&Selector::of(part, name), &SourceQuery::Ask)
    }

    /// Returns a tracer found in the pool, refreshed if its binding is stale. Fails if the registry
    /// is shut down.
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
