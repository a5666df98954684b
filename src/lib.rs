//! Isolated OpenTelemetry tracers for many tenants in one process.
//!
//! Each tenant, environment or feature has its own tracer: its own API key, settings, sessions,
//! queue and export. The key selects the project that the spans land in. A span of one tracer never
//! reaches the project of another.
//!
//! ```no_run
//! // Does not run here: it reads a configuration file and the keys that the file names.
//! use std::time::Duration;
//! use tracer_registry::TracerRegistry;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = TracerRegistry::from_config("config")?;
//!
//! let acme = registry.tenant_async("acme").await?; // the first call creates the tracer, later calls find it
//! let session = acme.session("chat").metadata("plan", "enterprise").start();
//! let answer = acme.in_span_async("answer", async |span| {
//!     span.set_attribute("question", "why?");
//!     "because"
//! });
//! session.scope(answer).await; // the span carries the session
//!
//! let report = registry.shutdown(Duration::from_secs(5));
//! if !report.is_complete() {
//!     eprintln!("{report}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Find a tracer
//! | the caller knows | call |
//! |---|---|
//! | a tenant, in async code | [`TracerRegistry::tenant_async`] |
//! | a tenant, in code that may block | [`TracerRegistry::tenant`] |
//! | an environment or a feature | [`TracerRegistry::environment`], [`TracerRegistry::feature`] |
//! | several of them | [`TracerRegistry::get`] and [`TracerRegistry::get_async`] with a [`Selector`] |
//! | nothing: it runs inside a scope | [`TracerRegistry::current`] |
//!
//! A look-up returns a [`TracerHandle`], which is cheap to clone, or a [`LookupError`]. It never
//! falls back to another tracer or key.
//!
//! # Make spans
//! - [`TracerHandle::in_span`] and [`TracerHandle::in_span_async`] run a closure or a future in a
//!   span.
//! - [`trace`] does the same for a function.
//! - [`Session`] groups spans under an id with metadata.
//! - [`Scope`] carries the current tracer and session to threads, tasks and channels.
//! - A handle is an OpenTelemetry `TracerProvider`.
//!   [`RoutingProvider`](integrations::RoutingProvider) serves instrumentation that has only one
//!   provider: its spans go to the tracer of the scope.
//!
//! # Configure and observe
//! [`TracerRegistry::from_config`] reads TOML; [`TracerRegistry::builder`] takes the same settings
//! as values of [`config`]. A key comes from a [`KeySource`], never from the configuration itself.
//! [`TracerRegistry::status`] and the [`Report`](report::Report) of a flush count each span under
//! exactly one heading.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `macros` | yes | [`trace`] |
//! | `tls` | yes | `https://` endpoints, with rustls and the platform's certificates |
//! | `watch` | yes | reloads configuration and key files when they change |
//! | `encoded` | | internal: a part of `gateway` and `spool` |
//! | `gateway` | | encoded payloads in lanes, for the gateway; unstable |
//! | `grpc` | | OTLP over gRPC, with tonic |
//! | `metrics` | | [`TracerRegistry::observe`]: the registry's own metrics |
//! | `reqwest` | | [`reqwest`]: a middleware for clients |
//! | `redact` | | redaction of data before it is stored or sent |
//! | `schema` | | the JSON Schema of the configuration |
//! | `spool` | | data on disk, so that it survives the process, with SQLite |
//! | `tower` | | [`tower`]: layers for servers and clients |
//! | `tracing` | | [`TracingLayer`](integrations::TracingLayer) for subscribers of the `tracing` crate |
//! | `yaml` | | configuration files in YAML |
//! | `zstd` | | zstd compression of exports |

#![cfg_attr(docsrs, feature(doc_cfg))]
// The spool uses a part of what the gateway needs for encoded payloads.
#![cfg_attr(all(feature = "encoded", not(feature = "gateway")), allow(dead_code, unused_imports))]

mod backend;
pub mod config;
mod context;
mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(feature = "gateway")]
pub mod ingest;
pub mod integrations;
mod ledger;
mod policy;
mod propagation;
mod registry;
mod scope;
pub mod secret;
pub mod selector;
mod session;
mod span;
mod tracer;
mod util;
#[cfg(feature = "watch")]
mod watch;

/// The OpenTelemetry version used by handles and spans.
pub use opentelemetry;

