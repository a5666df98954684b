//! Kills, and what a gateway leaves on disk.

use super::super::check::counts::counts;
use super::super::seen::{Cut, Reported};
use super::*;

#[test]
fn only_what_was_in_flight_at_a_kill_may_arrive_again() {
    let mut delivery = Delivery::new();
    delivery.program.storage = Storage::Through;
    let before = counts(&delivery.collector);
    delivery.deliver(0, PLAIN[0]);
    let after = counts(&delivery.collector);
    delivery.deliver(1, PLAIN[1]);
    delivery.left.seen.cuts.push(Cut { before, after });
    delivery.deliver(0, PLAIN[0]);
    assert_eq!(delivery.kinds(), BTreeSet::new());
    delivery.deliver(1, PLAIN[1]);
    assert_eq!(
        delivery.kinds(),
        BTreeSet::from([FindingKind::Duplicated]),
        "the second arrived after the kill"
    );
    delivery.left.seen.cuts.clear();
    assert_eq!(delivery.check().findings.counts[&FindingKind::Duplicated], 2);
}

#[test]
fn what_was_answered_before_a_kill_must_arrive() {
    let mut delivery = Delivery::new();
    delivery.program.storage = Storage::Through;
    delivery.left.seen.kills = 1;
    delivery.deliver(0, PLAIN[0]);
    let checked = delivery.check();
    assert_eq!(
        (
            checked.findings.counts.len(),
            checked.findings.counts[&FindingKind::Lost]
        ),
        (1, 1),
        "the reports of killed gateways are missing"
    );
}

#[test]
fn data_that_stays_on_disk_is_found() {
    let mut delivery = Delivery::new();
    delivery.deliver(0, PLAIN[0]);
    delivery.deliver(1, PLAIN[1]);
    delivery.left.seen.spooled = 1;
    assert_eq!(delivery.kinds(), BTreeSet::from([FindingKind::Incomplete]));
}

#[test]
fn the_report_of_a_gateway_is_understood() {
    let of = |line| {
        let reported = Reported::of(line)?;
        let counts = [reported.delivered, reported.spooled, reported.dropped];
        Some((reported.selector, counts, reported.has_more))
    };
    assert_eq!(of("tenant:a: 1 span delivered"), Some(("tenant:a", [1, 0, 0], false)));
    assert_eq!(
        of("feature:f,tenant:a: 0 spans delivered, 12 spooled, 1 session event spooled"),
        Some(("feature:f,tenant:a", [0, 13, 0], false))
    );
    assert_eq!(
        of("tenant:a: 2 spans delivered, 3 dropped (shutdown), 4 spooled, 5 session events pending"),
        Some(("tenant:a", [2, 4, 3], true))
    );
    assert_eq!(
        of("tenant:a: 2 spans delivered, 1 dropped (shutdown), 4 spooled; last error: status 503, 6 spooled"),
        Some(("tenant:a", [2, 4, 1], false))
    );
    assert_eq!(
        of("tenant:a: 2 spans delivered, 1 session event dropped (shutdown)"),
        Some(("tenant:a", [2, 0, 0], true))
    );
    assert_eq!(of("  spool          through, 0 MiB of 64 MiB"), None);
}
