//! The open spool of a registry: what its store reports becomes counts, log lines and changes.
//!
//! The store reports on its own threads, which must not wait for a ledger. So the reports are queued
//! and handled in order by a task of the engine, and at the end of a shutdown by its thread.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::Notify;
use tracer_registry_spool::{Event, Failing, Health, Lost, Oldest, Options, QueueDepth, Recovery, SqliteStore, Store};

use super::erased::ErasedSelectors;
use crate::config::{SpoolMode, SpoolSettings};
use crate::context;
use crate::export::{
    Accounting, Begun, ChangeKind, ChangeLog, End, Episode, Granted, HEALTH, LineBudget, Problem, SelectorLedger,
    Spool, Start,
};
use crate::policy::quota::Quotas;
use crate::registry::error::BuildError;
use crate::registry::state::RegistryState;
use crate::registry::status::{SpoolHealth, SpoolStatus};
use crate::selector::Selector;
use crate::util::fork::ForkLock;
use crate::util::wall_time;

/// Most names of files that were set aside to remember.
const MAX_SET_ASIDE: usize = 16;

/// A function that a store reports to.
type Report = Arc<dyn Fn(Event) + Send + Sync>;

/// Opens a store that reports to a function.
type OpenStore = Box<dyn FnOnce(Report) -> Result<Arc<dyn Store>, BuildError> + Send>;

/// The store that a program gave to the builder, with its mode.
#[derive(Default)]
pub(crate) struct GivenStore(Option<(SpoolMode, OpenStore)>);

/// A store with reports that are not handled yet.
pub(crate) struct OpenedStore {
    pub(crate) spool: Arc<Spool>,
    path: PathBuf,
    reports: Arc<Reports>,
}

/// The spool of a registry.
pub(crate) struct OpenSpool {
    pub(crate) spool: Arc<Spool>,
    path: PathBuf,
    reports: Arc<Reports>,
    // Weak: a task holds the spool, and the ledgers end with the registry.
    accounting: Weak<Accounting>,
    erased: Arc<ErasedSelectors>,
    quotas: Arc<Quotas>,
    changes: Arc<ChangeLog>,
    lines: Arc<LineBudget>,
    /// Held while reports are handled, so that they are handled in order.
    handling: ForkLock<()>,
    state: ForkLock<State>,
}

/// What the store reported and is not handled yet.
#[derive(Default)]
struct Reports {
    waiting: ForkLock<VecDeque<Event>>,
    reported: Notify,
}

/// What handled reports leave to the registry.
#[derive(Default)]
pub(crate) struct Handled {
    /// Ledgers of selectors with data that was found on disk.
    pub(crate) found: Vec<Arc<SelectorLedger>>,
    /// Selectors with data that the store erases, and that memory still has.
    pub(crate) erased: Vec<Selector>,
    /// Whether data that was erased is accepted again.
    pub(crate) has_allowed: bool,
}

#[derive(Default)]
struct State {
    failing: Episode,
    full: Episode,
    error: Option<String>,
    set_aside: Vec<String>,
    /// Whether a file was opened before.
    has_opened: bool,
    recovered: u64,
    expired: u64,
}

/// Returns whether what was erased covers a queue. Both are texts of selectors.
fn covers(erased: &str, queue: &str) -> bool {
    let of = |text: &str| text.parse::<Selector>();
    matches!((of(erased), of(queue)), (Ok(erased), Ok(queue)) if queue.contains(&erased))
}

impl GivenStore {
    /// Opens no store, whatever the configuration is.
    pub(crate) fn none() -> Self {
        Self::new(SpoolMode::Off, |_| Err(BuildError::Spool("there is none".to_owned())))
    }

    pub(crate) fn new(
        mode: SpoolMode,
        open: impl FnOnce(Report) -> Result<Arc<dyn Store>, BuildError> + Send + 'static,
    ) -> Self {
        Self(Some((mode, Box::new(open))))
    }
}

impl fmt::Debug for GivenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GivenStore")
            .field(&self.0.as_ref().map(|(mode, _)| mode))
            .finish()
    }
}

impl OpenedStore {
    /// Opens the given store, or that of the settings. `None` if the mode is off.
    ///
    /// # Errors
    /// [`BuildError::Spool`] if another process uses the folder, or may read it.
    pub(crate) fn open(settings: &SpoolSettings, given: GivenStore) -> Result<Option<Self>, BuildError> {
        let (mode, open) = given.0.unwrap_or_else(|| (settings.mode, sqlite(settings)));
        if mode == SpoolMode::Off {
            return Ok(None);
        }
        let reports = Arc::<Reports>::default();
        let to = Arc::clone(&reports);
        let store = open(Arc::new(move |event| to.add(event)))?;
        Ok(Some(Self {
            spool: Spool::new(store, mode, settings.max_age, settings.drain_rate),
            path: settings.path.clone().unwrap_or_default(),
            reports,
        }))
    }
}

