//! Watches files and reports which of them changed.
//!
//! Does not read the files. A file counts as changed if its [`Stamp`] differs; events of the
//! operating system only trigger the check. Any way to replace a file is therefore detected:
//! writing in place, renaming, or swapping a symbolic link on its path, as Kubernetes does with
//! `..data`. Without events (network file systems, exhausted limits), files are polled every few
//! seconds.

mod folder_events;
mod stamp;
mod watch_loop;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

pub(crate) use stamp::Stamp;
use watch_loop::{Command, WatchLoop};

/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Watches files and folders on its own thread until dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    commands: Sender<Command>,
}

impl Watcher {
    /// Starts the thread. It calls `on_change` with all paths that changed at about the same time:
    /// a watched file, or the changed entry of a watched folder (the folder itself if the entry is
    /// unknown).
    ///
    /// If `on_change` returns a duration, it is called again after at most that time, with the same
    /// paths and those that changed meanwhile.
    ///
    /// # Errors
    /// Returns the operating system's error if the thread cannot start.
    pub(crate) fn start(
        on_change: impl FnMut(&BTreeSet<PathBuf>) -> Option<Duration> + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(POLL_INTERVAL, true, on_change)
    }

    fn start_with(
        poll_interval: Duration,
        use_events: bool,
        on_change: impl FnMut(&BTreeSet<PathBuf>) -> Option<Duration> + Send + 'static,
    ) -> io::Result<Self> {
        let (commands, received) = mpsc::channel();
        let events_tx = commands.clone();
        thread::Builder::new()
            .name("tracer-registry-watch".to_owned())
            .spawn(move || WatchLoop::new(poll_interval, use_events, &events_tx, on_change).run(&received))?;
        Ok(Self { commands })
    }

    /// Watches a file or folder, which need not exist. Reports changes after this call, so read the
    /// file afterwards.
    pub(crate) fn watch(&self, path: &Path) {
        self.send(Command::Watch(path.to_owned(), Some(Stamp::of(path))));
    }

    /// Like [`watch`](Self::watch), for a file that was read after it had this stamp.
    pub(crate) fn watch_since(&self, path: &Path, stamp: Stamp) {
        self.send(Command::Watch(path.to_owned(), Some(stamp)));
    }

    /// Like [`watch`](Self::watch), for a file that was read earlier: reports it once even if it is
    /// unchanged.
    pub(crate) fn watch_and_report(&self, path: &Path) {
        self.send(Command::Watch(path.to_owned(), None));
    }

    /// Stops watching a path.
    pub(crate) fn unwatch(&self, path: &Path) {
        self.send(Command::Unwatch(path.to_owned()));
    }

    fn send(&self, command: Command) {
        // Cannot fail: the thread runs until `drop` sends `Stop`.
        drop(self.commands.send(command));
    }
}

impl Drop for Watcher {
    /// Does not wait for the thread, because this may run on it.
    fn drop(&mut self) {
        self.send(Command::Stop);
    }
}

#[cfg(test)]
mod tests;
