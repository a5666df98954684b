//! Bindings of tenants that a program keeps itself, in a database for example.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Binding;
use crate::selector::Slug;

/// Where a program keeps the bindings of its tenants. Closures of the same shape are sources too.
///
/// Asked for a tenant that has neither a table in the configuration nor a file in `tenants_dir`; `None` is a tenant it does not know, who
/// then has what `[tenants."*"]` says, if there is such a table. The binding is laid over the same others as a table would be, and is checked by the
/// same rules. One that is built in code is trusted; one from [`Binding::from_json`] chooses only what `[untrusted]` allows.
///
/// Called on the thread that looks a tracer up, outside any lock, by one caller at a time for one tenant. It may block; look-ups of
/// the same tenant that must be asked wait for it, all others go on. It must not look up tracers of the same registry.
pub trait BindingSource: Send + Sync + 'static {
    /// The tenant's binding; none for a tenant that is not known.
    ///
    /// # Errors
    /// [`SourceError`] where it cannot be told now. It is an error of that look-up alone: a tenant is not taken for an unknown one.
    fn binding(&self, tenant: &Slug) -> Result<Option<Binding>, SourceError>;
}

/// What an [`AsyncBindingSource`] answers.
pub type BindingFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Binding>, SourceError>> + Send + 'a>>;

/// As [`BindingSource`], for a program that asks its database asynchronously.
///
/// Asked by [`get_async`](crate::TracerRegistry::get_async) and [`tenant_async`](crate::TracerRegistry::tenant_async), in the task of one of the callers
/// that wait for the tenant; where that one is dropped, another one goes on with the same future. The future must not look up tracers of
/// the same registry.
pub trait AsyncBindingSource: Send + Sync + 'static {
    /// The tenant's binding; none for a tenant that is not known.
    ///
    /// # Errors
    /// As of [`BindingSource::binding`].
    fn binding<'a>(&'a self, tenant: &'a Slug) -> BindingFuture<'a>;
}

/// Why a source could not tell. The message is repeated in errors and in the log: no secret belongs into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    message: String,
}

/// For how long the answers of a source hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingCacheOptions {
    /// How long a tenant's binding is taken to be as it was. The first look-up afterwards asks again, and where the answer is another one, makes a
    /// new tracer of it. Default: 5m.
    pub known: Duration,
    /// How long a tenant is taken to be unknown. Default: 10s.
    pub unknown: Duration,
    /// How many tenants are remembered of each kind at the most; the oldest is asked for again. Default: 10,000.
    pub most: usize,
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
    /// With a message that says why, without a secret.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl Default for BindingCacheOptions {
    fn default() -> Self {
        Self {
            known: Duration::from_secs(300),
            unknown: Duration::from_secs(10),
            most: 10_000,
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
