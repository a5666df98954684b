//! The bounds of bytes and age.

use std::time::Duration;

use tracer_registry_spool::{AppendError, Event, Health, Kind, Lost, Row, Store as _};

use crate::support::{ALL, MIB, Spool, channel, ids, now_ms, orders, row, until};

/// Appends rows of 100,000 bytes until one is refused. Returns the number of rows.
fn fill(spool: &Spool, queue: &str) -> (u64, AppendError) {
    for order in 1.. {
        if let Err(error) = spool.append(vec![row(queue, order, vec![7; 100_000])]) {
            return (order - 1, error);
        }
    }
    unreachable!("the bound is reached before")
}

fn files(spool: &Spool) -> u64 {
    let entries = std::fs::read_dir(&spool.options.folder).expect("a folder");
    entries
        .map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |file| file.len()))
        .sum()
}

#[test]
fn one_tenant_gets_half_of_the_disk_and_others_still_append() {
    let spool = Spool::with(32 * MIB, |_| {});
    let (rows, error) = fill(&spool, "acme");
    assert!(matches!(error, AppendError::OwnerFull(_)), "{error}");
    // 32 MiB without three times 2 MiB for the log and the spare file, halved.
    assert!((125..=132).contains(&rows), "{rows} rows of 100,000 bytes in 13 MiB");
    assert_eq!(spool.store().depth().health, Health::Working);
    let (others, error) = fill(&spool, "globex/search");
    assert!(matches!(error, AppendError::OwnerFull(_)), "{error}");
    assert!((60..=67).contains(&others), "half of the rest: {others}");
    assert!(
        spool.append(vec![row("acme/other", 1, vec![7; 100_000])]).is_err(),
        "all queues of an owner count"
    );
    spool
        .append(vec![row("initech", 1, vec![7; 100_000])])
        .expect("still room");
    assert!(files(&spool) <= 32 * MIB);
}

#[test]
fn a_tenant_bound_holds_and_others_in_the_same_transaction_are_not_touched() {
    let spool = Spool::with(64 * MIB, |options| options.owner_max_bytes = Some(2 * MIB));
    let (rows, error) = fill(&spool, "acme");
    assert!(matches!(error, AppendError::OwnerFull(_)), "{error}");
    assert!((18..=20).contains(&rows), "{rows}");
    let both = vec![row("globex", 1, "small"), row("acme", 99, vec![7; 100_000])];
    assert!(
        matches!(spool.append(both), Err(AppendError::OwnerFull(_))),
        "all rows of an append, or none"
    );
    assert_eq!(spool.store().depth().rows, rows);
    spool
        .append(vec![row("globex", 1, vec![7; 100_000])])
        .expect("others have room");
}

#[test]
fn a_full_store_says_so_until_an_eighth_is_free_and_never_exceeds_its_bound() {
    let mut spool = Spool::with(32 * MIB, |_| {});
    let mut kept = 0;
    for tenant in 0.. {
        let (rows, error) = fill(&spool, &format!("t{tenant}"));
        kept += rows;
        assert!(files(&spool) <= 32 * MIB, "{}", files(&spool));
        if matches!(error, AppendError::Full) {
            break;
        }
    }
    let depth = spool.store().depth();
    assert_eq!((depth.health, depth.rows), (Health::Full, kept));
    // Without the log and the spare file.
    assert_eq!(depth.max_bytes, 26 * MIB);
    assert!(
        depth.bytes > 25 * MIB && depth.bytes <= depth.max_bytes,
        "{}",
        depth.bytes
    );
    spool.wait_for(|event| matches!(event, Event::Full));
    let rows = spool.take("t0", Kind::Spans, ALL).expect("works");
    assert!(rows.is_empty(), "what was appended is taken");
    spool.restart();
    let rows = spool.take("t0", Kind::Spans, ALL).expect("works");
    let (error, _) = (
        fill(&spool, "late").1,
        spool.wait_for(|event| matches!(event, Event::Full)),
    );
    assert!(matches!(error, AppendError::Full), "{error}");
    spool.store().complete(ids(&rows));
    spool.wait_for(|event| matches!(event, Event::Working));
    spool
        .append(vec![row("late", 1000, vec![7; 100_000])])
        .expect("there is room again");
}

#[test]
fn one_append_that_is_larger_than_the_store_is_refused_without_a_fault() {
    let spool = Spool::with(32 * MIB, |_| {});
    let refused = spool.append(vec![row("acme", 1, vec![7; 30 << 20])]);
    assert!(matches!(refused, Err(AppendError::Full)), "{refused:?}");
    assert_eq!(spool.store().depth().health, Health::Working);
    let large = vec![row("acme", 1, vec![7; 6 << 20])];
    spool.append(large).expect("fits");
    assert!(files(&spool) <= 32 * MIB, "{}", files(&spool));
}

