//! The ledger of replicas that share a stream, and what may arrive again.

use super::super::check::counts::counts;
use super::super::cluster::Ledger;
use super::*;

/// Returns a program of which everything was published and arrived.
fn delivered() -> Delivery {
    let mut delivery = Delivery::new();
    delivery.program.storage = Storage::Stream;
    delivery.deliver(0, PLAIN[0]);
    delivery.deliver(1, PLAIN[1]);
    delivery.left.seen.ledger = Some(Ledger {
        published: 2,
        finished: 2,
        ..Ledger::default()
    });
    delivery
}

#[test]
fn a_ledger_that_does_not_add_up_is_found() {
    type Deviation = fn(&mut Ledger);
    assert_eq!(delivered().kinds(), BTreeSet::new());
    let deviations: [Deviation; 7] = [
        |ledger| ledger.finished = 1,
        |ledger| (ledger.published, ledger.finished) = (3, 3),
        |ledger| ledger.waiting = 1,
        |ledger| ledger.buffer_lost = 1,
        |ledger| ledger.expired = 1,
        |ledger| (ledger.published, ledger.unconfirmed) = (1, 1),
        |ledger| ledger.duplicates = 1,
    ];
    for (index, deviate) in deviations.into_iter().enumerate() {
        let mut delivery = delivered();
        deviate(delivery.left.seen.ledger.as_mut().expect("a ledger"));
        assert_eq!(delivery.kinds(), BTreeSet::from([FindingKind::WrongLedger]), "{index}");
    }
    let mut delivery = delivered();
    delivery.left.seen.ledger = None;
    assert_eq!(delivery.kinds(), BTreeSet::from([FindingKind::WrongLedger]));
}

#[test]
fn a_kill_permits_what_arrives_twice_and_nothing_that_waits() {
    let mut delivery = delivered();
    delivery.left.seen.server_kills = 1;
    let ledger = Ledger {
        published: 1,
        unconfirmed: 1,
        finished: 2,
        duplicates: 1,
        ..Ledger::default()
    };
    delivery.left.seen.ledger = Some(ledger);
    assert_eq!(delivery.kinds(), BTreeSet::new());
    delivery.left.seen.ledger = Some(Ledger { waiting: 1, ..ledger });
    assert_eq!(delivery.kinds(), BTreeSet::from([FindingKind::WrongLedger]));
}

#[test]
fn what_was_refused_during_a_kill_may_have_been_stored() {
    let mut delivery = delivered();
    delivery.deliver(0, PLAIN[0]);
    let ledger = delivery.left.seen.ledger.as_mut().expect("a ledger");
    (ledger.published, ledger.finished) = (3, 3);
    delivery
        .left
        .seen
        .delivered
        .insert(delivery.world.members[PLAIN[0]].selector(), 2);
    assert!(delivery.kinds().contains(&FindingKind::Duplicated));
    delivery.left.observed.get_mut(&1).expect("a request").unconfirmed = 1;
    assert_eq!(delivery.kinds(), BTreeSet::new());
}

#[test]
fn what_arrived_after_a_kill_may_be_reported_by_two_replicas() {
    let mut delivery = delivered();
    delivery.left.seen.kills = 1;
    delivery
        .left
        .seen
        .open_cuts
        .push(counts(&collector(&[]).expect("a port")));
    delivery.left.seen.end_cuts(&delivery.collector);
    delivery.deliver(0, PLAIN[0]);
    delivery
        .left
        .seen
        .delivered
        .insert(delivery.world.members[PLAIN[0]].selector(), 2);
    assert_eq!(delivery.kinds(), BTreeSet::new());
}
