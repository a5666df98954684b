//! Keys: where they come from, how they are held, what may be shown of them.

mod fingerprint;

pub use fingerprint::{Fingerprint, Fingerprinter};
