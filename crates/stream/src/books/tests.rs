use proptest::prelude::*;

use super::*;

fn process(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// What a process publishes: the items of each message, from number 1 on.
struct Publisher {
    items: Vec<u32>,
}

impl Publisher {
    fn published(&self, number: usize) -> (Published, u32) {
        let sum = self.items[..number].iter().map(|items| u64::from(*items)).sum();
        let published = Published {
            process: process(1),
            number: number as u64,
            sum,
        };
        (published, self.items[number - 1])
    }

    fn totals(&self, withdrawn: &[usize]) -> Totals {
        Totals {
            number: self.items.len() as u64,
            sum: self.items.iter().map(|items| u64::from(*items)).sum(),
            withdrawn: withdrawn
                .iter()
                .map(|number| (*number as u64, u64::from(self.items[number - 1])))
                .collect(),
            ..Totals::default()
        }
    }
}

fn see(books: &mut Books, (published, items): (Published, u32), now: Instant) -> Seen {
    books.see(&published, items, false, now)
}

/// As if another process took the partition over.
fn hand_over(books: &Books) -> Books {
    let text = serde_json::to_string(books).expect("JSON");
    serde_json::from_str(&text).expect("books")
}

#[test]
fn a_gap_is_lost_after_its_time_with_the_items_of_the_sums() {
    let (mut books, start) = (Books::default(), Instant::now());
    let publisher = Publisher {
        items: vec![5, 7, 11, 13],
    };
    for number in [1, 4] {
        assert_eq!(see(&mut books, publisher.published(number), start), Seen::New);
    }
    books.note_totals(process(1), publisher.totals(&[]), false, start);
    assert!(!books.resolve(start));
    assert!(!books.resolve(start + LOST_AFTER.saturating_sub(Duration::from_millis(1))));
    assert!(books.resolve(start + LOST_AFTER));
    assert_eq!(books.buffer_lost, 18);
    assert!(!books.resolve(start + LOST_AFTER * 3), "once only");
}

#[test]
fn a_gap_is_no_loss_before_its_process_has_said_what_became_of_it() {
    let (mut books, start) = (Books::default(), Instant::now());
    let publisher = Publisher { items: vec![5, 7, 11] };
    see(&mut books, publisher.published(3), start);
    let first = Totals {
        number: 1,
        sum: 5,
        ..Totals::default()
    };
    books.note_totals(process(1), first, false, start);
    books.resolve(start);
    assert!(
        !books.resolve(start + LOST_AFTER * 9),
        "the second may still be withdrawn"
    );
    books.note_totals(process(1), publisher.totals(&[1, 2]), false, start);
    assert!(books.resolve(start + LOST_AFTER * 9));
    assert_eq!(books.buffer_lost, 0);
    // A process that ended says no more.
    let mut books = Books::default();
    see(&mut books, publisher.published(3), start);
    let ended = Totals {
        ended: true,
        ..Totals::default()
    };
    books.note_totals(process(1), ended, false, start);
    books.resolve(start);
    assert!(books.resolve(start + LOST_AFTER));
    assert_eq!(books.buffer_lost, 12);
}

#[test]
fn a_message_that_was_counted_as_lost_and_arrives_is_sent_and_not_lost() {
    let (mut books, start) = (Books::default(), Instant::now());
    let publisher = Publisher {
        items: vec![5, 7, 11, 13],
    };
    see(&mut books, publisher.published(4), start);
    books.note_totals(process(1), publisher.totals(&[]), false, start);
    books.resolve(start);
    books.resolve(start + LOST_AFTER);
    assert_eq!(books.buffer_lost, 23);
    assert_eq!(see(&mut books, publisher.published(2), start), Seen::New);
    assert_eq!(books.buffer_lost, 16);
    assert_eq!(see(&mut books, publisher.published(2), start), Seen::Again);
    assert_eq!((books.buffer_lost, books.duplicates), (16, 7));
}

#[test]
fn a_lost_last_message_shows_in_the_totals() {
    let (mut books, start) = (Books::default(), Instant::now());
    let publisher = Publisher { items: vec![5, 7, 11] };
    see(&mut books, publisher.published(1), start);
    books.note_totals(process(1), publisher.totals(&[]), false, start);
    books.resolve(start);
    books.resolve(start + LOST_AFTER);
    assert_eq!(books.buffer_lost, 0, "the messages may still arrive");
    books.note_totals(process(1), publisher.totals(&[]), true, start);
    books.resolve(start + LOST_AFTER);
    books.resolve(start + LOST_AFTER * 2);
    assert_eq!(books.buffer_lost, 18);
}

#[test]
fn a_withdrawn_number_is_no_loss_and_its_message_is_not_sent() {
    let (mut books, start) = (Books::default(), Instant::now());
    let publisher = Publisher {
        items: vec![5, 7, 11, 13],
    };
    books.note_totals(process(1), publisher.totals(&[2, 3]), false, start);
    assert_eq!(see(&mut books, publisher.published(3), start), Seen::Again);
    assert_eq!(see(&mut books, publisher.published(4), start), Seen::New);
    books.note_totals(process(1), publisher.totals(&[2, 3]), false, start);
    books.resolve(start);
    books.resolve(start + LOST_AFTER);
    assert_eq!((books.buffer_lost, books.duplicates), (5, 11), "only the first is lost");
}

#[test]
fn a_loss_that_is_withdrawn_later_is_none() {
    let (mut books, start) = (Books::default(), Instant::now());
    let publisher = Publisher {
        items: vec![5, 7, 11, 13],
    };
    books.note_totals(process(1), publisher.totals(&[1]), false, start);
    see(&mut books, publisher.published(4), start);
    books.resolve(start);
    assert!(books.resolve(start + LOST_AFTER));
    assert_eq!(books.buffer_lost, 18);
    // The process could not say so before.
    let mut books = hand_over(&books);
    books.note_totals(process(1), publisher.totals(&[1, 3]), false, start);
    assert!(books.resolve(start));
    assert!(!books.resolve(start), "once only");
    assert_eq!(books.buffer_lost, 7);
}

#[test]
fn what_was_not_settled_is_expected_again_after_a_hand_over() {
    let (mut books, start) = (Books::default(), Instant::now());
    let publisher = Publisher { items: vec![5, 7] };
    for number in [1, 2] {
        see(&mut books, publisher.published(number), start);
    }
    let (message, items) = publisher.published(1);
    books.settle(&message, items);
    let mut books = hand_over(&books);
    assert_eq!(books.see(&message, items, true, start), Seen::Again);
    assert_eq!(books.duplicates, 0, "the servers delivered it again");
    assert_eq!(see(&mut books, publisher.published(2), start), Seen::New);
}

#[test]
fn a_process_is_forgotten_an_hour_after_its_end_if_nothing_is_missing() {
    let (mut books, start) = (Books::default(), Instant::now());
    let publisher = Publisher { items: vec![5] };
    let (message, items) = publisher.published(1);
    books.see(&message, items, false, start);
    let ended = Totals {
        ended: true,
        ..publisher.totals(&[])
    };
    books.note_totals(process(1), ended.clone(), true, start);
    // Totals that were read later, and are not all received yet.
    books.note_totals(process(1), ended.clone(), false, start);
    assert!(
        books.over(start + FORGET_AFTER).is_empty(),
        "the message is not finished"
    );
    books.settle(&message, items);
    assert!(books.over(start + FORGET_AFTER / 2).is_empty());
    assert_eq!(books.over(start + FORGET_AFTER), [process(1)]);
    books.note_totals(process(1), publisher.totals(&[]), true, start + FORGET_AFTER);
    assert!(books.over(start + FORGET_AFTER).is_empty(), "it has not ended");
    books.note_totals(process(1), ended, true, start + FORGET_AFTER);
    assert!(books.over(start + FORGET_AFTER).is_empty(), "it ended just now");
    assert_eq!(books.over(start + 2 * FORGET_AFTER), [process(1)]);
    books.forget(process(1));
    assert!(books.over(start + 2 * FORGET_AFTER).is_empty());
    assert_eq!(books.forgotten, 5);
}

#[test]
fn processes_beyond_the_bound_are_sent_and_not_checked() {
    let (mut books, now) = (Books::default(), Instant::now());
    for number in 0..=PROCESSES as u128 {
        let published = Published {
            process: process(number),
            number: 2,
            sum: 5,
        };
        assert_eq!(books.see(&published, 1, false, now), Seen::New);
    }
    assert_eq!(books.processes.len(), PROCESSES);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Arrives,
    Lost,
    Withdrawn,
    WithdrawnAndArrives,
    ArrivesTwice,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Withdrawn),
        1 => Just(Fate::WithdrawnAndArrives),
        1 => Just(Fate::ArrivesTwice),
    ]
}

