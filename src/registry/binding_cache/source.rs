//! Sources of tenants' bindings, for example a database.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Binding;
use crate::selector::Slug;

/// A source of tenants' bindings. Closures with the same signature are sources too.
///
/// Asked for tenants that have neither a table in the configuration nor a file in `tenants_dir`.
/// Tenants unknown to the source use `[tenants."*"]`, if configured. The binding is merged and
/// validated like a table. A binding built in code is trusted; one from [`Binding::from_json`]
/// chooses only what `[untrusted]` allows.
///
/// Called on the thread of the look-up, outside any lock, by one caller at a time per tenant. It
/// may block: look-ups that need the same tenant wait for it, all others continue. It must not look
/// up tracers of the same registry.
pub trait BindingSource: Send + Sync + 'static {
    /// Returns the tenant's binding, or `None` for an unknown tenant.
    ///
    /// # Errors
    /// [`SourceError`] if the source cannot answer now. Only this look-up fails; the tenant does
    /// not count as unknown.
    fn binding(&self, tenant: &Slug) -> Result<Option<Binding>, SourceError>;
}

/// Future returned by an [`AsyncBindingSource`].
pub type BindingFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Binding>, SourceError>> + Send + 'a>>;

/// An asynchronous [`BindingSource`].
///
/// Asked by [`get_async`](crate::TracerRegistry::get_async) and
/// [`tenant_async`](crate::TracerRegistry::tenant_async), in the task of one of the callers waiting
/// for the tenant. If that caller is dropped, another one continues the same future. The future
/// must not look up tracers of the same registry.
pub trait AsyncBindingSource: Send + Sync + 'static {
    /// Returns the tenant's binding, or `None` for an unknown tenant.
    ///
    /// # Errors
    /// Same as [`BindingSource::binding`].
    fn binding<'a>(&'a self, tenant: &'a Slug) -> BindingFuture<'a>;
}

/// Error of a binding source. Other errors and the log repeat the message, so it must not contain a
/// secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    message: String,
}

/// Lifetime and number of cached source answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingCacheOptions {
    /// How long a tenant's binding is cached. The first look-up afterwards asks the source again
    /// and creates a new tracer if the binding changed. Default: 5m.
    pub ttl: Duration,
    /// How long an unknown tenant is cached. Default: 10s.
    pub negative_ttl: Duration,
    /// Maximum number of cached tenants, for known and for unknown ones. The oldest is evicted
    /// first; an existing tracer still keeps its binding for `ttl`. Default: 10,000.
    pub max_entries: usize,
}

/// The source of a registry.
#[derive(Clone)]
pub(crate) enum Source {
    Blocking(Arc<dyn BindingSource>),
    Async(Arc<dyn AsyncBindingSource>),
}

impl<F> BindingSource for F
where
    F: Fn(&Slug) -> Result<Option<Binding>, SourceError> + Send + Sync + 'static,
{
    fn binding(&self, tenant: &Slug) -> Result<Option<Binding>, SourceError> {
        self(tenant)
    }
}

impl SourceError {
    /// Creates an error with a message. The message must not contain a secret.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl Default for BindingCacheOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            negative_ttl: Duration::from_secs(10),
            max_entries: 10_000,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocking(_) => "Blocking",
            Self::Async(_) => "Async",
        })
    }
}
