//! Random programs on real tracers, by the function that the command calls.

use std::time::Duration;

use tracer_registry_testing::{FindingKind, Verify, verify};

#[test]
fn programs_of_several_seeds_leak_nothing() {
    for seed in 1..=6 {
        let asked = Verify::new().seed(seed).tenants(6).operations(1500).threads(3);
        let report = verify(&asked).expect("a port and threads");
        assert!(report.is_clean(), "{:#?}", report.failure);
        assert_eq!((report.rounds, report.total_operations()), (1, 1500));
        assert!(
            report.ours.spans > 300 && report.ours.sessions > 20,
            "{:#?}",
            report.ours
        );
        assert!(report.ours.bytes > 100_000, "{:#?}", report.ours);
    }
}

#[test]
fn programs_leak_and_lose_nothing_while_tracers_are_replaced_under_them() {
    for seed in 1..=3 {
        let asked = Verify::new().seed(seed).tenants(6).operations(1500).threads(3);
        let report = verify(&asked.chaos(true)).expect("a port, threads and a folder");
        assert!(report.is_clean(), "{:#?}", report.failure);
        let disturbed = report.operations.iter().filter(|(kind, _)| kind.starts_with("chaos: "));
        assert!(
            disturbed.map(|(_, count)| count).sum::<u64>() > 5,
            "{:#?}",
            report.operations
        );
        let chaos = report.chaos.expect("it was asked for");
        assert!(chaos.evicted > 10, "{chaos:?}");
        assert!(report.ours.spans > 300, "{:#?}", report.ours);
        assert!(chaos.refused > 0, "no request had an old key: {chaos:?}");
    }
}

#[test]
fn a_program_that_does_not_end_fails_and_is_not_waited_for() {
    // Longer than nothing is what every program takes.
    let report = verify(&Verify::new().operations(100).limit(Duration::ZERO)).expect("a port and threads");
    assert!(!report.is_clean());
    assert_eq!(report.ours.count(FindingKind::Hung), 1);
    let failure = report.failure.expect("it is told");
    assert!(!failure.reproduced && !failure.program.is_empty(), "{failure:#?}");
}

#[test]
fn plain_providers_leak_with_the_same_programs() {
    let asked = Verify::new().tenants(4).operations(1000).threads(2).peer(true);
    let report = verify(&asked).expect("a port and threads");
    assert!(report.is_clean(), "{:#?}", report.failure);
    let peer = report.peer.expect("it was asked for");
    for kind in [
        FindingKind::Leaked,
        FindingKind::WrongParent,
        FindingKind::WrongTrace,
        FindingKind::WrongSession,
        FindingKind::WrongHeaders,
    ] {
        assert!(peer.count(kind) > 0, "{kind}: {peer:#?}");
    }
    assert_eq!(peer.count(FindingKind::Lost), 0, "its exporters work: {peer:#?}");
    assert_eq!(peer.count(FindingKind::Incomplete), 0, "{peer:#?}");
}
