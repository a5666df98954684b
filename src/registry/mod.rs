//! The public face: look-ups, status, flush, shutdown. Owns the pool, the books and the engine.

mod ageing;
mod ages;
mod answers;
mod asynchronous;
mod bindings;
mod builder;
mod error;
mod flights;
mod look_up;
mod making;
mod pool;
mod reload;
mod source;
mod start;
mod status;
#[cfg(feature = "watch")]
mod watching;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use dashmap::DashMap;

pub use builder::RegistryBuilder;
pub use error::{BuildError, LookupError};
pub use reload::{ConfigurationStatus, Kept, Reload, ReloadError};
pub use source::{AnswersKept, AsyncBindingSource, BindingFuture, BindingSource, SourceError};
pub use status::{CheckedBinding, Connection, Probe, Status, TracerStatus};

use crate::backend::{Destination, DestinationError};
use crate::config::{Config, ResolvedBinding, ResolvedProxy};
use crate::export::{Account, Connections, Credentials, Engine, Proxy, Report, Way};
use crate::faults::{Fault, planted};
use crate::scope::Scope;
use crate::secret::{ApiKey, Fingerprinter, KeySource, SecretSources};
use crate::selector::{Name, Part, Selector, SelectorError};
use crate::tracer::TracerHandle;
use ageing::Ageing;
use bindings::{Asking, Bindings};
use flights::Flights;
use making::Making;
use pool::Pool;
use reload::Reloads;
#[cfg(feature = "watch")]
use watching::Watching;

/// Tracers by tenant, environment and feature, each made once, on its first look-up.
///
/// Cheap to clone (an `Arc`), `Send`, `Sync` and `'static`; make one at start-up and keep it. When the last clone is dropped without
/// [`shutdown`](Self::shutdown), what is queued is delivered for up to `export.drop_timeout`, and what remains is told in one log line.
#[derive(Clone)]
pub struct TracerRegistry(Arc<Inner>);

struct Inner {
    bindings: Bindings,
    reloads: Reloads,
    sources: SecretSources,
    fingerprinter: Fingerprinter,
    engine: Engine,
    pool: Pool,
    /// The books of every selector that a tracer was ever made for.
    accounts: DashMap<Selector, Arc<Account>>,
    closed: AtomicBool,
    /// Asynchronous look-ups of tracers that are not there.
    flights: Flights<Selector, Result<TracerHandle, LookupError>>,
    ageing: OnceLock<Ageing>,
    #[cfg(feature = "watch")]
    watch: Watching,
}

