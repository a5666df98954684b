//! What the configuration says for one selector.

pub(crate) mod config;
pub(crate) mod merge;
pub(crate) mod resolved;
mod restart;
mod routing;
pub(crate) mod tenant;
