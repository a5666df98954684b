//! The keys of a registry by source, and the watcher of key files.

#[cfg(test)]
mod tests;

#[cfg(feature = "watch")]
use std::collections::BTreeSet;
use std::collections::HashMap;
#[cfg(feature = "watch")]
use std::path::PathBuf;
#[cfg(feature = "watch")]
use std::sync::OnceLock;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use tokio::runtime::Handle;

use super::key_services::KeyServices;
use super::rotating_key::{KeyOwner, RotatingKey};
#[cfg(feature = "watch")]
use crate::config::ExportMode;
use crate::config::ExportSettings;
use crate::export::log::budget::LineBudget;
use crate::export::log::changes::ChangeLog;
use crate::secret::{Fingerprinter, KeyOrigin, KeyReader, KeyScheme, KeySource, SecretError};
use crate::util::fork::ForkLock;
#[cfg(feature = "watch")]
use crate::watch::{Stamp, Watcher};

/// The keys of a registry. A key lives as long as a lane uses it.
pub(crate) struct KeyStore {
    pub(super) services: Arc<KeyServices>,
    keys: ForkLock<Keys>,
    #[cfg(feature = "watch")]
    mode: ExportMode,
    /// Started with the first key from a file. `None` if its thread cannot be started.
    #[cfg(feature = "watch")]
    watcher: OnceLock<Option<Watcher>>,
}

/// Keys by origin, and the number of keys per watched file. Several origins may name the same file.
#[derive(Default)]
struct Keys {
    by_origin: HashMap<Arc<KeyOrigin>, Weak<RotatingKey>, RandomState>,
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
        Arc::new(Self {
            services: KeyServices::new(reader, fingerprinter, settings.retry.clone(), runtime),
            keys: ForkLock::default(),
            #[cfg(feature = "watch")]
            mode: settings.mode,
            #[cfg(feature = "watch")]
            watcher: OnceLock::new(),
        })
    }

    /// Returns the registry's limit on log lines.
    pub(crate) fn lines(&self) -> &Arc<LineBudget> {
        &self.services.lines
    }

    /// Returns the registry's last changes.
    pub(crate) fn changes(&self) -> &Arc<ChangeLog> {
        &self.services.changes
    }

    /// Reads the key of a source on this thread. Returns a new key, or the one that other lanes
    /// with the same source share.
    ///
    /// # Errors
    /// If the source cannot be read. Nothing changes then.
    pub(crate) fn open(
        self: &Arc<Self>,
        source: &KeySource,
        scheme: KeyScheme,
    ) -> Result<Arc<RotatingKey>, SecretError> {
        #[cfg(feature = "watch")]
        let watched = source.path().map(|path| (Stamp::of(&path), path));
        let read_number = self.services.begin_read();
        let read = self.services.reader.read(source, scheme)?;
        let origin = KeyOrigin {
            source: source.clone(),
            scheme,
        };
        #[cfg(feature = "watch")]
        let watched = watched.and_then(|watched| Some((self.watcher()?, watched)));
        let mut keys = self.keys.lock();
        let known = keys.by_origin.get(&origin).and_then(Weak::upgrade);
        if let Some(key) = known {
            drop(keys);
            key.apply_read(read_number, Ok(read));
            return Ok(key);
        }
        let origin = Arc::new(origin);
        let owner = Arc::downgrade(self) as Weak<dyn KeyOwner>;
        let key = RotatingKey::new(&origin, &self.services, owner, read_number, read);
        keys.by_origin.insert(origin, Arc::downgrade(&key));
        // Under the lock, so that watching follows the order in which keys are added and dropped.
        #[cfg(feature = "watch")]
        if let Some((watcher, (stamp, path))) = watched {
            watcher.watch_since(&path, stamp);
            *keys.watched.entry(path).or_default() += 1;
        }
        Ok(key)
    }

    /// Kills the running key commands.
    pub(crate) fn give_up(&self) {
        self.services.reader.cancel();
    }

    #[cfg(feature = "watch")]
    fn watcher(self: &Arc<Self>) -> Option<&Watcher> {
        // Inline mode has no watcher thread; a key is read again when it is refused.
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
            let failed = |error: &_| tracing::warn!("cannot watch key files: {error}");
            started.inspect_err(failed).ok()
        };
        self.watcher.get_or_init(start).as_ref()
    }

    #[cfg(feature = "watch")]
    fn note_changes(&self, changed: &BTreeSet<PathBuf>) {
        let is_affected = |origin: &KeyOrigin| origin.source.path().is_some_and(|path| changed.contains(&path));
        let keys = self.keys.lock();
        let by_origin = keys.by_origin.iter().filter(|(origin, _)| is_affected(origin));
        let affected: Vec<Arc<RotatingKey>> = by_origin.filter_map(|(_, key)| key.upgrade()).collect();
        drop(keys);
        for key in affected {
            key.note_change();
        }
    }
}

impl KeyOwner for KeyStore {
    fn forget(&self, origin: &KeyOrigin) {
        let mut keys = self.keys.lock();
        // A new key may have replaced it meanwhile.
        if keys.by_origin.get(origin).is_some_and(|key| key.strong_count() == 0) {
            keys.by_origin.remove(origin);
        }
        #[cfg(feature = "watch")]
        if let Some(path) = origin.source.path()
            && let Some(Some(watcher)) = self.watcher.get()
            && let Some(count) = keys.watched.get_mut(&path)
        {
            *count -= 1;
            if *count == 0 {
                keys.watched.remove(&path);
                watcher.unwatch(&path);
            }
        }
    }
}
