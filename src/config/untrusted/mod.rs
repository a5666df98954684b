//! `[untrusted]`: what layers that the operator did not write may set.
//!
//! Untrusted layers are files of `tenants_dir` and bindings read from JSON. They may freely set
//! what concerns only themselves (`source`, `metadata`, sessions, less recording), and keys and
//! endpoints only as far as allowed here. By default, none are allowed.

mod addresses;
mod endpoints;
mod keys;
mod layer;
mod origin;
mod projects;
mod rules;

pub use addresses::Addresses;
pub(crate) use layer::{check, moves};
pub(crate) use origin::LayerOrigin;
pub(crate) use rules::{Rules, line_for_address};
