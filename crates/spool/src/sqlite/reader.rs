//! The thread that takes rows, and knows which are taken.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Connection, Transaction, params};

use super::bounds::Held;
use super::commands::{Completed, Entry, Read, Size, Write};
use super::files::now_ms;
use super::health::Fault;
use super::options::{Notify, Point};
use super::shared::{PANICKED, Shared, call, guard, report};
use super::{body, schema};
use crate::{Event, Failing, Kind, Limit, Lost, Oldest, RowId, Taken};

/// Queues that one step of the search for expired rows looks at.
const EXPIRY_QUEUES: i64 = 256;
/// Expired rows that one step finds.
const EXPIRY_ROWS: usize = 1_000;
const EXPIRY_EVERY: Duration = Duration::from_secs(60);
const EXPIRY_AT_MOST: Duration = Duration::from_secs(3600);

pub(super) struct Reader {
    pub(super) max_age: Duration,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Receiver<Read>,
    pub(super) writer: Sender<Write>,
    pub(super) notify: Notify,
    pub(super) at: fn(Point),
}

pub(super) const TAKE: &str = "SELECT rows.id, rows.bytes, ord, items, generation, created, format, queues.id
    FROM queues CROSS JOIN rows ON rows.queue = queues.id
    WHERE selector = ? AND kind = ? AND ord < ? ORDER BY ord";

/// What the thread holds beside its connections to other threads.
struct State {
    file: u32,
    opening: u64,
    db: Result<Connection, Failing>,
    /// Rows of this file and, until they have an outcome, of files that were set aside.
    taken: HashMap<RowId, Entry>,
    hidden: HashSet<Arc<str>>,
    /// Commands that were received while a snapshot was open.
    later: VecDeque<Read>,
    expiry: Expiry,
}

/// The search for expired rows.
struct Expiry {
    next: Instant,
    /// The next search begins no earlier.
    earliest: Instant,
    /// The last queue of the running search.
    after: i64,
    /// When the oldest row was created that the running search left.
    oldest: u64,
    /// Whether the first search of this opening runs, which reports the oldest rows.
    is_first: bool,
    /// What it found and has not reported.
    found: Vec<Oldest>,
}

