#![doc = include_str!("../README.md")]

mod as_text;
mod backend;
#[cfg(feature = "collector")]
pub mod collector;
pub mod config;
mod context;
mod export;
mod faults;
mod home;
mod ledger;
mod nesting;
mod propagation;
mod registry;
mod routing;
mod scope;
mod secret;
mod selector;
mod session;
mod session_record;
mod span;
#[cfg(feature = "testing")]
pub mod testing;
mod tracer;
#[cfg(feature = "watch")]
mod watch;

/// The release of OpenTelemetry that handles and spans are of.
pub use opentelemetry;
/// What a [`SecretSource`] gives: text that is wiped on drop and not printed.
pub use secrecy::SecretString;

pub use backend::{DestinationError, EventType};
pub use export::{
    BreakerState, BreakerStatus, Breakers, EngineError, ExportError, ForgottenReport, KeyStatus, Report,
    SessionEventsReport, TlsError, TlsFault, TracerReport,
};
pub use ledger::{DropReason, LedgerSnapshot};
pub use registry::{
    AnswersKept, AsyncBindingSource, BindingFuture, BindingSource, BuildError, CheckedBinding, ConfigurationStatus,
    Connection, ForgottenStatus, Kept, LookupError, PoolStatus, Probe, RegistryBuilder, Reload, ReloadError,
    SourceError, Status, TracerRegistry, TracerStatus,
};
pub use routing::{RoutingProvider, RoutingTracer};
pub use scope::Scope;
pub use secret::{
    ApiKey, Fingerprint, Fingerprinter, KeySource, SecretError, SecretFault, SecretSource, SecretSources,
};
pub use selector::{Name, NameError, NameFault, Part, Selector, SelectorError, SelectorParts};
pub use session::{Enrichment, Session, SessionBuilder};
pub use span::ActiveSpan;
pub use tracer::{IsolatedTracer, TracerHandle};

/// The pages of `docs/`, so that their code is compiled and run.
#[cfg(doctest)]
mod docs {
    #[doc = include_str!("../docs/context.md")]
    mod context {}
    #[doc = include_str!("../docs/tenants.md")]
    mod tenants {}
    #[cfg(feature = "metrics")]
    #[doc = include_str!("../docs/metrics.md")]
    mod metrics {}
    #[cfg(feature = "testing")]
    #[doc = include_str!("../docs/testing.md")]
    mod testing {}
    #[cfg(feature = "testing")]
    #[doc = include_str!("../docs/verify.md")]
    mod verify {}
}
