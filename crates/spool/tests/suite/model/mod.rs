//! The store against a map, with steps in a random order.

mod steps;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use tracer_registry_spool::{AppendError, Event, Kind, Limit, Lost, QueueDepth, Rest, Row, RowId, Store as _, Taken};

use self::steps::{KINDS, New, QUEUES, Step, step};
use crate::support::{MIB, Spool, channel, copy_folder, covers, now_ms, number, row, until};

const MAX_AGE: Duration = Duration::from_secs(1800);

#[derive(Debug, Clone)]
struct Held {
    items: u32,
    format: u8,
    body: Vec<u8>,
    created: u64,
    generation: u64,
    taken: Option<RowId>,
}

type Key = (usize, Kind, u64);

/// An append that has no answer yet, with its rows and whether it must succeed.
type Waiting = (Receiver<Result<Vec<RowId>, AppendError>>, Vec<(Key, Held)>, bool);

/// What the store must hold.
struct Model {
    spool: Spool,
    _folder: tempfile::TempDir,
    folders: usize,
    rows: BTreeMap<Key, Held>,
    waiting: Vec<Waiting>,
    /// By what was purged: the generation, and whether it is allowed again.
    erased: BTreeMap<usize, (u64, bool)>,
    generation: u64,
    next_order: u64,
    next_early: u64,
}

impl Model {
    fn new() -> Self {
        // Without a disk below, the cases are bound by the processor.
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = tempfile::Builder::new()
            .prefix("spool-a")
            .tempdir_in(base)
            .expect("a temporary folder");
        Self {
            spool: Spool::at(folder.path().join("0"), 256 * MIB, |_| {}),
            _folder: folder,
            folders: 1,
            rows: BTreeMap::new(),
            waiting: Vec::new(),
            erased: BTreeMap::new(),
            generation: 0,
            next_order: 1 << 40,
            next_early: 1 << 39,
        }
    }

