//! Resolves the configuration for one selector.

pub(crate) mod config;
pub(crate) mod copies;
pub(crate) mod error;
mod merge;
pub(crate) mod proxy;
pub(crate) mod resolved;
mod restart;
mod routing;
pub(crate) mod tenant;
pub(crate) mod tenant_files;
