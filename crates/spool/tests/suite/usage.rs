//! What owners have used of their quotas: kept over a restart, and erased with their data.

use std::fs;
use std::time::Instant;

use tracer_registry_spool::check::{check, repair};
use tracer_registry_spool::{Event, Store as _, Usage};

use crate::support::{Spool, covers, row, until};

fn usage(owner: &str, day: i64, count: u64) -> Usage {
    Usage {
        owner: owner.into(),
        day,
        month: day / 30,
        counts: [count, 100 * count, 2 * count, u64::MAX / 4],
    }
}

/// Opens the file again, and returns what it holds.
fn found(spool: &mut Spool) -> Vec<Usage> {
    spool.take_events();
    spool.restart();
    match &spool.take_events()[..] {
        [Event::Opened(recovery)] => recovery.usage.clone(),
        events => panic!("{events:?}"),
    }
}

#[test]
fn the_last_usage_of_each_owner_is_found_at_the_next_start() {
    let mut spool = Spool::new();
    assert_eq!(found(&mut spool), []);
    spool
        .store()
        .save_usage(vec![usage("acme", 20_000, 1), usage("globex", 20_000, 5)]);
    spool.store().save_usage(vec![usage("acme", 20_001, 2)]);
    // Committed by itself, without an append.
    let copy = tempfile::tempdir().expect("a temporary folder");
    until(|| {
        for name in ["spool.db", "spool.db-wal"] {
            fs::copy(spool.file(name), copy.path().join(name.replace("spool.db", "copy"))).expect("copied");
        }
        check(&copy.path().join("copy")).is_ok_and(|checked| checked.usage.len() == 2)
    });
    // And at the end, what came last.
    spool.store().save_usage(vec![usage("globex", 20_001, 6)]);
    let expected = [usage("acme", 20_001, 2), usage("globex", 20_001, 6)];
    assert_eq!(found(&mut spool), expected);
    assert_eq!(found(&mut spool), expected);
    spool.close();
    let checked = check(&spool.file("spool.db")).expect("a spool");
    assert_eq!((&checked.usage[..], checked.version), (&expected[..], 2));
    repair(&spool.file("spool.db"), &spool.file("repaired"), covers).expect("readable");
    let checked = check(&spool.file("repaired")).expect("a spool");
    assert_eq!(checked.usage, expected);
}

#[test]
fn a_purge_deletes_the_usage_of_its_owners_and_none_is_saved_until_they_are_allowed() {
    let mut spool = Spool::new();
    let owner = "acme/canary-of-usage";
    spool.append(vec![row("globex", 1, "data")]).expect("appended");
    spool
        .store()
        .save_usage(vec![usage(owner, 20_000, 1), usage("globex", 20_000, 2)]);
    spool.purge("acme").expect("works");
    // Saved by a process that does not know of the purge yet.
    spool.store().save_usage(vec![usage(owner, 20_000, 3)]);
    spool.append(vec![row("globex", 2, "data")]).expect("appended");
    assert_eq!(found(&mut spool), [usage("globex", 20_000, 2)]);
    spool.close();
    for file in fs::read_dir(&spool.options.folder).expect("a folder") {
        let content = fs::read(file.expect("a file").path()).expect("readable");
        let canary = b"canary-of-usage";
        assert!(!content.windows(canary.len()).any(|bytes| bytes == canary));
    }
    spool.open().expect("closed before");
    spool.allow("acme").expect("works");
    spool.store().save_usage(vec![usage(owner, 20_000, 4)]);
    assert_eq!(found(&mut spool), [usage(owner, 20_000, 4), usage("globex", 20_000, 2)]);
}

#[test]
fn the_rows_are_bounded() {
    let mut spool = Spool::new();
    let many = |from: u64| (from..from + 40_000).map(|owner| usage(&format!("owner{owner:06}"), 20_000, 1));
    spool.store().save_usage(many(0).collect());
    spool.append(vec![row("acme", 1, "data")]).expect("appended");
    let begin = Instant::now();
    until(|| begin.elapsed().as_millis() > 2);
    spool.store().save_usage(many(40_000).collect());
    let left = found(&mut spool);
    assert_eq!(left.len(), 65_536);
    // Those that were saved last.
    let last = left.iter().filter(|usage| *usage.owner >= *"owner040000").count();
    assert_eq!(last, 40_000);
}
