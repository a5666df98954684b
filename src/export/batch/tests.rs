//! Against a receiver that is made up: what arrives, what is dropped, and what it costs.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    requests: usize,
    delivered: Vec<usize>,
    /// In the order in which they were given up.
    dropped: Vec<usize>,
}

/// Sends the numbers below `count` in one batch, as [`send`] does, to a receiver that takes what `takes` says.
fn send_all(halving: &mut Halving, count: usize, takes: impl Fn(&[usize]) -> bool) -> Sent {
    let mut sent = Sent::default();
    let mut parts = Parts::of(count);
    while let Some(part) = parts.next() {
        sent.requests += 1;
        let numbers: Vec<usize> = part.clone().collect();
        if takes(&numbers) {
            halving.taken();
            sent.delivered.extend(part);
        } else if part.len() > 1 && halving.may_split() {
            parts.split(part);
        } else {
            sent.dropped.extend(part);
        }
    }
    sent
}

#[test]
fn a_lone_bad_span_is_found_wherever_it_is() {
    for bad in 0..512 {
        let sent = send_all(&mut Halving::default(), 512, |part| !part.contains(&bad));
        assert_eq!(sent.dropped, [bad]);
        assert_eq!(sent.requests, 19, "{bad}");
    }
}

#[test]
fn what_is_too_large_together_is_taken_in_parts() {
    let sent = send_all(&mut Halving::default(), 512, |part| part.len() <= 5);
    assert_eq!((sent.delivered.len(), sent.dropped.len()), (512, 0));
    assert_eq!(sent.requests, 255);
}

#[test]
fn a_receiver_that_refuses_everything_is_asked_a_bounded_number_of_times_until_it_takes_something() {
    let mut halving = Halving::default();
    let first = send_all(&mut halving, 100_000, |_| false);
    assert_eq!(first.requests, 2 * MAX_BARREN_SPLITS as usize + 1);
    assert_eq!(send_all(&mut halving, 512, |_| false).requests, 1);
    // Something is taken, though never in one with a bad one: from then on bad ones are found again.
    let bad = |part: &[usize]| !part.contains(&7);
    assert_eq!(send_all(&mut halving, 512, bad).delivered, [0; 0]);
    assert_eq!(send_all(&mut halving, 1, bad).delivered, [0]);
    assert_eq!(send_all(&mut halving, 512, bad).dropped, [7]);
}

#[test]
fn the_table_of_barren_splits_holds() {
    let mut halving = Halving::default();
    for barren_splits in 0..MAX_BARREN_SPLITS {
        assert_eq!(halving, Halving { barren_splits });
        assert!(halving.may_split());
    }
    assert!(!halving.may_split());
    assert_eq!(halving.barren_splits, MAX_BARREN_SPLITS);
    halving.taken();
    assert_eq!(halving, Halving::default());
}

proptest! {
    #[test]
    fn everything_is_sent_in_order_and_settled_once_and_only_the_bad_is_dropped(
        count in 1..300_usize,
        bad in prop::collection::btree_set(0..300_usize, 0..8),
    ) {
        let bad: BTreeSet<usize> = bad.into_iter().filter(|bad| *bad < count).collect();
        let sent = send_all(&mut Halving::default(), count, |part| part.iter().all(|one| !bad.contains(one)));
        prop_assert!(sent.delivered.is_sorted());
        prop_assert!(sent.requests < 2 * count);
        prop_assert_eq!(sent.delivered.len() + bad.len(), count);
        prop_assert_eq!(sent.dropped, bad.into_iter().collect::<Vec<_>>());
    }
}
