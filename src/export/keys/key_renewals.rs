//! Timer of key renewals: one deadline per key, removed with the key.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::util::fork::ForkLock;

/// A key that is renewed before its lifetime ends.
pub(super) trait Renewable: Send + Sync {
    /// Called when a deadline passes.
    fn note_due(self: Arc<Self>, due: Instant);
}

/// A deadline and the address of its key.
pub(crate) type Deadline = (Instant, usize);

#[derive(Default)]
pub(crate) struct KeyRenewals {
    deadlines: ForkLock<BTreeMap<Deadline, Weak<dyn Renewable>>>,
    /// Notified when a new deadline is the earliest.
    earlier: Notify,
}

impl KeyRenewals {
    /// Sets the deadline of a key, replacing its previous one.
    pub(crate) fn set(&self, key: &Arc<dyn Renewable>, due: Instant, previous: Option<Instant>) {
        let address = Arc::as_ptr(key).addr();
        let mut deadlines = self.deadlines.lock();
        if let Some(previous) = previous {
            deadlines.remove(&(previous, address));
        }
        deadlines.insert((due, address), Arc::downgrade(key));
        let is_first = deadlines
            .first_key_value()
            .is_some_and(|(first, _)| *first == (due, address));
        drop(deadlines);
        if is_first {
            self.earlier.notify_one();
        }
    }

    pub(crate) fn unset(&self, deadline: Deadline) {
        self.deadlines.lock().remove(&deadline);
    }

    /// Notifies keys of their deadlines, until the engine ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let first = self.deadlines.lock().first_key_value().map(|((due, _), _)| *due);
            match first {
                Some(due) => drop(timeout_at(due.into(), self.earlier.notified()).await),
                None => self.earlier.notified().await,
            }
            while let Some((due, key)) = self.take_due() {
                if let Some(key) = key.upgrade() {
                    key.note_due(due);
                }
            }
        }
    }

    fn take_due(&self) -> Option<(Instant, Weak<dyn Renewable>)> {
        let mut deadlines = self.deadlines.lock();
        let first = deadlines.first_entry()?;
        let due = first.key().0;
        (due <= Instant::now()).then(|| (due, first.remove()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::key_store::KeyStore;
    use crate::config::{Config, Document};
    use crate::secret::{Fingerprinter, KeyCommand, KeyReader, KeyScheme, KeySource, SecretSources};

    #[test]
    fn a_key_has_one_deadline_while_it_is_open() {
        let config = Config::from_document(Document::default()).expect("valid");
        let reader = KeyReader::new(SecretSources::default(), false);
        let store = KeyStore::new(reader, Fingerprinter::new(), config.export(), None);
        let command = KeyCommand::new(["printf", "key"]).timeout(Duration::from_secs(60));
        let source = KeySource::Exec(command.lifetime(Duration::from_secs(3600)));
        for _ in 0..3 {
            let key = store
                .open(&source, KeyScheme::Bearer)
                .expect("the command prints a key");
            let again = store
                .open(&source, KeyScheme::Bearer)
                .expect("the command prints a key");
            assert_eq!(store.services.renewals.deadlines.lock().len(), 1);
            drop((key, again));
            assert_eq!(store.services.renewals.deadlines.lock().len(), 0);
        }
    }
}