impl OpenSpool {
    pub(crate) fn new(
        opened: OpenedStore,
        accounting: &Arc<Accounting>,
        state: &RegistryState,
        changes: &Arc<ChangeLog>,
        lines: &Arc<LineBudget>,
    ) -> Arc<Self> {
        Arc::new(Self {
            spool: opened.spool,
            path: opened.path,
            reports: opened.reports,
            accounting: Arc::downgrade(accounting),
            erased: Arc::clone(&state.erased),
            quotas: Arc::clone(&state.quotas),
            changes: Arc::clone(changes),
            lines: Arc::clone(lines),
            handling: ForkLock::default(),
            state: ForkLock::default(),
        })
    }

    /// Waits until the store has reported something.
    pub(crate) async fn reported(&self) {
        self.reports.reported.notified().await;
    }

    /// Handles what the store has reported, unless another thread is at it. Returns what the registry
    /// has to do.
    ///
    /// Holds no lock that readers of the status need while it writes a line, because a subscriber may
    /// call the registry.
    pub(crate) fn handle(&self) -> Handled {
        let mut handled = Handled::default();
        let Some(_in_order) = self.handling.try_lock() else {
            return handled;
        };
        while let Some(event) = self.reports.next() {
            match event {
                Event::Opened(recovery) => self.opened(&recovery, &mut handled),
                Event::Arrived(queues) => {
                    if let Some(accounting) = self.accounting.upgrade() {
                        handled.found.extend(accounting.recover(&queues));
                    }
                }
                Event::Oldest(rows) => self.note_oldest(&rows),
                Event::Erased { what, generation } => {
                    self.spool.note_generation(generation);
                    let erased = what.parse::<Selector>().ok();
                    handled
                        .erased
                        .extend(erased.filter(|selector| self.erased.add([selector.clone()])));
                }
                Event::Allowed { what, generation } => {
                    self.spool.note_generation(generation);
                    if let Ok(selector) = what.parse::<Selector>() {
                        self.erased.remove(&selector);
                        handled.has_allowed = true;
                    }
                }
                Event::Lost { why, depth } => self.lost(why, &depth),
                Event::Full => self.failed(Health::Full, None),
                Event::Failing(Failing { what, error }) => {
                    self.failed(Health::Failing, Some(format!("{what}: {error}")));
                }
                Event::Working => self.works(),
                Event::SetAside { file, why } => self.set_aside(&file, &why),
                _ => {}
            }
        }
        handled
    }

    fn opened(&self, recovery: &Recovery, handled: &mut Handled) {
        self.spool.recover(recovery);
        let is_first = !std::mem::replace(&mut self.state.lock().has_opened, true);
        let erased = recovery.erased.iter().filter_map(|what| what.parse::<Selector>().ok());
        let erased = erased.filter(|selector| self.erased.add([selector.clone()]));
        let erased: Vec<Selector> = erased.collect();
        if is_first {
            self.quotas.restore(&recovery.usage);
        } else {
            // It may be another file.
            self.quotas.note_all_changed();
            // The store failed after it had recorded them.
            handled.erased.extend(erased);
        }
        let Some(accounting) = self.accounting.upgrade() else {
            return;
        };
        handled.found.extend(accounting.recover(&recovery.queues));
        let sum = |count: fn(&QueueDepth) -> u64| recovery.queues.iter().map(count).sum::<u64>();
        let (spans, events) = (sum(|of| of.spans), sum(|of| of.events));
        self.state.lock().recovered += spans + events;
        let (path, selectors) = (self.path.display(), recovery.queues.len());
        tracing::info!(target: HEALTH, %path, selectors, spans, session_events = events, "the spool is open");
    }

    fn note_oldest(&self, rows: &[Oldest]) {
        if let Some(accounting) = self.accounting.upgrade() {
            for row in rows {
                accounting.note_oldest(row);
            }
        }
    }

    fn lost(&self, why: Lost, depth: &QueueDepth) {
        if let Some(accounting) = self.accounting.upgrade() {
            accounting.lost(why, depth);
        }
        let (selector, spans, events) = (&depth.queue, depth.spans, depth.events);
        match why {
            Lost::Expired => self.state.lock().expired += spans + events,
            Lost::Damaged => {}
            Lost::Moved => return,
        }
        let Some(Granted { left_out }) = self.lines.take(Instant::now()) else {
            return;
        };
        match why {
            Lost::Expired => tracing::warn!(
                target: HEALTH, %selector, spans, session_events = events, left_out,
                "data on disk was older than spool.max_age"
            ),
            Lost::Damaged => tracing::warn!(
                target: HEALTH, %selector, spans, session_events = events, left_out,
                "data on disk was lost with a damaged file"
            ),
            Lost::Moved => {}
        }
    }

