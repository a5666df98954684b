//! Keys: sources, storage and fingerprints.
//!
//! Independent of the rest of the crate. Invariants of this module:
//! - A key's bytes live in memory that is wiped when its last [`ApiKey`] is dropped, and only this
//!   module reads them. A header value, the only form that leaves the module, is wiped when its
//!   last clone is dropped. The tokens of callers are also read in the gateway's module
//!   `callers::credential`.
//! - No error, `Debug` or `Display` of a type in this module contains a key, or text that could be
//!   one.
//! - A receiver's text is shown only if `SentSecrets` finds no encoding of the request's secrets in
//!   it.
//! - A key that was read is valid in its header: not empty, bounded, UTF-8, without control
//!   characters, without white space or quotes around it, and ASCII if the header carries it
//!   unencoded.
//! - A command that was run for a key leaves no process, thread or descriptor behind, unless it
//!   provided a key and left a process in its group itself.

mod code_point;
mod command;
mod confined;
mod error;
mod exec;
mod file;
mod fingerprint;
#[cfg(feature = "redact")]
mod hash_key;
mod key;
mod normalize;
mod pattern;
mod reader;
mod rules;
mod secret_echo;
mod source;
mod wildcard;

/// Text that is wiped on drop and never printed.
pub use secrecy::SecretString;

pub use code_point::CodePoint;
pub use command::KeyCommand;
pub use confined::ConfinedFile;
pub(crate) use confined::FilePattern;
pub use error::{KeyRefusalStatus, SecretError, SecretErrorKind};
pub(crate) use file::open_to_every_user;
pub use fingerprint::{Fingerprint, Fingerprinter};
#[cfg(feature = "redact")]
pub(crate) use hash_key::HashKey;
pub use key::ApiKey;
pub(crate) use pattern::KeyPattern;
pub(crate) use reader::{KeyOrigin, KeyReader};
pub(crate) use rules::KeyScheme;
pub(crate) use secret_echo::SentSecrets;
pub use source::{KeySource, SecretSource, SecretSources};
pub(crate) use wildcard::wildcard_matches;
