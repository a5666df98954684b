//! The watcher's thread: waits for events, debounces them, checks the files and reports changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};

use super::folder_events::FolderEvents;
use super::stamp::Stamp;

/// Quiet time after the last event before files are checked, because a file may be written in
/// parts. Far above the clock resolution of file systems, so two writes with a check in between get
/// different stamps.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Maximum delay of a check while events keep arriving.
const MAX_DEBOUNCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Command {
    /// Carries the stamp at that moment; with `None`, the path is reported once even if unchanged.
    Watch(PathBuf, Option<Stamp>),
    Unwatch(PathBuf),
    Event(notify::Result<notify::Event>),
    Stop,
}

pub(super) struct WatchLoop<F> {
    poll_interval: Duration,
    events: FolderEvents,
    watched: BTreeMap<PathBuf, Option<Stamp>>,
    /// Whether the watched paths changed since the last subscription.
    resubscribe: bool,
    /// Entries of watched folders for which an event arrived.
    touched: BTreeSet<PathBuf>,
    /// When to report these paths again, if the callback asked for it.
    repeat: Option<(Instant, BTreeSet<PathBuf>)>,
    on_change: F,
}

impl<F: FnMut(&BTreeSet<PathBuf>) -> Option<Duration>> WatchLoop<F> {
    pub(super) fn new(poll_interval: Duration, use_events: bool, commands: &Sender<Command>, on_change: F) -> Self {
        Self {
            poll_interval,
            events: FolderEvents::new(use_events.then(|| {
                let commands = commands.clone();
                move |event| drop(commands.send(Command::Event(event)))
            })),
            watched: BTreeMap::new(),
            resubscribe: false,
            touched: BTreeSet::new(),
            repeat: None,
            on_change,
        }
    }

    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut next = Instant::now() + self.poll_interval;
        // Time of the first event since the last check.
        let mut first_event: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let due = self.repeat.as_ref().map_or(next, |(at, _)| next.min(*at));
            let command = match commands.recv_timeout(due.saturating_duration_since(now)) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
            };
            if command.is_some_and(|command| self.handle(command)) {
                let now = Instant::now();
                next = (now + DEBOUNCE).min(*first_event.get_or_insert(now) + MAX_DEBOUNCE);
            } else if Instant::now() >= due {
                first_event = None;
                self.check();
                next = Instant::now() + self.poll_interval;
            }
        }
    }

    /// Returns whether the files should be checked soon.
    fn handle(&mut self, command: Command) -> bool {
        match command {
            Command::Watch(path, stamp) => {
                self.watched.entry(path).or_insert(stamp);
                self.resubscribe = true;
                true
            }
            Command::Unwatch(path) => {
                self.watched.remove(&path);
                self.resubscribe = true;
                false
            }
            Command::Event(Ok(event)) if is_change(event.kind) || event.need_rescan() => {
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
            Command::Event(_) | Command::Stop => false,
        }
    }

    fn check(&mut self) {
        // Subscribes before checking, so that no change in between is missed. Not after each
        // command, because thousands may arrive at once.
        if std::mem::take(&mut self.resubscribe) {
            self.events.subscribe(self.watched.keys());
        }
        let mut changed = std::mem::take(&mut self.touched);
        for (path, before) in &mut self.watched {
            let now = Some(Stamp::of(path));
            if *before != now {
                *before = now;
                // A known changed entry is more precise than its folder.
                if !changed.iter().any(|entry| entry.parent() == Some(path)) {
                    changed.insert(path.clone());
                }
            }
        }
        let is_due = |(at, _): &(Instant, _)| *at <= Instant::now();
        if changed.is_empty() && !self.repeat.as_ref().is_some_and(is_due) {
            return;
        }
        self.events.subscribe(self.watched.keys());
        changed.extend(self.repeat.take().into_iter().flat_map(|(_, paths)| paths));
        self.repeat = (self.on_change)(&changed).map(|wait| (Instant::now() + wait, changed));
    }
}

/// Returns whether an event may mean a changed file. Read accesses do not count; otherwise reading
/// a changed file would report it again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
