//! Appends, takes, outcomes and restarts.

use std::time::{Duration, Instant};

use tracer_registry_spool::{
    AppendError, Event, Health, Kind, Limit, OpenError, Point, Rest, Row, SqliteStore, Store as _,
};

use crate::support::{ALL, Spool, channel, now_ms, orders, row, until, wait};

#[test]
fn rows_survive_a_restart_in_order_with_all_their_fields() {
    let mut spool = Spool::new();
    let event = Row {
        kind: Kind::SessionEvents,
        items: 3,
        format: 9,
        generation: 4,
        ..row("acme", 7, "event")
    };
    let large = vec![42; 100_000];
    spool
        .append(vec![row("acme", 2, "two"), row("globex", 1, "other"), event.clone()])
        .expect("appended");
    spool
        .append(vec![row("acme", 1, large.clone()), row("acme", 3, "")])
        .expect("appended");
    assert!(
        spool.take("acme", Kind::Spans, ALL).expect("works").is_empty(),
        "appended rows are taken"
    );
    let before = spool.store().depth();
    spool.restart();
    let after = spool.store().depth();
    assert_eq!((before.rows, before.spans, before.events), (5, 4, 3));
    assert_eq!((after.rows, after.spans, after.events), (5, 4, 3));
    let events = spool.take_events();
    let [Event::Opened(recovery)] = &events[..] else {
        panic!("{events:?}")
    };
    let mut queues: Vec<_> = recovery
        .queues
        .iter()
        .map(|q| (&*q.queue, q.span_rows, q.event_rows, q.bytes))
        .collect();
    queues.sort_unstable();
    assert_eq!(queues, [("acme", 3, 1, 100_008), ("globex", 1, 0, 5)]);
    assert!(recovery.next_order > 7);

    let rows = spool.take("acme", Kind::Spans, ALL).expect("works");
    assert_eq!(orders(&rows), [1, 2, 3]);
    assert_eq!(rows[0].body, large);
    assert_eq!(rows[2].body, "");
    let events = spool.take("acme", Kind::SessionEvents, ALL).expect("works");
    assert_eq!((events[0].items, events[0].format, events[0].generation), (3, 9, 4));
    assert_eq!((events[0].created, &events[0].body), (event.created, &event.body));
    assert!(
        spool.take("acme", Kind::Spans, ALL).expect("works").is_empty(),
        "each row is taken once"
    );
}

#[test]
fn completed_rows_are_gone_and_released_rows_return_in_their_place() {
    let mut spool = Spool::new();
    let rows = spool
        .append((1..=6).map(|order| row("acme", order, "body")).collect())
        .expect("appended");
    spool.store().complete(vec![rows[1], rows[4]]);
    spool.store().release(vec![(rows[5], None), (rows[2], None)]);
    assert_eq!(orders(&spool.take("acme", Kind::Spans, ALL).expect("works")), [3, 6]);
    spool.store().release(vec![(rows[0], None), (rows[2], None)]);
    assert_eq!(orders(&spool.take("acme", Kind::Spans, ALL).expect("works")), [1, 3]);
    until(|| spool.store().depth().rows == 4);
    spool.restart();
    assert_eq!(
        orders(&spool.take("acme", Kind::Spans, ALL).expect("works")),
        [1, 3, 4, 6]
    );
}

#[test]
fn a_released_rest_replaces_the_row() {
    let mut spool = Spool::new();
    let mut first = row("acme", 1, vec![1; 9_000]);
    first.items = 10;
    let rows = spool.append(vec![first, row("acme", 2, "two")]).expect("appended");
    let rest = Rest {
        items: 4,
        format: 1,
        body: "rest".into(),
    };
    spool.store().release(vec![(rows[0], Some(rest)), (rows[1], None)]);
    until(|| spool.store().depth().spans == 5);
    let taken = spool.take("acme", Kind::Spans, ALL).expect("works");
    assert_eq!(orders(&taken), [1, 2]);
    assert_eq!((taken[0].items, taken[0].format, &*taken[0].body), (4, 1, &b"rest"[..]));
    spool.restart();
    assert_eq!(spool.take("acme", Kind::Spans, ALL).expect("works")[0].body, "rest");
}

#[test]
fn a_take_keeps_its_limits_and_returns_one_row_at_least() {
    let spool = Spool::new();
    let rows = spool
        .append((1..=9).map(|order| row("acme", order, vec![1; 1000])).collect())
        .expect("appended");
    spool.store().release(rows.into_iter().map(|row| (row, None)).collect());
    let take = |limit| orders(&spool.take("acme", Kind::Spans, limit).expect("works"));
    assert_eq!(take(Limit { rows: 2, ..ALL }), [1, 2]);
    assert_eq!(take(Limit { bytes: 2_999, ..ALL }), [3, 4]);
    assert_eq!(take(Limit { bytes: 1, ..ALL }), [5]);
    assert_eq!(take(Limit { before: 8, ..ALL }), [6, 7]);
    assert_eq!(take(Limit { before: 8, ..ALL }), [0_u64; 0]);
    assert_eq!(take(ALL), [8, 9]);
}

