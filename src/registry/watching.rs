//! The files of the configuration, watched where `reload.watch` says so.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError, Weak};

use super::ReloadError;
use super::live::Live;
use crate::config::{Config, tenant_of};
use crate::watch::Watcher;

/// The watcher, where there is one, and what it watches.
#[derive(Default)]
pub(super) struct Watching {
    watcher: OnceLock<Watcher>,
    paths: Mutex<BTreeSet<PathBuf>>,
}

impl Watching {
    /// Starts where the configuration says so. What changed since it was read is seen too.
    pub(super) fn start(&self, config: &Config, live: Weak<Live>) -> io::Result<()> {
        if !config.is_watched() {
            return Ok(());
        }
        let watcher = Watcher::start(move |changed| {
            if let Some(live) = live.upgrade() {
                live.files_changed(changed);
            }
        })?;
        // A registry starts once.
        drop(self.watcher.set(watcher));
        self.point(config);
        Ok(())
    }

    /// Watches the files of this configuration, and no others. Called before files of tenants are read.
    pub(super) fn point(&self, config: &Config) {
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
    fn files_changed(&self, changed: &BTreeSet<PathBuf>) {
        let folder = self.bindings.config().tenants_dir().map(ToOwned::to_owned);
        let tenants = changed.iter().map(|path| {
            let is_inside = folder.is_some() && path.parent() == folder.as_deref();
            tenant_of(path).filter(|_| is_inside)
        });
        // Anything else may concern everybody: a file of the configuration, or a link that all files of the folder go through.
        let told = match tenants.collect::<Option<BTreeSet<_>>>() {
            Some(tenants) => Ok(self.reload_tenants(&tenants)),
            None => self.reload(),
        };
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
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::thread;
    use std::time::{Duration, Instant};

    use crate::registry::TracerRegistry;

    #[test]
    fn the_last_handle_ends_the_registry_itself_also_while_files_are_looked_at() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("default.toml");
        fs::write(&file, "[reload]\nwatch = true\n").expect("written");
        let registry = TracerRegistry::from_config(file).expect("valid");
        let live = Arc::clone(&registry.0.live);
        // What was read before it was watched is looked at once, which waits here.
        let one = live.reloads.one.lock().expect("not poisoned");
        let begun = Instant::now();
        while Arc::strong_count(&live) < 3 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the watcher does not look");
            thread::yield_now();
        }
        drop(registry);
        assert!(live.closed.load(Ordering::SeqCst), "what was queued is sent by now");
        drop(one);
    }
}
