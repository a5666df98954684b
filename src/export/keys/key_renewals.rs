//! When keys are to be renewed because their lifetime is nearly over: one moment for each, which goes with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::util::fork::ForkLock;

/// What is renewed.
pub(super) trait Renewable: Send + Sync {
    /// A deadline has come that was asked for.
    fn note_age(self: Arc<Self>, due: Instant);
}

/// A moment, and what it is for by its address.
pub(crate) type Ordered = (Instant, usize);

#[derive(Default)]
pub(crate) struct KeyRenewals {
    ordered: ForkLock<BTreeMap<Ordered, Weak<dyn Renewable>>>,
    /// There is a moment before all others.
    sooner: Notify,
}

impl KeyRenewals {
    /// Notifies a key when a moment has come, and not at the one that was ordered before.
    pub(crate) fn set(&self, key: &Arc<dyn Renewable>, due: Instant, before: Option<Instant>) {
        let address = Arc::as_ptr(key).addr();
        let mut ordered = self.ordered.lock();
        if let Some(before) = before {
            ordered.remove(&(before, address));
        }
        ordered.insert((due, address), Arc::downgrade(key));
        let is_first = ordered
            .first_key_value()
            .is_some_and(|(first, _)| *first == (due, address));
        drop(ordered);
        if is_first {
            self.sooner.notify_one();
        }
    }

    pub(crate) fn unset(&self, ordered: Ordered) {
        self.ordered.lock().remove(&ordered);
    }

    /// Notifies keys when their time has come, until the engine ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let first = self.ordered.lock().first_key_value().map(|((due, _), _)| *due);
            match first {
                // Whichever comes first, it is looked what is due.
                Some(due) => drop(timeout_at(due.into(), self.sooner.notified()).await),
                None => self.sooner.notified().await,
            }
            while let Some((due, key)) = self.take_due() {
                if let Some(key) = key.upgrade() {
                    key.note_age(due);
                }
            }
        }
    }

    fn take_due(&self) -> Option<(Instant, Weak<dyn Renewable>)> {
        let mut ordered = self.ordered.lock();
        let first = ordered.first_entry()?;
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
    fn a_keyring_has_one_moment_however_often_it_is_opened_and_none_when_it_is_gone() {
        let config = Config::from_document(Document::default()).expect("valid");
        let reader = KeyReader::new(SecretSources::default(), false);
        let store = KeyStore::new(reader, Fingerprinter::new(), config.export(), None);
        let command = KeyCommand::new(["printf", "key"]).timeout(Duration::from_secs(60));
        let source = KeySource::Exec(command.lifetime(Duration::from_secs(3600)));
        for _ in 0..3 {
            let key = store.open(&source, KeyScheme::Bearer).expect("it prints one");
            let again = store.open(&source, KeyScheme::Bearer).expect("it prints one");
            assert_eq!(store.services.renewals.ordered.lock().len(), 1);
            drop((key, again));
            assert_eq!(store.services.renewals.ordered.lock().len(), 0);
        }
    }
}
