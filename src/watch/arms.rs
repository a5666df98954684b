//! The folders that the operating system is asked to tell of.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::look::Order;
use std::sync::mpsc::Sender;

/// Events of folders: those that the watched files are in, as they are called and as they are where links are followed.
pub(super) struct Arms {
    /// None where there are no events.
    events: Option<RecommendedWatcher>,
    armed: BTreeSet<PathBuf>,
    /// Whether it was told that some folder gives no events.
    told: bool,
}

impl Arms {
    pub(super) fn new(by_events: bool, orders: &Sender<Order>) -> Self {
        let mut arms = Self {
            events: None,
            armed: BTreeSet::new(),
            told: false,
        };
        if by_events {
            let orders = orders.clone();
            let event = move |event| drop(orders.send(Order::Event(event)));
            match notify::recommended_watcher(event) {
                // Answered by its thread, which it starts without looking whether that works.
                Ok(mut events) => {
                    if events.configure(notify::Config::default()).is_ok() {
                        arms.events = Some(events);
                    } else {
                        // Its drop would send to that thread too, and panic.
                        mem::forget(events);
                        arms.tell(&notify::Error::generic("a thread for them cannot be started"));
                    }
                }
                Err(error) => arms.tell(&error),
            }
        }
        arms
    }

    /// Asks for the events of these paths' folders, and no more for others. A folder that was replaced is asked for anew.
    pub(super) fn arm<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) {
        let Some(events) = &mut self.events else { return };
        let wanted: BTreeSet<PathBuf> = paths.flat_map(|path| folders(path)).collect();
        for gone in self.armed.difference(&wanted) {
            // It may be that it is no more.
            drop(events.unwatch(gone));
        }
        let mut failed = None;
        self.armed = wanted
            .into_iter()
            .filter(|folder| match events.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => true,
                Err(error) => {
                    // One that is not there is looked for by and by.
                    failed = failed.take().or(folder.is_dir().then_some(error));
                    false
                }
            })
            .collect();
        if let Some(error) = failed {
            self.tell(&error);
        }
    }

    fn tell(&mut self, error: &notify::Error) {
        if !mem::replace(&mut self.told, true) {
            tracing::warn!(
                "some files are looked at every few seconds, for the system tells no events of them: {error}"
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
