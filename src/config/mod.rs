//! Configuration: as written in files and variables, then as resolved for a selector.
//!
//! Two stages. `Document` is what the layers say: each is checked by itself and laid over the one below, and every fault
//! of every layer is collected before anything is refused. [`Config`] is the checked whole, and
//! [`Config::resolve`] merges it for one [`Selector`](crate::Selector): defaults < environment < feature < tenant < route.
//!
//! A new setting is a field of its table in `settings`, a row of `docs/configuration.md`, and a value in the tests
//! `left_out` or `differences`. An untrusted layer may not set it unless its declaration says so.
//!
//! Knows selectors and key sources, nothing of backends or of how spans are sent. Reads no key.

mod fault;
mod read;
mod resolve;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod untrusted;

pub use fault::{ConfigError, ConfigFault};
pub(crate) use read::shape::Shape;
pub use resolve::config::Config;
pub use resolve::error::ResolveError;
pub use resolve::proxy::ResolvedProxy;
pub(crate) use resolve::resolved::Digest;
pub use resolve::resolved::ResolvedBinding;
pub(crate) use resolve::tenant::TenantBinding;
#[cfg(feature = "watch")]
pub(crate) use resolve::tenant_files::tenant_of;
pub use rules::endpoint::Endpoint;
pub use settings::binding::{
    Auth, AuthScheme, BackendName, Binding, Change, Limits, Propagation, Sampling, SessionMode,
};
pub(crate) use settings::document::{ActiveEnvironment, Document, Route, Routing};
pub use settings::export::{
    Compression, Export, ExportMode, ExportSettings, Protocol, Retry, RetrySettings, ServerErrors,
};
pub use settings::metrics::{Metrics, MetricsSettings};
pub use settings::pool::{IdleTimeout, Pool, PoolSettings, WhenFull};
pub use settings::proxy::Proxy;
pub use settings::redacted::Redacted;
#[cfg(feature = "schema")]
pub use settings::schema::json_schema;
pub use settings::tls::Tls;
pub use settings::untrusted::Untrusted;
pub use untrusted::Addresses;
pub(crate) use untrusted::line_for_address;
