//! What may be written: the tables of the configuration, and how those of two layers are laid over one another.

pub(crate) mod binding;
mod declare;
pub(crate) mod document;
pub(crate) mod export;
#[cfg(feature = "schema")]
mod forms;
mod key_source;
pub(crate) mod metrics;
mod overlay;
pub(crate) mod pool;
pub(crate) mod proxy;
pub(crate) mod redacted;
#[cfg(feature = "schema")]
pub(crate) mod schema;
pub(crate) mod setting;
pub(crate) mod tls;
pub(crate) mod untrusted;
