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

/// Why a look-up gave no tracer. Other tracers are not concerned, and the next look-up tries again. `Debug` prints the message.
///
/// [`is_unknown`](Self::is_unknown) and [`is_temporary`](Self::is_temporary) tell the kinds apart; docs/operations.md lists the variants.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// What was asked for is no selector: a name breaks the rules of names, or there is none.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The configuration has nothing for it.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The tenant's binding, from a file of `tenants_dir` or from the program's source, has faults.
    #[error("the tenant's binding cannot be used: {0}")]
    TenantBinding(#[from] ConfigError),
    /// The program's source of bindings could not tell whether it knows the tenant.
    #[error("the source of bindings failed for tenant {tenant:?}: {error}")]
    Source {
        /// Whose binding was asked for.
        tenant: Slug,
        /// What the source said.
        error: SourceError,
    },
    /// The tenant's binding is with an [`AsyncBindingSource`](crate::source::AsyncBindingSource), and this look-up cannot wait for it.
    #[error(
        "tenant {0:?} must be asked for asynchronously, for the source of bindings is: use tenant_async or get_async; once its tracer is there, all look-ups find it"
    )]
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
    /// There are as many tracers as there may be, and none of them is idle. Those that are there are not concerned.
    #[error(
        "there is no room for a tracer of {selector}: pool.max_tracers is {max_tracers}, and none of those that are there is idle"
    )]
    PoolFull {
        /// What was looked up.
        selector: Selector,
        /// The bound.
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
    /// Whether no such tenant, environment or feature is known: neither to the configuration nor to `tenants_dir` nor to the program's source.
    ///
    /// False for what breaks the rules of names ([`Selector`](Self::Selector)), and where it could not be found out.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Resolve(ResolveError::Unknown { .. }))
    }

    /// Whether the same look-up may succeed later although nobody changes the configuration: the pool was full, a source of keys or bindings
    /// failed, a file with a key or a certificate is not there yet.
    ///
    /// Every look-up tries again by itself, so this says how to answer who asked: 503 rather than 500.
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