#[test]
fn many_small_rows_at_once_do_not_exceed_the_bound() {
    let spool = Spool::with(32 * MIB, |_| {});
    // All others wait for this answer, so that they could share one transaction.
    let (go, waits) = std::sync::mpsc::channel::<()>();
    spool.store().append(
        vec![row("a", 0, "body")],
        Box::new(move |_| assert!(waits.recv().is_err())),
    );
    let answers: Vec<_> = (1..=4_000)
        .map(|order| {
            let (done, answer) = channel();
            let queue = ["a", "b", "c", "d"][usize::try_from(order % 4).expect("small")];
            spool.store().append(vec![row(queue, order, "small")], done);
            answer
        })
        .collect();
    drop(go);
    for answer in answers {
        answer.recv().expect("answered").expect("there is room");
    }
    // After the checkpoint, which follows the answers.
    assert!(!spool.allow("none").expect("works"));
    assert!(files(&spool) <= 32 * MIB, "{}", files(&spool));
}

#[test]
fn an_idle_store_gives_free_pages_back() {
    let spool = Spool::with(64 * MIB, |_| {});
    let mut rows = Vec::new();
    for order in 1..=200 {
        rows.extend(
            spool
                .append(vec![row("acme", order, vec![7; 50_000])])
                .expect("appended"),
        );
    }
    let before = spool.file("spool.db").metadata().expect("a file").len();
    spool.store().complete(rows);
    until(|| spool.store().depth().rows == 0);
    assert!(spool.store().depth().bytes < MIB);
    // A checkpoint shortens the file.
    until(|| {
        let _ = spool.purge("none");
        spool.file("spool.db").metadata().expect("a file").len() < before.min(5 * MIB)
    });
}

fn old(queue: &str, order: u64) -> Row {
    Row {
        created: now_ms() - 3_600_000,
        ..row(queue, order, "old")
    }
}

fn expired(events: &[Event]) -> Vec<(String, u64, u64)> {
    let lost = events.iter().filter_map(|event| match event {
        Event::Lost {
            why: Lost::Expired,
            depth,
        } => Some((depth.queue.to_string(), depth.spans, depth.events)),
        _ => None,
    });
    lost.collect()
}

#[test]
fn rows_that_wait_expire_and_are_reported() {
    let mut spool = Spool::new();
    spool
        .append(vec![old("acme", 1), old("acme", 2), row("acme", 3, "new")])
        .expect("appended");
    let event = Row {
        kind: Kind::SessionEvents,
        items: 5,
        ..old("globex", 5)
    };
    spool.append(vec![event, old("globex", 4)]).expect("appended");
    spool.options.max_age = Duration::from_secs(1800);
    spool.restart();
    until(|| spool.store().depth().rows == 1);
    let mut events = spool.wait_for(|event| matches!(event, Event::Lost { depth, .. } if &*depth.queue == "globex"));
    events.extend(spool.take_events());
    let mut lost = expired(&events);
    lost.sort();
    assert_eq!(lost, [("acme".to_owned(), 2, 0), ("globex".to_owned(), 1, 5)]);
    assert_eq!(orders(&spool.take("acme", Kind::Spans, ALL).expect("works")), [3]);
}

#[test]
fn rows_that_are_taken_do_not_expire() {
    let spool = Spool::with(32 * MIB, |options| options.max_age = Duration::from_millis(200));
    let taken = spool.append(vec![old("acme", 1), old("acme", 2)]).expect("appended");
    for round in 0..3 {
        // A search of all queues, in their order, ends with the last one.
        let waits = spool.append(vec![old("globex", round)]).expect("appended");
        spool.store().release(vec![(waits[0], None)]);
        spool.wait_for(|event| matches!(event, Event::Lost { depth, .. } if &*depth.queue == "globex"));
        assert_eq!(spool.store().depth().rows, 2);
    }
    spool.store().release(vec![(taken[0], None)]);
    let events = spool.wait_for(|event| matches!(event, Event::Lost { .. }));
    assert_eq!(expired(&events), [("acme".to_owned(), 1, 0)]);
    assert_eq!(spool.store().depth().rows, 1);
}

#[test]
fn a_row_of_the_future_is_as_old_as_its_append() {
    let mut spool = Spool::with(32 * MIB, |options| options.max_age = Duration::from_millis(200));
    let rows = spool
        .append(vec![Row {
            created: u64::MAX,
            ..row("acme", 1, "body")
        }])
        .expect("appended");
    spool.store().release(vec![(rows[0], None)]);
    until(|| spool.store().depth().rows == 0);
    spool.close();
}
