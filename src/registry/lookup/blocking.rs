//! Looking tracers up.

use std::thread;

use super::reentrancy::Making;
use crate::registry::bindings::Asking;
use crate::registry::error::LookupError;
use crate::registry::handle::{Inner, TracerRegistry};
use crate::scope::Scope;
use crate::selector::{Selector, SelectorError, SelectorKind, Slug};
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// The tracer of a tenant, by its slug.
    ///
    /// The first look-up of a name reads its key and makes its tracer, on the calling thread; callers that ask for the same name meanwhile
    /// wait for that one. A look-up that fails leaves nothing behind, and the next one tries again.
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
        self.single(SelectorKind::Tenant, slug)
    }

    /// The tracer of an environment, by its name. Waits as [`tenant`](Self::tenant) does, for room 250 ms at the most.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn environment(&self, name: &str) -> Result<TracerHandle, LookupError> {
        self.single(SelectorKind::Environment, name)
    }

    /// The tracer of a feature, by its name. Waits as [`tenant`](Self::tenant) does, for room 250 ms at the most.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn feature(&self, name: &str) -> Result<TracerHandle, LookupError> {
        self.single(SelectorKind::Feature, name)
    }

    /// The tracer of a selector, which may have several parts: their bindings are merged, and the result is a tracer of its own.
    ///
    /// Takes what [`Selector::tenant`] and its like make, with names not yet checked, or a `&Selector`. Waits as [`tenant`](Self::tenant) does,
    /// for room 250 ms at the most.
    ///
    /// ```
    /// # use tracer_registry::{LookupError, Selector, TracerRegistry};
    /// # fn demo(registry: &TracerRegistry) -> Result<(), LookupError> {
    /// let both = registry.get(Selector::tenant("acme").feature("search"))?;
    /// let again = registry.get(both.selector())?;
    /// assert!(again.same_tracer(&both));
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
        match self.find(&selector) {
            Some(found) => self.open(found),
            None => self.look_up(&selector, &Asking::Source),
        }
    }

    /// The tracer of the active environment. Waits as [`tenant`](Self::tenant) does, for room 250 ms at the most.
    ///
    /// # Errors
    /// [`LookupError::NoActiveEnvironment`] where none is configured, else as [`tenant`](Self::tenant).
    pub fn active(&self) -> Result<TracerHandle, LookupError> {
        let config = self.0.live.bindings.loaded();
        let name = config.active_environment().ok_or(LookupError::NoActiveEnvironment)?;
        self.single(SelectorKind::Environment, name)
    }

    /// A tracer of its own, outside the pool, for one request or one job: nothing is shared with other tracers of the same selector but the
    /// engine and the books. When the last handle, span and session of it are gone, what it holds is sent, without anybody waiting.
    /// Waits for its key and its binding as [`tenant`](Self::tenant) does, and never for room.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn dedicated<S>(&self, selector: S) -> Result<TracerHandle, LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = checked(selector)?;
        self.0.live.check_open()?;
        let _making = self.0.begin_making(&selector)?;
        self.0.make(&self.0.live.bindings.resolve(&selector, &Asking::Source)?)
    }

    /// The tracer of the current scope, of whichever registry: what [`TracerHandle::scope`] and its like made current, on this thread or in
    /// this task.
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

    fn single(&self, part: SelectorKind, name: &str) -> Result<TracerHandle, LookupError> {
        if let Some(found) = self.0.live.pool.find_single(part, name) {
            return self.open(found);
        }
        // Names are checked on the way to a new tracer only: what is in the pool was checked when it came in.
        let name = Slug::new(name).map_err(|source| SelectorError::Slug { part, source })?;
        self.look_up(&Selector::of(part, name), &Asking::Source)
    }

    /// The tracer of a selector, if it was made.
    pub(crate) fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        match selector.single() {
            Some((part, name)) => self.0.live.pool.find_single(part, name),
            None => self.0.live.pool.find(selector),
        }
    }
}

impl Inner {
    pub(crate) fn check_home(&self) -> Result<(), LookupError> {
        if self.engine.is_forked() {
            Err(LookupError::Forked)
        } else {
            Ok(())
        }
    }

    /// Comes before all that locks anything of the registry: in a fork, whatever is locked now may stay so.
    pub(crate) fn begin_making(&self, selector: &Selector) -> Result<Making, LookupError> {
        self.check_home()?;
        Making::begin(self).ok_or_else(|| LookupError::Recursive {
            selector: selector.clone(),
            thread: thread::current().id(),
        })
    }
}

pub(crate) fn checked<S>(selector: S) -> Result<Selector, LookupError>
where
    S: TryInto<Selector, Error: Into<SelectorError>>,
{
    selector.try_into().map_err(|error| LookupError::Selector(error.into()))
}
