use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::parked::{Delete, ParkedAt, ParkedMessage, ToPark, WindowBounds};
use super::*;

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

fn park_all(window: &mut Window) -> Vec<u64> {
    let messages = window.park(&key(0));
    let at = |to_park: &ToPark| ParkedAt {
        sequence: to_park.hot + 100,
        is_counted: false,
    };
    let results = messages
        .iter()
        .map(|to_park| (to_park.hot, Some(at(to_park))))
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
    let waiting = window
        .count_parked(&key(0), 101, Count::of(Kind::Spans, 10, 100))
        .expect("ready");
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
    let at = |hot: u64| {
        Some(ParkedAt {
            sequence: hot + 100,
            is_counted: false,
        })
    };
    let moved = window.moved(&key(0), vec![(1, at(1)), (2, at(2)), (3, None)]);
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
    let at = |sequence| {
        Some(ParkedAt {
            sequence,
            is_counted: false,
        })
    };
    // The first one is there as 101.
    window.moved(&key(0), vec![(1, None), (2, at(102)), (3, at(103))]);
    window.take(&key(0), ALL);
    window.read(&key(0), 102, vec![parked(2), parked(3)], ALL, Instant::now());
    window.complete(2);
    window.complete(3);
    let deletes = vec![Delete::One(102), Delete::One(103)];
    assert_eq!(window.deletes(), [(key(0), deletes.clone())]);
    window.deleted(&key(0), &deletes);
    window.park(&key(0));
    window.moved(&key(0), vec![(1, at(101))]);
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
    let at = ParkedAt {
        sequence: 101,
        is_counted: false,
    };
    let moved = window.moved(&key(0), vec![(1, Some(at)), (2, None), (3, None)]);
    assert_eq!((moved[0].items, moved[0].finished), (10, 6));
    assert_eq!((window.held().items[0], window.held().bytes), (24, 240));
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
    window.count_parked(&key(0), 101, Count::of(Kind::Spans, 10, 100));
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
    let at = |hot: u64| {
        Some(ParkedAt {
            sequence: hot + 100,
            is_counted: false,
        })
    };
    let moved = window.moved(&key(0), vec![(4, at(4)), (5, None)]);
    assert_eq!(moved.len(), 2, "both are acknowledged");
    assert_eq!(window.deletes(), [(key(0), vec![Delete::UpTo(104)])]);
    window.deleted(&key(0), &[Delete::UpTo(104)]);
    assert!(!window.has(&key(0)));
    assert_eq!(window.held(), Count::of(Kind::Spans, 10, 100));
    assert_eq!(window.hot(), (1, 100));
}

/// A step of a partition and its lanes. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Arrive(usize),
    Take(usize, usize),
    Complete(usize),
    Release(usize),
    Park(usize),
    /// The oldest publication in progress ends.
    Parked(bool),
    /// The oldest read ends.
    Read,
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3).prop_map(Step::Arrive),
        4 => (0_usize..3, 1_usize..5).prop_map(|(queue, rows)| Step::Take(queue, rows)),
        3 => (0_usize..100).prop_map(Step::Complete),
        2 => (0_usize..100).prop_map(Step::Release),
        2 => (0_usize..3).prop_map(Step::Park),
        3 => prop::bool::weighted(0.9).prop_map(Step::Parked),
        3 => Just(Step::Read),
        1 => Just(Step::Delete),
    ]
}

/// The servers and the lanes.
#[derive(Default)]
struct Model {
    window: Window,
    last: u64,
    /// The parking stream: number there, queue, number in the hot stream.
    stream: BTreeMap<u64, (usize, u64)>,
    last_parked: u64,
    waiting: [BTreeSet<u64>; 3],
    taken: BTreeMap<u64, usize>,
    publishing: Vec<(usize, Vec<ToPark>)>,
    reading: Vec<(usize, u64, usize)>,
    /// A publication failed, so that newer messages may be parked before older ones.
    is_out_of_order: bool,
}

impl Model {
    fn took(&mut self, queue: usize, rows: &[Numbered]) {
        for (hot, _) in rows {
            assert!(self.waiting[queue].remove(hot), "{hot} of {queue} does not wait");
            if !self.is_out_of_order {
                assert!(
                    self.waiting[queue].first().is_none_or(|first| first > hot),
                    "{hot} before an older one"
                );
            }
            self.taken.insert(*hot, queue);
        }
    }

    fn take(&mut self, queue: usize, rows: usize) {
        match self.window.take(&key(queue), Limit { rows, ..ALL }) {
            Take::Rows(rows) => self.took(queue, &rows),
            Take::Read(from) => self.reading.push((queue, from, rows)),
        }
    }

