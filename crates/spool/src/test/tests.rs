use std::sync::mpsc::{Receiver, channel};

use super::*;

fn notify(notify: impl Fn(Event) + Send + Sync + 'static) -> Notify {
    Arc::new(notify)
}

const ALL: Limit = Limit {
    rows: usize::MAX,
    bytes: usize::MAX,
    before: u64::MAX,
};

fn row(queue: &str, order: u64) -> Row {
    Row {
        queue: queue.into(),
        owner: queue.into(),
        kind: Kind::Spans,
        order,
        items: 2,
        generation: 0,
        created: order,
        format: 0,
        body: order.to_string().into(),
    }
}

fn append(store: &dyn Store, rows: Vec<Row>) -> Receiver<Result<Vec<RowId>, AppendError>> {
    let (tx, rx) = channel();
    store.append(rows, Box::new(move |appended| drop(tx.send(appended))));
    rx
}

fn orders(store: &dyn Store, queue: &str, limit: Limit) -> Vec<(u64, RowId)> {
    let (tx, rx) = channel();
    store.take(
        &queue.into(),
        Kind::Spans,
        limit,
        Box::new(move |taken| drop(tx.send(taken))),
    );
    let taken = rx.recv_timeout(PATIENCE).expect("an answer").expect("rows");
    taken.iter().map(|taken| (taken.order, taken.id)).collect()
}

fn numbers(taken: &[(u64, RowId)]) -> Vec<u64> {
    taken.iter().map(|(order, _)| *order).collect()
}

#[test]
fn rows_are_taken_in_order_and_return_to_their_place() {
    let disk = TestStore::new();
    let store = disk.open(&notify(|_| {}));
    let appended = append(&*store, vec![row("a", 3), row("a", 1), row("b", 2)]);
    let ids = appended.recv_timeout(PATIENCE).expect("an answer").expect("committed");
    assert!(orders(&*store, "a", ALL).is_empty(), "appended rows are taken");
    store.release(ids.into_iter().map(|id| (id, None)).collect());
    let first = orders(&*store, "a", Limit { rows: 1, ..ALL });
    assert_eq!(numbers(&first), [1]);
    assert_eq!(numbers(&orders(&*store, "a", Limit { before: 3, ..ALL })), [0; 0]);
    let rest = Rest {
        items: 1,
        format: 0,
        body: "rest".into(),
    };
    store.release(vec![(first[0].1, Some(rest))]);
    let both = orders(&*store, "a", ALL);
    assert_eq!(numbers(&both), [1, 3]);
    assert_eq!(disk.rows("a", Kind::Spans)[0].body, "rest");
    store.complete(vec![both[0].1]);
    assert!(disk.wait_for_rows(2));
    assert_eq!(disk.completed(), 1);
}

#[test]
fn held_appends_commit_one_by_one_and_a_restart_forgets_the_others() {
    let disk = TestStore::new();
    let store = disk.open(&notify(|_| {}));
    disk.hold();
    let first = append(&*store, vec![row("a", 1)]);
    let second = append(&*store, vec![row("a", 2)]);
    assert!(disk.wait_for_waiting(2) && disk.all().is_empty());
    disk.commit(1);
    assert!(first.recv_timeout(PATIENCE).expect("an answer").is_ok());
    let (tx, recovered) = channel();
    let again = disk.open(&notify(move |event| drop(tx.send(event))));
    assert!(second.recv_timeout(PATIENCE).is_err(), "its process is dead");
    store.append(vec![row("a", 9)], Box::new(|_| {}));
    disk.resume();
    let Ok(Event::Opened(recovery)) = recovered.try_recv() else {
        panic!("no recovery");
    };
    assert_eq!((recovery.next_order, recovery.queues.len()), (2, 1));
    assert_eq!(numbers(&orders(&*again, "a", ALL)), [1]);
}

#[test]
fn a_purge_refuses_what_was_accepted_before_also_after_it_is_allowed() {
    let disk = TestStore::by_hand();
    let store = disk.open(&notify(|_| {}));
    drop(append(
        &*store,
        vec![row("environment:x,tenant:a", 1), row("tenant:b", 2)],
    ));
    let (tx, purged) = channel();
    store.purge("tenant:a", Box::new(move |result| drop(tx.send(result))));
    assert_eq!(disk.run(), 2);
    let purged = purged.recv().expect("an answer").expect("purged");
    assert_eq!((purged.generation, purged.queues[0].spans, disk.all().len()), (1, 2, 1));
    let refused = |generation| {
        let late = append(
            &*store,
            vec![Row {
                generation,
                ..row("tenant:a", 3)
            }],
        );
        disk.run();
        late.recv().expect("an answer").is_err()
    };
    assert!(refused(0) && refused(1));
    store.allow(
        "tenant:a",
        Box::new(|was_erased| assert!(was_erased.is_ok_and(|it| it))),
    );
    assert!(refused(0) && !refused(1));
}

#[test]
fn expired_rows_that_are_not_taken_are_reported() {
    let disk = TestStore::by_hand();
    let (tx, events) = channel();
    let store = disk.open(&notify(move |event| drop(tx.send(event))));
    let appended = append(&*store, vec![row("a", 1), row("a", 2), row("a", 3)]);
    disk.run();
    let ids = appended.recv().expect("an answer").expect("committed");
    store.release(vec![(ids[0], None), (ids[2], None)]);
    disk.run();
    disk.expire(3);
    disk.run();
    let lost = events.try_iter().find_map(|event| match event {
        Event::Lost { why, depth } => Some((why, depth.span_rows, depth.spans)),
        _ => None,
    });
    assert_eq!(lost, Some((Lost::Expired, 1, 2)));
    assert_eq!(disk.all().len(), 2);
}
