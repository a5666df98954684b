//! Callers: who may send, and for which tenants.
//!
//! [`Callers::read`] reads all tokens. Only keyed hashes of them stay in memory: SHA-256 over
//! a random key of the process and the SHA-256 of the token. [`Callers::identify`] finds the
//! caller of a request by its credential, and [`Caller::target`] the selector that the request may
//! address. Both fail closed, with a [`Refusal`].
//!
//! A credential is one of these headers, or metadata of the same name in gRPC:
//! `authorization` (`Bearer <token>`, `Basic <base64>` or the token alone), `x-api-key`, `api-key`
//! and `x-honeycomb-team` (the token alone). The names of the schemes are case-insensitive. A
//! request with several of these headers is refused, even if their values are equal.
//!
//! Tokens of the admin listener are read with those of the callers. No token belongs to both.
//!
//! Nothing in this module prints a token or a hash: no `Debug`, error, log or status.

mod admin;
mod caller;
mod counts;
mod credential;
mod identify;
mod path;
mod read;
mod refusal;
#[cfg(test)]
mod tests;

pub use admin::Role;
pub use caller::{ByResource, Caller, Target};
pub use counts::{CallerSnapshot, Counts, Reason};
pub(crate) use identify::CallerChanges;
pub use identify::Callers;
pub use path::tenant_in_path;
pub use refusal::Refusal;
