//! Watches the configuration files if `reload.watch` is set.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::config::Config;
use crate::util::fork::ForkLock;
use crate::watch::Watcher;

/// The watcher, if any, and the paths it watches.
#[derive(Default)]
pub(crate) struct WatchedFiles {
    watcher: OnceLock<Watcher>,
    paths: ForkLock<BTreeSet<PathBuf>>,
}

impl WatchedFiles {
    /// Starts the watcher if the configuration enables it. Also detects changes made since the
    /// configuration was read.
    pub(crate) fn start(
        &self,
        config: &Config,
        others: &BTreeSet<PathBuf>,
        changed: impl FnMut(&BTreeSet<PathBuf>) -> Option<Duration> + Send + 'static,
    ) -> io::Result<()> {
        if config.is_watched() {
            // Cannot be set already: a registry starts once.
            drop(self.watcher.set(Watcher::start(changed)?));
            self.point_at(config, others);
        }
        Ok(())
    }

    /// Watches exactly the files of this configuration, and others that were read with it. Call
    /// before reading tenants' files.
    pub(crate) fn point_at(&self, config: &Config, others: &BTreeSet<PathBuf>) {
        let Some(watcher) = self.watcher.get() else { return };
        let mut files: BTreeSet<PathBuf> = config.files().into_iter().collect();
        files.extend(others.iter().cloned());
        let mut wanted = files.clone();
        wanted.extend(config.tenants_dir().map(ToOwned::to_owned));
        let mut paths = self.paths.lock();
        for path in paths.difference(&wanted) {
            watcher.unwatch(path);
        }
        for path in wanted.difference(&paths) {
            if files.contains(path) {
                watcher.watch_and_report(path);
            } else {
                watcher.watch(path);
            }
        }
        *paths = wanted;
    }

    /// Watches further paths, which were read before.
    pub(crate) fn also(&self, others: &BTreeSet<PathBuf>) {
        let Some(watcher) = self.watcher.get() else { return };
        let mut paths = self.paths.lock();
        for path in others {
            if paths.insert(path.clone()) {
                watcher.watch_and_report(path);
            }
        }
    }
}
