//! Checks, repairs and purges of files that no process uses.

use std::fs;
use std::os::unix::fs::FileExt as _;

use tracer_registry_spool::check::{CheckError, allow, check, purge, repair};
use tracer_registry_spool::{AppendError, Event, Kind, Store as _};

use crate::support::{ALL, Spool, covers, orders, row};

fn closed() -> Spool {
    let mut spool = Spool::new();
    for order in 1..=50 {
        let body = |queue: &str| format!("{queue} {order};").repeat(1_000);
        spool
            .append(vec![
                row("acme", order, body("acme")),
                row("globex", order, body("globex")),
            ])
            .expect("appended");
    }
    spool.purge("initech").expect("works");
    spool.close();
    spool
}

#[test]
fn an_intact_file_is_checked_and_not_changed() {
    let spool = closed();
    let file = spool.file("spool.db");
    let before = fs::read(&file).expect("a file");
    let checked = check(&file).expect("a spool");
    let mut queues: Vec<_> = checked
        .queues
        .iter()
        .map(|queue| (&*queue.queue, queue.span_rows))
        .collect();
    queues.sort_unstable();
    assert_eq!(queues, [("acme", 50), ("globex", 50)]);
    assert_eq!(
        (checked.version, checked.damaged_rows, &checked.damage[..]),
        (2, 0, &[][..])
    );
    assert_eq!(checked.erased, ["initech"]);
    assert!(checked.oldest.is_some());
    assert_eq!(checked.bytes, before.len() as u64);
    assert_eq!(fs::read(&file).expect("a file"), before);
    assert!(
        !spool.file("spool.db-wal").exists() && !spool.file("spool.db-shm").exists(),
        "nothing is left behind"
    );
}

#[test]
fn a_file_in_use_or_of_another_kind_is_refused() {
    let mut spool = closed();
    spool.open().expect("closed before");
    assert!(matches!(check(&spool.file("spool.db")), Err(CheckError::Open(_))));
    assert!(matches!(
        purge(&spool.options.folder, "acme", covers),
        Err(CheckError::Open(_))
    ));
    spool.close();
    let other = spool.file("other");
    fs::write(&other, "no database, but long enough to be one. ".repeat(100)).expect("written");
    let error = check(&other).expect_err("a text");
    assert!(matches!(error, CheckError::NoSpool { .. }), "{error}");
    assert!(
        error.to_string().ends_with("other is no spool: file is not a database"),
        "{error}"
    );
    assert!(matches!(check(&spool.file("missing")), Err(CheckError::Io { .. })));
    let none = spool.options.folder.with_file_name("none");
    assert!(purge(&none, "acme", covers).is_err());
    assert!(!none.exists(), "a check creates nothing");
}

