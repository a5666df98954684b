//! A store in memory that a test controls: when it commits, what fails, what is full.

mod state;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use state::Notify;
use state::{Command, Script, State, depths, failing};

use crate::store::{
    AppendError, Depth, Done, Event, Failing, Health, Kind, Limit, Lost, Purged, Rest, Row, RowId, Store, Taken, Usage,
};

/// How long the `wait_for_..` functions wait before they return false.
const PATIENCE: Duration = Duration::from_secs(20);

/// A disk in memory. It outlives the stores that [`open`](Self::open) returns, so opening it again
/// is a restart of the process.
///
/// Callbacks run on a thread of the disk, or, if it was created [by hand](Self::by_hand), on the
/// thread that calls [`run`](Self::run).
pub struct TestStore(Arc<Disk>);

struct Disk {
    state: Mutex<State>,
    changed: Condvar,
}

/// One opening of a disk, which is one process.
struct Opened {
    disk: Arc<Disk>,
    number: u32,
    is_closed: AtomicBool,
}

impl TestStore {
    /// Creates an empty disk with a thread.
    ///
    /// # Panics
    /// If the thread cannot be started.
    #[expect(clippy::new_without_default, reason = "it starts a thread")]
    pub fn new() -> Self {
        let store = Self::by_hand();
        store.0.lock().is_by_hand = false;
        let disk = Arc::clone(&store.0);
        let run = move || {
            let mut state = disk.lock();
            while !state.has_ended {
                state = match state.next_command() {
                    Some(command) => disk.run(state, command),
                    None => disk.wait(state, PATIENCE),
                };
            }
        };
        let named = thread::Builder::new().name("spool-test".to_owned());
        named.spawn(run).expect("a thread can be started");
        store
    }

    /// Creates an empty disk that works only in [`run`](Self::run).
    pub fn by_hand() -> Self {
        Self(Arc::new(Disk {
            state: Mutex::new(State {
                is_by_hand: true,
                ..State::default()
            }),
            changed: Condvar::new(),
        }))
    }

    /// Opens the disk, reports what it holds by `notify`, and returns the store. Stores that were
    /// opened before are dead: their commands are forgotten, as if their process was killed.
    pub fn open(&self, notify: &Notify) -> Arc<dyn Store> {
        let mut state = self.0.lock();
        state.opening += 1;
        state.notify = Some(Arc::clone(notify));
        let forgotten = std::mem::take(&mut state.commands);
        state.taken.clear();
        let opened = Opened {
            disk: Arc::clone(&self.0),
            number: state.opening,
            is_closed: AtomicBool::new(false),
        };
        let recovery = state.recovery();
        drop(state);
        drop(forgotten);
        notify(Event::Opened(recovery));
        Arc::new(opened)
    }

    /// Runs the commands that wait and are not held, on this thread. Returns how many.
    pub fn run(&self) -> usize {
        let (mut state, mut count) = (self.0.lock(), 0);
        while let Some(command) = state.next_command() {
            state = self.0.run(state, command);
            count += 1;
        }
        count
    }

    /// Holds all appends from now on.
    pub fn hold(&self) {
        self.0.change(|script| script.is_held = true);
    }

    /// Commits the next `count` appends although they are held.
    pub fn commit(&self, count: usize) {
        self.0.change(|script| script.permitted += count);
    }

    /// Commits held appends, and holds no more.
    pub fn resume(&self) {
        self.0.change(|script| (script.is_held, script.permitted) = (false, 0));
    }

    /// Holds takes, or not.
    pub fn hold_takes(&self, are_held: bool) {
        self.0.change(|script| script.takes_are_held = are_held);
    }

    /// Delays each commit.
    pub fn delay(&self, delay: Duration) {
        self.0.change(|script| script.delay = delay);
    }

    /// Refuses each append with this error, or works again. Reports the change as a store does.
    pub fn fail(&self, fault: Option<AppendError>) {
        let event = match &fault {
            Some(AppendError::Failing(failing)) => Some(Event::Failing(failing.clone())),
            Some(AppendError::Full) => Some(Event::Full),
            None => Some(Event::Working),
            Some(_) => None,
        };
        let mut state = self.0.lock();
        state.script.fault = fault;
        state.commands.extend(event.map(|event| Command::Report(vec![event])));
        drop(state);
        self.0.changed.notify_all();
    }

    /// Refuses each append as on a disk that fails, until `fail(None)`.
    pub fn break_disk(&self) {
        self.fail(Some(AppendError::Failing(failing("append"))));
    }

    /// Refuses appends of this owner as too many, or not.
    pub fn fill_owner(&self, owner: &str, is_full: bool) {
        self.0.change(|script| {
            if is_full {
                script.full_owners.insert(owner.to_owned());
            } else {
                script.full_owners.remove(owner);
            }
        });
    }

    /// Deletes the rows that are not taken and were created before this time, and reports them.
    pub fn expire(&self, before: u64) {
        self.lose(Lost::Expired, |row| row.created < before);
    }

    /// Deletes the rows of a queue that are not taken, and reports them as damaged.
    pub fn set_aside(&self, queue: &str) {
        self.lose(Lost::Damaged, |row| &*row.queue == queue);
    }

    /// Changes each row of a queue, as a damaged disk or another process does.
    pub fn edit(&self, queue: &str, change: impl FnMut(&mut Row)) {
        let mut state = self.0.lock();
        let rows = state.rows.values_mut();
        rows.filter(|row| &*row.queue == queue).for_each(change);
    }

    /// Returns what owners have used of their quotas, by owner.
    pub fn usage(&self) -> Vec<Usage> {
        self.0.lock().usage.values().cloned().collect()
    }

    /// Returns all rows, by queue, kind and order.
    pub fn all(&self) -> Vec<Row> {
        self.0.lock().sorted()
    }