#[test]
fn appends_are_answered_in_order_and_many_share_a_commit() {
    let spool = Spool::new();
    let (done, answers) = std::sync::mpsc::channel();
    let begin = Instant::now();
    for order in 0..2_000 {
        let done = done.clone();
        spool.store().append(
            vec![row("acme", order, "body")],
            Box::new(move |result| {
                let _ = done.send((order, result.is_ok()));
            }),
        );
    }
    for order in 0..2_000 {
        assert_eq!(answers.recv().expect("answered"), (order, true));
    }
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "2,000 commits would take longer"
    );
}

#[test]
fn an_append_that_breaks_a_rule_fails_alone() {
    let spool = Spool::new();
    spool.append(vec![row("acme", 1, "first")]).expect("appended");
    // In one transaction, because the first one begins less than 4 ms ago.
    let (done, twice) = channel();
    spool
        .store()
        .append(vec![row("acme", 2, "new"), row("acme", 1, "again")], done);
    let (done, other) = channel();
    spool.store().append(vec![row("globex", 1, "other")], done);
    let (done, huge) = channel();
    spool.store().append(vec![row("globex", u64::MAX, "order")], done);
    assert!(matches!(twice.recv().expect("answered"), Err(AppendError::Failing(_))));
    assert!(other.recv().expect("answered").is_ok());
    assert!(matches!(huge.recv().expect("answered"), Err(AppendError::Failing(_))));
    assert_eq!(spool.store().depth().rows, 2, "all rows of an append, or none");
    assert_eq!(spool.store().depth().health, Health::Working);
}

#[test]
fn a_panic_in_an_answer_does_not_end_the_store() {
    let spool = Spool::new();
    spool.store().append(
        vec![row("acme", 1, "body")],
        Box::new(|_| panic!("a fault of the caller")),
    );
    spool.append(vec![row("acme", 2, "body")]).expect("appended");
    spool.store().take(
        &"acme".into(),
        Kind::Spans,
        ALL,
        Box::new(|_| panic!("a fault of the caller")),
    );
    spool.take("acme", Kind::Spans, ALL).expect("works");
}

#[test]
fn more_than_32_mib_that_wait_are_busy() {
    let spool = Spool::new();
    // The thread of the store waits in this answer.
    let (go, waits) = std::sync::mpsc::channel::<()>();
    let (begun, is_begun) = std::sync::mpsc::channel();
    let wait = Box::new(move |_| {
        let _ = begun.send(());
        let _ = waits.recv();
    });
    spool.store().append(vec![row("acme", 1, "body")], wait);
    is_begun.recv().expect("answered");
    let answers: Vec<_> = (2..7)
        .map(|order| {
            let (done, answer) = channel();
            spool.store().append(vec![row("acme", order, vec![0; 7 << 20])], done);
            answer
        })
        .collect();
    assert!(spool.store().depth().waiting_bytes > 28 << 20);
    drop(go);
    let answers: Vec<_> = answers.iter().map(|answer| answer.recv().expect("answered")).collect();
    assert!(answers[..4].iter().all(Result::is_ok), "{answers:?}");
    assert!(matches!(answers[4], Err(AppendError::Busy)), "{answers:?}");
    assert_eq!(spool.store().depth().waiting_bytes, 0);
}

#[test]
fn a_closed_store_refuses_and_unlocks() {
    let mut spool = Spool::new();
    let store = spool.store.clone().expect("open");
    spool.close();
    let refused = wait(|done| store.append(vec![row("acme", 1, "body")], done));
    assert!(matches!(refused, Err(AppendError::Closed)));
    assert!(wait(|done| store.take(&"acme".into(), Kind::Spans, ALL, done)).is_err());
    assert!(wait(|done| store.purge("acme", done)).is_err());
    spool.open().expect("unlocked");
    assert!(!spool.file("spool.db-wal").exists() || spool.file("spool.db-wal").metadata().expect("a file").len() == 0);
}

#[test]
fn a_dropped_store_commits_and_unlocks() {
    let mut spool = Spool::new();
    let (done, _) = channel();
    spool.store().append(vec![row("acme", 1, "body")], done);
    spool.store = None;
    spool.options.wait_for_lock = Duration::from_secs(30);
    spool.open().expect("unlocked");
    assert_eq!(spool.store().depth().rows, 1);
}