pub use backend::EventType;
pub use context::ScopeGuard;
#[cfg(feature = "reqwest")]
pub use integrations::reqwest;
#[cfg(feature = "tower")]
pub use integrations::tower;
pub use registry::{BuildError, LookupError, RegistryBuilder, TracerRegistry};
pub use scope::Scope;
pub use secret::KeySource;
pub use selector::Selector;
pub use session::{Enrichment, Session, SessionBuilder};
pub use span::ActiveSpan;
pub use tracer::TracerHandle;
pub use util::json_number::IntoJson;

/// The state of a registry and its tracers: [`TracerRegistry::status`],
/// [`TracerRegistry::tracers`] and [`TracerRegistry::explain`].
pub mod status {
    pub use crate::context::{PropagationStatus, StaleScopeStatus};
    pub use crate::export::{
        AnswerCount, BreakerState, BreakerStatus, Breakers, Change, ChangeKind, CopyStatus, DestinationStatus,
        ErrorsStatus, KeyRefusal, KeyStatus, Problem, RedactionStatus, RefusedBatch, RefusedSpan, RequestKind,
        RequestState, RequestStatus, TraceExplanation, TraceFate,
    };
    #[cfg(feature = "macros")]
    pub use crate::integrations::trace_macro::{TraceCounts, trace_counts};
    pub use crate::ledger::{DropReason, LedgerSnapshot};
    pub use crate::policy::quota::QuotaUse;
    pub use crate::registry::{
        Attention, ConfigurationStatus, EndpointStatus, EvictedTotals, PoolStatus, Severity, SpoolHealth, SpoolStatus,
        Status, Totals, TracerFilter, TracerOrder, TracerPage, TracerPosition, TracerQuery, TracerStatus,
        UnroutedStatus,
    };
}

/// Results of a flush, a shutdown, a reload, a rotation and a purge.
pub mod report {
    pub use crate::export::{EvictedReport, Report, SessionEventsReport, TracerReport};
    pub use crate::registry::{Erased, PurgeReceipt, Reload, RetainedTracer, Rotation};
}

/// Results of a configuration check: [`TracerRegistry::check`] and
/// [`TracerRegistry::check_selector`].
pub mod check {
    pub use crate::export::SpanFate;
    pub use crate::registry::{CheckMode, CheckWarning, CheckedBinding, ConnectionCheck};
}

/// Redaction by the program: [`RegistryBuilder::redactor`].
#[cfg(feature = "redact")]
#[cfg_attr(docsrs, doc(cfg(feature = "redact")))]
pub mod redact {
    pub use crate::policy::redaction::{Decision, Place, Redactor, Value};
}

/// Sources of tenants' bindings, for example a database: [`RegistryBuilder::binding_source`].
pub mod source {
    pub use crate::registry::{AsyncBindingSource, BindingCacheOptions, BindingFuture, BindingSource, SourceError};
}

/// Errors contained in other errors and in reports.
pub mod error {
    pub use crate::backend::DestinationError;
    pub use crate::export::{EngineError, ExportError, TlsError, TlsErrorKind};
    pub use crate::registry::{PurgeError, ReloadError};
    pub use crate::util::system_error::SystemError;
}

/// Interfaces for the gateway. Unstable: may change in any release.
#[cfg(feature = "gateway")]
pub mod gateway {
    pub use crate::config::gateway::{
        GatewayProblems, GatewayTable, is_permitted_header, key_file, read_key, url_problem, wildcard_matches,
    };
    pub use crate::policy::quota::{Amount, Charge, Limiter};
    pub use crate::registry::{PreparedReload, SpanCounts};
}

/// Makes foreign text safe for a terminal or a log.
pub mod text {
    pub use crate::util::printable::{Printable, printable};
}

/// ```
/// use tracer_registry::{TracerHandle, trace};
///
/// #[trace(event_type = tool, capture = inputs)]
/// fn retrieve(question: &str) -> Vec<String> {                  // for the tracer of its caller
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

/// Names used by expansions of [`trace`]. Not a public API: may change in any release.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private {
    pub use crate::backend::EventType;
    pub use crate::integrations::trace_macro::*;
}

/// The README and the pages of `docs/`, whose code runs as doc tests.
#[cfg(doctest)]
mod docs {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/collector.md")]
    mod collector {}
    #[doc = include_str!("../docs/context.md")]
    mod context {}
    #[cfg(all(feature = "macros", feature = "tower"))]
    #[doc = include_str!("../docs/examples.md")]
    mod examples {}
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
    #[cfg(feature = "tower")]
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
    #[cfg(all(feature = "tower", feature = "reqwest"))]
    #[doc = include_str!("../docs/tower.md")]
    mod tower {}
    #[cfg(all(feature = "tower", feature = "tracing"))]
    #[doc = include_str!("../docs/adopt.md")]
    mod adopt {}
}
