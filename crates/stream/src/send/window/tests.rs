use std::time::Duration;

use uuid::Uuid;

use super::moves::{Counted, Delete, ParkedAt, ParkedMessage, WindowBounds};
use super::*;

mod model;

const BOUNDS: WindowBounds = WindowBounds {
    messages: 64,
    bytes: 1 << 20,
};

const ALL: Limit = Limit {
    rows: 1000,
    bytes: 1 << 20,
    before: u64::MAX,
};

fn key(queue: usize) -> Key {
    (format!("tenant-{queue}").into(), Kind::Spans)
}

fn message(queue: usize, hot: u64, items: u32, bytes: usize) -> Message {
    let (name, kind) = key(queue);
    Message {
        row: Row {
            queue: Arc::clone(&name),
            owner: name,
            kind,
            order: 0,
            items,
            generation: 0,
            created: 0,
            format: 1,
            body: vec![0; bytes].into(),
        },
        published: Published {
            process: Uuid::from_u128(1),
            number: hot,
            sum: 0,
        },
        hot: None,
    }
}

fn numbers(take: Take) -> Vec<u64> {
    match take {
        Take::Rows(rows) => rows.into_iter().map(|(hot, _)| hot).collect(),
        Take::Read(from) => panic!("to be read from {from}"),
    }
}

/// A window with messages 1, 2, 3 of one queue.
fn window(now: Instant) -> Window {
    let mut window = Window::default();
    window.settle();
    for hot in 1..=3 {
        assert!(window.insert(hot, message(0, hot, 10, 100), now));
    }
    window
}

/// Message 1, parked by an earlier owner as 101.
fn one_parked() -> Counted {
    Counted {
        first: 101,
        count: Count::of(Kind::Spans, 10, 100),
    }
}

/// Where this owner parked a message.
fn at(sequence: u64) -> ParkedAt {
    ParkedAt {
        sequence,
        is_counted: false,
    }
}

fn park_all(window: &mut Window) -> Vec<u64> {
    let messages = window.park(&key(0));
    let results = messages
        .iter()
        .map(|to_park| (to_park.hot, Some(at(to_park.hot + 100))))
        .collect();
    window.moved(&key(0), results).iter().map(|moved| moved.hot).collect()
}

fn parked(hot: u64) -> ParkedMessage {
    let message = message(0, hot, 10, 100);
    ParkedMessage {
        sequence: hot + 100,
        hot,
        row: message.row,
        published: message.published,
    }
}

#[test]
fn a_queue_that_waits_for_a_second_is_due_and_one_that_holds_for_five() {
    let start = Instant::now();
    let after = |millis| start + Duration::from_millis(millis);
    let mut window = window(start);
    assert!(window.due(BOUNDS, after(999)).is_empty());
    assert_eq!(window.due(BOUNDS, after(1000)), [key(0)]);
    window.take(&key(0), ALL);
    assert!(window.due(BOUNDS, after(4999)).is_empty(), "all is taken");
    assert_eq!(window.due(BOUNDS, after(5000)), [key(0)]);
}

#[test]
fn a_queue_with_more_than_its_part_is_due_if_the_window_is_half_full() {
    let now = Instant::now();
    let mut window = Window::default();
    window.settle();
    for hot in 0..32 {
        window.insert(hot, message(usize::from(hot > 3), hot, 1, 1), now);
    }
    assert!(window.due(BOUNDS, now).is_empty());
    window.insert(32, message(2, 32, 1, 1), now);
    assert_eq!(window.due(BOUNDS, now), [key(1)]);
}

#[test]
fn nothing_is_offered_before_messages_of_an_earlier_owner_arrived() {
    let now = Instant::now();
    let mut window = Window::default();
    assert!(!window.insert(2, message(0, 2, 10, 100), now));
    assert!(numbers(window.take(&key(0), ALL)).is_empty());
    window.insert(1, message(0, 1, 10, 100), now);
    let ready = window.settle();
    assert_eq!(ready.iter().map(|(_, count)| count.rows).sum::<u64>(), 2);
    assert_eq!(numbers(window.take(&key(0), ALL)), [1, 2]);
}

#[test]
fn what_an_earlier_owner_parked_comes_before_newer_messages() {
    let now = Instant::now();
    let mut window = Window::default();
    window.settle();
    window.expect_parked(key(0));
    assert!(
        !window.insert(5, message(0, 5, 10, 100), now),
        "it is not known what is parked"
    );
    assert!(numbers(window.take(&key(0), ALL)).is_empty());
    let waiting = window.count_parked(&key(0), one_parked()).expect("ready");
    assert_eq!(waiting.rows, 2);
    assert_eq!(window.following(), [key(0)], "the newer one must be parked too");
    assert!(matches!(window.take(&key(0), ALL), Take::Read(101)));
}

