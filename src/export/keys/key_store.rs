//! The keyrings of a registry, by source, and what they have in common: threads that read keys, one watcher, one clock.

#[cfg(test)]
mod tests;

#[cfg(feature = "watch")]
use std::collections::BTreeSet;
use std::collections::HashMap;
#[cfg(feature = "watch")]
use std::path::PathBuf;
#[cfg(feature = "watch")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;

use super::key_read_limits::KeyReadLimits;
use super::key_renewals::{KeyRenewals, Ordered};
use super::rotating_key::RotatingKey;
#[cfg(feature = "watch")]
use crate::config::ExportMode;
use crate::config::{ExportSettings, RetrySettings};
use crate::export::log::LineBudget;
use crate::export::net::blocking;
use crate::secret::{ApiKey, Fingerprint, Fingerprinter, KeyOrigin, KeyReader, KeyScheme, KeySource, SecretError};
use crate::util::fork::ForkGuard;
#[cfg(feature = "watch")]
use crate::watch::{Stamp, Watcher};

/// All keyrings, as long as a lane has them.
pub(crate) struct KeyStore {
    reader: KeyReader,
    fingerprinter: Fingerprinter,
    pub(crate) retry: RetrySettings,
    pub(crate) lines: Arc<LineBudget>,
    #[cfg(feature = "watch")]
    mode: ExportMode,
    home: ForkGuard,
    store: Mutex<Rings>,
    /// How many readings began.
    readings: AtomicU64,
    readers: KeyReadLimits,
    /// None in tests that are the engine themselves.
    runtime: Option<Handle>,
    pub(crate) lifetimes: Arc<KeyRenewals>,
    /// Started with the first key that is in a file. None where there can be no thread.
    #[cfg(feature = "watch")]
    watcher: OnceLock<Option<Watcher>>,
}

/// Keyrings by origin, and how many of them there are for each file that is watched: one file may be named in several ways.
#[derive(Default)]
struct Rings {
    by_origin: HashMap<Arc<KeyOrigin>, Weak<RotatingKey>>,
    #[cfg(feature = "watch")]
    watched: HashMap<PathBuf, usize>,
}

impl KeyStore {
    pub(crate) fn new(
        reader: KeyReader,
        fingerprinter: Fingerprinter,
        settings: &ExportSettings,
        runtime: Option<Handle>,
    ) -> Arc<Self> {
        let lifetimes = Arc::new(KeyRenewals::default());
        if let Some(runtime) = &runtime {
            runtime.spawn(Arc::clone(&lifetimes).run());
        }
        Arc::new(Self {
            readers: KeyReadLimits::new(reader.sources()),
            reader,
            fingerprinter,
            retry: settings.retry.clone(),
            lines: Arc::default(),
            #[cfg(feature = "watch")]
            mode: settings.mode,
            home: ForkGuard::default(),
            store: Mutex::default(),
            readings: AtomicU64::new(0),
            runtime,
            lifetimes,
            #[cfg(feature = "watch")]
            watcher: OnceLock::new(),
        })
    }

    /// Reads the key of a source for a header, on this thread, and gives its keyring: a new one, or that of the lanes which have it already.
    ///
    /// # Errors
    /// The source's; nothing changes.
    pub(crate) fn open(
        self: &Arc<Self>,
        source: &KeySource,
        scheme: KeyScheme,
    ) -> Result<Arc<RotatingKey>, SecretError> {
        #[cfg(feature = "watch")]
        let watched = source.path().map(|path| (Stamp::of(&path), path));
        let reading = self.begin_reading();
        let read = self.reader.read(source, scheme)?;
        let origin = KeyOrigin {
            source: source.clone(),
            scheme,
        };
        #[cfg(feature = "watch")]
        let watched = watched.and_then(|watched| Some((self.watcher()?, watched)));
        let mut store = self.lock();
        let known = store.by_origin.get(&origin).and_then(Weak::upgrade);
        if let Some(key) = known {
            drop(store);
            key.take(self, reading, Ok(read));
            return Ok(key);
        }
        let origin = Arc::new(origin);
        let key = RotatingKey::new(&origin, self, reading, read);
        store.by_origin.insert(origin, Arc::downgrade(&key));
        // Under the lock: in the order in which keyrings of the source come and go.
        #[cfg(feature = "watch")]
        if let Some((watcher, (stamp, path))) = watched {
            watcher.watch_since(&path, stamp);
            *store.watched.entry(path).or_default() += 1;
        }
        Ok(key)
    }

