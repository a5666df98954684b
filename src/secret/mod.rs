//! Keys: where they come from, how they are held, what may be shown of them.
//!
//! Knows nothing of the rest of the crate. The invariants it owns:
//! - a key's bytes are in memory that is wiped when the last [`ApiKey`] of it goes, and only this module reads them; a header's value, the one form
//!   of it that leaves the module, is wiped when its last clone goes;
//! - no error, `Debug` or `Display` of a type in here contains a key, or text that could be one;
//! - a receiver's text is shown only if `SentSecrets` finds no spelling of the request's secrets in it;
//! - a key that was read can be sent as a header, and says there what was meant: not empty, bounded, UTF-8, no control characters, no blanks
//!   or quotes around it, and ASCII if the header has it as it is;
//! - a command that was run for a key leaves no process, thread or descriptor behind, unless it gave a key and left something itself.

mod code_point;
mod command;
mod confined;
mod error;
mod exec;
mod file;
mod fingerprint;
mod key;
mod normal;
mod pattern;
mod reader;
mod repeated;
mod rules;
mod source;
mod wildcard;

/// Text that is wiped on drop and not printed.
pub use secrecy::SecretString;

pub use code_point::CodePoint;
pub use command::KeyCommand;
pub use confined::ConfinedFile;
pub(crate) use confined::FilePattern;
pub use error::{KeyRefusalStatus, SecretError, SecretErrorKind};
pub(crate) use file::open_to_every_user;
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use key::ApiKey;
pub(crate) use pattern::KeyPattern;
pub(crate) use reader::{KeyOrigin, KeyReader};
pub(crate) use repeated::SentSecrets;
pub(crate) use rules::KeyScheme;
pub use source::{KeySource, SecretSource, SecretSources};
pub(crate) use wildcard::fits;
