//! Splitting against a simulated receiver: delivered spans, dropped spans, number of requests.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    requests: usize,
    delivered: Vec<usize>,
    /// In the order in which they were dropped.
    dropped: Vec<usize>,
}

/// Sends the numbers below `count` in one batch to a receiver that accepts parts for which
/// `accepts` returns true.
fn send_all(halving: &mut Halving, count: usize, accepts: impl Fn(&[usize]) -> bool) -> Sent {
    let mut sent = Sent::default();
    let mut parts = Parts::of(count);
    let drop = |sent: &mut Sent, refused: Vec<Refused>| {
        sent.dropped
            .extend(refused.into_iter().flat_map(|refused| refused.part));
    };
    while let Some(part) = parts.next() {
        sent.requests += 1;
        let numbers: Vec<usize> = part.clone().collect();
        if accepts(&numbers) {
            halving.note_delivered();
            sent.delivered.extend(part);
            drop(&mut sent, parts.note_delivered());
        } else if part.len() == count && !halving.may_split() {
            sent.dropped.extend(part);
        } else {
            let reason = DropReason::Refused;
            let by_fault = false;
            let refused = parts.note_refused(Refused {
                part,
                reason,
                by_fault,
                error: None,
            });
            drop(&mut sent, refused.into_iter().collect());
        }
    }
    let kept = parts.kept;
    if kept.len() > 1 {
        halving.disable_splitting();
    }
    drop(&mut sent, kept);
    sent
}

/// Length of the path: how often `count` can be split. The first half is the smaller one.
fn depth(count: usize) -> usize {
    count.checked_ilog2().unwrap_or_default() as usize
}

#[test]
fn a_single_bad_span_is_found_at_any_position() {
    for bad in 0..512 {
        let sent = send_all(&mut Halving::default(), 512, |part| !part.contains(&bad));
        assert_eq!(sent.dropped, [bad]);
        assert_eq!(sent.requests, 19, "{bad}");
    }
}

#[test]
fn a_batch_that_is_too_large_is_delivered_in_parts() {
    let sent = send_all(&mut Halving::default(), 512, |part| part.len() <= 5);
    assert_eq!((sent.delivered.len(), sent.dropped.len()), (512, 0));
    assert_eq!(sent.requests, 255);
}

#[test]
fn a_receiver_that_refuses_everything_gets_one_path_and_then_one_request_per_batch() {
    let mut halving = Halving::default();
    for (count, requests) in [(512, 19), (200, 15), (3, 3), (2, 3)] {
        halving.note_delivered();
        let first = send_all(&mut halving, count, |_| false);
        assert_eq!((first.requests, first.dropped.len()), (requests, count), "{count}");
        assert_eq!(send_all(&mut halving, count, |_| false).requests, 1);
    }
    // A delivery enables splitting again, so bad spans are found again.
    let bad = |part: &[usize]| !part.contains(&7);
    assert_eq!(send_all(&mut halving, 512, bad).delivered, [0; 0]);
    assert_eq!(send_all(&mut halving, 1, bad).delivered, [0]);
    assert_eq!(send_all(&mut halving, 512, bad).dropped, [7]);
}

#[test]
fn a_single_refused_span_does_not_disable_splitting() {
    let mut halving = Halving::default();
    let sent = send_all(&mut halving, 1, |_| false);
    assert_eq!((sent.requests, sent.dropped), (1, vec![0]));
    assert_eq!(halving, Halving::default());
}

#[test]
fn kept_parts_are_split_after_a_delivery() {
    // 0, 1 and the next two are refused on the path; the next four are accepted.
    let bad = [0, 1, 2];
    let sent = send_all(&mut Halving::default(), 8, |part| {
        !part.iter().any(|one| bad.contains(one))
    });
    assert_eq!(sent.dropped, bad);
    assert_eq!(sent.delivered, [4, 5, 6, 7, 3]);
    assert_eq!(sent.requests, 9);
}

#[test]
fn faulted_spans_are_retried_after_a_delivery() {
    let mut parts = Parts::of(4);
    let fault = |part| Refused {
        part,
        reason: DropReason::Refused,
        by_fault: true,
        error: None,
    };
    let mut answered = Vec::new();
    // The receiver is down for the first four requests, then fails on the first span only.
    while let Some(part) = parts.next() {
        answered.push(part.clone());
        let dropped = if answered.len() <= 4 || part == (0..1) {
            parts.note_refused(fault(part)).into_iter().collect()
        } else {
            parts.note_delivered()
        };
        assert!(dropped.iter().all(|dropped| dropped.part == (0..1)), "{dropped:?}");
    }
    assert_eq!(answered, [0..4, 0..2, 0..1, 1..2, 2..4, 0..1, 1..2]);
    assert_eq!(parts.kept, []);
}

proptest! {
    #[test]
    fn each_span_completes_once_and_only_bad_spans_are_dropped_after_a_delivery(
        count in 1..300_usize,
        bad in prop::collection::btree_set(0..300_usize, 0..300),
        isolated: bool,
    ) {
        let few = if isolated { 8 } else { count };
        let bad: BTreeSet<usize> = bad.into_iter().filter(|bad| *bad < count).take(few).collect();
        let mut halving = Halving::default();
        let sent = send_all(&mut halving, count, |part| part.iter().all(|one| !bad.contains(one)));
        prop_assert!(sent.requests < 2 * count);
        let all: BTreeSet<usize> = sent.delivered.iter().chain(&sent.dropped).copied().collect();
        prop_assert_eq!((all.len(), sent.delivered.len() + sent.dropped.len()), (count, count));
        if sent.delivered.is_empty() {
            prop_assert!(sent.requests <= 1 + 2 * depth(count));
            prop_assert_eq!(halving.may_split(), count == 1);
        } else {
            prop_assert_eq!(sent.dropped.into_iter().collect::<BTreeSet<_>>(), bad);
            prop_assert!(halving.may_split());
        }
    }
}
