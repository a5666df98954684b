//! Runs a command that prints a key, on the thread that asks for it.
//!
//! No thread is started: one loop looks after both pipes and the end of the command. What holds when it returns:
//!
//! | the command | its process group | the key |
//! |---|---|---|
//! | ended well, and printed a full line or closed its output | left alone: an agent may be in it | what it printed |
//! | ended well, and a descendant holds its output without a full line | killed when the time is over | none |
//! | ended badly, took too long, printed too much, or was given up | killed | none |
//! | ended, and something else in the program took its exit status | killed where there is no key | what it printed |
//!
//! Whatever happened, the pipes are closed and the command is reaped, unless it cannot be killed: then it is left to itself after a second.

use std::sync::atomic::AtomicBool;

#[cfg(not(all(unix, not(target_os = "openbsd"))))]
use std::io::ErrorKind;

#[cfg(not(all(unix, not(target_os = "openbsd"))))]
use super::SecretErrorKind;
use super::key::ApiKey;
use super::{KeyCommand, SecretError};

#[cfg(all(unix, not(target_os = "openbsd")))]
mod running;
#[cfg(all(unix, not(target_os = "openbsd")))]
mod stderr;

/// Runs the command; `given_up` ends it before its time.
pub(super) fn read(command: &KeyCommand, given_up: &AtomicBool) -> Result<ApiKey, SecretError> {
    run(command, given_up).map_err(|fault| SecretError::new(command.to_string(), fault))
}

#[cfg(all(unix, not(target_os = "openbsd")))]
use running::run;

/// Without process groups nothing could end what a command leaves behind.
#[cfg(not(all(unix, not(target_os = "openbsd"))))]
fn run(_: &KeyCommand, _: &AtomicBool) -> Result<ApiKey, SecretErrorKind> {
    Err(SecretErrorKind::NotStarted(ErrorKind::Unsupported.into()))
}
