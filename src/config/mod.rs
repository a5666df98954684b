//! Configuration: as written in files and variables, and as resolved for a selector.
//!
//! There are two stages. `Document` holds the settings as written: each layer is checked and
//! overlaid on the layers below, and all problems are collected before the configuration is
//! refused. [`Config`] is the checked result; [`Config::resolve`] merges it for one
//! [`Selector`](crate::Selector): defaults < environment < feature < tenant < route.
//!
//! To add a setting, add a field to its table in `settings`, a row to `docs/configuration.md`, and
//! a value to the tests `defaults` or `differences`. Untrusted layers may not set it unless its
//! declaration allows it.
//!
//! Depends on selectors and key sources, not on backends or the export engine. Reads no key.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(feature = "gateway")]
pub(crate) mod gateway;
mod problem;
mod read;
mod resolve;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod untrusted;

pub use problem::{ConfigError, ConfigProblem};
pub(crate) use read::defined_paths::DefinedPaths;
pub use resolve::config::Config;
pub(crate) use resolve::copies::HAS_COPIES;
pub use resolve::error::ResolveError;
pub use resolve::proxy::ResolvedProxy;
pub(crate) use resolve::resolved::Digest;
pub use resolve::resolved::{ResolvedBinding, ResolvedRedact};
pub(crate) use resolve::tenant::TenantBinding;
#[cfg(feature = "watch")]
pub(crate) use resolve::tenant_files::tenant_of;
pub use rules::endpoint::Endpoint;
pub use settings::binding::{
    Auth, AuthScheme, BackendName, Binding, Change, Limits, Propagation, Sampling, SessionMode,
};
pub(crate) use settings::document::{ActiveEnvironment, Document, Route, Routing};
pub use settings::export::{
    Compression, DeadLetterSettings, DeadLetters, Explain, ExplainSettings, Export, ExportMode, ExportSettings,
    Protocol, Retry, RetrySettings, ServerErrors,
};
pub use settings::metrics::{Metrics, MetricsSettings};
pub use settings::pool::{IdleTimeout, Pool, PoolSettings, WhenFull};
pub use settings::proxy::Proxy;
pub use settings::quota::Quota;
#[cfg(feature = "redact")]
pub(crate) use settings::redact::redact_regex;
pub use settings::redact::{Pattern, Redact, RedactAction, RedactRule};
pub use settings::redacted::Redacted;
#[cfg(feature = "schema")]
pub use settings::schema::json_schema;
pub use settings::spool::{Spool, SpoolMode, SpoolSettings};
pub use settings::tls::Tls;
pub use settings::untrusted::Untrusted;
pub use untrusted::Addresses;
pub(crate) use untrusted::line_for_address;
