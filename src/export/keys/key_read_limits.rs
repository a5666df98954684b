//! Threads that read keys: how many, and how many of them one kind of source may hold.

use std::collections::BTreeMap;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::export::schedule::permits::acquire;
use crate::secret::{KeySource, SecretSources};

/// Keys that are read at the same time. Each takes a thread while it lasts; a source that hangs takes one.
const READERS: usize = 16;

/// Of those, the ones that may read from the same kind of source: where it hangs, the others go on.
const OF_A_KIND: usize = READERS / 2;

/// Places for readings. The kinds are files, commands, and each of the program's own sources by itself.
pub(crate) struct KeyReadLimits {
    all: Semaphore,
    files: Semaphore,
    commands: Semaphore,
    providers: BTreeMap<String, Semaphore>,
}

impl KeyReadLimits {
    pub(crate) fn new(sources: &SecretSources) -> Self {
        let of_a_kind = || Semaphore::new(OF_A_KIND);
        Self {
            all: Semaphore::new(READERS),
            files: of_a_kind(),
            commands: of_a_kind(),
            providers: sources.names().map(|name| (name.to_owned(), of_a_kind())).collect(),
        }
    }

    /// Waits for a place; it is taken until what is given is dropped.
    pub(crate) async fn acquire(&self, source: &KeySource) -> [SemaphorePermit<'_>; 2] {
        let kind = match source {
            KeySource::Exec(_) => &self.commands,
            // A source that is not there gives an error at once.
            KeySource::Provider { provider, .. } => self.providers.get(provider).unwrap_or(&self.files),
            KeySource::Env(_) | KeySource::File(_) | KeySource::Confined(_) | KeySource::Credential(_) => &self.files,
        };
        // In this order: who waits for its kind keeps no place from another one.
        let of_kind = acquire(kind).await;
        [of_kind, acquire(&self.all).await]
    }
}
