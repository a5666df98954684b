//! Runs a command that prints a key, on the calling thread.
//!
//! Starts no thread: one loop reads both pipes and watches for the exit. State when it returns:
//!
//! | command | its process group | key |
//! |---|---|---|
//! | succeeded, and printed a full line or closed its output | kept: an agent may run in it | the output |
//! | succeeded, and a descendant holds its output open without a full line | killed at the timeout | none |
//! | failed, timed out, printed too much, or was cancelled | killed | none |
//! | exited, and other code in the program reaped it | killed if there is no key | the output |
//!
//! In each case the pipes are closed and the command is reaped. A command that cannot be killed is
//! abandoned after a second.

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

/// Runs the command. Setting `cancelled` ends it early.
pub(super) fn read(command: &KeyCommand, cancelled: &AtomicBool) -> Result<ApiKey, SecretError> {
    run(command, cancelled).map_err(|kind| SecretError::new(command.to_string(), kind))
}

#[cfg(all(unix, not(target_os = "openbsd")))]
use running::run;

/// Without process groups, processes that a command leaves behind could not be killed.
#[cfg(not(all(unix, not(target_os = "openbsd"))))]
fn run(_: &KeyCommand, _: &AtomicBool) -> Result<ApiKey, SecretErrorKind> {
    Err(SecretErrorKind::NotStarted(ErrorKind::Unsupported.into()))
}
