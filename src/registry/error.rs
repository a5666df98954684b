//! Why there is no registry, or no tracer.

use std::thread::ThreadId;

use crate::backend::DestinationError;
use crate::config::{ConfigError, ResolveError};
use crate::export::{EngineError, TlsError};
use crate::secret::SecretError;
use crate::selector::{Selector, SelectorError, Slug};
use crate::util::serde_display::debug_as_display;
use crate::util::system_error::SystemError;

use super::binding_cache::SourceError;

/// Why a registry could not be made. Nothing was started. `Debug` prints the message, with every fault of the configuration.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Bindings or settings were given to the builder in code, and a loaded configuration as well.
    #[error(
        "the builder was given a loaded configuration and bindings or settings in code; one of them would be ignored"
    )]
    TwoConfigurations,
    /// The export engine cannot be started.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The thread that watches files cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(SystemError),
}

debug_as_display!(BuildError);

/// Why a look-up returned no tracer. Other tracers are not affected, and the next look-up tries again. `Debug` prints the message.
///
/// [`is_unknown`](Self::is_unknown) and [`is_temporary`](Self::is_temporary) tell the kinds apart; docs/operations.md lists the variants.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The selector is not valid: a name breaks the rules of names, or there is none.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The configuration has no binding for it, or not enough of one.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The tenant's binding, from a file of `tenants_dir` or from the program's source, has faults.
    #[error("the tenant's binding cannot be used: {0}")]
    TenantBinding(#[from] ConfigError),
    /// The program's source of bindings failed.
    #[error("the source of bindings failed for tenant {tenant:?}: {error}")]
    Source {
        /// The tenant whose binding was asked for.
        tenant: Slug,
        /// The source's error.
        error: SourceError,
    },
    /// An [`AsyncBindingSource`](crate::source::AsyncBindingSource) has the tenant's binding, and this look-up cannot wait for it. Once the tracer
    /// is there, all look-ups find it.
    #[error("binding source for tenant {0:?} is async: use tenant_async or get_async")]
    OnlyAsync(Slug),
    /// The binding has no place to send to.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The key could not be read.
    #[error("the key cannot be read: {0}")]
    Secret(#[from] SecretError),
    /// A certificate, or the key of one, cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// The user and password for the proxy could not be read.
    #[error("the proxy's credentials cannot be read: {0}")]
    ProxyCredentials(SecretError),
    /// No environment is the active one.
    #[error(
        "no environment is active: active_environment is not configured, or its variable is not set and it has no default"
    )]
    NoActiveEnvironment,
    /// A secret source or a source of bindings looked up a tracer of the registry that was asking it.
    #[error(
        "{selector} was looked up on {thread:?} while that thread was making a tracer: a source of secrets or bindings must not look up tracers of its registry"
    )]
    Recursive {
        /// What was looked up.
        selector: Selector,
        /// The thread.
        thread: ThreadId,
    },
    /// The caller that was making the tracer panicked.
    #[error("the look-up that was making {0} panicked")]
    Panicked(Selector),
    /// The pool has `pool.max_tracers` tracers, and none of them is idle.
    #[error("the pool has no room for {selector}: pool.max_tracers is {max_tracers}, and no tracer is idle")]
    PoolFull {
        /// What was looked up.
        selector: Selector,
        /// `pool.max_tracers`.
        max_tracers: usize,
    },
    /// The process is a fork of the one that made the registry, and has none of its threads.
    #[error("the process was forked after the registry was made: make a registry in the child")]
    Forked,
    /// The registry was shut down.
    #[error("the registry was shut down")]
    Shutdown,
}

debug_as_display!(LookupError);

impl LookupError {
    /// Whether neither the configuration nor `tenants_dir` nor the program's source knows the tenant, environment or feature.
    ///
    /// False for names that break the rules ([`Selector`](Self::Selector)), and if a file or the source could not be read.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Resolve(ResolveError::Unknown { .. }))
    }

    /// Whether the same look-up may succeed later without a change of the configuration: the pool was full, a source of keys or bindings
    /// failed, a file with a key or a certificate is not there yet.
    ///
    /// Every look-up tries again by itself, so this only says how to answer a request: 503 rather than 500.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Source { .. } | Self::Panicked(_) | Self::PoolFull { .. } => true,
            Self::Secret(error) | Self::ProxyCredentials(error) => error.is_temporary(),
            Self::Tls(error) => error.is_temporary(),
            Self::Selector(_)
            | Self::Resolve(_)
            | Self::TenantBinding(_)
            | Self::OnlyAsync(_)
            | Self::Destination(_)
            | Self::NoActiveEnvironment
            | Self::Recursive { .. }
            | Self::Forked
            | Self::Shutdown => false,
        }
    }
}

#[cfg(test)]
mod tests;
