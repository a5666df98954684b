//! Purges: what was erased is in no file, and does not come back.

use tracer_registry_spool::{AppendError, Event, Kind, Row, Store as _};

use crate::support::{ALL, Spool, ids, orders, row, until};

#[test]
fn a_purge_deletes_all_queues_of_a_tenant_and_counts_what_was_not_taken() {
    let mut spool = Spool::new();
    let rows = spool
        .append(vec![
            row("acme", 1, "1"),
            row("acme", 2, "22"),
            row("acme/search", 3, "333"),
        ])
        .expect("ok");
    spool.append(vec![row("acme2", 4, "4444")]).expect("appended");
    spool.store().release(vec![(rows[0], None), (rows[2], None)]);
    let purged = spool.purge("acme").expect("works");
    assert_eq!(purged.generation, 1);
    let mut queues: Vec<_> = purged
        .queues
        .iter()
        .map(|q| (&*q.queue, q.span_rows, q.spans, q.bytes))
        .collect();
    queues.sort_unstable();
    assert_eq!(queues, [("acme", 1, 1, 1), ("acme/search", 1, 1, 3)]);
    let depth = spool.store().depth();
    assert_eq!((depth.rows, depth.generation), (1, 1));

    // What was taken has no row any more. Its number is not another row's.
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
    let refused = |spool: &Spool, row: Row| matches!(spool.append(vec![row]), Err(AppendError::Erased));
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
