//! A store in a folder of its own, with calls that wait.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;
use tracer_registry_spool::{
    AppendError, Done, Event, Failing, Kind, Limit, Oldest, OpenError, Options, Purged, Row, RowId, SqliteStore, Store,
    Taken,
};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const ALL: Limit = Limit {
    rows: usize::MAX,
    bytes: usize::MAX,
    before: u64::MAX,
};
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Events = Arc<Mutex<Vec<Event>>>;

/// Whether `what` is the tenant of a queue: "acme" covers "acme" and "acme/search".
pub(crate) fn covers(what: &str, queue: &str) -> bool {
    queue
        .strip_prefix(what)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(crate) struct Spool {
    pub(crate) store: Option<Arc<SqliteStore>>,
    pub(crate) options: Options,
    pub(crate) events: Events,
    pub(crate) oldest: Arc<Mutex<Vec<Oldest>>>,
    _folder: Option<TempDir>,
}

impl Spool {
    pub(crate) fn new() -> Self {
        Self::with(256 * MIB, |_| {})
    }

    pub(crate) fn with(max_bytes: u64, change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("spool-a")
            .tempdir()
            .expect("a temporary folder");
        let spool = Self::at(folder.path().join("spool"), max_bytes, change);
        Self {
            _folder: Some(folder),
            ..spool
        }
    }

    pub(crate) fn at(folder: PathBuf, max_bytes: u64, change: impl FnOnce(&mut Options)) -> Self {
        let (events, oldest) = (Events::default(), Arc::<Mutex<Vec<Oldest>>>::default());
        let (to_events, to_oldest) = (events.clone(), oldest.clone());
        // At any time after an opening, so apart from the others.
        let notify = Arc::new(move |event| match event {
            Event::Oldest(rows) => to_oldest.lock().expect("no panic").extend(rows),
            event => to_events.lock().expect("no panic").push(event),
        });
        let mut options = Options::new(folder, max_bytes, covers, notify);
        change(&mut options);
        let mut spool = Self {
            store: None,
            options,
            events,
            oldest,
            _folder: None,
        };
        spool.open().expect("a new folder");
        spool
    }

    pub(crate) fn open(&mut self) -> Result<(), OpenError> {
        self.store = Some(SqliteStore::open(self.options.clone())?);
        Ok(())
    }

    pub(crate) fn store(&self) -> &SqliteStore {
        self.store.as_ref().expect("open")
    }

    pub(crate) fn close(&mut self) {
        self.store.take().expect("open").close(Instant::now() + PATIENCE);
    }

    pub(crate) fn restart(&mut self) {
        self.close();
        self.take_events();
        self.open().expect("closed before");
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.options.folder.join(name)
    }

    pub(crate) fn append(&self, rows: Vec<Row>) -> Result<Vec<RowId>, AppendError> {
        wait(|done| self.store().append(rows, done))
    }

    pub(crate) fn take(&self, queue: &str, kind: Kind, limit: Limit) -> Result<Vec<Taken>, Failing> {
        wait(|done| self.store().take(&queue.into(), kind, limit, done))
    }

    pub(crate) fn purge(&self, what: &str) -> Result<Purged, Failing> {
        wait(|done| self.store().purge(what, done))
    }

    pub(crate) fn allow(&self, what: &str) -> Result<bool, Failing> {
        wait(|done| self.store().allow(what, done))
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().expect("no panic"))
    }

    /// Waits for an event, and returns all up to it.
    pub(crate) fn wait_for(&self, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all: Vec<Event> = Vec::new();
        until(|| {
            all.extend(self.take_events());
            all.iter().any(&is_it)
        });
        all
    }
}

/// Calls with a function that receives the result, and waits for it.
pub(crate) fn wait<T: Send + 'static>(call: impl FnOnce(Done<T>)) -> T {
    let (done, result) = channel();
    call(done);
    result.recv_timeout(PATIENCE).expect("the store answers")
}

pub(crate) fn channel<T: Send + 'static>() -> (Done<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |result| {
        let _ = sender.send(result);
    });
    (done, receiver)
}

pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "the condition does not come");
        // Polls: some conditions cost a call each time.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A number from a variable, with which long runs make a test larger.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
pub(crate) fn number<N: std::str::FromStr>(variable: &str, default: N) -> N {
    let text = std::env::var(variable);
    text.map_or(default, |text| {
        text.parse()
            .ok()
            .unwrap_or_else(|| panic!("{variable} must be a number"))
    })
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    u64::try_from(since.as_millis()).expect("in range")
}

/// A row of spans, of the tenant that is the first part of the queue.
pub(crate) fn row(queue: &str, order: u64, body: impl Into<Bytes>) -> Row {
    Row {
        queue: queue.into(),
        owner: queue.split('/').next().unwrap_or_default().into(),
        kind: Kind::Spans,
        order,
        items: 1,
        generation: 0,
        created: now_ms(),
        format: 0,
        body: body.into(),
    }
}

pub(crate) fn orders(rows: &[Taken]) -> Vec<u64> {
    rows.iter().map(|row| row.order).collect()
}

pub(crate) fn ids(rows: &[Taken]) -> Vec<RowId> {
    rows.iter().map(|row| row.id).collect()
}

/// Copies the files of a folder to a new one: the state that a crash leaves.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::DirBuilder::new().mode(0o700).create(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}