impl TracerRegistry {
    /// Reads the configuration from a file or a folder ([`Config::load`]) and starts the export threads. Reads no key.
    ///
    /// # Errors
    /// [`BuildError::Config`] with every fault of the configuration; nothing was started.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, BuildError> {
        Self::builder().config(Config::load(path)?).build()
    }

    /// A registry built in code: bindings without files, the program's own secret sources.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// The tracer of a tenant, by its slug.
    ///
    /// The first look-up of a name reads its key and makes its tracer, on the calling thread; callers that ask for the same name meanwhile
    /// wait for that one. A look-up that fails leaves nothing behind, and the next one tries again.
    ///
    /// # Errors
    /// [`LookupError`] for a name that is not allowed, not configured, or whose key cannot be read. Never another tenant's tracer.
    pub fn tenant(&self, slug: &str) -> Result<TracerHandle, LookupError> {
        self.single(Part::Tenant, slug)
    }

    /// The tracer of an environment, by its name.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn environment(&self, name: &str) -> Result<TracerHandle, LookupError> {
        self.single(Part::Environment, name)
    }

    /// The tracer of a feature, by its name.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn feature(&self, name: &str) -> Result<TracerHandle, LookupError> {
        self.single(Part::Feature, name)
    }

    /// The tracer of a selector, which may have several parts: their bindings are merged, and the result is a tracer of its own.
    ///
    /// Takes what [`Selector::tenant`] and its like make, with names not yet checked, or a `&Selector`.
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

    /// The tracer of the active environment.
    ///
    /// # Errors
    /// [`LookupError::NoActiveEnvironment`] where none is configured, else as [`tenant`](Self::tenant).
    pub fn active(&self) -> Result<TracerHandle, LookupError> {
        let config = self.0.bindings.loaded();
        let name = config.active_environment().ok_or(LookupError::NoActiveEnvironment)?;
        self.single(Part::Environment, name)
    }

    /// A tracer of its own, outside the pool, for one request or one job: nothing is shared with other tracers of the same selector but the
    /// engine and the books. When the last handle, span and session of it are gone, what it holds is sent, without anybody waiting.
    ///
    /// # Errors
    /// As [`tenant`](Self::tenant).
    pub fn dedicated<S>(&self, selector: S) -> Result<TracerHandle, LookupError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = checked(selector)?;
        self.0.check_open()?;
        let _making = self.0.begin_making(&selector)?;
        self.0.make(&self.0.bindings.resolve(&selector, &Asking::Source)?)
    }

    /// The tracer of the current scope, of whichever registry: what [`TracerHandle::scope`] and its like made current, on this thread or in
    /// this task.
    ///
    /// ```
    /// use tracer_registry::TracerRegistry;
    ///
    /// fn deep_inside() {
    ///     if let Some(tracer) = TracerRegistry::current() {
    ///         tracer.in_span_sync("deep inside", |_| ());
    ///     }
    /// }
    /// ```
    pub fn current() -> Option<TracerHandle> {
        Scope::current().tracer()
    }

    /// How all tracers are doing.
    pub fn status(&self) -> Status {
        Status {
            configuration: self.configuration_status(),
            tracers: status::of(&self.0.sorted_accounts()),
        }
    }

    /// What the configuration is; a reload does not change what was given here.
    pub fn config(&self) -> Arc<Config> {
        self.0.bindings.config()
    }

    /// Tries every binding of the configuration, and those of all files in `tenants_dir`: whether its key can be read, where it would send, and, where asked, whether the endpoint
    /// takes the key. Makes no tracer. Blocks the thread, for up to `export.timeout` where endpoints are asked.
    pub fn check(&self, probe: Probe) -> Vec<CheckedBinding> {
        status::check(&self.0, probe)
    }

    /// Sends everything that was accepted so far, of all tracers at once, and waits for it, up to `timeout`. What failed before, and was not
    /// told yet, is told too.
    ///
    /// Blocks the thread: in async code use `spawn_blocking`, unless the program ends anyway.
    pub fn force_flush(&self, timeout: Duration) -> Report {
        self.0.flush(after(timeout))
    }

    /// Refuses new look-ups and new spans (which are counted), sends what there is, waits for it up to `timeout`, gives up the rest, and says
    /// per tracer what became of it. Handles stay valid; what is started on them afterwards comes to nothing, counted.
    ///
    /// Blocks the thread, as [`force_flush`](Self::force_flush) does. A second call reports what was not told by the first.
    pub fn shutdown(&self, timeout: Duration) -> Report {
        self.0.shutdown(timeout)
    }

    fn single(&self, part: Part, name: &str) -> Result<TracerHandle, LookupError> {
        if let Some(found) = self.0.pool.find_single(part, name) {
            return self.open(found);
        }
        // Names are checked on the way to a new tracer only: what is in the pool was checked when it came in.
        let name = Name::new(name).map_err(|source| SelectorError::Name { part, source })?;
        self.look_up(&Selector::of(part, name), &Asking::Source)
    }

    /// The tracer of a selector, if it was made.
    fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        match selector.single() {
            Some((part, name)) => self.0.pool.find_single(part, name),
            None => self.0.pool.find(selector),
        }
    }
}

fn checked<S>(selector: S) -> Result<Selector, LookupError>
where
    S: TryInto<Selector, Error: Into<SelectorError>>,
{
    selector.try_into().map_err(|error| LookupError::Selector(error.into()))
}

/// The moment when a timeout is over. One that the clock cannot add, such as `Duration::MAX`, is over in a year.
fn after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + YEAR)
}

impl Inner {
    fn check_open(&self) -> Result<(), LookupError> {
        // Relaxed: a look-up at the moment of the shutdown may fall on either side of it.
        if self.closed.load(Ordering::Relaxed) {
            Err(LookupError::Shutdown)
        } else {
            Ok(())
        }
    }

    fn begin_making(&self, selector: &Selector) -> Result<Making, LookupError> {
        Making::begin(self).ok_or_else(|| LookupError::Recursive {
            selector: selector.clone(),
            thread: thread::current().id(),
        })
    }

