//! Limits on concurrent key reads, in total and per kind of source.

use std::collections::BTreeMap;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::export::schedule::permits::acquire;
use crate::secret::{KeySource, SecretSources};

/// Most concurrent reads. Each read occupies a thread.
const MAX_READS: usize = 16;

/// Most concurrent reads from one kind of source, so that a hanging kind does not block the others.
const MAX_READS_PER_KIND: usize = MAX_READS / 2;

/// Permits for key reads. Kinds are files, commands, and each of the program's own sources.
pub(crate) struct KeyReadLimits {
    all: Semaphore,
    files: Semaphore,
    commands: Semaphore,
    providers: BTreeMap<String, Semaphore>,
}

impl KeyReadLimits {
    pub(crate) fn new(sources: &SecretSources) -> Self {
        let per_kind = || Semaphore::new(MAX_READS_PER_KIND);
        Self {
            all: Semaphore::new(MAX_READS),
            files: per_kind(),
            commands: per_kind(),
            providers: sources.names().map(|name| (name.to_owned(), per_kind())).collect(),
        }
    }

    /// Waits for the permits of one read. Hold them until the read ends.
    pub(crate) async fn acquire(&self, source: &KeySource) -> [SemaphorePermit<'_>; 2] {
        let kind = match source {
            KeySource::Exec(_) => &self.commands,
            // An unknown provider fails at once, so the kind does not matter.
            KeySource::Provider { provider, .. } => self.providers.get(provider).unwrap_or(&self.files),
            KeySource::Env(_) | KeySource::File(_) | KeySource::Confined(_) | KeySource::Credential(_) => &self.files,
        };
        // Kind first: a read that waits for its kind must not hold a total permit.
        let of_kind = acquire(kind).await;
        [of_kind, acquire(&self.all).await]
    }
}
