//! The thread that writes: one transaction for all that waits.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, Statement, Transaction, TransactionBehavior, params};

use super::bounds::{self, Bounds, Changes, Counts, Held};
use super::erase::{Erased, Job};
use super::files::{DATABASE, Folder, FolderError, now_ms};
use super::health::Fault;
use super::lock::{Lock, LockError};
use super::reader::{self, Entry, Size};
use super::{OpenError, Options, Point, Shared, body, call, closed, guard, schema};
use crate::{AppendError, Done, Event, Failing, Health, Kind, Lost, Purged, Recovery, Rest, Row, RowId};

/// A transaction begins at least so long after the last one, unless it is large.
const BETWEEN_COMMITS: Duration = Duration::from_millis(4);
const COMMIT_BYTES: u64 = 1 << 20;
/// How long deletions wait for a transaction that appends.
const DELETE_AFTER: Duration = Duration::from_millis(20);
/// Deletions in one transaction.
const DELETES: usize = 256;
/// The file is opened again after this, doubled up to the next.
const BACK_OFF: Duration = Duration::from_secs(1);
const MAX_BACK_OFF: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(1);
const IDLE_VACUUM_BYTES: u64 = 4 << 20;

pub(super) enum Command {
    Append(Append),
    Complete(Vec<RowId>, Completed),
    Rest(Vec<(RowId, Rest)>),
    Purge(String, Done<Result<Purged, Failing>>),
    Allow(String, Done<Result<bool, Failing>>),
    /// The reader's connection of this opening failed.
    Fault(u64, Fault),
    End(End),
}

pub(super) enum End {
    /// The store is closed. The sender is dropped when the folder is unlocked.
    Closed(Sender<()>),
    Dropped,
}

/// Why a row is deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Completed {
    Delivered,
    Expired,
}

pub(super) struct Append {
    /// The rows, or why they were refused already.
    pub(super) rows: Result<Vec<Row>, AppendError>,
    pub(super) bytes: u64,
    pub(super) done: Done<Result<Vec<RowId>, AppendError>>,
}

impl Command {
    /// Answers a call that cannot be served.
    pub(super) fn refuse(self, why: &AppendError) {
        let failing = |what| match why {
            AppendError::Failing(failing) => failing.clone(),
            _ => closed(what),
        };
        match self {
            Self::Append(append) => call(append.done, Err(append.rows.err().unwrap_or_else(|| why.clone()))),
            Self::Purge(_, done) => call(done, Err(failing("purge"))),
            Self::Allow(_, done) => call(done, Err(failing("allow"))),
            _ => {}
        }
    }
}

pub(super) struct Writer {
    pub(super) options: Options,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Receiver<Command>,
    pub(super) reader: Sender<reader::Command>,

    pub(super) folder: Option<Folder>,
    lock: Option<Lock>,
    /// Raised when another file takes the place of one: ids are those of one file.
    file: u32,
    opening: u64,
    /// The random number in the file.
    mark: Option<i64>,
    next_id: i64,
    /// Rows of commits that failed. They may have reached the disk all the same.
    unsure: Vec<i64>,
    pub(super) counts: Counts,
    pub(super) live: u64,
    pub(super) generation: u64,
    pub(super) erased: Vec<Erased>,

    appends: VecDeque<Append>,
    append_bytes: u64,
    deletes: VecDeque<(RowId, Completed)>,
    rests: VecDeque<(RowId, Rest)>,
    pub(super) jobs: VecDeque<Job>,
    reader_fault: Option<Fault>,
    closing: Option<End>,

    last_begin: Instant,
    deletes_at: Option<Instant>,
    idle_at: Instant,
    has_empty_queues: bool,
    has_committed: bool,
    health: Health,
    disk_full: Option<DiskFull>,
    back_off: Duration,
}

/// What is tried again while the disk is full.
struct DiskFull {
    deletes_at: Instant,
    spare_at: Instant,
}