    /// Reads the key and makes the tracer. Nothing is left behind where any of it fails.
    fn make(&self, binding: &ResolvedBinding) -> Result<TracerHandle, LookupError> {
        let selector = &binding.selector;
        let destination = self.destination(binding)?;
        let connections = self.connections(binding, &destination)?;
        let key = if planted(Fault::KeysSwapped) {
            self.key_of_neighbour(selector)?
        } else {
            binding.api_key.read(&self.sources)?
        };
        let fingerprint = key.fingerprint(&self.fingerprinter);
        let account = Arc::clone(
            &self
                .accounts
                .entry(selector.clone())
                .or_insert_with(|| Account::new(selector.clone())),
        );
        let lane = self.engine.open_lane(&account, destination, connections, key);
        Ok(TracerHandle::new(binding, fingerprint, lane))
    }

    /// The key of the tracer that a selector would be swapped with, if keys were swapped.
    fn key_of_neighbour(&self, selector: &Selector) -> Result<ApiKey, LookupError> {
        let config = self.bindings.config();
        let all = config.selectors();
        let at = all.iter().position(|known| known == selector).unwrap_or_default();
        let neighbour = all.get(at ^ 1).unwrap_or(selector);
        Ok(config.resolve(neighbour)?.api_key.read(&self.sources)?)
    }

    fn destination(&self, binding: &ResolvedBinding) -> Result<Destination, LookupError> {
        let destination = Destination::new(binding, self.engine.settings().protocol)?;
        if cfg!(not(feature = "tls")) && destination.traces_url.starts_with("https:") {
            return Err(DestinationError::NoTls(destination.traces_url).into());
        }
        Ok(destination)
    }

    fn connections(
        &self,
        binding: &ResolvedBinding,
        destination: &Destination,
    ) -> Result<Arc<Connections>, LookupError> {
        let proxy = match &binding.proxy {
            Some(proxy) => Some(self.proxy(proxy)?),
            None => None,
        };
        let way = Way::new(&destination.traces_url, &binding.tls, proxy);
        Ok(self.engine.connections(&way)?)
    }

    fn proxy(&self, proxy: &ResolvedProxy) -> Result<Proxy, LookupError> {
        let read = |source: &KeySource| {
            let key = source.read(&self.sources).map_err(LookupError::ProxyCredentials)?;
            Ok::<_, LookupError>(Credentials {
                source: source.clone(),
                fingerprint: key.fingerprint(&self.fingerprinter),
                key,
            })
        };
        let credentials = proxy.credentials.as_ref().map(read).transpose()?;
        Ok(Proxy::new(proxy.url.to_string(), credentials))
    }

    /// In the order of their selectors. Clones, so that no lock of the map is held while anybody works.
    fn sorted_accounts(&self) -> Vec<Arc<Account>> {
        let mut accounts: Vec<Arc<Account>> = self.accounts.iter().map(|entry| Arc::clone(entry.value())).collect();
        accounts.sort_by(|one, other| one.selector.cmp(&other.selector));
        accounts
    }

    fn flush(&self, deadline: Instant) -> Report {
        let accounts = self.sorted_accounts();
        // All are asked first, then waited for: they are sent at the same time.
        let flushes: Vec<_> = accounts.iter().map(|account| account.begin_flush()).collect();
        let waited = accounts.iter().zip(&flushes).map(|(account, flush)| {
            flush.settle(deadline);
            account.report(flush)
        });
        Report {
            tracers: waited.collect(),
        }
    }

    fn shutdown(&self, timeout: Duration) -> Report {
        let deadline = after(timeout);
        self.closed.store(true, Ordering::SeqCst);
        self.engine.close();
        let accounts = self.sorted_accounts();
        let flushes: Vec<_> = accounts.iter().map(|account| account.begin_flush()).collect();
        for flush in &flushes {
            flush.settle(deadline);
        }
        self.engine.stop();
        // Told after the end: nothing is pending any more, all of it is delivered or dropped.
        let told = accounts.iter().zip(&flushes).map(|(account, flush)| {
            account.abandon();
            account.report(flush)
        });
        Report {
            tracers: told.collect(),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        let report = self.shutdown(self.engine.settings().drop_timeout);
        if !report.is_complete() {
            tracing::warn!(
                lost = report.lost(),
                "a tracer registry was dropped without shutdown, and not everything was delivered: {}",
                report.to_string().trim_end().replace('\n', "; ")
            );
        }
    }
}

impl fmt::Debug for TracerRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracerRegistry")
            .field("tracers", &self.0.pool.len())
            .finish_non_exhaustive()
    }
}