#[test]
fn a_row_that_is_completed_on_its_way_to_the_parking_stream_is_deleted_there() {
    let mut window = window(Instant::now());
    assert_eq!(numbers(window.take(&key(0), ALL)), [1, 2, 3]);
    let messages = window.park(&key(0));
    assert_eq!(messages.len(), 3);
    let completed = window.complete(2).expect("taken");
    assert_eq!((completed.items, completed.settled), (10, None));
    let moved = window.moved(&key(0), vec![(1, Some(at(101))), (2, Some(at(102))), (3, None)]);
    assert_eq!(moved.iter().map(|moved| moved.hot).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(window.deletes(), [(key(0), vec![Delete::One(102)])], "101 is taken");
    assert_eq!(window.hot_numbers().collect::<Vec<_>>(), [3]);
    assert!(window.complete(3).expect("taken").settled.is_some());
    assert!(window.complete(1).expect("taken").settled.is_none());
    window.deleted(&key(0), &[Delete::One(102)]);
    assert_eq!(window.deletes(), [(key(0), vec![Delete::UpTo(101)])]);
    window.deleted(&key(0), &[Delete::UpTo(101)]);
    assert!(!window.has(&key(0)));
    assert_eq!(window.held(), Count::default());
}

#[test]
fn nothing_is_deleted_before_a_message_that_was_published_without_an_answer() {
    let mut window = window(Instant::now());
    window.park(&key(0));
    // The first one is there as 101.
    window.moved(&key(0), vec![(1, None), (2, Some(at(102))), (3, Some(at(103)))]);
    window.take(&key(0), ALL);
    let read = window.read(&key(0), 102, vec![parked(2), parked(3)], ALL, Instant::now());
    let taken: Vec<u64> = read.expect("rows").rows.iter().map(|(hot, _)| *hot).collect();
    assert_eq!(taken, [1, 2, 3]);
    window.complete(2);
    window.complete(3);
    let deletes = vec![Delete::One(102), Delete::One(103)];
    assert_eq!(window.deletes(), [(key(0), deletes.clone())]);
    window.deleted(&key(0), &deletes);
    window.park(&key(0));
    window.moved(&key(0), vec![(1, Some(at(101)))]);
    window.release(1, None, Instant::now());
    assert!(matches!(window.take(&key(0), ALL), Take::Read(101)));
}

#[test]
fn a_rest_is_parked_with_what_is_left_and_the_others_are_finished() {
    let mut window = window(Instant::now());
    window.take(&key(0), ALL);
    let rest = Rest {
        items: 4,
        format: 1,
        body: vec![0; 40].into(),
    };
    window.release(1, Some(rest), Instant::now());
    let messages = window.park(&key(0));
    assert_eq!((messages[0].row.items, messages[0].row.body.len()), (4, 40));
    let moved = window.moved(&key(0), vec![(1, Some(at(101))), (2, None), (3, None)]);
    assert_eq!((moved[0].items, moved[0].finished), (10, 6));
    assert_eq!((window.held().items[0], window.held().bytes), (24, 240));
}

#[test]
fn a_rest_that_comes_back_while_its_message_is_parked_stays_in_memory() {
    let mut window = window(Instant::now());
    window.take(&key(0), ALL);
    window.park(&key(0));
    let rest = Rest {
        items: 4,
        format: 1,
        body: vec![7; 40].into(),
    };
    window.release(1, Some(rest), Instant::now());
    let moved = window.moved(&key(0), vec![(1, Some(at(101))), (2, None), (3, None)]);
    assert_eq!((moved[0].items, moved[0].finished), (10, 6));
    assert!(matches!(window.take(&key(0), ALL), Take::Read(101)));
    let read = window.read(&key(0), 101, vec![parked(1)], ALL, Instant::now());
    let rows = read.expect("nothing was released").rows;
    assert_eq!((rows[0].0, rows[0].1.items, &rows[0].1.body[..]), (1, 4, &[7; 40][..]));
    assert_eq!(window.complete(1).expect("taken").items, 4);
}

#[test]
fn a_message_that_could_not_be_parked_comes_before_newer_ones_that_were() {
    let mut window = window(Instant::now());
    window.park(&key(0));
    window.moved(&key(0), vec![(1, Some(at(101))), (2, None), (3, Some(at(102)))]);
    assert!(window.park(&key(0)).is_empty(), "behind 3, it would come too late");
    assert!(matches!(window.take(&key(0), ALL), Take::Read(101)));
    let third = ParkedMessage {
        sequence: 102,
        ..parked(3)
    };
    let read = window.read(&key(0), 101, vec![parked(1), third], ALL, Instant::now());
    let taken: Vec<u64> = read.expect("rows").rows.iter().map(|(hot, _)| *hot).collect();
    assert_eq!(taken, [1, 2, 3]);
}

#[test]
fn parked_messages_that_are_gone_are_counted_once() {
    let mut window = window(Instant::now());
    assert_eq!(park_all(&mut window), [1, 2, 3]);
    assert!(matches!(window.take(&key(0), ALL), Take::Read(101)));
    let rows = window.read(&key(0), 101, vec![parked(1), parked(3)], ALL, Instant::now());
    assert_eq!(rows.expect("nothing was released").rows.len(), 2);
    assert!(matches!(window.take(&key(0), ALL), Take::Read(104)));
    assert_eq!(window.read_nothing(&key(0)), Some(Count::of(Kind::Spans, 10, 100)));
    assert!(numbers(window.take(&key(0), ALL)).is_empty());
}

#[test]
fn a_read_that_found_nothing_counts_nothing_if_more_was_parked_meanwhile() {
    let mut window = window(Instant::now());
    park_all(&mut window);
    assert!(matches!(window.take(&key(0), ALL), Take::Read(101)));
    window.insert(4, message(0, 4, 10, 100), Instant::now());
    park_all(&mut window);
    assert_eq!(window.read_nothing(&key(0)), None);
    assert_eq!(window.held().rows, 4);
}

#[test]
fn a_message_that_an_earlier_owner_parked_is_counted_once_when_it_is_parked_again() {
    let now = Instant::now();
    let mut window = Window::default();
    window.settle();
    window.expect_parked(key(0));
    window.insert(1, message(0, 1, 10, 100), now);
    window.count_parked(&key(0), one_parked());
    let messages = window.park(&key(0));
    assert_eq!(messages.len(), 1);
    let at = ParkedAt {
        sequence: 101,
        is_counted: true,
    };
    let moved = window.moved(&key(0), vec![(1, Some(at))]);
    assert_eq!(moved[0].repeated, Count::of(Kind::Spans, 10, 100));
    assert_eq!(window.held(), Count::of(Kind::Spans, 10, 100));
    assert!(matches!(window.take(&key(0), ALL), Take::Read(101)));
}

#[test]
fn a_message_that_was_parked_twice_is_taken_once_and_its_copy_deleted() {
    let mut window = window(Instant::now());
    park_all(&mut window);
    window.take(&key(0), ALL);
    let copy = ParkedMessage {
        sequence: 107,
        ..parked(1)
    };
    let rows = window.read(&key(0), 101, vec![parked(1), parked(2), copy], ALL, Instant::now());
    assert_eq!(
        rows.expect("rows").rows.iter().map(|(hot, _)| *hot).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(window.deletes(), [(key(0), vec![Delete::One(107)])]);
}

#[test]
fn another_message_with_the_same_number_is_a_conflict() {
    let mut window = window(Instant::now());
    let of = |number| Published {
        process: Uuid::from_u128(1),
        number,
        sum: 0,
    };
    assert_eq!(window.find(1, &of(1)), Some(Found::Held));
    assert_eq!(window.find(1, &of(9)), Some(Found::Conflict));
    assert_eq!(window.find(9, &of(9)), None);
    window.take(&key(0), ALL);
    window.complete(1);
    assert_eq!(window.find(1, &of(1)), None);
}

#[test]
fn what_was_taken_when_the_partition_was_lost_is_an_orphan() {
    let mut window = window(Instant::now());
    window.take(&key(0), Limit { rows: 1, ..ALL });
    let (moved, orphans) = window.discard();
    assert_eq!((moved.len(), moved[0].spans, moved[0].span_rows), (1, 20, 2));
    assert_eq!((orphans.len(), orphans[0].0, orphans[0].1.items), (1, 1, 10));
    assert!(window.complete(1).is_none());
    assert!(!window.release(1, None, Instant::now()));
}

#[test]
fn an_erased_queue_is_gone_wherever_its_messages_are() {
    let now = Instant::now();
    let mut window = window(now);
    park_all(&mut window);
    window.take(&key(0), ALL);
    window.read(&key(0), 101, vec![parked(1)], ALL, now);
    window.insert(4, message(0, 4, 10, 100), now);
    window.insert(5, message(0, 5, 10, 100), now);
    let moving = window.park(&key(0));
    assert_eq!(moving.len(), 2);
    window.insert(6, message(0, 6, 10, 100), now);
    window.insert(7, message(1, 7, 10, 100), now);
    let erased = window.erase(&key(0));
    assert_eq!((erased.count.rows, erased.count.items[0]), (6, 60));
    assert_eq!(erased.settled.iter().map(|(hot, ..)| *hot).collect::<Vec<_>>(), [6]);
    assert!(window.complete(1).is_none());
    let moved = window.moved(&key(0), vec![(4, Some(at(104))), (5, None)]);
    assert_eq!(moved.len(), 2, "both are acknowledged");
    assert_eq!(window.deletes(), [(key(0), vec![Delete::UpTo(104)])]);
    window.deleted(&key(0), &[Delete::UpTo(104)]);
    assert!(!window.has(&key(0)));
    assert_eq!(window.held(), Count::of(Kind::Spans, 10, 100));
    assert_eq!(window.hot(), (1, 100));
}