proptest! {
    /// Whatever is lost, withdrawn, repeated or out of order, and however often the owner changes:
    /// all items end in exactly one count.
    #[test]
    fn the_books_add_up(
        messages in prop::collection::vec((1_u32..100, fate(), 0_usize..8, any::<bool>()), 1..40),
        hand_overs in prop::collection::btree_set(0_usize..80, 0..4),
    ) {
        let publisher = Publisher { items: messages.iter().map(|(items, ..)| *items).collect() };
        let withdrawn: Vec<usize> = (1..=messages.len())
            .filter(|number| matches!(messages[number - 1].1, Fate::Withdrawn | Fate::WithdrawnAndArrives))
            .collect();
        // Messages arrive up to eight places late.
        let mut arrivals: Vec<(usize, usize)> = Vec::new();
        for (index, (_, fate, late, _)) in messages.iter().enumerate() {
            let times = match fate {
                Fate::Lost | Fate::Withdrawn => 0,
                Fate::Arrives | Fate::WithdrawnAndArrives => 1,
                Fate::ArrivesTwice => 2,
            };
            arrivals.extend((0..times).map(|time| (index + late * (time + 1), index + 1)));
        }
        arrivals.sort_unstable();
        let (mut books, mut now) = (Books::default(), Instant::now());
        books.note_totals(process(1), publisher.totals(&withdrawn), false, now);
        let (mut sent, mut waiting, mut unsettled) = (vec![0; messages.len() + 1], arrivals.clone(), Vec::new());
        let mut step = 0;
        while !waiting.is_empty() {
            let (_, number) = waiting.remove(0);
            let (published, items) = publisher.published(number);
            if books.see(&published, items, false, now) == Seen::New {
                if messages[number - 1].3 || hand_overs.is_empty() {
                    books.settle(&published, items);
                    books.finish(&published, Kind::Spans, items);
                    sent[number] += 1;
                } else {
                    unsettled.push((0, number));
                }
            }
            books.resolve(now);
            if hand_overs.contains(&step) {
                books = hand_over(&books);
                books.note_totals(process(1), publisher.totals(&withdrawn), false, now);
                // What is not settled arrives again.
                unsettled.extend(waiting);
                waiting = std::mem::take(&mut unsettled);
            }
            step += 1;
        }
        for (_, number) in unsettled {
            let (published, items) = publisher.published(number);
            books.settle(&published, items);
            books.finish(&published, Kind::Spans, items);
            sent[number] += 1;
        }
        books.note_totals(process(1), publisher.totals(&withdrawn), true, now);
        for _ in 0..2 {
            books.resolve(now);
            now += LOST_AFTER;
        }
        let lost = messages.iter().filter(|(_, fate, ..)| *fate == Fate::Lost);
        prop_assert_eq!(books.buffer_lost, lost.map(|(items, ..)| u64::from(*items)).sum::<u64>());
        for (index, (_, fate, ..)) in messages.iter().enumerate() {
            let expected = usize::from(matches!(fate, Fate::Arrives | Fate::ArrivesTwice));
            prop_assert_eq!(sent[index + 1], expected, "{} of {:?}", index + 1, fate);
        }
        let finished = messages.iter().filter(|(_, fate, ..)| matches!(fate, Fate::Arrives | Fate::ArrivesTwice));
        prop_assert_eq!(books.finished, [finished.map(|(items, ..)| u64::from(*items)).sum::<u64>(), 0]);
    }
}