/// Why the file was not opened.
enum Stop {
    Refused(OpenError),
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

impl Writer {
    pub(super) fn new(
        options: Options,
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        reader: Sender<reader::Command>,
    ) -> Self {
        let now = Instant::now();
        Self {
            options,
            shared,
            commands,
            reader,
            folder: None,
            lock: None,
            file: 0,
            opening: 0,
            mark: None,
            next_id: 1,
            unsure: Vec::new(),
            counts: Counts::default(),
            live: 0,
            generation: 0,
            erased: Vec::new(),
            appends: VecDeque::new(),
            append_bytes: 0,
            deletes: VecDeque::new(),
            rests: VecDeque::new(),
            jobs: VecDeque::new(),
            reader_fault: None,
            closing: None,
            last_begin: now,
            deletes_at: None,
            idle_at: now + IDLE,
            has_empty_queues: true,
            has_committed: false,
            health: Health::Working,
            disk_full: None,
            back_off: BACK_OFF,
        }
    }

    /// Works until the store is dropped. Answers `opened` after the first attempt.
    pub(super) fn run(mut self, opened: &Sender<Result<(), OpenError>>) {
        let mut aside = None;
        loop {
            let fault = match self.open(aside.take()) {
                Ok(db) => {
                    let _ = opened.send(Ok(()));
                    match self.work(&db) {
                        Ok(()) => {
                            self.finish(db);
                            break;
                        }
                        Err(fault) => fault,
                    }
                }
                Err(Stop::Fault(fault)) => fault,
                Err(Stop::Refused(error)) if self.opening == 1 => {
                    let _ = opened.send(Err(error));
                    return;
                }
                Err(Stop::Refused(error)) => Fault::failing("open", error.to_string()),
            };
            let fault = self.sort(fault);
            let why = fault.report();
            self.refuse_all(&why);
            aside = fault.aside();
            if aside.is_some() && self.has_committed {
                continue;
            }
            self.set_health(Health::Failing, Some(&why));
            let _ = opened.send(Ok(()));
            if !self.wait(&why) {
                break;
            }
        }
        self.answer_closed();
    }

    /// Opens the folder and the file, after it set the old one aside.
    fn open(&mut self, aside: Option<(String, String)>) -> Result<Connection, Stop> {
        self.opening += 1;
        self.has_committed = false;
        let refused = |error| match error {
            FolderError::Rule { path, rule } => Stop::Refused(OpenError::Folder { path, rule }),
            FolderError::Io(error) => Fault::failing("open the folder", error.to_string()).into(),
        };
        let folder = Folder::open(&self.options.folder, true).map_err(refused)?;
        self.lock = None;
        let wait = if self.opening == 1 {
            self.options.wait_for_lock
        } else {
            Duration::ZERO
        };
        self.lock = Some(Lock::acquire(&folder, wait).map_err(|error| match error {
            LockError::Held(by) => Stop::Refused(OpenError::Locked {
                folder: self.options.folder.clone(),
                by,
            }),
            LockError::Folder(error) => refused(error),
        })?);
        self.folder = Some(folder);
        if let Some((name, why)) = aside {
            self.set_aside(&name, why)?;
        }
        match self.open_file() {
            Err(Stop::Fault(fault)) => match fault.aside() {
                Some((name, why)) => {
                    self.set_aside(&name, why)?;
                    self.open_file()
                }
                None => Err(fault.into()),
            },
            other => other,
        }
    }

    pub(super) fn folder_bytes(&self) -> u64 {
        self.folder.as_ref().map_or(0, Folder::bytes)
    }

    fn folder(&self) -> &Folder {
        self.folder.as_ref().expect("a file is open only in a folder")
    }

    fn set_aside(&mut self, name: &str, why: String) -> Result<(), Fault> {
        let (erased, generation) = Erased::rescue(&self.folder().file(DATABASE));
        for erased in erased {
            if !self.erased.iter().any(|known| known.what == erased.what) {
                self.erased.push(erased);
            }
        }
        self.generation = self.generation.max(generation);
        let at = self.options.at;
        let aside = self.folder().set_aside(name, || at(Point::BetweenRenames));
        let file = aside.map_err(|error| Fault::failing("set a file aside", error.to_string()))?;
        (self.options.notify)(Event::SetAside { file, why });
        Ok(())
    }

