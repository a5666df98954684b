//! The watcher's thread: waits for events, lets them settle, looks, tells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};

use super::arms::Arms;
use super::stamp::Stamp;

/// How long nothing must have happened before it is looked: who writes a file writes it in parts. Also far above what clocks of file
/// systems tell apart, so that no two writes have one stamp between which it was looked.
const QUIET: Duration = Duration::from_millis(50);
/// How long events that never end put it off.
const LONGEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Order {
    /// With what it looked like when it was asked for; none to be told in any case.
    Watch(PathBuf, Option<Stamp>),
    Unwatch(PathBuf),
    Event(notify::Result<notify::Event>),
    Stop,
}

pub(super) struct Look<F> {
    poll: Duration,
    arms: Arms,
    watched: BTreeMap<PathBuf, Option<Stamp>>,
    /// Others are watched than those whose folders are.
    disarmed: bool,
    /// Entries of watched folders that something happened to.
    touched: BTreeSet<PathBuf>,
    /// When what was told is to be told again, if it is.
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
        // When the first event came that was not looked after yet.
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

    /// Whether it is to be looked soon.
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
        // Before it is looked: what happens in between is seen by one of the two. Not with each order, of which thousands may come at once.
        if std::mem::take(&mut self.disarmed) {
            self.arms.arm(self.watched.keys());
        }
        let mut changed = std::mem::take(&mut self.touched);
        for (path, before) in &mut self.watched {
            let now = Some(Stamp::of(path));
            if *before != now {
                *before = now;
                // Where it is known what happened in a folder, that says more.
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

/// Whether a file may be another one after it. Reading is none, or who reads a file that changed would be told again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
