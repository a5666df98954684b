//! Purges: what was erased is in no file, and does not come back.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracer_registry_spool::{AppendError, Event, Kind, Point, Row, RowId, Store as _};

use crate::support::{ALL, MIB, Spool, channel, copy_folder, ids, number, orders, row, until};

#[test]
fn a_purge_deletes_all_queues_of_a_tenant_and_counts_them() {
    let mut spool = Spool::new();
    spool.append(vec![row("acme2", 4, "4444")]).expect("appended");
    let rows = spool
        .append(vec![
            row("acme", 1, "1"),
            row("acme", 2, "22"),
            row("acme/search", 3, "333"),
        ])
        .expect("ok");
    spool.store().release(vec![(rows[0], None), (rows[2], None)]);
    let purged = spool.purge("acme").expect("works");
    assert_eq!(purged.generation, 1);
    let mut queues: Vec<_> = purged
        .queues
        .iter()
        .map(|q| (&*q.queue, q.span_rows, q.spans, q.bytes))
        .collect();
    queues.sort_unstable();
    assert_eq!(queues, [("acme", 2, 2, 3), ("acme/search", 1, 1, 3)]);
    let depth = spool.store().depth();
    assert_eq!((depth.rows, depth.generation), (1, 1));

    // What was taken has no row any more. Its number, the highest, is not another row's.
    let other = spool.append(vec![row("acme2", 5, "55555")]).expect("appended");
    spool.store().complete(rows);
    spool.store().release(vec![(other[0], None)]);
    assert_eq!(orders(&spool.take("acme2", Kind::Spans, ALL).expect("works")), [5]);
    spool.restart();
    let events = spool.take_events();
    let [Event::Opened(recovery)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&recovery.erased[..], recovery.generation),
        (&["acme".to_owned()][..], 1)
    );
    assert_eq!(spool.store().depth().rows, 2);
}

#[test]
fn an_erased_tenant_is_refused_until_it_is_allowed_also_after_a_restart() {
    let mut spool = Spool::new();
    spool.purge("acme").expect("works");
    let refused = |spool: &Spool, row: Row| matches!(spool.append(vec![row]), Err(AppendError::Erased(_)));
    assert!(refused(&spool, row("acme", 1, "old")));
    assert!(refused(
        &spool,
        Row {
            generation: 1,
            ..row("acme/search", 1, "new")
        }
    ));
    spool.restart();
    assert!(refused(&spool, row("acme", 1, "old")));
    assert!(spool.allow("acme").expect("works"));
    assert!(!spool.allow("acme").expect("works"), "it is allowed already");
    assert!(!spool.allow("globex").expect("works"), "it was never purged");
    assert!(refused(&spool, row("acme", 1, "accepted before the purge")));
    spool
        .append(vec![Row {
            generation: 1,
            ..row("acme", 1, "new")
        }])
        .expect("appended");
    spool.restart();
    let events = spool.take_events();
    let [Event::Opened(recovery)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(recovery.erased.is_empty());
    assert!(refused(&spool, row("acme", 2, "accepted before the purge")));
    let rows = spool.take("acme", Kind::Spans, ALL).expect("works");
    spool.store().complete(ids(&rows));
    until(|| spool.store().depth().rows == 0);
}

/// The tenants of markers in a file. A marker is `T`, seven digits and `~`.
fn markers(data: &[u8], found: &mut BTreeSet<u32>) {
    let mut rest = data;
    let mut at = 0;
    while let Ok(length) = rest.skip_until(b'~') {
        if length == 0 {
            return;
        }
        at += length;
        let marker = data[..at]
            .last_chunk::<9>()
            .filter(|marker| marker[0] == b'T' && marker[8] == b'~');
        let digits = marker.and_then(|marker| std::str::from_utf8(&marker[1..8]).ok());
        found.extend(digits.and_then(|digits| digits.parse::<u32>().ok()));
    }
}

/// The tenants with a byte of a body in any file of a folder.
fn tenants_in(folder: &Path) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        markers(&fs::read(entry.expect("a file").path()).expect("a file"), &mut found);
    }
    found
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below an usize")
    }
}

fn body(tenant: usize, bytes: usize) -> Vec<u8> {
    let part = format!("{:.<31}T{tenant:07}~", "");
    part.into_bytes().into_iter().cycle().take(bytes).collect()
}

/// Fills a store with rows of many tenants, of which many are delivered, in a random order.
fn fill(spool: &Spool, tenants: usize, rows: usize) -> HashMap<String, BTreeSet<u64>> {
    let mut random = Random(0x5eed_5eed_5eed);
    let mut live: Vec<(RowId, String, u64)> = Vec::new();
    let mut order = 0;
    while order < rows as u64 {
        let new: Vec<_> = (0..64)
            .map(|_| {
                let tenant = random.below(tenants);
                let bytes = [60, 60, 200, 300, 700, 1_200, 2_000, 5_000, 9_000][random.below(9)];
                order += 1;
                row(&format!("t{tenant}"), order, body(tenant, bytes))
            })
            .collect();
        let names: Vec<_> = new.iter().map(|row| (row.queue.to_string(), row.order)).collect();
        let new = spool.append(new).expect("appended");
        live.extend(new.into_iter().zip(names).map(|(id, (name, order))| (id, name, order)));
        let delivered = (0..40).map(|_| live.swap_remove(random.below(live.len())).0).collect();
        spool.store().complete(delivered);
    }
    until(|| spool.store().depth().rows == live.len() as u64);
    let mut left: HashMap<String, BTreeSet<u64>> = HashMap::new();
    for (_, name, order) in live {
        left.entry(name).or_default().insert(order);
    }
    left
}