    /// A keyring is gone, and with it the moment that it had ordered.
    pub(crate) fn forget(&self, origin: &KeyOrigin, ordered: Option<Ordered>) {
        // In a fork, what is locked may stay so, and nobody watches.
        if self.home.is_forked_child() {
            return;
        }
        if let Some(ordered) = ordered {
            self.lifetimes.unset(ordered);
        }
        let mut store = self.lock();
        // There may be a new one by now.
        if store.by_origin.get(origin).is_some_and(|key| key.strong_count() == 0) {
            store.by_origin.remove(origin);
        }
        #[cfg(feature = "watch")]
        if let Some(path) = origin.source.path()
            && let Some(Some(watcher)) = self.watcher.get()
            && let Some(count) = store.watched.get_mut(&path)
        {
            *count -= 1;
            if *count == 0 {
                store.watched.remove(&path);
                watcher.unwatch(&path);
            }
        }
    }

    /// Ends the commands that are run for keys.
    pub(crate) fn give_up(&self) {
        self.reader.give_up();
    }

    /// Asks a keyring's source in the background, and again as long as the keyring wants that.
    pub(crate) fn ask(self: &Arc<Self>, key: &Arc<RotatingKey>, origin: &Arc<KeyOrigin>) {
        let Some(runtime) = &self.runtime else { return };
        let (store, key, origin) = (Arc::clone(self), Arc::clone(key), Arc::clone(origin));
        runtime.spawn(async move {
            loop {
                let place = store.readers.place(&origin.source).await;
                let reading = store.begin_reading();
                let (reader, from) = (store.reader.clone(), Arc::clone(&origin));
                let read = blocking::run(move || reader.read_again(&from)).await;
                drop(place);
                let read = read.unwrap_or_else(|error| Err(origin.no_thread(error.into())));
                if !key.answered(&store, reading, read) {
                    return;
                }
            }
        });
    }

    pub(crate) fn fingerprint(&self, key: &ApiKey) -> Fingerprint {
        key.fingerprint(&self.fingerprinter)
    }

    fn begin_reading(&self) -> u64 {
        // From one on: a keyring begins with a reading.
        self.readings.fetch_add(1, Ordering::Relaxed) + 1
    }

    #[cfg(feature = "watch")]
    fn watcher(self: &Arc<Self>) -> Option<&Watcher> {
        // No threads but those that flush: a key is read again when it is refused.
        if self.mode == ExportMode::Inline {
            return None;
        }
        let start = || {
            let store = Arc::downgrade(self);
            let started = Watcher::start(move |changed| {
                if let Some(store) = store.upgrade() {
                    store.note_changes(changed);
                }
                None
            });
            let failed = |error: &_| tracing::warn!("files with keys are not watched: {error}");
            started.inspect_err(failed).ok()
        };
        self.watcher.get_or_init(start).as_ref()
    }

    #[cfg(feature = "watch")]
    fn note_changes(&self, changed: &BTreeSet<PathBuf>) {
        let is_concerned = |origin: &KeyOrigin| origin.source.path().is_some_and(|path| changed.contains(&path));
        let store = self.lock();
        let by_origin = store.by_origin.iter().filter(|(origin, _)| is_concerned(origin));
        let concerned: Vec<Arc<RotatingKey>> = by_origin.filter_map(|(_, key)| key.upgrade()).collect();
        drop(store);
        for key in concerned {
            key.note_change();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
