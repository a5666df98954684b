//! What a child process wrote about its store, and what must therefore be in it.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use tracer_registry_spool::{Event, QueueDepth, Recovery, Store as _};

use crate::support::{ALL, Spool, until};
use crate::worker::{KINDS, MAX_BYTES, PURGED, QUEUES, SHORT, body, rest};

/// A row as the diary knows it, by its order number.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is known by itself")]
struct Entry {
    queue: usize,
    kind: usize,
    /// The first order number of its append.
    append: u64,
    is_durable: bool,
    /// Its completion was asked for: it may be there, or not.
    is_completed: bool,
    /// It may be shorter.
    is_short: bool,
    /// It was there when the running purge began.
    is_purged: bool,
}

/// The rows of a store, from what its processes wrote.
#[derive(Clone, Default)]
pub(crate) struct Diary {
    rows: BTreeMap<u64, Entry>,
    /// Rows that were appended and acknowledged.
    pub(crate) durable: u64,
    pub(crate) completed: u64,
    pub(crate) purges: u64,
    /// Rows that were completed, and came back after a crash.
    pub(crate) came_back: u64,
    /// Rows that were not acknowledged, and are there after a crash.
    pub(crate) unanswered: u64,
}

impl Diary {
    /// Reads a line.
    pub(crate) fn read(&mut self, line: &str) {
        let mut words = line.split(' ');
        let what = words.next();
        let numbers: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
        match (what, numbers.as_deref()) {
            (Some("append"), Some([first, places @ ..])) if !places.is_empty() => {
                for (order, place) in (*first..).zip(places.chunks_exact(2)) {
                    let entry = Entry {
                        queue: index(place[0]),
                        kind: index(place[1]),
                        append: *first,
                        is_durable: false,
                        is_completed: false,
                        is_short: false,
                        is_purged: false,
                    };
                    let known = self.rows.insert(order, entry);
                    assert!(known.is_none(), "order {order} is handed out twice");
                }
            }
            (Some("durable"), Some([first])) => {
                for (_, row) in self.rows.range_mut(first..).take_while(|(_, row)| row.append == *first) {
                    row.is_durable = true;
                    self.durable += 1;
                }
            }
            (Some("complete"), Some([order])) => {
                self.row(*order).is_completed = true;
                self.completed += 1;
            }
            (Some("shorten"), Some([order])) => self.row(*order).is_short = true,
            (Some("purge"), Some([])) => {
                for row in self.rows.values_mut().filter(|row| row.queue == PURGED) {
                    row.is_purged = true;
                }
            }
            (Some("purged"), Some([])) => {
                self.rows.retain(|_, row| !row.is_purged);
                self.purges += 1;
            }
            _ => panic!("the child fails: {line}"),
        }
    }

    fn row(&mut self, order: u64) -> &mut Entry {
        self.rows
            .get_mut(&order)
            .unwrap_or_else(|| panic!("row {order} is not known"))
    }

    /// Opens the store after a crash and compares. What was found is what is known from now on.
    pub(crate) fn check(&mut self, folder: &Path, context: &str) {
        let mut spool = Spool::at(folder.to_owned(), MAX_BYTES, |_| {});
        let events = spool.take_events();
        let [Event::Opened(recovery)] = &events[..] else {
            panic!("{context}: {events:?}")
        };
        let mut found = BTreeMap::new();
        let mut queues = Vec::new();
        for (queue, name) in QUEUES.iter().enumerate() {
            let mut depth = QueueDepth {
                queue: (*name).into(),
                spans: 0,
                events: 0,
                span_rows: 0,
                event_rows: 0,
                bytes: 0,
            };
            for (kind, of) in KINDS.iter().enumerate() {
                let rows = spool.take(name, *of, ALL).expect("works");
                assert!(
                    rows.is_sorted_by(|a, b| a.order < b.order),
                    "{context}: the order of {name}"
                );
                for row in rows {
                    depth.bytes += row.body.len() as u64;
                    let (count, items) = match kind {
                        0 => (&mut depth.span_rows, &mut depth.spans),
                        _ => (&mut depth.event_rows, &mut depth.events),
                    };
                    *count += 1;
                    *items += u64::from(row.items);
                    let known = self.rows.get(&row.order);
                    let known =
                        known.unwrap_or_else(|| panic!("{context}: row {} of {name} must not exist", row.order));
                    assert_eq!(
                        (known.queue, known.kind),
                        (queue, kind),
                        "{context}: row {} of {name}",
                        row.order
                    );
                    let is_rest = row.format == SHORT;
                    assert!(
                        known.is_short || !is_rest,
                        "{context}: row {} of {name} is short",
                        row.order
                    );
                    let expected = if is_rest {
                        rest(row.order)
                    } else {
                        body(row.order, queue)
                    };
                    assert!(
                        row.body == expected,
                        "{context}: the body of row {} of {name}",
                        row.order
                    );
                    assert!(
                        found.insert(row.order, *known).is_none(),
                        "{context}: row {} is there twice",
                        row.order
                    );
                }
            }
            queues.extend((depth.span_rows + depth.event_rows > 0).then_some(depth));
        }
        self.compare(&found, context);
        assert_recovery(recovery, queues, context);
        // A purge that the crash interrupted ends by itself.
        until(|| spool.store().depth().rows == found.len() as u64);
        spool.close();
        assert_intact(folder, context);

        self.came_back += found.values().filter(|row| row.is_completed).count() as u64;
        self.unanswered += found.values().filter(|row| !row.is_durable).count() as u64;
        for row in found.values_mut() {
            (row.is_durable, row.is_completed, row.is_purged) = (true, false, false);
        }
        self.rows = found;
    }

    /// Compares the rows that were found with those that are known.
    fn compare(&self, found: &BTreeMap<u64, Entry>, context: &str) {
        let purged = self.rows.iter().filter(|(_, row)| row.is_purged);
        let purged: Vec<_> = purged.map(|(order, _)| found.contains_key(order)).collect();
        assert!(
            purged.windows(2).all(|two| two[0] == two[1]),
            "{context}: a part is purged"
        );
        for (order, row) in &self.rows {
            let is_found = found.contains_key(order);
            if row.is_durable {
                let may_be_gone = row.is_completed || row.is_purged;
                assert!(
                    is_found || may_be_gone,
                    "{context}: row {order} of {} is lost",
                    QUEUES[row.queue]
                );
            } else {
                let first = found.contains_key(&row.append);
                assert_eq!(is_found, first, "{context}: a part of append {} is there", row.append);
            }
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

/// The store reports what is in it.
fn assert_recovery(recovery: &Recovery, mut found: Vec<QueueDepth>, context: &str) {
    let mut reported = recovery.queues.clone();
    reported.sort_by(|a, b| a.queue.cmp(&b.queue));
    found.sort_by(|a, b| a.queue.cmp(&b.queue));
    assert_eq!(reported, found, "{context}");
}

/// SQLite finds no fault in the file of a store that is closed.
fn assert_intact(folder: &Path, context: &str) {
    let db = Connection::open(folder.join("spool.db")).expect("a database");
    let verdict: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("a verdict");
    assert_eq!(verdict, "ok", "{context}");
}
