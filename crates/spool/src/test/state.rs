//! What a disk of a test holds, and what its commands do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::store::{
    AppendError, Done, Event, Failing, Kind, Limit, Purged, QueueDepth, Recovery, Rest, Row, RowId, Taken, Usage,
};

/// Receives what a store reports by itself.
pub type Notify = Arc<dyn Fn(Event) + Send + Sync>;

#[derive(Default)]
pub(super) struct State {
    pub(super) rows: BTreeMap<i64, Row>,
    pub(super) taken: BTreeSet<i64>,
    pub(super) last_id: i64,
    pub(super) generation: u64,
    /// Purged names: the generation of the purge, and whether they are allowed again.
    pub(super) erased: BTreeMap<String, (u64, bool)>,
    /// What owners have used of their quotas.
    pub(super) usage: BTreeMap<Arc<str>, Usage>,
    /// Number of the store that may use the disk.
    pub(super) opening: u32,
    pub(super) notify: Option<Notify>,
    pub(super) commands: VecDeque<Command>,
    /// Whether a command runs.
    pub(super) is_running: bool,
    /// Whether no thread runs the commands.
    pub(super) is_by_hand: bool,
    pub(super) script: Script,
    /// Rows that were completed.
    pub(super) completed: u64,
    pub(super) has_ended: bool,
}

/// What the test asked for.
#[derive(Default)]
pub(super) struct Script {
    /// Appends wait while this is set,
    pub(super) is_held: bool,
    /// but this many more may commit.
    pub(super) permitted: usize,
    pub(super) takes_are_held: bool,
    pub(super) delay: Duration,
    pub(super) fault: Option<AppendError>,
    pub(super) full_owners: BTreeSet<String>,
}

pub(super) enum Command {
    Append(Vec<Row>, Done<Result<Vec<RowId>, AppendError>>),
    Take(Arc<str>, Kind, Limit, Done<Result<Vec<Taken>, Failing>>),
    Release(Vec<(RowId, Option<Rest>)>),
    Complete(Vec<RowId>),
    SaveUsage(Vec<Usage>),
    Purge(String, Done<Result<Purged, Failing>>),
    Allow(String, Done<Result<bool, Failing>>),
    Report(Vec<Event>),
}

impl State {
    /// Takes the first command that is not held.
    pub(super) fn next_command(&mut self) -> Option<Command> {
        let script = &self.script;
        let is_free = |command: &Command| match command {
            Command::Append(..) => !script.is_held || script.permitted > 0,
            Command::Take(..) => !script.takes_are_held,
            _ => true,
        };
        let at = self.commands.iter().position(is_free)?;
        let command = self.commands.remove(at)?;
        if let (Command::Append(..), true) = (&command, self.script.is_held) {
            self.script.permitted -= 1;
        }
        Some(command)
    }

    /// Returns what to call without the lock.
    pub(super) fn execute(&mut self, command: Command) -> Box<dyn FnOnce() + Send> {
        match command {
            Command::Append(rows, done) => {
                let appended = self.append(rows);
                Box::new(move || done(appended))
            }
            Command::Take(queue, kind, limit, done) => {
                let taken = self.take(&queue, kind, limit);
                Box::new(move || done(Ok(taken)))
            }
            Command::Release(rows) => {
                self.release(rows);
                Box::new(|| {})
            }
            Command::Complete(rows) => {
                for row in rows.iter().filter(|row| row.file == self.opening) {
                    self.taken.remove(&row.id);
                    self.completed += u64::from(self.rows.remove(&row.id).is_some());
                }
                Box::new(|| {})
            }
            Command::SaveUsage(usage) => {
                let is_erased = |owner: &str| {
                    let mut erased = self.erased.iter();
                    erased.any(|(what, (_, is_allowed))| !is_allowed && covers(what, owner))
                };
                let kept = usage.into_iter().filter(|usage| !is_erased(&usage.owner));
                self.usage
                    .extend(kept.map(|usage| (Arc::clone(&usage.owner), usage)).collect::<Vec<_>>());
                Box::new(|| {})
            }
            Command::Purge(what, done) => {
                let purged = self.purge(what);
                Box::new(move || done(Ok(purged)))
            }
            Command::Allow(what, done) => {
                let erased = self.erased.get_mut(&what);
                let was_erased = erased.is_some_and(|(_, is_allowed)| !std::mem::replace(is_allowed, true));
                Box::new(move || done(Ok(was_erased)))
            }
            Command::Report(events) => {
                let notify = self.notify.clone();
                Box::new(move || {
                    if let Some(notify) = notify {
                        for event in events {
                            notify(event);
                        }
                    }
                })
            }
        }
    }

    fn append(&mut self, rows: Vec<Row>) -> Result<Vec<RowId>, AppendError> {
        if let Some(fault) = &self.script.fault {
            return Err(fault.clone());
        }
        for row in &rows {
            let is_erased = |(what, (generation, is_allowed)): (&String, &(u64, bool))| {
                covers(what, &row.queue) && (!is_allowed || row.generation < *generation)
            };
            if self.erased.iter().any(is_erased) {
                return Err(AppendError::Erased(Arc::clone(&row.queue)));
            }
            if self.script.full_owners.contains(&*row.owner) {
                return Err(AppendError::OwnerFull(Arc::clone(&row.owner)));
            }
            let is_same = |other: &Row| (&other.queue, other.kind, other.order) == (&row.queue, row.kind, row.order);
            if self.rows.values().any(is_same) {
                return Err(failing("two rows with one order number").into());
            }
        }
        Ok(rows.into_iter().map(|row| self.insert(row)).collect())
    }

