//! The watcher's thread: waits for events, lets them settle, looks at the files, reports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};

use super::arms::Arms;
use super::stamp::Stamp;

/// How long nothing must have happened before the files are looked at, because a file is written in parts. Also far above the resolution
/// of file systems' clocks, so that two writes with a look between them have different stamps.
const QUIET: Duration = Duration::from_millis(50);
/// How long events that never end delay a look.
const LONGEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Order {
    /// With its stamp at that moment; `None` to be reported in any case.
    Watch(PathBuf, Option<Stamp>),
    Unwatch(PathBuf),
    Event(notify::Result<notify::Event>),
    Stop,
}

pub(super) struct Look<F> {
    poll: Duration,
    arms: Arms,
    watched: BTreeMap<PathBuf, Option<Stamp>>,
    /// What is watched changed since the folders were armed.
    disarmed: bool,
    /// Entries of watched folders that something happened to.
    touched: BTreeSet<PathBuf>,
    /// When what was reported is to be reported again, if it is.
    again: Option<(Instant, BTreeSet<PathBuf>)>,
    changed: F,
}

impl<F: FnMut(&BTreeSet<PathBuf>) -> Option<Duration>> Look<F> {
    pub(super) fn new(poll: Duration, by_events: bool, orders: &Sender<Order>, changed: F) -> Self {
        Self {
            poll,
            arms: Arms::new(by_events.then(|| {
                let orders = orders.clone();
                move |event| drop(orders.send(Order::Event(event)))
            })),
            watched: BTreeMap::new(),
            disarmed: false,
            touched: BTreeSet::new(),
            again: None,
            changed,
        }
    }

    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut next = Instant::now() + self.poll;
        // When the first event since the last look came.
        let mut since: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let due = self.again.as_ref().map_or(next, |(at, _)| next.min(*at));
            let order = match orders.recv_timeout(due.saturating_duration_since(now)) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
            };
            if order.is_some_and(|order| self.take(order)) {
                let now = Instant::now();
                next = (now + QUIET).min(*since.get_or_insert(now) + LONGEST);
            } else if Instant::now() >= due {
                since = None;
                self.look();
                next = Instant::now() + self.poll;
            }
        }
    }

    /// Returns whether the files are to be looked at soon.
    fn take(&mut self, order: Order) -> bool {
        match order {
            Order::Watch(path, stamp) => {
                self.watched.entry(path).or_insert(stamp);
                self.disarmed = true;
                true
            }
            Order::Unwatch(path) => {
                self.watched.remove(&path);
                self.disarmed = true;
                false
            }
            Order::Event(Ok(event)) if is_change(event.kind) || event.need_rescan() => {
                if event.need_rescan() {
                    let folders = self.watched.keys().filter(|path| path.is_dir()).cloned();
                    self.touched.extend(folders);
                }
                let entries = event.paths.into_iter().filter(|path| {
                    let folder = path.parent().unwrap_or(Path::new(""));
                    self.watched.contains_key(folder)
                });
                self.touched.extend(entries);
                true
            }
            Order::Event(_) | Order::Stop => false,
        }
    }

    fn look(&mut self) {
        // Before the look: one of the two sees what happens in between. Not with each order, of which thousands may come at once.
        if std::mem::take(&mut self.disarmed) {
            self.arms.arm(self.watched.keys());
        }
        let mut changed = std::mem::take(&mut self.touched);
        for (path, before) in &mut self.watched {
            let now = Some(Stamp::of(path));
            if *before != now {
                *before = now;
                // An entry of the folder that is known to have changed says more.
                if !changed.iter().any(|entry| entry.parent() == Some(path)) {
                    changed.insert(path.clone());
                }
            }
        }
        let is_due = |(at, _): &(Instant, _)| *at <= Instant::now();
        if changed.is_empty() && !self.again.as_ref().is_some_and(is_due) {
            return;
        }
        self.arms.arm(self.watched.keys());
        changed.extend(self.again.take().into_iter().flat_map(|(_, paths)| paths));
        self.again = (self.changed)(&changed).map(|wait| (Instant::now() + wait, changed));
    }
}

/// Whether it may have changed a file. Reading does not, or reading a changed file would report it again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
