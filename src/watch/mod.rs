//! Watches files, and reports which of them changed.
//!
//! Knows nothing of what is in the files. A file has changed if it looks different from outside (its [`Stamp`]); events of the operating
//! system only say when to look. So it does not matter how a file is replaced: written in place, by a rename, or by a swap of a link that
//! its path goes through, as Kubernetes does with `..data`. Without events (network file systems, a limit that is reached), files are
//! polled every few seconds.

mod arms;
mod look;
mod stamp;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use look::{Look, Order};
pub(crate) use stamp::Stamp;

/// How often files are polled without an event.
const POLL: Duration = Duration::from_secs(5);

/// Watches files and folders on a thread of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    orders: Sender<Order>,
}

impl Watcher {
    /// Starts the thread, which calls `changed` with all paths that changed at about the same time: a watched file and, for a watched folder,
    /// the entry in it, or the folder itself if the entry is not known. If it returns a time, it is called again after that time at the
    /// latest, with the same paths and those that changed meanwhile.
    ///
    /// # Errors
    /// The operating system's, if there can be no thread.
    pub(crate) fn start(
        changed: impl FnMut(&BTreeSet<PathBuf>) -> Option<Duration> + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(POLL, true, changed)
    }

    fn start_with(
        poll: Duration,
        by_events: bool,
        changed: impl FnMut(&BTreeSet<PathBuf>) -> Option<Duration> + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let to_look = orders.clone();
        thread::Builder::new()
            .name("tracer-registry-watch".to_owned())
            .spawn(move || Look::new(poll, by_events, &to_look, changed).run(&received))?;
        Ok(Self { orders })
    }

    /// Watches a file or a folder, which need not be there. Reports what happens after this call: read the file after it.
    pub(crate) fn watch(&self, path: &Path) {
        self.order(Order::Watch(path.to_owned(), Some(Stamp::of(path))));
    }

    /// As [`watch`](Self::watch), for a file that was read after it had this stamp.
    pub(crate) fn watch_since(&self, path: &Path, stamp: Stamp) {
        self.order(Order::Watch(path.to_owned(), Some(stamp)));
    }

    /// As [`watch`](Self::watch), for a file that was read before: it is reported once in any case.
    pub(crate) fn watch_what_was_read(&self, path: &Path) {
        self.order(Order::Watch(path.to_owned(), None));
    }

    /// Stops watching it.
    pub(crate) fn unwatch(&self, path: &Path) {
        self.order(Order::Unwatch(path.to_owned()));
    }

    fn order(&self, order: Order) {
        // The thread ends only by the order of the drop.
        drop(self.orders.send(order));
    }
}

impl Drop for Watcher {
    /// Does not wait for the thread: this may be that thread.
    fn drop(&mut self) {
        self.order(Order::Stop);
    }
}

#[cfg(test)]
mod tests;
