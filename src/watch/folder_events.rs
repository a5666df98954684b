//! Subscribes to change events of folders.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// Event subscriptions of folders: for each watched path, the folder that the path names and the
/// folder that it resolves to.
pub(super) struct FolderEvents {
    /// `None` if the system provides no events.
    events: Option<RecommendedWatcher>,
    subscribed: BTreeSet<PathBuf>,
    /// Whether a failed subscription was logged.
    failure_logged: bool,
}

impl FolderEvents {
    /// Subscribes to events if `on_event` is given, and calls it for each event.
    pub(super) fn new(on_event: Option<impl notify::EventHandler>) -> Self {
        let mut folders = Self {
            events: None,
            subscribed: BTreeSet::new(),
            failure_logged: false,
        };
        if let Some(on_event) = on_event {
            match notify::recommended_watcher(on_event) {
                // `notify` starts a thread without checking that it runs; `configure` waits for its
                // answer.
                Ok(mut events) => {
                    if events.configure(notify::Config::default()).is_ok() {
                        folders.events = Some(events);
                    } else {
                        // Dropping it would send to that thread, and panic.
                        mem::forget(events);
                        folders.log(&notify::Error::generic("cannot start the event thread"));
                    }
                }
                Err(error) => folders.log(&error),
            }
        }
        folders
    }

    /// Replaces the subscriptions with the folders of these paths. Also renews the subscription of
    /// a folder that was replaced.
    pub(super) fn subscribe<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) {
        let Some(events) = &mut self.events else { return };
        let wanted: BTreeSet<PathBuf> = paths.flat_map(|path| folders_of(path)).collect();
        for old in self.subscribed.difference(&wanted) {
            // Fails if the folder no longer exists.
            drop(events.unwatch(old));
        }
        let mut failed = None;
        self.subscribed = wanted
            .into_iter()
            .filter(|folder| match events.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => true,
                Err(error) => {
                    // A missing folder is found by polling.
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
        if !mem::replace(&mut self.failure_logged, true) {
            tracing::warn!(
                "polling some files every few seconds, because the system reports no events for them: {error}"
            );
        }
    }
}

/// Returns the folders in which an event occurs if the file or folder at a path changes.
fn folders_of(path: &Path) -> Vec<PathBuf> {
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
