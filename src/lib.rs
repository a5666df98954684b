#![doc = include_str!("../README.md")]

mod backend;
pub mod config;
mod context;
mod export;
mod faults;
mod integrations;
mod ledger;
mod propagation;
mod registry;
mod scope;
mod secret;
mod selector;
mod session;
mod span;
mod tracer;
mod util;
#[cfg(feature = "watch")]
mod watch;

/// The release of OpenTelemetry that handles and spans are of.
pub use opentelemetry;
/// What a [`SecretSource`] gives: text that is wiped on drop and not printed.
pub use secrecy::SecretString;

pub use backend::{DestinationError, EventType};
pub use context::{PropagationStatus, ScopeGuard, StaleScopeStatus};
pub use export::{
    BreakerState, BreakerStatus, Breakers, DestinationStatus, EngineError, ErrorsStatus, EvictedReport, ExportError,
    KeyRefusal, KeyStatus, RefusedSpan, Report, RequestKind, RequestState, RequestStatus, SessionEventsReport,
    SpanFate, TlsError, TlsErrorKind, TracerReport,
};
pub use integrations::routing::{RoutingProvider, RoutingTracer};
#[cfg(feature = "tower")]
pub use integrations::tower;
#[cfg(feature = "macros")]
pub use integrations::trace_macro::{TraceCounts, trace_counts};
#[cfg(feature = "tracing")]
pub use integrations::tracing_layer::TracingLayer;
pub use ledger::{DropReason, LedgerSnapshot};
pub use registry::{
    AsyncBindingSource, BindingCacheOptions, BindingFuture, BindingSource, BuildError, CheckMode, CheckWarning,
    CheckedBinding, ConfigurationStatus, ConnectionCheck, EvictedTotals, LookupError, PoolStatus, RegistryBuilder,
    Reload, ReloadError, RetainedTracer, SourceError, Status, TracerRegistry, TracerStatus, UnroutedStatus,
};
pub use scope::Scope;
pub use secret::{
    ApiKey, CodePoint, ConfinedFile, Fingerprint, Fingerprinter, KeyCommand, KeyRefusalStatus, KeySource, SecretError,
    SecretErrorKind, SecretSource, SecretSources,
};
pub use selector::{Selector, SelectorBuilder, SelectorError, SelectorKind, Slug, SlugError, SlugErrorKind};
pub use session::{Enrichment, Session, SessionBuilder};
pub use span::{ActiveSpan, RegistrySpan};
pub use tracer::{RegistryTracer, TracerHandle};
/// ```
/// use tracer_registry::{TracerHandle, trace};
///
/// #[trace(event_type = tool, capture = inputs)]
/// fn retrieve(question: &str) -> Vec<String> {                  // of whichever tracer it is called for
///     vec![question.to_uppercase()]
/// }
///
/// #[trace(tracer = acme, err)]
/// async fn answer(acme: &TracerHandle, question: &str) -> Result<String, std::io::Error> {
///     Ok(retrieve(question).concat())                           // a child of `answer`
/// }
/// ```
#[cfg(feature = "macros")]
#[doc(inline)]
pub use tracer_registry_macros::trace;
pub use util::json_number::IntoJson;
pub use util::printable::{Printable, printable};
pub use util::system_error::SystemError;

/// What expansions of [`trace`] name. Not for use by hand: it may be another one with any release.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private {
    pub use crate::backend::EventType;
    pub use crate::integrations::trace_macro::*;
}

/// The pages of `docs/` with code, so that it is compiled and run.
#[cfg(doctest)]
mod docs {
    #[doc = include_str!("../docs/collector.md")]
    mod collector {}
    #[doc = include_str!("../docs/context.md")]
    mod context {}
    #[cfg(feature = "tracing")]
    #[doc = include_str!("../docs/integrations.md")]
    mod integrations {}
    #[doc = include_str!("../docs/keys.md")]
    mod keys {}
    #[cfg(feature = "macros")]
    #[doc = include_str!("../docs/migration.md")]
    mod migration {}
    #[doc = include_str!("../docs/operations.md")]
    mod operations {}
    #[doc = include_str!("../docs/sessions.md")]
    mod sessions {}
    #[doc = include_str!("../docs/status.md")]
    mod status {}
    #[doc = include_str!("../docs/tenants.md")]
    mod tenants {}
    #[cfg(feature = "macros")]
    #[doc = include_str!("../docs/trace.md")]
    mod trace {}
    #[cfg(feature = "metrics")]
    #[doc = include_str!("../docs/metrics.md")]
    mod metrics {}
    #[doc = include_str!("../docs/testing.md")]
    mod testing {}
    #[doc = include_str!("../docs/verify.md")]
    mod verify {}
    #[cfg(feature = "tower")]
    #[doc = include_str!("../docs/tower.md")]
    mod tower {}
    #[cfg(all(feature = "tower", feature = "tracing"))]
    #[doc = include_str!("../docs/adopt.md")]
    mod adopt {}
}
