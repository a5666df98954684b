//! `[untrusted]`: what a layer may choose that the operator did not write.
//!
//! Files of `tenants_dir` and bindings read from JSON are such layers. They say what is theirs alone (`source`, `metadata`, sessions, less of
//! what is recorded), and of keys and endpoints what is allowed here. By default nothing is.

mod addresses;
mod endpoints;
mod keys;
mod layer;
mod place;
mod projects;
mod rules;

pub use addresses::Addresses;
pub(crate) use layer::{check, moves};
pub(crate) use place::LayerPlace;
pub(crate) use rules::{Rules, line_for_address};
