//! Configuration: as written in files and variables, then as resolved for a selector.
//!
//! Two stages. `Document` is what the layers say, each checked by itself and then laid over one another; every fault
//! of every layer is collected before anything is refused. [`Config`] is the checked whole, and
//! [`Config::resolve`] merges it for one [`Selector`](crate::Selector): defaults < environment < feature < tenant < route.
//!
//! Knows selectors and key sources, nothing of backends or of how spans are sent. Reads no key.

mod binding;
mod check;
mod declared;
mod document;
mod endpoint;
mod export;
mod fault;
mod header;
mod layers;
mod merge;
mod metrics;
mod overlay;
mod parse;
mod pool;
mod proxy;
mod read;
mod resolve;
mod resolved;
mod restart;
mod routes;
mod routing;
mod schema;
mod shape;
mod table;
mod template;
mod tenant;
#[cfg(test)]
mod tests;
mod tls;
mod untrusted;
mod variables;
mod yaml;

pub use binding::{Auth, AuthScheme, BackendName, Binding, Limits, Propagation, Sampling, SessionMode};
pub(crate) use document::{ActiveEnvironment, Document, Route, Routing};
pub use endpoint::Endpoint;
pub use export::{Compression, Export, ExportMode, ExportSettings, Protocol, Retry, RetrySettings, ServerErrors};
pub use fault::{ConfigError, ConfigFault};
pub use metrics::{Metrics, MetricsSettings};
pub use overlay::Change;
pub use pool::{IdleTimeout, Pool, PoolSettings, WhenFull};
pub use proxy::{Proxy, ResolvedProxy};
pub use resolve::{Config, ResolveError};
pub(crate) use resolved::Digest;
pub use resolved::ResolvedBinding;
pub use schema::json_schema;
pub(crate) use shape::Shape;
pub(crate) use tenant::TenantBinding;
#[cfg(feature = "watch")]
pub(crate) use tenant::tenant_of;
pub use tls::Tls;
pub(crate) use untrusted::line_for_address;
pub use untrusted::{Addresses, Untrusted};