#[test]
fn what_was_erased_or_delivered_is_in_no_byte_of_a_file_and_all_else_is_intact() {
    let rows = number("SPOOL_ERASE_ROWS", 4_000);
    let tenants = rows / 20;
    let mut spool = Spool::with(1 << 30, |_| {});
    let mut left = fill(&spool, tenants, rows);
    // More than a purge gives back to the system: what stays in the file is zeroed.
    for order in 0..300 {
        spool
            .append(vec![row("large", order, body(9_999_999, 80_000))])
            .expect("appended");
    }
    spool.purge("large").expect("works");
    assert!(!tenants_in(&spool.options.folder).contains(&9_999_999));
    for part in 0..5 {
        for tenant in (part..tenants).step_by(10) {
            let name = format!("t{tenant}");
            spool.purge(&name).expect("works");
            left.remove(&name);
        }
        let found = tenants_in(&spool.options.folder);
        let expected = left.keys().map(|name| name[1..].parse().expect("a number")).collect();
        assert_eq!(found, expected, "after part {part}");
    }
    spool.restart();
    for (name, orders_left) in &left {
        let rows = spool.take(name, Kind::Spans, ALL).expect("works");
        assert_eq!(orders(&rows), orders_left.iter().copied().collect::<Vec<_>>());
        for row in rows {
            assert_eq!(row.body, body(name[1..].parse().expect("a number"), row.body.len()));
        }
    }
}

#[test]
fn a_purge_goes_on_after_a_crash_in_each_step() {
    type Copies = (PathBuf, Vec<(Point, PathBuf)>);
    static CRASHES: Mutex<Option<Copies>> = Mutex::new(None);
    fn crash(point: Point) {
        if let Some((folder, copies)) = &mut *CRASHES.lock().expect("no panic") {
            let copy = folder.with_file_name(format!("crash-{}", copies.len()));
            copy_folder(folder, &copy);
            copies.push((point, copy));
        }
    }
    let mut spool = Spool::with(32 * MIB, |options| options.at = crash);
    for order in 1..=60 {
        let rows = [0, 1].map(|tenant| row(&format!("t{tenant}"), order, body(tenant, 30_000)));
        spool.append(rows.to_vec()).expect("appended");
    }
    *CRASHES.lock().expect("no panic") = Some((spool.options.folder.clone(), Vec::new()));
    let purged = spool.purge("t1").expect("works");
    assert_eq!(purged.queues[0].span_rows, 60, "taken rows too");
    let (_, copies) = CRASHES.lock().expect("no panic").take().expect("set above");
    spool.close();
    let points: Vec<_> = copies.iter().map(|(point, _)| *point).collect();
    assert_eq!(points.first(), Some(&Point::PurgeBegun));
    assert!(
        points.iter().filter(|&&point| point == Point::PurgeDeleted).count() > 1,
        "{points:?}"
    );
    assert_eq!(points[points.len() - 2..], [Point::PurgeEmptied, Point::PurgeDone]);

    for (point, folder) in copies {
        assert!(tenants_in(&folder).contains(&0));
        let mut found = Spool::at(folder.clone(), 32 * MIB, |_| {});
        let events = found.take_events();
        let [Event::Opened(recovery)] = &events[..] else {
            panic!("{events:?}")
        };
        let queues: Vec<_> = recovery
            .queues
            .iter()
            .map(|depth| (&*depth.queue, depth.span_rows))
            .collect();
        assert_eq!(queues, [("t0", 60)], "after {point:?}");
        assert_eq!(recovery.erased, ["t1"]);
        assert!(found.take("t1", Kind::Spans, ALL).expect("works").is_empty());
        assert!(found.append(vec![row("t1", 99, "late")]).is_err());
        // A purge of nothing ends after those that go on.
        found.purge("none").expect("works");
        assert_eq!(tenants_in(&folder), [0].into(), "after {point:?}");
        assert_eq!(
            orders(&found.take("t0", Kind::Spans, ALL).expect("works")),
            (1..=60).collect::<Vec<_>>()
        );
        found.close();
    }
}

#[test]
fn a_purge_lets_others_append_meanwhile() {
    let spool = Spool::with(64 * MIB, |_| {});
    for order in 1..=100 {
        spool
            .append(vec![row("acme", order, vec![7; 100_000])])
            .expect("appended");
    }
    let (done, purged) = channel();
    spool.store().purge("acme", done);
    let mut order = 0;
    let purged = loop {
        order += 1;
        spool.append(vec![row("globex", order, "fresh")]).expect("appended");
        if let Ok(purged) = purged.try_recv() {
            break purged.expect("works");
        }
    };
    assert!(order > 2, "{order} appends between the steps");
    assert!(purged.file_bytes_after < purged.file_bytes_before, "{purged:?}");
    assert_eq!(spool.store().depth().rows, order);
}