impl Reader {
    pub(super) fn run(self) {
        let closed = Failing {
            what: "take",
            error: "the file is not open".to_owned(),
        };
        let mut state = State {
            file: 0,
            opening: 0,
            db: Err(closed),
            taken: HashMap::new(),
            hidden: HashSet::new(),
            later: VecDeque::new(),
            expiry: Expiry::new(),
        };
        loop {
            let wait = match &state.db {
                Ok(_) => state.expiry.next.saturating_duration_since(Instant::now()),
                Err(_) => EXPIRY_EVERY,
            };
            let received = match state.later.pop_front() {
                Some(command) => Ok(command),
                None => self.commands.recv_timeout(wait),
            };
            let command = match received {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(command) = command {
                self.command(&mut state, command);
            }
            if Instant::now() >= state.expiry.next {
                self.expire(&mut state);
            }
        }
    }

    fn command(&self, state: &mut State, command: Read) {
        match command {
            Read::Take {
                queue,
                kind,
                limit,
                done,
            } => {
                let taken = self.attempt(state, |state, db| {
                    let _snapshot = self.snapshot(state, db)?;
                    state.take(db, &queue, kind, limit)
                });
                call(done, taken);
            }
            Read::Release(rows) => self.release(state, rows),
            Read::Taken(rows) => state.note_taken(rows),
            Read::Gone(rows) => {
                for row in rows {
                    state.taken.remove(&row);
                }
            }
            Read::Checkpoint => {
                let _ = self.attempt(state, |_, db| {
                    let _alone = guard(&self.shared.checkpoint);
                    Ok(schema::checkpoint(db, "PASSIVE").map(drop)?)
                });
                guard(&self.shared.state).checkpoint_asked = false;
            }
            Read::Open { path, file, opening } => {
                (state.file, state.opening) = (file, opening);
                state.expiry = Expiry::new();
                match schema::open_reader(&path) {
                    Ok(db) => state.db = Ok(db),
                    Err(error) => drop(self.fail(state, error.into())),
                }
            }
            Read::Expire => state.expiry.next = Instant::now(),
            Read::Close(why, closed) => {
                state.db = Err(why);
                state.hidden.clear();
                drop(closed);
            }
            Read::Pause(paused, end) => {
                drop(paused);
                let _ = end.recv();
            }
            Read::Lose(answer) => {
                let _ = answer.send(state.sums());
                state.file += 1;
            }
            Read::Hide(queues) => {
                state.hidden.extend(queues);
                let State { taken, hidden, .. } = state;
                taken.retain(|_, row| !hidden.contains(&row.queue));
            }
            Read::Show(queues) => {
                for queue in queues {
                    state.hidden.remove(&queue);
                }
            }
        }
    }

    /// Runs a step on the database. A fault is the writer's to heal.
    fn attempt<T>(
        &self,
        state: &mut State,
        step: impl FnOnce(&mut State, &Connection) -> Result<T, Fault>,
    ) -> Result<T, Failing> {
        let idle = Err(Failing {
            what: "take",
            error: "the file is in use".to_owned(),
        });
        let db = match std::mem::replace(&mut state.db, idle) {
            Ok(db) => db,
            Err(why) => {
                state.db = Err(why.clone());
                return Err(why);
            }
        };
        // After a panic, the writer opens the file again.
        let result = catch_unwind(AssertUnwindSafe(|| step(state, &db)));
        let result = result.unwrap_or_else(|_| Err(Fault::failing("take", PANICKED)));
        state.db = Ok(db);
        result.map_err(|fault| self.fail(state, fault))
    }

    /// Opens a snapshot, and learns which of its rows are taken.
    ///
    /// The writer sends [`Read::Taken`] before it commits. So what the snapshot has, and an append
    /// holds, is known now. Other commands wait for the end of the snapshot: it still has rows that
    /// were deleted since, and the old data of rows with a rest.
    fn snapshot<'db>(&self, state: &mut State, db: &'db Connection) -> Result<Transaction<'db>, Fault> {
        (self.at)(Point::BeforeSnapshot);
        let snapshot = db.unchecked_transaction()?;
        snapshot.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Read::Taken(rows) => state.note_taken(rows),
                command => state.later.push_back(command),
            }
        }
        Ok(snapshot)
    }

    fn fail(&self, state: &mut State, fault: Fault) -> Failing {
        let why = fault.report();
        if !matches!(fault, Fault::Full | Fault::Write(_)) {
            state.db = Err(why.clone());
        }
        let _ = self.writer.send(Write::Fault(state.opening, fault));
        why
    }

    fn release(&self, state: &mut State, rows: Vec<(RowId, Option<Size>)>) {
        for (id, rest) in rows {
            let Some(mut row) = state.taken.remove(&id) else {
                continue;
            };
            if let Some(rest) = rest {
                row.size = rest;
            }
            if id.file == state.file {
                state.expiry.note(row.created, self.max_age);
            } else {
                let mut lost = Held::default();
                lost.add(row.kind, row.size.items, row.size.bytes);
                report(
                    &self.notify,
                    Event::Lost {
                        why: Lost::Damaged,
                        depth: lost.depth(&row.queue),
                    },
                );
            }
        }
    }

    /// One step of the search for expired rows. They are taken, and the writer deletes them.
    fn expire(&self, state: &mut State) {
        let max_age = u64::try_from(self.max_age.as_millis()).unwrap_or(u64::MAX);
        let found = self.attempt(state, |state, db| {
            let _snapshot = self.snapshot(state, db)?;
            state.find_expired(db, now_ms().saturating_sub(max_age))
        });
        match found {
            Ok((rows, more)) => {
                let oldest = std::mem::take(&mut state.expiry.found);
                if !oldest.is_empty() {
                    report(&self.notify, Event::Oldest(oldest));
                }
                if !rows.is_empty() {
                    let ids = rows.iter().map(|row| row.id).collect();
                    state.taken.extend(rows.into_iter().map(|row| (row.id, row)));
                    let _ = self.writer.send(Write::Complete(ids, Completed::Expired));
                }
                if !more {
                    state.expiry.end(self.max_age);
                }
            }
            Err(_) => state.expiry.end(self.max_age),
        }
    }
}

impl Expiry {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            next: now + EXPIRY_EVERY,
            earliest: now,
            after: 0,
            oldest: u64::MAX,
            is_first: true,
            found: Vec::new(),
        }
    }

    /// A row that was created then waits from now on.
    fn note(&mut self, created: u64, max_age: Duration) {
        if self.after == 0 {
            self.next = self
                .next
                .min(self.earliest.max(Instant::now() + left(created, max_age)));
        } else {
            self.oldest = self.oldest.min(created);
        }
    }

    /// Sets the time of the next search.
    fn end(&mut self, max_age: Duration) {
        let now = Instant::now();
        self.earliest = now + EXPIRY_EVERY.min(max_age / 8).max(Duration::from_millis(10));
        self.next = self.earliest.max(now + left(self.oldest, max_age));
        (self.after, self.oldest, self.is_first) = (0, u64::MAX, false);
    }
}

/// The time until a row expires. A clock that went back makes no row older.
fn left(created: u64, max_age: Duration) -> Duration {
    let age = Duration::from_millis(now_ms().saturating_sub(created));
    max_age.saturating_sub(age).min(EXPIRY_AT_MOST)
}

