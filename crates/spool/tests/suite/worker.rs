//! A child process that uses a store, and writes each step to its diary before it takes it.
#![expect(clippy::disallowed_methods, reason = "a variable marks the child process")]

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tracer_registry_spool::{Event, Kind, Limit, Point, Rest, Row, RowId, SqliteStore, Store as _, Taken};

use crate::support::{MIB, Spool, now_ms, wait};

/// The folder of the store, in the folder where the child runs.
pub(crate) const FOLDER: &str = "spool";
/// The bound of the store. Its log may take a sixteenth.
pub(crate) const MAX_BYTES: u64 = 16 * MIB;
pub(crate) const QUEUES: [&str; 6] = ["acme", "acme/search", "globex", "initech/a", "initech/b", "umbrella"];
/// The queue and tenant that is purged again and again.
pub(crate) const PURGED: usize = 5;
pub(crate) const KINDS: [Kind; 2] = [Kind::Spans, Kind::SessionEvents];
pub(crate) const SHORT: u8 = 1;

const VARIABLE: &str = "SPOOL_WORKER";
const THREADS: u64 = 4;
/// Appends of a thread that wait for their commit.
const IN_FLIGHT: u64 = 4;
/// Appends of a thread between two purges.
const BETWEEN_PURGES: u64 = 40;

/// What a child does.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) seed: u64,
    /// Appends of each thread, between two openings.
    pub(crate) appends: u64,
    pub(crate) openings: u64,
    /// The child kills itself when it comes to a point for the so many-th time.
    pub(crate) kill_at: Option<(Point, u64)>,
}

impl Job {
    /// A command that runs a test of this binary as a child with this job. `starter` is a command
    /// that runs the one in its trailing arguments; empty to start directly.
    pub(crate) fn command(self, starter: &[&str], test: &str, parent: &Path) -> Command {
        let binary = env::current_exe().expect("the path of this binary");
        let mut command = match starter.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        let (point, count) = self.kill_at.unwrap_or((Point::AfterCommit, 0));
        let job = format!("{} {} {} {count} {point:?}", self.seed, self.appends, self.openings);
        command
            .args(["--exact", test, "--include-ignored", "--nocapture"])
            .current_dir(parent)
            .env(VARIABLE, job)
            .stdout(Stdio::null());
        command
    }

    /// Does the job of this process. Returns false if this is no child.
    pub(crate) fn is_done() -> bool {
        let Ok(job) = env::var(VARIABLE) else { return false };
        let mut words = job.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
        let (seed, appends, openings, count): (u64, u64, u64, u64) = (number(), number(), number(), number());
        let point = words.next().expect("a point").to_owned();
        KILL_AT.get_or_init(|| (point, AtomicU64::new(count)));
        for opening in 0..openings {
            work(seed + opening * THREADS, appends);
        }
        true
    }
}

static KILL_AT: OnceLock<(String, AtomicU64)> = OnceLock::new();

fn at(point: Point) {
    let Some((name, left)) = KILL_AT.get() else { return };
    if *name == format!("{point:?}") && left.load(Ordering::Relaxed) > 0 && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::KILL).expect("a process may kill itself");
    }
}

/// Opens the store, uses it in several threads, and closes it.
fn work(seed: u64, appends: u64) {
    let spool = Spool::at(FOLDER.into(), MAX_BYTES, |options| options.at = at);
    let events = spool.take_events();
    let Some(Event::Opened(recovery)) = events.first() else {
        panic!("{events:?}")
    };
    if !recovery.erased.is_empty() {
        spool.allow(QUEUES[PURGED]).expect("works");
    }
    let orders = AtomicU64::new(recovery.next_order);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (answer, answers) = mpsc::channel();
            let worker = Worker {
                store: spool.store(),
                orders: &orders,
                random: StdRng::seed_from_u64(seed + thread),
                answer,
                answers,
                purges: (thread == 0).then_some(recovery.generation),
            };
            scope.spawn(move || worker.work(appends));
        }
    });
    spool.store().close(Instant::now() + Duration::from_secs(60));
}

struct Worker<'a> {
    store: &'a SqliteStore,
    orders: &'a AtomicU64,
    random: StdRng,
    answer: Sender<Vec<(u64, RowId)>>,
    answers: Receiver<Vec<(u64, RowId)>>,
    /// The generation, in the thread that purges.
    purges: Option<u64>,
}

