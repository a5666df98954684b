//! A gateway, over its restarts: the only one, or one of those that share a stream.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::client::Addresses;
use super::process::Process;

/// Replicas that share a stream.
pub(super) const REPLICAS: usize = 3;

pub(super) struct Replica {
    pub(super) configuration: PathBuf,
    /// Folder of its data on disk.
    pub(super) spool: PathBuf,
    pub(super) process: Mutex<Option<Process>>,
    /// Where the current process listens, or the last one did.
    pub(super) addresses: Mutex<Addresses>,
    /// Spans and session events that the last process left on disk.
    pub(super) left: AtomicU64,
}

impl Replica {
    pub(super) fn new(configuration: PathBuf, spool: PathBuf) -> Self {
        Self {
            configuration,
            spool,
            process: Mutex::default(),
            addresses: Mutex::default(),
            left: AtomicU64::default(),
        }
    }
}
