//! Tables of the configuration, and how layers are overlaid.

pub(crate) mod binding;
mod declare;
pub(crate) mod document;
pub(crate) mod export;
pub(crate) mod gateway;
pub(crate) mod key_source;
pub(crate) mod metrics;
mod overlay;
pub(crate) mod pool;
pub(crate) mod proxy;
pub(crate) mod quota;
pub(crate) mod redact;
pub(crate) mod redacted;
#[cfg(feature = "schema")]
pub(crate) mod schema;
#[cfg(feature = "schema")]
mod schema_types;
pub(crate) mod setting;
pub(crate) mod spool;
pub(crate) mod tls;
pub(crate) mod untrusted;
#[cfg(feature = "gateway")]
mod written;
