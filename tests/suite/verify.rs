//! `verify`: random programs on real tracers, through the function that the command calls.

use std::time::Duration;

use tracer_registry_testing::{FindingKind, Verify, verify};

#[test]
fn random_programs_of_several_seeds_leak_nothing() {
    for seed in 1..=6 {
        let options = Verify::new().seed(seed).tenants(6).operations(1500).threads(3);
        let report = verify(&options).expect("a port and threads");
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
fn random_programs_leak_and_lose_nothing_while_their_tracers_are_replaced() {
    for seed in 1..=3 {
        let options = Verify::new().seed(seed).tenants(6).operations(1500).threads(3);
        let report = verify(&options.chaos(true)).expect("a port, threads and a folder");
        assert!(report.is_clean(), "{:#?}", report.failure);
        let disturbed = report.operations.iter().filter(|(kind, _)| kind.starts_with("chaos: "));
        assert!(
            disturbed.map(|(_, count)| count).sum::<u64>() > 5,
            "{:#?}",
            report.operations
        );
        let chaos = report.chaos.expect("chaos was requested");
        assert!(chaos.evicted > 10, "{chaos:?}");
        assert!(report.ours.spans > 300, "{:#?}", report.ours);
        assert!(chaos.refused > 0, "no request had an old key: {chaos:?}");
    }
}

#[test]
fn a_program_that_exceeds_its_limit_fails_without_a_wait() {
    // Every program exceeds a limit of zero.
    let report = verify(&Verify::new().operations(100).limit(Duration::ZERO)).expect("a port and threads");
    assert!(!report.is_clean());
    assert_eq!(report.ours.count(FindingKind::Hung), 1);
    let failure = report.failure.expect("the failure is reported");
    assert!(!failure.reproduced && !failure.program.is_empty(), "{failure:#?}");
}

#[test]
fn plain_providers_leak_with_the_same_programs() {
    let options = Verify::new().tenants(4).operations(1000).threads(2).peer(true);
    let report = verify(&options).expect("a port and threads");
    assert!(report.is_clean(), "{:#?}", report.failure);
    let peer = report.peer.expect("the peer was requested");
    for kind in [
        FindingKind::Leaked,
        FindingKind::WrongParent,
        FindingKind::WrongTrace,
        FindingKind::WrongSession,
        FindingKind::WrongHeaders,
    ] {
        assert!(peer.count(kind) > 0, "{kind}: {peer:#?}");
    }
    assert_eq!(
        peer.count(FindingKind::Lost),
        0,
        "the exporters of the peer work: {peer:#?}"
    );
    assert_eq!(peer.count(FindingKind::Incomplete), 0, "{peer:#?}");
}