    fn open_file(&mut self) -> Result<Connection, Stop> {
        self.folder().prepare().map_err(|error| match error {
            FolderError::Rule { path, rule } => Stop::Refused(OpenError::Folder { path, rule }),
            FolderError::Io(error) => Fault::failing("open the folder", error.to_string()).into(),
        })?;
        let path = self.folder().file(DATABASE);
        let db = schema::open_writer(&path, schema::STEPS, self.log_bytes())?;
        let meta = |name: &str| db.query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0));
        let mark: i64 = meta("file")?;
        let is_same = self.mark == Some(mark);
        let generation = u64::try_from(meta("generation")?).unwrap_or(0);
        let erased = Erased::load(&db)?;
        let recovery = if is_same {
            self.forget_unsure(&db)?;
            (self.erased, self.generation) = (erased, generation);
            self.counts = Counts::load(&db)?;
            Vec::new()
        } else {
            let counts = Counts::load(&db)?;
            if self.mark.is_some() {
                self.report_lost();
                self.file += 1;
            }
            self.counts = counts;
            self.adopt_erased(&db, erased, generation)?;
            let hidden = self.undone();
            let found = self.counts.queues.values().filter(|queue| !queue.held.is_empty());
            found
                .filter(|queue| !hidden.contains(&queue.name))
                .map(|queue| queue.held.depth(&queue.name))
                .collect()
        };
        let newest: Option<i64> = db.query_row("SELECT max(id) FROM rows", [], |row| row.get(0))?;
        self.next_id = self.next_id.max(newest.unwrap_or(0) + 1);
        self.unsure.clear();
        self.mark = Some(mark);
        self.live = schema::sizes(&db)?.1;
        (self.has_empty_queues, self.disk_full) = (true, None);
        let _ = self.reader.send(reader::Command::Open {
            path,
            file: self.file,
            opening: self.opening,
        });
        self.resume_purges();
        self.publish();
        let next_order = self
            .counts
            .queues
            .values()
            .map(|queue| queue.held.next_order)
            .max()
            .unwrap_or(0);
        let erased = self
            .erased
            .iter()
            .filter(|erased| !erased.allowed)
            .map(|erased| erased.what.clone())
            .collect();
        let recovery = Recovery {
            queues: recovery,
            next_order,
            generation: self.generation,
            erased,
        };
        (self.options.notify)(Event::Opened(recovery));
        if self.folder().allocate_spare(2 * self.log_bytes()).is_err() {
            self.disk_full = Some(DiskFull::now());
        }
        self.update_health();
        Ok(db)
    }

    /// Deletes rows of commits that failed, but reached the disk: their callers still have them.
    fn forget_unsure(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.unsure.is_empty() {
            return Ok(());
        }
        let counts = Counts::load(db)?;
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let mut changes = Changes::default();
        let mut delete = Delete::new(&transaction)?;
        for &id in &self.unsure {
            delete.row(id, &counts, &mut changes)?;
        }
        drop(delete);
        changes.write(&transaction)?;
        transaction.commit()
    }

    /// Reports what was not taken of a file that is gone.
    fn report_lost(&self) {
        let (answer, sums) = mpsc::channel();
        let _ = self.reader.send(reader::Command::Sums(answer));
        let sums = sums.recv().unwrap_or_default();
        for queue in self.counts.queues.values() {
            let lost = queue.held.without(sums.get(&queue.name).unwrap_or(&Held::default()));
            if !lost.is_empty() {
                (self.options.notify)(Event::Lost {
                    why: Lost::Damaged,
                    depth: lost.depth(&queue.name),
                });
            }
        }
    }

    /// Serves commands, until the store is closed or the file fails.
    fn work(&mut self, db: &Connection) -> Result<(), Fault> {
        while self.closing.is_none() {
            self.collect();
            if let Some(fault) = self.reader_fault.take() {
                self.heal(db, fault)?;
            }
            if self.commit_at().is_some_and(|at| at <= Instant::now()) {
                self.transact(db)?;
            }
            if self.jobs_at().is_some_and(|at| at <= Instant::now()) {
                self.step(db).or_else(|fault| self.heal(db, fault))?;
            }
            self.tick(db)?;
        }
        self.refuse_jobs(&closed("purge"));
        while !self.appends.is_empty() || !self.deletes.is_empty() || !self.rests.is_empty() {
            self.transact(db)?;
            if self.disk_full.is_some() && self.appends.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Receives commands until something is due.
    fn collect(&mut self) {
        while self.append_bytes < COMMIT_BYTES && self.closing.is_none() && self.reader_fault.is_none() {
            let wait = self.due().saturating_duration_since(Instant::now());
            let command = match self.commands.recv_timeout(wait) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => Command::End(End::Dropped),
            };
            self.idle_at = Instant::now() + IDLE;
            match command {
                Command::Append(append) => {
                    self.append_bytes += append.bytes;
                    self.appends.push_back(append);
                }
                Command::Purge(what, done) => self.jobs.push_back(Job::purge(what, done)),
                Command::Allow(what, done) => self.jobs.push_back(Job::Allow(what, done)),
                command => self.note(command),
            }
        }
    }

    /// Accepts a command that needs no file that works.
    fn note(&mut self, command: Command) {
        match command {
            Command::Complete(rows, why) => self.deletes.extend(rows.into_iter().map(|row| (row, why))),
            Command::Rest(rests) => self.rests.extend(rests),
            Command::Fault(opening, fault) if opening == self.opening => self.reader_fault = Some(fault),
            Command::Fault(..) => {}
            Command::End(end) => self.closing = Some(end),
            command @ (Command::Append(_) | Command::Purge(..) | Command::Allow(..)) => {
                self.refuse(command, &AppendError::Closed);
            }
        }
        if self.deletes_at.is_none() && !(self.deletes.is_empty() && self.rests.is_empty()) {
            self.deletes_at = Some(Instant::now() + DELETE_AFTER);
        }
    }

    /// When the next transaction is due.
    fn commit_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let appends = match self.append_bytes {
            _ if self.appends.is_empty() => None,
            COMMIT_BYTES.. => Some(now),
            _ => Some(self.last_begin + BETWEEN_COMMITS),
        };
        let deletes = match (&self.disk_full, self.deletes.len()) {
            (Some(full), _) => self.deletes_at.map(|at| at.max(full.deletes_at)),
            (None, DELETES..) => Some(now),
            (None, _) => self.deletes_at,
        };
        appends.into_iter().chain(deletes).min()
    }

    fn jobs_at(&self) -> Option<Instant> {
        let at = self
            .disk_full
            .as_ref()
            .map_or_else(Instant::now, |full| full.deletes_at);
        (!self.jobs.is_empty()).then_some(at)
    }

    fn due(&self) -> Instant {
        let spare = self.disk_full.as_ref().map(|full| full.spare_at);
        self.commit_at()
            .into_iter()
            .chain(spare)
            .chain(self.jobs_at())
            .fold(self.idle_at, Instant::min)
    }

    /// Makes one transaction of what waits, and answers.
    fn transact(&mut self, db: &Connection) -> Result<(), Fault> {
        self.last_begin = Instant::now();
        let mut batch: Vec<Append> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.appends.front() {
            bytes += next.bytes;
            if !batch.is_empty() && bytes > COMMIT_BYTES {
                break;
            }
            self.append_bytes -= next.bytes;
            batch.extend(self.appends.pop_front());
        }
        let is_full = self.refuse_rows(&mut batch);
        let result = match self.commit(db, &batch) {
            // One of them breaks a rule; the others do not fail for it.
            Err(Fault::Refused(_)) if batch.iter().filter(|append| append.rows.is_ok()).count() > 1 => {
                for append in batch {
                    let alone = [append];
                    let result = self.commit(db, &alone);
                    self.answer(db, alone, result)?;
                }
                Ok(())
            }
            result => self.answer(db, batch, result),
        };
        if is_full && self.is_nearly_full() {
            self.set_health(Health::Full, None);
        }
        result
    }

    /// Refuses rows that must not be in the file. Returns whether the store is full.
    fn refuse_rows(&mut self, batch: &mut [Append]) -> bool {
        let mut bounds = Bounds::new(
            &self.counts,
            self.live,
            self.options.max_bytes,
            self.options.owner_max_bytes,
        );
        let mut is_full = false;
        for append in batch {
            let Ok(rows) = &append.rows else { continue };
            let refused = if rows.iter().any(|row| self.is_erased(row)) {
                Err(AppendError::Erased)
            } else if self.disk_full.is_some() {
                Err(AppendError::Full)
            } else {
                bounds.add(rows)
            };
            if let Err(error) = refused {
                is_full |= matches!(error, AppendError::Full);
                append.rows = Err(error);
            }
        }
        is_full
    }

    /// Answers a batch in order, then takes care of the log or the fault.
    fn answer(
        &mut self,
        db: &Connection,
        batch: impl IntoIterator<Item = Append>,
        result: Result<Vec<Vec<RowId>>, Fault>,
    ) -> Result<(), Fault> {
        let result = result.map_err(|fault| self.sort(fault));
        let (mut ids, fault) = match result {
            Ok(ids) => (ids.into_iter(), None),
            Err(fault) => (Vec::new().into_iter(), Some(fault)),
        };
        for append in batch {
            guard(&self.shared.state).depth.waiting_bytes -= append.bytes;
            let answer = match (append.rows, &fault) {
                (Err(refused), _) => Err(refused),
                (Ok(_), None) => Ok(ids.next().unwrap_or_default()),
                (Ok(_), Some(Fault::Full)) => Err(AppendError::Full),
                (Ok(_), Some(fault)) => Err(AppendError::Failing(fault.report())),
            };
            call(append.done, answer);
        }
        match fault {
            None => self.check_log(db),
            Some(Fault::Refused(_)) => Ok(()),
            Some(fault) => self.heal(db, fault),
        }
    }

    /// Commits the rows of a batch, and what was completed or released with a rest.
    fn commit(&mut self, db: &Connection, batch: &[Append]) -> Result<Vec<Vec<RowId>>, Fault> {
        if self.deletes.is_empty() && self.rests.is_empty() && batch.iter().all(|append| append.rows.is_err()) {
            return Ok(Vec::new());
        }
        let mut added = Vec::new();
        let result = self.try_commit(db, batch, &mut added);
        if let Err(fault) = &result {
            if !matches!(fault, Fault::Full | Fault::Refused(_)) {
                self.unsure.extend(added.iter().map(|row: &RowId| row.id));
            }
            let _ = self.reader.send(reader::Command::Gone(added));
        }
        result
    }

    fn try_commit(
        &mut self,
        db: &Connection,
        batch: &[Append],
        added: &mut Vec<RowId>,
    ) -> Result<Vec<Vec<RowId>>, Fault> {
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let mut changes = Changes::default();
        let mut entries = Vec::new();
        let ids = self.insert(&transaction, batch, &mut changes, &mut entries)?;
        let (gone, expired) = self.delete(&transaction, &mut changes)?;
        let shortened = self.shorten(&transaction, &mut changes)?;
        changes.write(&transaction)?;
        // Before the commit, after which a take could find them.
        added.extend(entries.iter().map(|entry| entry.id));
        let _ = self.reader.send(reader::Command::Taken(entries));
        (self.options.at)(Point::BeforeCommit);
        transaction.commit()?;
        (self.options.at)(Point::AfterCommit);

        self.counts.apply(changes);
        self.has_committed = true;
        self.has_empty_queues |= !gone.is_empty();
        self.back_off = BACK_OFF;
        self.deletes.drain(..gone.len());
        self.rests.drain(..shortened.len());
        let is_more = !(self.deletes.is_empty() && self.rests.is_empty());
        self.deletes_at = is_more.then(Instant::now);
        let _ = self.reader.send(reader::Command::Gone(gone));
        if !shortened.is_empty() {
            let _ = self.reader.send(reader::Command::Release(shortened));
        }
        self.measure(db)?;
        for (queue, held) in expired {
            (self.options.notify)(Event::Lost {
                why: Lost::Expired,
                depth: held.depth(&queue),
            });
        }
        Ok(ids)
    }

    fn insert(
        &mut self,
        db: &Connection,
        batch: &[Append],
        changes: &mut Changes,
        entries: &mut Vec<Entry>,
    ) -> Result<Vec<Vec<RowId>>, Fault> {
        let mut insert = db.prepare("INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        let mut layout = Vec::new();
        let now = now_ms();
        let mut all_ids = Vec::new();
        for rows in batch.iter().filter_map(|append| append.rows.as_ref().ok()) {
            let mut ids = Vec::with_capacity(rows.len());
            for row in rows {
                let order =
                    i64::try_from(row.order).map_err(|_| Fault::Refused("the order is too large".to_owned()))?;
                let queue = changes.queue(db, &self.counts, row)?;
                let id = RowId {
                    file: self.file,
                    id: self.next_id,
                };
                self.next_id += 1;
                let bytes = row.body.len() as u64;
                let created = row.created.min(now);
                body::lay_out(&row.body, &mut layout);
                let (length, created_at, generation) =
                    (bytes.cast_signed(), created.cast_signed(), row.generation.cast_signed());
                insert.execute(params![
                    id.id,
                    queue,
                    row.kind as i64,
                    order,
                    row.items,
                    length,
                    created_at,
                    generation,
                    row.format,
                    layout,
                ])?;
                if let Some(held) = changes.held(&self.counts, queue) {
                    held.add(row.kind, row.items, bytes);
                    held.next_order = held
                        .next_order
                        .max(row.order.saturating_add(u64::from(row.items).max(1)));
                }
                let size = Size {
                    items: row.items,
                    bytes,
                };
                entries.push(Entry {
                    id,
                    queue: row.queue.clone(),
                    kind: row.kind,
                    created,
                    size,
                });
                ids.push(id);
            }
            all_ids.push(ids);
        }
        Ok(all_ids)
    }

    /// Deletes rows that were completed, as many as one transaction should.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn delete(&self, db: &Connection, changes: &mut Changes) -> Result<(Vec<RowId>, HashMap<Arc<str>, Held>), Fault> {
        let mut gone = Vec::new();
        let mut expired: HashMap<Arc<str>, Held> = HashMap::new();
        let mut bytes = 0;
        let mut delete = Delete::new(db)?;
        for &(row, why) in self.deletes.iter().take(DELETES) {
            if bytes > self.log_bytes() / 2 {
                break;
            }
            gone.push(row);
            if row.file != self.file {
                continue;
            }
            if let Some(deleted) = delete.row(row.id, &self.counts, changes)? {
                bytes += deleted.bytes;
                if let (Completed::Expired, Some(queue)) = (why, self.counts.queues.get(&deleted.queue)) {
                    expired
                        .entry(queue.name.clone())
                        .or_default()
                        .add(deleted.kind, deleted.items, deleted.bytes);
                }
            }
        }
        Ok((gone, expired))
    }

    /// Replaces the data of rows that were released with a rest.
    fn shorten(&self, db: &Connection, changes: &mut Changes) -> Result<Vec<(RowId, Option<Size>)>, Fault> {
        let mut done = Vec::new();
        let mut layout = Vec::new();
        let mut written = 0;
        for (row, rest) in &self.rests {
            if written > COMMIT_BYTES {
                break;
            }
            let bytes = rest.body.len() as u64;
            done.push((
                *row,
                Some(Size {
                    items: rest.items,
                    bytes,
                }),
            ));
            if row.file != self.file {
                continue;
            }
            let was = db.query_row(
                "SELECT queue, kind, items, bytes FROM rows WHERE id = ?",
                [row.id],
                Deleted::of,
            );
            let Some(was) = was.optional()? else { continue };
            body::lay_out(&rest.body, &mut layout);
            db.execute(
                "UPDATE rows SET items = ?, bytes = ?, format = ?, body = ? WHERE id = ?",
                params![rest.items, bytes.cast_signed(), rest.format, layout, row.id],
            )?;
            written += was.bytes + bytes;
            if let Some(held) = changes.held(&self.counts, was.queue) {
                held.remove(was.kind, was.items, was.bytes);
                held.add(was.kind, rest.items, bytes);
            }
        }
        Ok(done)
    }

    /// Notes the size of the file after a transaction.
    pub(super) fn measure(&mut self, db: &Connection) -> Result<(), Fault> {
        self.live = schema::sizes(db)?.1;
        self.publish();
        self.update_health();
        Ok(())
    }

    fn publish(&self) {
        let depth = &mut guard(&self.shared.state).depth;
        let total = &self.counts.total;
        depth.rows = total.rows.iter().sum();
        [depth.spans, depth.events] = total.items;
        (depth.bytes, depth.generation) = (self.live, self.generation);
    }

    pub(super) fn log_bytes(&self) -> u64 {
        bounds::log_bytes(self.options.max_bytes)
    }

    /// Keeps the log short: a part of the work is the reader's, the end of it the writer's, which
    /// alone makes SQLite begin the log again.
    pub(super) fn check_log(&self, db: &Connection) -> Result<(), Fault> {
        let log = schema::checkpoint(db, "NOOP")?;
        let waits = log.log.saturating_sub(log.copied);
        if log.log >= self.log_bytes() && waits > 0 {
            let _alone = guard(&self.shared.checkpoint);
            schema::checkpoint(db, "PASSIVE")?;
        } else if waits >= self.log_bytes() / 4 {
            let asked = std::mem::replace(&mut guard(&self.shared.state).checkpoint_asked, true);
            if !asked {
                let _ = self.reader.send(reader::Command::Checkpoint);
            }
        }
        Ok(())
    }

    /// Idle work, and attempts to leave a full disk.
    fn tick(&mut self, db: &Connection) -> Result<(), Fault> {
        let now = Instant::now();
        if self.disk_full.as_ref().is_some_and(|full| full.spare_at <= now) {
            self.leave_full_disk(db)?;
        }
        if self.idle_at <= now {
            self.idle_at = now + IDLE;
            let result = self.tidy(db);
            result.or_else(|fault| self.heal(db, fault))?;
        }
        Ok(())
    }

    fn tidy(&mut self, db: &Connection) -> Result<(), Fault> {
        let (file, live) = schema::sizes(db)?;
        let free = file - live;
        if free > IDLE_VACUUM_BYTES && free > file / 4 {
            schema::pragma(db, "incremental_vacuum(256)")?;
            self.check_log(db)?;
        }
        if self.has_empty_queues {
            let mut empty = self.counts.empty();
            self.has_empty_queues = empty.len() > DELETES;
            empty.truncate(DELETES);
            self.remove_queues(db, &empty)?;
        }
        self.forget_allowed(db)
    }

    fn remove_queues(&mut self, db: &Connection, queues: &[i64]) -> Result<(), Fault> {
        if queues.is_empty() {
            return Ok(());
        }
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        for queue in queues {
            transaction.execute("DELETE FROM queues WHERE id = ?", [queue])?;
        }
        transaction.commit()?;
        self.counts.remove(queues);
        Ok(())
    }

    /// Finds out why a write failed.
    pub(super) fn sort(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Write(_) if self.folder.as_ref().is_some_and(Folder::is_full) => Fault::Full,
            Fault::Write(error) => Fault::failing("write", error),
            fault => fault,
        }
    }

    /// Goes on after a fault, if the file can be used further.
    pub(super) fn heal(&mut self, db: &Connection, fault: Fault) -> Result<(), Fault> {
        match self.sort(fault) {
            Fault::Full => self.enter_full_disk(db),
            fault => Err(fault),
        }
    }

    fn enter_full_disk(&mut self, db: &Connection) -> Result<(), Fault> {
        let is_new = self.disk_full.is_none();
        let full = self.disk_full.insert(DiskFull::now());
        if is_new {
            // What the spare file occupied is enough for a checkpoint, and then for deletions.
            full.deletes_at -= DiskFull::RETRY;
            self.folder()
                .free_spare()
                .map_err(|error| Fault::failing("free the spare file", error.to_string()))?;
        }
        self.update_health();
        self.unless_full(|| schema::checkpoint(db, "PASSIVE").map(drop))
    }

    fn leave_full_disk(&mut self, db: &Connection) -> Result<(), Fault> {
        self.disk_full = Some(DiskFull {
            deletes_at: Instant::now(),
            ..DiskFull::now()
        });
        self.unless_full(|| schema::pragma(db, "incremental_vacuum(256)").map(drop))?;
        self.unless_full(|| schema::checkpoint(db, "PASSIVE").map(drop))?;
        if self.folder().allocate_spare(2 * self.log_bytes()).is_ok() {
            self.disk_full = None;
            self.measure(db)?;
        }
        Ok(())
    }

    fn unless_full(&self, step: impl FnOnce() -> rusqlite::Result<()>) -> Result<(), Fault> {
        match step().map_err(|error| self.sort(error.into())) {
            Err(Fault::Full) => Ok(()),
            other => other,
        }
    }

    fn is_nearly_full(&self) -> bool {
        self.live >= bounds::limit(self.options.max_bytes) / 8 * 7
    }

    fn update_health(&mut self) {
        if self.disk_full.is_some() {
            self.set_health(Health::Full, None);
        } else if self.health == Health::Failing || !self.is_nearly_full() {
            self.set_health(Health::Working, None);
        }
    }

    fn set_health(&mut self, health: Health, why: Option<&Failing>) {
        if std::mem::replace(&mut self.health, health) == health {
            return;
        }
        guard(&self.shared.state).depth.health = health;
        (self.options.notify)(match (health, why) {
            (Health::Failing, Some(why)) => Event::Failing(why.clone()),
            (Health::Full, _) => Event::Full,
            _ => Event::Working,
        });
    }

    fn refuse(&self, command: Command, why: &AppendError) {
        if let Command::Append(append) = &command {
            guard(&self.shared.state).depth.waiting_bytes -= append.bytes;
        }
        command.refuse(why);
    }

    /// Closes the reader's connection, and ends all calls that wait.
    fn refuse_all(&mut self, why: &Failing) {
        self.close_reader(why);
        self.reader_fault = None;
        self.append_bytes = 0;
        for append in std::mem::take(&mut self.appends) {
            self.refuse(Command::Append(append), &AppendError::Failing(why.clone()));
        }
        self.refuse_jobs(why);
    }

    fn close_reader(&self, why: &Failing) {
        let (closed, is_closed) = mpsc::channel();
        let _ = self.reader.send(reader::Command::Close(why.clone(), closed));
        let _ = is_closed.recv();
        guard(&self.shared.state).checkpoint_asked = false;
    }

    /// Refuses calls until the file is to be opened again. Returns false if the store is closed.
    fn wait(&mut self, why: &Failing) -> bool {
        let until = Instant::now() + self.back_off;
        self.back_off = (self.back_off * 2).min(MAX_BACK_OFF);
        while self.closing.is_none() {
            match self
                .commands
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(command @ (Command::Append(_) | Command::Purge(..) | Command::Allow(..))) => {
                    self.refuse(command, &AppendError::Failing(why.clone()));
                }
                Ok(command) => self.note(command),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }

    /// Leaves the file as it should be found.
    fn finish(&mut self, db: Connection) {
        self.close_reader(&closed("take"));
        let _ = schema::checkpoint(&db, "TRUNCATE");
        drop(db);
    }

    fn answer_closed(mut self) {
        self.lock = None;
        match self.closing.take() {
            Some(End::Closed(closed)) => drop(closed),
            Some(End::Dropped) => return,
            None => {}
        }
        while let Ok(command) = self.commands.recv() {
            match command {
                Command::End(End::Dropped) => return,
                Command::End(End::Closed(closed)) => drop(closed),
                command => self.refuse(command, &AppendError::Closed),
            }
        }
    }
}

