//! Bindings of tenants that a program keeps itself, for example in a database.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Binding;
use crate::selector::Slug;

/// Where a program keeps the bindings of its tenants. Closures of the same shape are sources too.
///
/// Asked for a tenant that has neither a table in the configuration nor a file in `tenants_dir`. A
/// tenant that the source does not know has what `[tenants."*"]` says, if there is such a table.
/// The binding is laid over the same others as a table would be, and is checked by the same rules.
/// One that is built in code is trusted; one from [`Binding::from_json`] chooses only what
/// `[untrusted]` allows.
///
/// Called on the thread that looks a tracer up, outside any lock, by one caller at a time for one
/// tenant. It may block; look-ups of the same tenant that must be asked wait for it, all others go
/// on. It must not look up tracers of the same registry.
pub trait BindingSource: Send + Sync + 'static {
    /// Returns the tenant's binding, or `None` for a tenant that is not known.
    ///
    /// # Errors
    /// [`SourceError`] if the source cannot tell now. It is an error of that look-up alone: the
    /// tenant is not taken for an unknown one.
    fn binding(&self, tenant: &Slug) -> Result<Option<Binding>, SourceError>;
}

/// What an [`AsyncBindingSource`] returns.
pub type BindingFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Binding>, SourceError>> + Send + 'a>>;

/// As [`BindingSource`], for a program that asks its database asynchronously.
///
/// Asked by [`get_async`](crate::TracerRegistry::get_async) and
/// [`tenant_async`](crate::TracerRegistry::tenant_async), in the task of one of the callers that wait
/// for the tenant. If that one is dropped, another one goes on with the same future. The future must
/// not look up tracers of the same registry.
pub trait AsyncBindingSource: Send + Sync + 'static {
    /// Returns the tenant's binding, or `None` for a tenant that is not known.
    ///
    /// # Errors
    /// As of [`BindingSource::binding`].
    fn binding<'a>(&'a self, tenant: &'a Slug) -> BindingFuture<'a>;
}

/// Why a source could not answer. Errors and the log repeat the message, so it must hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    message: String,
}

/// For how long the answers of a source are cached, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingCacheOptions {
    /// How long a tenant's binding is cached. The first look-up afterwards asks the source again and,
    /// if the answer is another one, makes a new tracer of it. Default: 5m.
    pub ttl: Duration,
    /// How long it is cached that a tenant is unknown. Default: 10s.
    pub negative_ttl: Duration,
    /// How many tenants of each kind are cached at the most; the oldest is forgotten first. A tracer
    /// that is there keeps its binding until `ttl` is over all the same. Default: 10,000.
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
    /// Makes an error with a message that says why, without a secret.
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
