//! Errors of building a registry and of looking up tracers.

use std::thread::ThreadId;

use crate::backend::DestinationError;
use crate::config::{ConfigError, ResolveError};
use crate::export::{EngineError, TlsError};
use crate::secret::SecretError;
use crate::selector::{Selector, SelectorError, Slug};
use crate::util::serde_display::debug_as_display;
use crate::util::system_error::SystemError;

use super::binding_cache::SourceError;

/// Error of building a registry. Nothing was started. `Debug` prints the message, with every error
/// of the configuration.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The builder has both a loaded configuration and bindings or settings defined in code.
    #[error("the builder has both a loaded configuration and bindings or settings defined in code")]
    TwoConfigurations,
    /// The export engine cannot start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder `spool.path` cannot be used: another process uses it, or other users may read it.
    #[error("cannot open the spool: {0}")]
    Spool(String),
    /// The selector of [`redactor_for`](crate::RegistryBuilder::redactor_for) is invalid.
    #[error("the selector of a redactor is invalid: {0}")]
    Redactor(SelectorError),
    /// The thread that watches files cannot start.
    #[error("the thread that watches files cannot be started: {0}")]
    Thread(SystemError),
}

debug_as_display!(BuildError);

/// Error of a look-up. `Debug` prints the message.
///
/// It does not affect other tracers and is not cached: the next look-up tries again. Only the
/// answer of a binding source that a tenant is unknown is cached, for
/// [`negative_ttl`](crate::source::BindingCacheOptions::negative_ttl).
///
/// [`is_unknown`](Self::is_unknown) and [`is_temporary`](Self::is_temporary) classify the error.
/// docs/operations.md lists the cause and the remedy of each variant.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The selector is invalid: it is empty or has an invalid name.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The selector has no binding, or one that is incomplete or not allowed.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The tenant's binding from a file of `tenants_dir` or from the binding source is invalid.
    #[error("invalid binding of the tenant: {0}")]
    TenantBinding(#[from] ConfigError),
    /// The binding source failed.
    #[error("binding source failed for tenant {tenant:?}: {error}")]
    Source {
        /// The tenant whose binding was requested.
        tenant: Slug,
        /// The source's error.
        error: SourceError,
    },
    /// The tenant's binding comes from an
    /// [`AsyncBindingSource`](crate::source::AsyncBindingSource), and this look-up is not async.
    /// After an async look-up has created the tracer, this look-up returns it.
    #[error("binding source for tenant {0:?} is async: use tenant_async or get_async")]
    OnlyAsync(Slug),
    /// The binding has no valid destination.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The key could not be read.
    #[error("the key cannot be read: {0}")]
    Secret(#[from] SecretError),
    /// A certificate or its private key cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// The user and password for the proxy cannot be read.
    #[error("the proxy's credentials cannot be read: {0}")]
    ProxyCredentials(SecretError),
    /// The key of hashes (`redact.key`) cannot be read.
    #[error("the key of hashes cannot be read: {0}")]
    RedactKey(SecretError),
    /// No environment is active.
    #[error("no active environment: active_environment is not configured, or its variable is unset and has no default")]
    NoActiveEnvironment,
    /// A secret or binding source looked up a tracer of the registry that called it.
    #[error(
        "{selector} was looked up on {thread:?} while that thread was creating a tracer: a secret or binding source must not look up tracers of its registry"
    )]
    Recursive {
        /// The selector that was looked up.
        selector: Selector,
        /// The thread of the look-up.
        thread: ThreadId,
    },
    /// The look-up that was creating the tracer panicked.
    #[error("the look-up that was creating {0} panicked")]
    Panicked(Selector),
    /// The pool holds `pool.max_tracers` tracers, and none of them is idle.
    #[error("the pool has no room for {selector}: pool.max_tracers is {max_tracers}, and no tracer is idle")]
    PoolFull {
        /// The selector that was looked up.
        selector: Selector,
        /// The value of `pool.max_tracers`.
        max_tracers: usize,
    },
    /// The data of the selector was [erased](crate::TracerRegistry::purge), and it is not
    /// [allowed](crate::TracerRegistry::allow) again.
    #[error("the data of {0} is erased, and it takes no more until it is allowed")]
    Erased(Selector),
    /// The process was forked after the registry was created, and has none of the registry's
    /// threads.
    #[error("the process was forked after the registry was created: create a registry in the child")]
    Forked,
    /// The registry was shut down.
    #[error("the registry was shut down")]
    Shutdown,
}

debug_as_display!(LookupError);

impl LookupError {
    /// Whether the tenant, environment or feature is unknown to the configuration, `tenants_dir`
    /// and the binding source.
    ///
    /// False if the name is invalid ([`Selector`](Self::Selector)), or if a file or the source
    /// cannot be read.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Resolve(ResolveError::Unknown { .. }))
    }

    /// Whether the same look-up may succeed later without a change of the configuration. True if
    /// the pool is full, a secret or binding source failed or panicked, or a key or certificate
    /// file does not exist yet.
    ///
    /// Use it to choose the status of a response: 503 if true, otherwise 500. Each look-up tries
    /// again in any case.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Source { .. } | Self::Panicked(_) | Self::PoolFull { .. } => true,
            Self::Secret(error) | Self::ProxyCredentials(error) | Self::RedactKey(error) => error.is_temporary(),
            Self::Tls(error) => error.is_temporary(),
            Self::Selector(_)
            | Self::Resolve(_)
            | Self::TenantBinding(_)
            | Self::OnlyAsync(_)
            | Self::Destination(_)
            | Self::NoActiveEnvironment
            | Self::Recursive { .. }
            | Self::Erased(_)
            | Self::Forked
            | Self::Shutdown => false,
        }
    }
}

#[cfg(test)]
mod tests;