    /// Returns the rows of a queue and kind in order.
    pub fn rows(&self, queue: &str, kind: Kind) -> Vec<Row> {
        let mut rows = self.all();
        rows.retain(|row| &*row.queue == queue && row.kind == kind);
        rows
    }

    /// Returns the number of rows that are taken.
    pub fn taken(&self) -> usize {
        self.0.lock().taken.len()
    }

    /// Returns the number of rows that were completed.
    pub fn completed(&self) -> u64 {
        self.0.lock().completed
    }

    /// Returns the number of appends that are not committed.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting()
    }

    /// Waits until this many rows are on the disk. Returns false if that takes too long.
    pub fn wait_for_rows(&self, count: usize) -> bool {
        self.0.wait_until(|state| state.rows.len() == count)
    }

    /// Waits until this many appends are not committed. Returns false if that takes too long.
    pub fn wait_for_waiting(&self, count: usize) -> bool {
        self.0.wait_until(|state| state.waiting() == count)
    }

    fn lose(&self, why: Lost, is_lost: impl Fn(&Row) -> bool) {
        let mut state = self.0.lock();
        let taken = std::mem::take(&mut state.taken);
        let lost: Vec<Row> = state.remove(|id, row| !taken.contains(&id) && is_lost(row));
        state.taken = taken;
        let depths = depths(&lost).into_values();
        let events = depths.map(|depth| Event::Lost { why, depth }).collect();
        state.commands.push_back(Command::Report(events));
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Drop for TestStore {
    /// Ends the thread. Stores that are still open do nothing from then on.
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.changed.notify_all();
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn wait_until(&self, condition: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while !condition(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait(state, left);
        }
        true
    }

    fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.lock().script);
        self.changed.notify_all();
    }

    /// Runs a command. Its callback runs without the lock.
    fn run<'a>(&'a self, mut state: MutexGuard<'a, State>, command: Command) -> MutexGuard<'a, State> {
        state.is_running = true;
        let opening = state.opening;
        if let (Command::Append(..), false) = (&command, state.script.delay.is_zero()) {
            let until = Instant::now() + state.script.delay;
            while Instant::now() < until && !state.has_ended {
                state = self.wait(state, until.saturating_duration_since(Instant::now()));
            }
        }
        // The process was killed during the delay.
        if state.opening == opening {
            let answer = state.execute(command);
            drop(state);
            answer();
            state = self.lock();
        }
        state.is_running = false;
        self.changed.notify_all();
        state
    }
}

impl Opened {
    fn send(&self, command: Command) {
        let mut state = self.disk.lock();
        if state.opening != self.number {
            // Its process is dead.
            return;
        }
        if !self.is_closed.load(Ordering::SeqCst) {
            state.commands.push_back(command);
            drop(state);
            self.disk.changed.notify_all();
            return;
        }
        drop(state);
        let closed = || failing("the spool is closed");
        match command {
            Command::Append(_, done) => done(Err(AppendError::Closed)),
            Command::Take(_, _, _, done) => done(Err(closed())),
            Command::Purge(_, done) => done(Err(closed())),
            Command::Allow(_, done) => done(Err(closed())),
            Command::Release(_) | Command::Complete(_) | Command::SaveUsage(_) | Command::Report(_) => {}
        }
    }
}

impl Store for Opened {
    fn append(&self, rows: Vec<Row>, done: Done<Result<Vec<RowId>, AppendError>>) {
        self.send(Command::Append(rows, done));
    }

    fn take(&self, queue: &Arc<str>, kind: Kind, limit: Limit, done: Done<Result<Vec<Taken>, Failing>>) {
        self.send(Command::Take(Arc::clone(queue), kind, limit, done));
    }

    fn release(&self, rows: Vec<(RowId, Option<Rest>)>) {
        self.send(Command::Release(rows));
    }

    fn complete(&self, rows: Vec<RowId>) {
        self.send(Command::Complete(rows));
    }

    fn save_usage(&self, usage: Vec<Usage>) {
        self.send(Command::SaveUsage(usage));
    }

    fn purge(&self, what: &str, done: Done<Result<Purged, Failing>>) {
        self.send(Command::Purge(what.to_owned(), done));
    }

    fn allow(&self, what: &str, done: Done<Result<bool, Failing>>) {
        self.send(Command::Allow(what.to_owned(), done));
    }

    fn depth(&self) -> Depth {
        let state = self.disk.lock();
        let of_kind = |kind| {
            let rows = state.rows.values().filter(move |row| row.kind == kind);
            rows.map(|row| u64::from(row.items)).sum()
        };
        Depth {
            health: match &state.script.fault {
                Some(AppendError::Failing(_)) => Health::Failing,
                Some(AppendError::Full) => Health::Full,
                _ => Health::Working,
            },
            rows: state.rows.len() as u64,
            spans: of_kind(Kind::Spans),
            events: of_kind(Kind::SessionEvents),
            bytes: state.bytes(),
            max_bytes: u64::MAX,
            waiting_bytes: 0,
            generation: state.generation,
        }
    }

    fn close(&self, deadline: Instant) {
        let mut state = self.disk.lock();
        while state.opening == self.number && (state.is_running || !state.commands.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let command = if state.is_by_hand { state.next_command() } else { None };
            state = match command {
                Some(command) => self.disk.run(state, command),
                None if left.is_zero() || state.is_by_hand || state.has_ended => break,
                None => self.disk.wait(state, left),
            };
        }
        if state.opening != self.number {
            return;
        }
        self.is_closed.store(true, Ordering::SeqCst);
        let left = std::mem::take(&mut state.commands);
        drop(state);
        for command in left {
            if let Command::Append(_, done) = command {
                done(Err(AppendError::Closed));
            }
        }
    }
}