#[test]
fn a_damaged_file_is_repaired_as_far_as_it_can_be_read() {
    let mut spool = closed();
    let file = spool.file("spool.db");
    let length = fs::metadata(&file).expect("a file").len();
    let noise: Vec<u8> = (0..4096_u32)
        .map(|i| u8::try_from(i * 7 % 251).expect("a byte"))
        .collect();
    let open = fs::OpenOptions::new().write(true).open(&file).expect("a file");
    open.write_all_at(&noise, length / 2 / 4096 * 4096).expect("written");
    open.write_all_at(&noise, length / 3 / 4096 * 4096).expect("written");
    let checked = check(&file).expect("a spool");
    assert!(!checked.damage.is_empty());
    let to = spool.file("repaired.db");
    let repaired = repair(&file, &to, covers).expect("repaired");
    let saved: u64 = repaired.queues.iter().map(|queue| queue.span_rows).sum();
    assert!(saved > 60, "two pages of noise: {repaired:?}, {checked:?}");
    assert!(
        matches!(repair(&file, &to, covers), Err(CheckError::Io { .. })),
        "an existing file is not replaced"
    );
    assert!(check(&to).expect("a spool").damage.is_empty());

    fs::rename(&to, &file).expect("renamed");
    spool.take_events();
    spool.open().expect("repaired");
    let events = spool.take_events();
    let [Event::Opened(recovery)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(recovery.erased, ["initech"], "a repair keeps purges");
    assert_eq!(spool.store().depth().rows, saved);
    let mut rows = 0;
    for queue in ["acme", "globex"] {
        let taken = spool.take(queue, Kind::Spans, ALL).expect("works");
        assert!(orders(&taken).is_sorted());
        rows += taken.len() as u64;
        let foreign = if queue == "acme" { "globex" } else { "acme" };
        assert!(
            taken
                .iter()
                .all(|row| !String::from_utf8_lossy(&row.body).contains(foreign))
        );
    }
    assert_eq!(rows, saved);
}

#[test]
fn a_purge_of_a_closed_folder_is_the_same_as_one_of_a_store() {
    let mut spool = closed();
    let purged = purge(&spool.options.folder, "acme", covers).expect("purged");
    assert_eq!((purged.queues.len(), purged.queues[0].span_rows), (1, 50));
    assert!(
        !fs::read(spool.file("spool.db"))
            .expect("a file")
            .windows(5)
            .any(|part| part == b"acme ")
    );
    spool.open().expect("closed before");
    assert!(matches!(
        spool.append(vec![row("acme", 99, "late")]),
        Err(AppendError::Erased(_))
    ));
    assert_eq!(
        orders(&spool.take("globex", Kind::Spans, ALL).expect("works")).len(),
        50
    );
    spool.close();
    assert!(allow(&spool.options.folder, "acme", covers).expect("allowed"));
    assert!(!allow(&spool.options.folder, "acme", covers).expect("allowed before"));
    spool.open().expect("closed before");
    let new = tracer_registry_spool::Row {
        generation: spool.store().depth().generation,
        ..row("acme", 100, "new")
    };
    spool.append(vec![new]).expect("allowed");
}

#[test]
fn a_repair_copies_nothing_that_was_purged_after_the_file_was_set_aside() {
    let mut spool = closed();
    // Damage of the header alone: all rows can be read after it is undone.
    let file = spool.file("spool.db");
    let header = fs::read(&file).expect("a file")[..100].to_vec();
    let write = |path: &std::path::Path, bytes: &[u8]| {
        let open = fs::OpenOptions::new().write(true).open(path).expect("a file");
        open.write_all_at(bytes, 0).expect("written");
    };
    write(&file, &[7; 100]);
    spool.take_events();
    spool.open().expect("set aside");
    let events = spool.take_events();
    let Some(Event::SetAside { file: aside, .. }) = events.first() else {
        panic!("{events:?}")
    };
    write(aside, &header);
    spool.purge("acme").expect("works");
    let to = spool.file("repaired.db");
    let in_use = repair(aside, &to, covers).expect_err("a later purge would be missed");
    assert!(matches!(in_use, CheckError::Open(_)), "{in_use}");
    assert!(!to.exists());
    spool.close();
    let repaired = repair(aside, &to, covers).expect("repaired");
    assert_eq!((repaired.lost_rows, repaired.erased_rows), (0, 50));
    let left: Vec<_> = repaired.queues.iter().map(|queue| &*queue.queue).collect();
    assert_eq!(left, ["globex"]);
    assert_eq!(check(&to).expect("a spool").erased.len(), 2, "it keeps both purges");

    // What was allowed again is not what was erased before.
    assert!(allow(&spool.options.folder, "acme", covers).expect("allowed"));
    fs::remove_file(&to).expect("removed");
    assert_eq!(repair(aside, &to, covers).expect("repaired").erased_rows, 50);
    fs::remove_file(&to).expect("removed");
    fs::remove_file(&file).expect("removed");
    assert_eq!(
        repair(aside, &to, covers).expect("repaired").erased_rows,
        0,
        "the file alone does not know"
    );
}

/// Moves a row to another queue, in the table alone: its index still names the old one.
fn move_row(file: &std::path::Path) {
    let edit = |sql: &str| {
        let db = rusqlite::Connection::open(file).expect("a database");
        db.execute_batch(&format!("PRAGMA writable_schema = ON; {sql}"))
            .expect("changed");
    };
    edit("CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'rows_in_order'");
    edit("DELETE FROM sqlite_schema WHERE name = 'rows_in_order'");
    edit(
        "UPDATE rows SET queue = (SELECT id FROM queues WHERE selector = 'globex'), ord = 99
         WHERE ord = 7 AND queue = (SELECT id FROM queues WHERE selector = 'acme')",
    );
    edit("INSERT INTO sqlite_schema SELECT * FROM kept");
}

#[test]
fn a_row_whose_index_names_another_tenant_reaches_neither() {
    let mut spool = closed();
    let file = spool.file("spool.db");
    move_row(&file);
    let checked = check(&file).expect("a spool");
    assert_eq!(checked.damaged_rows, 1, "{checked:?}");
    let to = spool.file("repaired.db");
    assert_eq!(repair(&file, &to, covers).expect("repaired").lost_rows, 1);
    spool.open().expect("closed before");
    assert!(spool.take("acme", Kind::Spans, ALL).is_err(), "the damage is found");
    spool.wait_for(|event| matches!(event, Event::SetAside { .. }));
}