    fn read(&mut self) {
        if self.reading.is_empty() {
            return;
        }
        let (queue, from, rows) = self.reading.remove(0);
        let found = self.stream.range(from..).filter(|(_, (of, _))| *of == queue).take(rows);
        let messages: Vec<ParkedMessage> = found
            .map(|(sequence, (_, hot))| {
                let message = message(queue, *hot, 10, 100);
                ParkedMessage {
                    sequence: *sequence,
                    hot: *hot,
                    row: message.row,
                    published: message.published,
                }
            })
            .collect();
        if messages.is_empty() {
            let missing = self.window.read_nothing(&key(queue)).unwrap_or_default();
            assert_eq!(missing, Count::default(), "nothing was lost");
            return;
        }
        let limit = Limit { rows, ..ALL };
        if let Some(read) = self.window.read(&key(queue), from, messages, limit, Instant::now()) {
            self.took(queue, &read.rows);
        }
    }

    fn parked(&mut self, succeeds: bool) {
        if self.publishing.is_empty() {
            return;
        }
        let (queue, messages) = self.publishing.remove(0);
        self.is_out_of_order |= !succeeds;
        let mut results = Vec::new();
        for (index, to_park) in messages.iter().enumerate() {
            let at = (succeeds || index % 2 == 0).then(|| {
                self.last_parked += 1;
                self.stream.insert(self.last_parked, (queue, to_park.hot));
                ParkedAt {
                    sequence: self.last_parked,
                    is_counted: false,
                }
            });
            results.push((to_park.hot, at));
        }
        self.window.moved(&key(queue), results);
    }

    fn park(&mut self, queue: usize) {
        let messages = self.window.park(&key(queue));
        if !messages.is_empty() {
            self.publishing.push((queue, messages));
        }
    }

    fn delete(&mut self) {
        for (of_key, deletes) in self.window.deletes() {
            for delete in &deletes {
                let is_deleted = |sequence: u64, queue: usize| match delete {
                    Delete::UpTo(last) => sequence <= *last && key(queue) == of_key,
                    Delete::One(one) => sequence == *one,
                };
                let (taken, waiting) = (&self.taken, &self.waiting);
                self.stream.retain(|sequence, (queue, hot)| {
                    let goes = is_deleted(*sequence, *queue);
                    assert!(
                        !goes || !taken.contains_key(hot) && !waiting[*queue].contains(hot),
                        "{hot} is not finished"
                    );
                    !goes
                });
            }
            self.window.deleted(&of_key, &deletes);
        }
    }

    fn step(&mut self, step: &Step) {
        let now = Instant::now();
        match *step {
            Step::Arrive(queue) => {
                self.last += 1;
                self.window.insert(self.last, message(queue, self.last, 10, 100), now);
                self.waiting[queue].insert(self.last);
            }
            Step::Take(queue, rows) => self.take(queue, rows),
            Step::Complete(index) | Step::Release(index) if !self.taken.is_empty() => {
                let (hot, queue) = self
                    .taken
                    .iter()
                    .nth(index % self.taken.len())
                    .map(|(hot, queue)| (*hot, *queue))
                    .expect("a row");
                self.taken.remove(&hot);
                if matches!(step, Step::Complete(_)) {
                    assert!(self.window.complete(hot).is_some());
                } else {
                    assert!(self.window.release(hot, None, now));
                    self.waiting[queue].insert(hot);
                }
            }
            Step::Complete(_) | Step::Release(_) => {}
            Step::Park(queue) => self.park(queue),
            Step::Parked(succeeds) => self.parked(succeeds),
            Step::Read => self.read(),
            Step::Delete => self.delete(),
        }
        for of_key in self.window.following() {
            let queue = (0..3).find(|queue| key(*queue) == of_key).expect("a queue");
            self.park(queue);
        }
    }
}

proptest! {
    /// Messages are taken oldest first, each by one lane at a time, none is lost or deleted before it
    /// is finished, wherever they are and however their moves overlap.
    #[test]
    fn a_window_loses_nothing_and_keeps_the_order(steps in prop::collection::vec(step(), 0..150)) {
        let mut model = Model::default();
        model.window.settle();
        for step in &steps {
            model.step(step);
            let waiting: usize = model.waiting.iter().map(BTreeSet::len).sum();
            let moving_done = model.window.held().rows - (waiting + model.taken.len()) as u64;
            let publishing: usize = model.publishing.iter().map(|(_, messages)| messages.len()).sum();
            prop_assert!(moving_done <= publishing as u64, "only what is completed on its way is held beyond these");
        }
        // All ends.
        for _ in 0..1000 {
            model.step(&Step::Parked(true));
            model.step(&Step::Read);
            for queue in 0..3 {
                model.step(&Step::Take(queue, 4));
            }
            model.step(&Step::Complete(0));
            model.step(&Step::Delete);
        }
        prop_assert!(model.taken.is_empty() && model.waiting.iter().all(BTreeSet::is_empty));
        prop_assert_eq!(model.window.held(), Count::default());
        prop_assert_eq!(model.window.hot(), (0, 0));
        prop_assert!(model.stream.is_empty(), "{:?}", model.stream);
        prop_assert!(model.window.queues.is_empty());
    }
}