impl Worker<'_> {
    fn work(mut self, appends: u64) {
        let (mut begun, mut ended) = (0, 0);
        while ended < appends {
            while begun < appends && begun - ended < IN_FLIGHT {
                let rows = self.random.random_range(1..=3);
                let places = (0..rows).map(|_| (self.random.random_range(0..PURGED), self.random.random_range(0..2)));
                let places: Vec<_> = places.collect();
                self.append(&places, 0);
                begun += 1;
            }
            let rows = self.answers.recv().expect("the sender is here");
            ended += 1;
            self.settle(rows);
            self.take();
            if self.purges.is_some() && ended % BETWEEN_PURGES == 1 {
                // No append of this thread is in flight.
                while ended < begun {
                    let rows = self.answers.recv().expect("the sender is here");
                    ended += 1;
                    self.settle(rows);
                }
                self.purge();
            }
        }
    }

    /// Appends rows to queues and kinds, in one call.
    fn append(&mut self, places: &[(usize, usize)], generation: u64) {
        let first = self.orders.fetch_add(places.len() as u64, Ordering::Relaxed);
        let row = |(order, &(queue, kind)): (u64, &(usize, usize))| Row {
            queue: QUEUES[queue].into(),
            owner: QUEUES[queue].split('/').next().unwrap_or_default().into(),
            kind: KINDS[kind],
            order,
            items: 1,
            generation,
            created: now_ms(),
            format: 0,
            body: body(order, queue),
        };
        let rows: Vec<_> = (first..).zip(places).map(row).collect();
        let places: Vec<_> = places.iter().map(|(queue, kind)| format!(" {queue} {kind}")).collect();
        write(&format!("append {first}{}", places.concat()));
        let answer = self.answer.clone();
        let done = move |result: Result<Vec<RowId>, _>| {
            match &result {
                Ok(_) => write(&format!("durable {first}")),
                Err(error) => write(&format!("append {first} failed: {error}")),
            }
            let _ = answer.send((first..).zip(result.unwrap_or_default()).collect());
        };
        self.store.append(rows, Box::new(done));
    }

    /// Delivers, releases or delivers a part of each row.
    fn settle(&mut self, rows: Vec<(u64, RowId)>) {
        for (order, id) in rows {
            match self.random.random_range(0..10) {
                0..5 => {
                    write(&format!("complete {order}"));
                    self.store.complete(vec![id]);
                }
                5 => {
                    write(&format!("shorten {order}"));
                    let rest = Rest {
                        items: 1,
                        format: SHORT,
                        body: rest(order),
                    };
                    self.store.release(vec![(id, Some(rest))]);
                }
                _ => self.store.release(vec![(id, None)]),
            }
        }
    }

    fn take(&mut self) {
        let queue = QUEUES[self.random.random_range(0..PURGED)].into();
        let kind = KINDS[self.random.random_range(0..2)];
        let limit = Limit {
            rows: 8,
            bytes: 256 << 10,
            before: u64::MAX,
        };
        let rows: Vec<Taken> = wait(|done| self.store.take(&queue, kind, limit, done)).expect("works");
        assert!(rows.is_sorted_by(|a, b| a.order < b.order), "{rows:?}");
        self.settle(rows.iter().map(|row| (row.order, row.id)).collect());
    }

    /// Appends to one more queue, purges its tenant, and allows it again.
    fn purge(&mut self) {
        let Some(generation) = self.purges else { return };
        for _ in 0..4 {
            self.append(&[(PURGED, 0), (PURGED, 1)], generation);
            for (_, id) in self.answers.recv().expect("the sender is here") {
                self.store.release(vec![(id, None)]);
            }
        }
        write("purge");
        let purged = wait(|done| self.store.purge(QUEUES[PURGED], done)).expect("works");
        write("purged");
        let was_purged = wait(|done| self.store.allow(QUEUES[PURGED], done)).expect("works");
        assert!(was_purged, "it was purged");
        self.purges = Some(purged.generation);
    }
}

/// Writes a line of the diary. It is with the parent before this returns.
fn write(line: &str) {
    // Without a parent, nothing needs the work.
    if io::stderr().write_all(format!("{line}\n").as_bytes()).is_err() {
        process::exit(1);
    }
}

/// The body of a row: it names its order and queue all over, and has from 8 to 20,000 bytes.
pub(crate) fn body(order: u64, queue: usize) -> Bytes {
    let length = match order % 8 {
        0 => order * 7919 % 20_000,
        _ => order * 7919 % 3_000,
    };
    let name = format!("{order}@{queue}|");
    name.bytes()
        .cycle()
        .take(usize::try_from(length).expect("small") + name.len())
        .collect()
}

/// What is left of a row after a part of it was delivered.
pub(crate) fn rest(order: u64) -> Bytes {
    format!("rest of {order}").into()
}