impl State {
    fn note_taken(&mut self, rows: Vec<Entry>) {
        self.taken.extend(rows.into_iter().map(|row| (row.id, row)));
    }

    /// What is taken of the current file, by queue.
    fn sums(&self) -> HashMap<Arc<str>, Held> {
        let mut sums: HashMap<Arc<str>, Held> = HashMap::new();
        for row in self.taken.values().filter(|row| row.id.file == self.file) {
            sums.entry(row.queue.clone())
                .or_default()
                .add(row.kind, row.size.items, row.size.bytes);
        }
        sums
    }

    fn take(&mut self, db: &Connection, queue: &Arc<str>, kind: Kind, limit: Limit) -> Result<Vec<Taken>, Fault> {
        if self.hidden.contains(queue) {
            return Ok(Vec::new());
        }
        // Bodies are read later, because a column of a row that is skipped would be read too.
        let mut statement = db.prepare(TAKE)?;
        let mut body = db.prepare("SELECT body, queue FROM rows NOT INDEXED WHERE id = ?")?;
        let before = i64::try_from(limit.before).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![&**queue, kind as i64, before])?;
        let mut taken: Vec<Taken> = Vec::new();
        let mut bytes = 0_usize;
        while let Some(row) = rows.next()? {
            let id = RowId {
                file: self.file,
                id: row.get(0)?,
            };
            if self.taken.contains_key(&id) {
                continue;
            }
            let length: i64 = row.get(1)?;
            bytes = bytes.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            if !taken.is_empty() && (taken.len() >= limit.rows || bytes > limit.bytes) {
                break;
            }
            let (body, of): (Option<Bytes>, i64) = body.query_row([id.id], |row| {
                // A row that is shorter than it should be is damage of that row alone.
                let body = body::of_layout(row.get_ref(0)?.as_blob()?, length).map(Bytes::copy_from_slice);
                Ok((body, row.get(1)?))
            })?;
            if of != row.get::<_, i64>(7)? {
                return Err(Fault::Damaged("a row and its index name different queues".to_owned()));
            }
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            taken.push(Taken {
                id,
                order: number(2)?,
                items: row.get(3)?,
                generation: number(4)?,
                created: number(5)?,
                format: row.get(6)?,
                body: body.unwrap_or_default(),
            });
        }
        for row in &taken {
            let size = Size {
                items: row.items,
                bytes: row.body.len() as u64,
            };
            let entry = Entry {
                id: row.id,
                queue: queue.clone(),
                kind,
                created: row.created,
                size,
            };
            self.taken.insert(row.id, entry);
        }
        Ok(taken)
    }

    /// Looks at some queues. Returns their oldest rows that were created before, and whether there
    /// may be more.
    fn find_expired(&mut self, db: &Connection, before: u64) -> Result<(Vec<Entry>, bool), Fault> {
        let mut queues = db.prepare(
            "SELECT id, selector FROM queues WHERE id > ? AND span_rows + event_rows > 0 ORDER BY id LIMIT ?",
        )?;
        let mut rows =
            db.prepare("SELECT id, items, bytes, created FROM rows WHERE queue = ? AND kind = ? ORDER BY ord")?;
        let mut found = Vec::new();
        let mut looked = 0;
        let mut queues = queues.query(params![self.expiry.after, EXPIRY_QUEUES])?;
        while let Some(queue) = queues.next()? {
            let (id, name): (i64, String) = (queue.get(0)?, queue.get(1)?);
            let name: Arc<str> = name.into();
            if !self.hidden.contains(&name) {
                for kind in [Kind::Spans, Kind::SessionEvents] {
                    let mut rows = rows.query(params![id, kind as i64])?;
                    while let Some(row) = rows.next()? {
                        let row_id = RowId {
                            file: self.file,
                            id: row.get(0)?,
                        };
                        if self.taken.contains_key(&row_id) {
                            continue;
                        }
                        let created = row.get::<_, i64>(3)?.cast_unsigned();
                        if created >= before {
                            self.expiry.oldest = self.expiry.oldest.min(created);
                            if self.expiry.is_first {
                                let queue = Arc::clone(&name);
                                self.expiry.found.push(Oldest { queue, kind, created });
                            }
                            break;
                        }
                        let size = Size {
                            items: row.get(1)?,
                            bytes: row.get::<_, i64>(2)?.cast_unsigned(),
                        };
                        found.push(Entry {
                            id: row_id,
                            queue: name.clone(),
                            kind,
                            created,
                            size,
                        });
                        if found.len() >= EXPIRY_ROWS {
                            return Ok((found, true));
                        }
                    }
                }
            }
            looked += 1;
            self.expiry.after = id;
        }
        Ok((found, looked == EXPIRY_QUEUES))
    }
}