    fn failed(&self, health: Health, error: Option<String>) {
        let is_full = health == Health::Full;
        let (failed, start) = {
            let state = &mut *self.state.lock();
            self.spool.note_health(health);
            // A disk that is full does not fail any more.
            let failed = if is_full { state.failing.end() } else { None };
            let episode = if is_full { &mut state.full } else { &mut state.failing };
            state.error.clone_from(&error);
            let now = Instant::now();
            episode.note(1, now);
            (failed, episode.begin(now, &self.lines))
        };
        self.ended(Problem::SpoolFailing, failed);
        let Some(Start { is_new, line }) = start else { return };
        let path = self.path.display();
        if let Some(Begun { count, left_out }) = line {
            match &error {
                None => tracing::warn!(target: HEALTH, %path, count, left_out, "the spool is full"),
                Some(error) => tracing::error!(target: HEALTH, %path, count, left_out, "the spool fails: {error}"),
            }
        }
        if is_new {
            let problem = error.as_ref().map_or(Problem::SpoolFull, |_| Problem::SpoolFailing);
            self.changes
                .record(ChangeKind::ProblemBegan(problem), None, None, error);
        }
    }

    fn works(&self) {
        let (failing, full) = {
            let state = &mut *self.state.lock();
            self.spool.note_health(Health::Working);
            state.error = None;
            (state.failing.end(), state.full.end())
        };
        self.ended(Problem::SpoolFailing, failing);
        self.ended(Problem::SpoolFull, full);
    }

    /// Logs and records the end of a problem.
    fn ended(&self, problem: Problem, end: Option<End>) {
        let Some(End { line }) = end else { return };
        let path = self.path.display();
        match line {
            Some(count) if problem == Problem::SpoolFull => {
                tracing::info!(target: HEALTH, %path, count, "the spool has room again");
            }
            Some(count) => tracing::info!(target: HEALTH, %path, count, "the spool works again"),
            None => {}
        }
        self.changes.record(ChangeKind::ProblemEnded(problem), None, None, None);
    }

    fn set_aside(&self, file: &Path, why: &str) {
        let file = file.display().to_string();
        let detail = format!("{file}: {why}");
        {
            let set_aside = &mut self.state.lock().set_aside;
            set_aside.truncate(MAX_SET_ASIDE - 1);
            set_aside.insert(0, file);
        }
        tracing::error!(target: HEALTH, "a file of the spool was set aside, and a new one begun: {detail}");
        self.changes.record(ChangeKind::SpoolSetAside, None, None, Some(detail));
    }

    /// Saves what was used of quotas, if it changed.
    pub(crate) fn save_usage(&self) {
        let changed = self.quotas.changed();
        if !changed.is_empty() {
            self.spool.store.save_usage(changed);
        }
    }

    /// Commits what the store still has to, and unlocks the folder. Blocks until the deadline at most.
    pub(crate) fn close(&self, deadline: Instant) {
        self.save_usage();
        self.spool.store.close(deadline);
        let _quiet = context::suppress();
        self.handle();
    }

    /// Returns the status without `oldest`, which belongs to tracers.
    pub(crate) fn status(&self) -> SpoolStatus {
        let depth = self.spool.store.depth();
        let state = self.state.lock();
        let since = state.failing.ongoing().or_else(|| state.full.ongoing());
        SpoolStatus {
            mode: self.spool.mode,
            path: self.path.clone(),
            // As reported last, so that it fits the error and the time.
            health: match self.spool.health() {
                Health::Working => SpoolHealth::Working,
                Health::Full => SpoolHealth::Full,
                Health::Failing => SpoolHealth::Failing,
            },
            error: state.error.clone(),
            since: since.map(|problem| wall_time::to_millis(problem.since)),
            bytes: depth.bytes,
            max_bytes: depth.max_bytes,
            rows: depth.rows,
            spans: depth.spans,
            session_events: depth.events,
            oldest: None,
            recovered: state.recovered,
            expired: state.expired,
            set_aside: state.set_aside.clone(),
        }
    }
}

fn sqlite(settings: &SpoolSettings) -> OpenStore {
    let settings = settings.clone();
    Box::new(move |report| {
        let as_u64 = |bytes: usize| bytes as u64;
        // Both are required if the mode is not off.
        let folder = settings.path.unwrap_or_default();
        let max_bytes = settings.max_bytes.map_or(0, as_u64);
        let mut options = Options::new(folder, max_bytes, covers, report);
        options.owner_max_bytes = settings.tenant_max_bytes.map(as_u64);
        options.max_age = settings.max_age;
        options.wait_for_lock = settings.wait_for_lock;
        let store = SqliteStore::open(options).map_err(|error| BuildError::Spool(error.to_string()))?;
        Ok(store as Arc<dyn Store>)
    })
}

impl Reports {
    fn add(&self, event: Event) {
        self.waiting.lock().push_back(event);
        self.reported.notify_one();
    }

    fn next(&self) -> Option<Event> {
        self.waiting.lock().pop_front()
    }
}
