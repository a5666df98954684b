//! The folders whose events the operating system reports.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// Events of folders: those that the watched files are in, as they are called and as they are where links are followed.
pub(super) struct Arms {
    /// `None` if there are no events.
    events: Option<RecommendedWatcher>,
    armed: BTreeSet<PathBuf>,
    /// Whether it was logged that some folder has no events.
    is_logged: bool,
}

impl Arms {
    /// With `on_event`, asks for events, and it is called for each.
    pub(super) fn new(on_event: Option<impl notify::EventHandler>) -> Self {
        let mut arms = Self {
            events: None,
            armed: BTreeSet::new(),
            is_logged: false,
        };
        if let Some(on_event) = on_event {
            match notify::recommended_watcher(on_event) {
                // Its thread answers, which it starts without checking that it runs.
                Ok(mut events) => {
                    if events.configure(notify::Config::default()).is_ok() {
                        arms.events = Some(events);
                    } else {
                        // Its drop would send to that thread, and panic.
                        mem::forget(events);
                        arms.log(&notify::Error::generic("a thread for them cannot be started"));
                    }
                }
                Err(error) => arms.log(&error),
            }
        }
        arms
    }

    /// Asks for the events of these paths' folders, and of no others. Asks anew for a folder that was replaced.
    pub(super) fn arm<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) {
        let Some(events) = &mut self.events else { return };
        let wanted: BTreeSet<PathBuf> = paths.flat_map(|path| folders(path)).collect();
        for gone in self.armed.difference(&wanted) {
            // It may be gone.
            drop(events.unwatch(gone));
        }
        let mut failed = None;
        self.armed = wanted
            .into_iter()
            .filter(|folder| match events.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => true,
                Err(error) => {
                    // A folder that is not there is polled for.
                    failed = failed.take().or(folder.is_dir().then_some(error));
                    false
                }
            })
            .collect();
        if let Some(error) = failed {
            self.log(&error);
        }
    }

    fn log(&mut self, error: &notify::Error) {
        if !mem::replace(&mut self.is_logged, true) {
            tracing::warn!(
                "some files are polled every few seconds, because the system reports no events of them: {error}"
            );
        }
    }
}

/// The folders in which something happens when what is at a path changes.
fn folders(path: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
    };
    let mut folders = vec![parent(path)];
    if let Ok(real) = fs::canonicalize(path) {
        folders.push(parent(&real));
    }
    if path.is_dir() {
        folders.push(path.to_owned());
    }
    folders
}