    fn insert(&mut self, row: Row) -> RowId {
        self.last_id += 1;
        self.rows.insert(self.last_id, row);
        self.taken.insert(self.last_id);
        RowId {
            file: self.opening,
            id: self.last_id,
        }
    }

    fn take(&mut self, queue: &str, kind: Kind, limit: Limit) -> Vec<Taken> {
        let mut free: Vec<(&i64, &Row)> = self
            .rows
            .iter()
            .filter(|(id, row)| !self.taken.contains(id) && &*row.queue == queue && row.kind == kind)
            .filter(|(_, row)| row.order < limit.before)
            .collect();
        free.sort_by_key(|(_, row)| row.order);
        let mut bytes = 0;
        let fits = |(_, row): &(&i64, &Row)| {
            let is_first = bytes == 0;
            bytes += row.body.len().max(1);
            is_first || bytes <= limit.bytes
        };
        let taken = free.into_iter().take(limit.rows.max(1)).take_while(fits);
        let taken: Vec<Taken> = taken
            .map(|(id, row)| Taken {
                id: RowId {
                    file: self.opening,
                    id: *id,
                },
                order: row.order,
                items: row.items,
                generation: row.generation,
                created: row.created,
                format: row.format,
                body: row.body.clone(),
            })
            .collect();
        self.taken.extend(taken.iter().map(|taken| taken.id.id));
        taken
    }

    fn release(&mut self, rows: Vec<(RowId, Option<Rest>)>) {
        for (id, rest) in rows.into_iter().filter(|(id, _)| id.file == self.opening) {
            self.taken.remove(&id.id);
            if let (Some(row), Some(rest)) = (self.rows.get_mut(&id.id), rest) {
                (row.items, row.format, row.body) = (rest.items, rest.format, rest.body);
            }
        }
    }

    fn purge(&mut self, what: String) -> Purged {
        self.generation += 1;
        let before = self.bytes();
        let gone = self.remove(|_, row| covers(&what, &row.queue));
        self.usage.retain(|owner, _| !covers(&what, owner));
        self.erased.insert(what, (self.generation, false));
        Purged {
            generation: self.generation,
            queues: depths(&gone).into_values().collect(),
            streamed: Vec::new(),
            file_bytes_before: before,
            file_bytes_after: self.bytes(),
        }
    }

    pub(super) fn remove(&mut self, is_gone: impl Fn(i64, &Row) -> bool) -> Vec<Row> {
        let rows = std::mem::take(&mut self.rows).into_iter();
        let (gone, left) = rows.partition(|(id, row)| is_gone(*id, row));
        self.rows = left;
        self.taken.retain(|id| self.rows.contains_key(id));
        let gone: BTreeMap<i64, Row> = gone;
        gone.into_values().collect()
    }

    pub(super) fn recovery(&self) -> Recovery {
        let erased = self.erased.iter().filter(|(_, (_, is_allowed))| !is_allowed);
        Recovery {
            queues: depths(&self.sorted()).into_values().collect(),
            next_order: self.rows.values().map(|row| row.order + 1).max().unwrap_or_default(),
            generation: self.generation,
            erased: erased.map(|(what, _)| what.clone()).collect(),
            usage: self.usage.values().cloned().collect(),
        }
    }

    pub(super) fn sorted(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.values().cloned().collect();
        rows.sort_by(|one, other| (&one.queue, one.kind, one.order).cmp(&(&other.queue, other.kind, other.order)));
        rows
    }

    pub(super) fn bytes(&self) -> u64 {
        self.rows.values().map(|row| row.body.len() as u64).sum()
    }

    pub(super) fn waiting(&self) -> usize {
        let waiting = self.commands.iter();
        waiting.filter(|command| matches!(command, Command::Append(..))).count()
    }
}

/// Returns whether the queue has each part of a selector such as `environment:test,tenant:acme`.
fn covers(what: &str, queue: &str) -> bool {
    what.split(',').all(|part| queue.split(',').any(|other| other == part))
}

pub(super) fn failing(what: &'static str) -> Failing {
    Failing {
        what,
        error: "asked for by a test".to_owned(),
    }
}

pub(super) fn depths(rows: &[Row]) -> BTreeMap<Arc<str>, QueueDepth> {
    let mut depths = BTreeMap::new();
    for row in rows {
        let depth = depths.entry(Arc::clone(&row.queue)).or_insert_with(|| QueueDepth {
            queue: Arc::clone(&row.queue),
            spans: 0,
            events: 0,
            span_rows: 0,
            event_rows: 0,
            bytes: 0,
        });
        let (items, rows) = match row.kind {
            Kind::Spans => (&mut depth.spans, &mut depth.span_rows),
            Kind::SessionEvents => (&mut depth.events, &mut depth.event_rows),
        };
        *items += u64::from(row.items);
        *rows += 1;
        depth.bytes += row.body.len() as u64;
    }
    depths
}