#[test]
fn a_second_store_is_refused_until_the_first_is_closed() {
    let mut spool = Spool::new();
    match SqliteStore::open(spool.options.clone()) {
        Err(error @ OpenError::Locked { by, .. }) => {
            assert_eq!(by, Some(std::process::id()));
            assert!(
                error
                    .to_string()
                    .ends_with(&format!("is in use by process {}", std::process::id()))
            );
        }
        other => panic!("{other:?}"),
    }
    let mut options = spool.options.clone();
    options.wait_for_lock = Duration::from_secs(30);
    let waits = std::thread::spawn(move || SqliteStore::open(options).map(drop));
    spool.close();
    waits.join().expect("no panic").expect("waits for the lock");
}

#[test]
fn each_row_is_taken_once_and_in_order_while_others_append_and_complete() {
    const ROWS: u64 = 200;
    let spool = Spool::new();
    let produce = |queue: &str| {
        for order in (0..ROWS).step_by(4) {
            let rows = (order..order + 4)
                .map(|order| row(queue, order, vec![7; 3_000]))
                .collect();
            let store = spool.store.clone().expect("open");
            let release = move |ids: Result<Vec<_>, _>| {
                store.release(ids.expect("appended").into_iter().map(|id| (id, None)).collect());
            };
            spool.store().append(rows, Box::new(release));
        }
    };
    let consume = |queue: &str| {
        let mut seen = Vec::new();
        let mut again = false;
        until(|| {
            let rows = spool.take(queue, Kind::Spans, Limit { rows: 7, ..ALL }).expect("works");
            again = !again;
            if again {
                // Not delivered: they come back, before all later ones.
                spool.store().release(rows.iter().map(|row| (row.id, None)).collect());
            } else {
                seen.extend(orders(&rows));
                spool.store().complete(rows.iter().map(|row| row.id).collect());
            }
            seen.len() >= 200
        });
        assert_eq!(seen, (0..ROWS).collect::<Vec<_>>());
    };
    std::thread::scope(|scope| {
        for queue in ["a", "b", "c", "d"] {
            scope.spawn(move || produce(queue));
            scope.spawn(move || consume(queue));
        }
    });
    until(|| spool.store().depth().rows == 0);
}

#[test]
fn a_take_that_meets_a_commit_does_not_return_rows_that_the_append_holds() {
    type Gate = (std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);
    static GATE: std::sync::Mutex<Option<Gate>> = std::sync::Mutex::new(None);
    fn wait_in_a_take(point: Point) {
        let gate = (point == Point::BeforeSnapshot)
            .then(|| GATE.lock().expect("no panic").take())
            .flatten();
        if let Some((begun, go)) = gate {
            let _ = begun.send(());
            let _ = go.recv();
        }
    }
    let spool = Spool::with(32 << 20, |options| options.at = wait_in_a_take);
    let (begun, is_begun) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    *GATE.lock().expect("no panic") = Some((begun, goes));
    let (done, taken) = channel();
    spool.store().take(&"acme".into(), Kind::Spans, ALL, done);
    is_begun
        .recv()
        .expect("the take, or a search for expired rows before it");
    let rows = spool.append(vec![row("acme", 1, "body")]).expect("appended");
    drop(go);
    assert!(taken.recv().expect("answered").expect("works").is_empty());
    spool.store().release(vec![(rows[0], None)]);
    assert_eq!(orders(&spool.take("acme", Kind::Spans, ALL).expect("works")), [1]);
}

#[test]
fn an_opened_file_reports_the_oldest_row_of_each_queue_and_kind() {
    let mut spool = Spool::new();
    let event = |order, created| Row {
        kind: Kind::SessionEvents,
        created,
        ..row("acme", order, "event")
    };
    let now = now_ms();
    let rows = (1..=3).map(|order| Row {
        created: now - 1_000 + order,
        ..row("acme", order, "spans")
    });
    spool
        .append(rows.chain([event(1, now - 500), event(2, now - 400)]).collect())
        .expect("works");
    spool.append(vec![row("globex", 1, "spans")]).expect("works");
    spool.restart();
    let oldest = || spool.oldest.lock().expect("no panic").clone();
    until(|| oldest().len() >= 3);
    let mut found: Vec<_> = oldest()
        .into_iter()
        .map(|row| (row.queue.to_string(), row.kind, row.created))
        .collect();
    found.sort_unstable();
    let globex = found[2].2;
    assert!(globex >= now);
    let expected = [
        ("acme", Kind::Spans, now - 999),
        ("acme", Kind::SessionEvents, now - 500),
        ("globex", Kind::Spans, globex),
    ];
    assert_eq!(
        found,
        expected.map(|(queue, kind, created)| (queue.to_owned(), kind, created))
    );
}