    fn is_refused(&self, queue: usize, generation: u64) -> bool {
        self.erased
            .iter()
            .any(|(&what, &(at, allowed))| covers(QUEUES[what], QUEUES[queue]) && (!allowed || generation < at))
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Append { rows, stale } => self.append(rows, stale),
            Step::Take {
                queue,
                kind,
                rows,
                bytes,
                before,
            } => {
                self.settle();
                let orders: Vec<u64> = self.rows.keys().map(|key| key.2).chain([u64::MAX]).collect();
                self.take(
                    queue,
                    KINDS[kind],
                    Limit {
                        rows,
                        bytes,
                        before: *before.get(&orders),
                    },
                );
            }
            Step::Complete(at) => {
                if let Some((key, id)) = self.some_taken(at) {
                    self.spool.store().complete(vec![id]);
                    self.rows.remove(&key);
                }
            }
            Step::Release(at, rest) => self.release(at, rest),
            Step::Purge(what) => self.purge(what),
            Step::Allow(what) => {
                self.settle();
                let was = self
                    .erased
                    .get_mut(&what)
                    .is_some_and(|erased| !std::mem::replace(&mut erased.1, true));
                assert_eq!(self.spool.allow(QUEUES[what]).expect("works"), was);
            }
            Step::Expire => self.expire(),
            Step::Restart => self.restart(|_| {}),
            Step::Crash => {
                self.check();
                let from = self.spool.options.folder.clone();
                let to = from.with_file_name(self.folders.to_string());
                self.folders += 1;
                copy_folder(&from, &to);
                self.restart(|spool| spool.options.folder = to);
            }
        }
    }

    fn append(&mut self, new: Vec<New>, stale: bool) {
        let generation = if stale {
            self.generation.saturating_sub(1)
        } else {
            self.generation
        };
        let mut rows = Vec::new();
        let mut held = Vec::new();
        for New {
            queue,
            kind,
            items,
            bytes,
            old,
            early,
        } in new
        {
            let order = if early {
                &mut self.next_early
            } else {
                &mut self.next_order
            };
            *order = if early { *order - 10 } else { *order + 10 };
            let order = *order;
            let body: Vec<u8> = format!("{queue}:{order};")
                .into_bytes()
                .into_iter()
                .cycle()
                .take(bytes)
                .collect();
            let created = if old { now_ms() - 3_600_000 } else { now_ms() };
            let row = row(QUEUES[queue], order, body.clone());
            rows.push(Row {
                kind: KINDS[kind],
                items,
                generation,
                created,
                format: 3,
                ..row
            });
            held.push((
                (queue, KINDS[kind], order),
                Held {
                    items,
                    format: 3,
                    body,
                    created,
                    generation,
                    taken: None,
                },
            ));
        }
        let is_refused = held.iter().any(|(key, held)| self.is_refused(key.0, held.generation));
        let (done, answer) = channel();
        self.spool.store().append(rows, done);
        self.waiting.push((answer, held, !is_refused));
    }

    /// Waits for the answers of all appends.
    fn settle(&mut self) {
        for (answer, rows, is_accepted) in std::mem::take(&mut self.waiting) {
            let result = answer.recv_timeout(Duration::from_secs(60)).expect("an answer");
            match result {
                Ok(ids) => {
                    assert!(is_accepted, "an append of an erased tenant");
                    assert_eq!(ids.len(), rows.len());
                    for ((key, held), id) in rows.into_iter().zip(ids) {
                        let before = self.rows.insert(
                            key,
                            Held {
                                taken: Some(id),
                                ..held
                            },
                        );
                        assert!(before.is_none());
                    }
                }
                Err(error) => assert!(!is_accepted && matches!(error, AppendError::Erased(_)), "{error}"),
            }
            assert!(answer.try_recv().is_err(), "answered once");
        }
    }

    fn some_taken(&mut self, at: Index) -> Option<(Key, RowId)> {
        self.settle();
        let taken: Vec<_> = self
            .rows
            .iter()
            .filter_map(|(&key, held)| Some((key, held.taken?)))
            .collect();
        (!taken.is_empty()).then(|| *at.get(&taken))
    }

    fn release(&mut self, at: Index, rest: Option<(u32, usize)>) {
        let Some((key, id)) = self.some_taken(at) else { return };
        let held = self.rows.get_mut(&key).expect("taken");
        held.taken = None;
        let rest = rest.map(|(items, bytes)| {
            let items = items.min(held.items);
            held.body.truncate(bytes);
            (held.items, held.format) = (items, 1);
            Rest {
                items,
                format: 1,
                body: held.body.clone().into(),
            }
        });
        let is_rest = rest.is_some();
        self.spool.store().release(vec![(id, rest)]);
        if is_rest {
            // It can be taken after its commit, which no call reports.
            let expected = self.rows[&key].clone();
            let mut found = Vec::new();
            until(|| {
                found = self
                    .spool
                    .take(
                        QUEUES[key.0],
                        key.1,
                        Limit {
                            before: key.2 + 1,
                            ..crate::support::ALL
                        },
                    )
                    .expect("works");
                let is_there = found.last().is_some_and(|row| row.order == key.2);
                let ids = found.iter().map(|row| (row.id, None)).collect();
                self.spool.store().release(ids);
                is_there
            });
            assert_same(found.last().expect("found"), &expected, key);
        }
    }

    fn take(&mut self, queue: usize, kind: Kind, limit: Limit) {
        let taken = self.spool.take(QUEUES[queue], kind, limit).expect("works");
        let mut expected = Vec::new();
        let mut bytes = 0;
        for (&key, held) in self.rows.range((queue, kind, 0)..(queue, kind, limit.before)) {
            bytes += held.body.len();
            if held.taken.is_some() {
                bytes -= held.body.len();
                continue;
            }
            if !expected.is_empty() && (expected.len() == limit.rows || bytes > limit.bytes) {
                break;
            }
            expected.push(key);
        }
        let orders: Vec<_> = taken.iter().map(|row| row.order).collect();
        assert_eq!(orders, expected.iter().map(|key| key.2).collect::<Vec<_>>());
        for (row, key) in taken.iter().zip(expected) {
            let held = self.rows.get_mut(&key).expect("expected");
            assert_same(row, held, key);
            held.taken = Some(row.id);
        }
    }

    fn purge(&mut self, what: usize) {
        // What was completed and is not deleted yet would count.
        self.check();
        let purged = self.spool.purge(QUEUES[what]).expect("works");
        self.generation += 1;
        assert_eq!(purged.generation, self.generation);
        self.erased.insert(what, (self.generation, false));
        let is_covered = |key: &Key| covers(QUEUES[what], QUEUES[key.0]);
        let gone: BTreeMap<Key, Held> = self
            .rows
            .iter()
            .filter(|(key, _)| is_covered(key))
            .map(|(key, held)| (*key, held.clone()))
            .collect();
        self.rows.retain(|key, _| !is_covered(key));
        assert_eq!(by_name(&purged.queues), depths(&gone));
        // Late calls for rows that are gone have no effect.
        let ids: Vec<RowId> = gone.values().filter_map(|held| held.taken).collect();
        self.spool.store().release(ids.iter().map(|&id| (id, None)).collect());
        self.spool.store().complete(ids);
    }

    fn expire(&mut self) {
        self.spool.options.max_age = MAX_AGE;
        self.restart(|_| {});
        let before = now_ms() - 1_800_000;
        let mut expired: BTreeMap<Key, Held> = BTreeMap::new();
        for queue in 0..QUEUES.len() {
            for kind in KINDS {
                // In order: a row that is not expired keeps those behind it.
                let rows = self.rows.range((queue, kind, 0)..=(queue, kind, u64::MAX));
                let old = rows.take_while(|(_, held)| held.created < before);
                expired.extend(old.map(|(key, held)| (*key, held.clone())));
            }
        }
        self.rows.retain(|key, _| !expired.contains_key(key));
        let left = self.rows.len() as u64;
        until(|| self.spool.store().depth().rows == left);
        let lost: u64 = expired.values().map(|held| u64::from(held.items)).sum();
        let mut seen = 0;
        until(|| {
            seen += self.lost();
            seen >= lost
        });
        assert_eq!(seen, lost);
        self.spool.options.max_age = Duration::from_secs(72 * 3600);
        self.restart(|_| {});
    }

    fn lost(&self) -> u64 {
        let events = self.spool.take_events().into_iter();
        let lost = events.map(|event| match event {
            Event::Lost {
                why: Lost::Expired,
                depth,
            } => depth.spans + depth.events,
            other => panic!("{other:?}"),
        });
        lost.sum()
    }

    fn restart(&mut self, change: impl FnOnce(&mut Spool)) {
        self.check();
        self.spool.close();
        self.spool.take_events();
        change(&mut self.spool);
        self.spool.open().expect("closed before");
        for held in self.rows.values_mut() {
            held.taken = None;
        }
        let mut events = self.spool.events.lock().expect("no panic");
        let Event::Opened(recovery) = events.remove(0) else {
            panic!("{events:?}")
        };
        assert_eq!(by_name(&recovery.queues), depths(&self.rows));
        assert_eq!(recovery.generation, self.generation);
        let erased: BTreeSet<&str> = recovery.erased.iter().map(String::as_str).collect();
        let expected = self
            .erased
            .iter()
            .filter(|(_, erased)| !erased.1)
            .map(|(&what, _)| QUEUES[what]);
        assert_eq!(erased, expected.collect());
        assert!(
            self.rows
                .iter()
                .all(|(key, held)| key.2 + u64::from(held.items) <= recovery.next_order)
        );
    }

    /// Waits for all that is under way, and compares the depth.
    fn check(&mut self) {
        self.settle();
        let items = |kind| {
            self.rows
                .iter()
                .filter(|(key, _)| key.1 == kind)
                .map(|(_, held)| u64::from(held.items))
                .sum()
        };
        let expected = (self.rows.len() as u64, items(Kind::Spans), items(Kind::SessionEvents));
        until(|| {
            let depth = self.spool.store().depth();
            (depth.rows, depth.spans, depth.events) == expected
        });
    }
}