impl DiskFull {
    const RETRY: Duration = Duration::from_secs(1);

    fn now() -> Self {
        let at = Instant::now() + Self::RETRY;
        Self {
            deletes_at: at,
            spare_at: at,
        }
    }
}

/// The counts of a row that was deleted.
pub(super) struct Deleted {
    pub(super) queue: i64,
    pub(super) kind: Kind,
    pub(super) items: u32,
    pub(super) bytes: u64,
}

impl Deleted {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let kind = if row.get::<_, i64>(1)? == 0 {
            Kind::Spans
        } else {
            Kind::SessionEvents
        };
        Ok(Self {
            queue: row.get(0)?,
            kind,
            items: row.get(2)?,
            bytes: row.get::<_, i64>(3)?.unsigned_abs(),
        })
    }
}

/// Deletes rows and their counts.
pub(super) struct Delete<'db>(Statement<'db>);

impl<'db> Delete<'db> {
    pub(super) fn new(db: &'db Connection) -> rusqlite::Result<Self> {
        db.prepare("DELETE FROM rows WHERE id = ? RETURNING queue, kind, items, bytes")
            .map(Self)
    }

    /// Returns `None` if there is no such row.
    pub(super) fn row(
        &mut self,
        row: i64,
        counts: &Counts,
        changes: &mut Changes,
    ) -> rusqlite::Result<Option<Deleted>> {
        let deleted = self.0.query_row([row], Deleted::of).optional()?;
        if let Some(deleted) = &deleted
            && let Some(held) = changes.held(counts, deleted.queue)
        {
            held.remove(deleted.kind, deleted.items, deleted.bytes);
        }
        Ok(deleted)
    }
}
