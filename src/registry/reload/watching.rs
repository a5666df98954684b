//! The files of the configuration, watched where `reload.watch` says so.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::apply::ReloadError;
use crate::config::{Config, tenant_of};
use crate::registry::state::Live;
use crate::watch::Watcher;

/// The watcher, where there is one, and what it watches.
#[derive(Default)]
pub(crate) struct Watching {
    watcher: OnceLock<Watcher>,
    paths: Mutex<BTreeSet<PathBuf>>,
}

impl Watching {
    /// Starts where the configuration says so. What changed since it was read is seen too.
    pub(crate) fn start(&self, config: &Config, live: Weak<Live>) -> io::Result<()> {
        if !config.is_watched() {
            return Ok(());
        }
        let watcher = Watcher::start(move |changed| {
            let live = live.upgrade()?;
            live.files_changed(changed, Instant::now())
        })?;
        // A registry starts once.
        drop(self.watcher.set(watcher));
        self.point(config);
        Ok(())
    }

    /// Watches the files of this configuration, and no others. Called before files of tenants are read.
    pub(crate) fn point(&self, config: &Config) {
        let Some(watcher) = self.watcher.get() else { return };
        let files: BTreeSet<PathBuf> = config.files().into_iter().collect();
        let mut wanted = files.clone();
        wanted.extend(config.tenants_dir().map(ToOwned::to_owned));
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        for path in paths.difference(&wanted) {
            watcher.unwatch(path);
        }
        for path in wanted.difference(&paths) {
            if files.contains(path) {
                watcher.watch_what_was_read(path);
            } else {
                watcher.watch(path);
            }
        }
        *paths = wanted;
    }
}

impl Live {
    /// Gives in how long this is to be called again.
    fn files_changed(&self, changed: &BTreeSet<PathBuf>, now: Instant) -> Option<Duration> {
        let folder = self.bindings.config().tenants_dir().map(ToOwned::to_owned);
        let tenants = changed.iter().map(|path| {
            let is_inside = folder.is_some() && path.parent() == folder.as_deref();
            tenant_of(path).filter(|_| is_inside)
        });
        // Anything else may concern everybody: a file of the configuration, or a link that all files of the folder go through.
        let tenants = tenants.collect::<Option<BTreeSet<_>>>();
        let (told, again) = self.reload_changed(tenants.as_ref(), now);
        match told {
            Ok(told) if told.is_empty() => {}
            Ok(told) if told.kept.is_empty() && told.needs_restart.is_empty() => {
                tracing::info!("the configuration was read again: {told}");
            }
            Ok(told) => tracing::warn!("the configuration was read again: {told}"),
            // The last handle went meanwhile.
            Err(ReloadError::Shutdown) => {}
            Err(error) => tracing::warn!("the configuration cannot be read again: {error}"),
        }
        again
    }
}

#[cfg(test)]
mod tests;