fn assert_same(row: &Taken, held: &Held, key: Key) {
    assert_eq!((row.order, row.items, row.format), (key.2, held.items, held.format));
    assert_eq!((row.generation, row.created), (held.generation, held.created));
    assert_eq!(row.body, held.body);
}

/// Span rows, event rows, spans, events, bytes.
type Numbers = (u64, u64, u64, u64, u64);

fn by_name(depths: &[QueueDepth]) -> HashMap<String, Numbers> {
    depths
        .iter()
        .map(|q| {
            (
                q.queue.to_string(),
                (q.span_rows, q.event_rows, q.spans, q.events, q.bytes),
            )
        })
        .collect()
}

fn depths<'a>(rows: impl IntoIterator<Item = (&'a Key, &'a Held)>) -> HashMap<String, Numbers> {
    let mut depths: HashMap<String, Numbers> = HashMap::new();
    for (key, held) in rows {
        let depth = depths.entry(QUEUES[key.0].to_owned()).or_default();
        let (rows, items) = match key.1 {
            Kind::Spans => (&mut depth.0, &mut depth.2),
            Kind::SessionEvents => (&mut depth.1, &mut depth.3),
        };
        *rows += 1;
        *items += u64::from(held.items);
        depth.4 += held.body.len() as u64;
    }
    depths
}

#[test]
fn the_store_holds_what_a_map_holds() {
    // A case mostly waits for commits.
    const THREADS: u32 = 8;
    let cases = number("SPOOL_MODEL_CASES", 2_000_u32).div_ceil(THREADS);
    let run = || {
        let config = ProptestConfig {
            cases,
            max_shrink_iters: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        proptest!(config, |(steps in prop::collection::vec(step(), 1..25))| {
            let mut model = Model::new();
            for step in steps {
                model.apply(step);
            }
            model.restart(|_| {});
            model.spool.close();
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(run);
        }
    });
}
