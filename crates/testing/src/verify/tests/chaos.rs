//! What holds where tracers are replaced while a program runs: the oracle on programs written by hand, and the checker on doctored histories.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use super::super::check::finding::FindingKind;
use super::super::generate::{generate, generate_disturbed};
use super::super::oracle::env::{InSession, Parent};
use super::super::oracle::expect::{Expected, Instances, expect_replaced};
use super::super::ours::subject::Ours;
use super::super::program::cast::Setting;
use super::super::program::operation::{Disturbance, How, Kind, Op, OpId, Program, Who};
use super::super::program::print::print;
use super::super::rounds::runtime;
use super::super::stage::{Performed, Stage};
use super::super::watchdog::within;
use super::{A, B, by_hand, members, op, program, session, span};

fn expected(program: &Program, instances: &[(OpId, usize)]) -> Expected {
    expect_replaced(program, &members(), &instances.iter().copied().collect())
}

#[test]
fn a_tracer_in_place_of_another_is_another_one_whatever_its_name() {
    let nested = program(vec![span(1, A, vec![span(2, A, vec![span(3, A, vec![])])])]);
    let parents = |instances: &[(OpId, usize)]| {
        let expected = expected(&nested, instances);
        [2, 3].map(|op| expected.spans[&op].parent)
    };
    assert_eq!(parents(&[(1, 1), (2, 1), (3, 1)]), [Parent::Span(1), Parent::Span(2)]);
    assert_eq!(parents(&[(1, 1), (2, 2), (3, 2)]), [Parent::None, Parent::Span(2)]);
    assert_eq!(parents(&[(1, 1), (2, 2), (3, 1)]), [Parent::None, Parent::Span(1)]);
}

#[test]
fn a_session_is_not_that_of_the_tracer_that_came_after() {
    let in_session = program(vec![session(1, A, vec![span(2, A, vec![]), span(3, A, vec![])])]);
    let expected = expected(&in_session, &[(1, 1), (2, 1), (3, 2)]);
    assert_eq!(expected.spans[&2].session, InSession::Started(1));
    assert_eq!(expected.spans[&3].session, InSession::None);
}

#[test]
fn what_looks_nothing_up_is_for_the_tracer_of_the_scope() {
    let routed = |id| {
        let how = How::Routed;
        op(id, Kind::Span { who: A, how }, vec![])
    };
    let inject = op(5, Kind::Inject { who: A }, vec![]);
    let baggage = op(4, Kind::Baggage { who: A }, vec![inject]);
    let in_span_async = program(vec![span(1, A, vec![routed(2), baggage])]);
    // The routed one was looked up too, and came by the successor, which it is not made on.
    let expected = expected(&in_span_async, &[(1, 1), (2, 2), (5, 1)]);
    assert_eq!(expected.spans[&2].parent, Parent::Span(1));
    assert_eq!(expected.headers[&5].baggage, [4]);
}

#[test]
fn two_spans_by_hand_over_one_another_may_be_of_two_tracers() {
    let by_hands = program(vec![by_hand(1, A, vec![by_hand(2, A, vec![])])]);
    assert!(expected(&by_hands, &[]).is_invalid);
}

#[test]
fn disturbed_programs_keep_the_rules_and_try_everything() {
    let cast = members();
    for seed in 0..100 {
        let program = generate_disturbed(seed, 300, 3, &cast);
        assert_eq!(program.len(), 300);
        let expected = expect_replaced(&program, &cast, &Instances::new());
        assert!(!expected.is_invalid, "seed {seed}:\n{}", print(&program, &cast));
        let mut refused = 0;
        program.each(|op| refused += u32::from(matches!(op.kind, Kind::Refused { .. })));
        assert_eq!(refused, 1, "seed {seed}:\n{}", print(&program, &cast));
    }
    let tried = |program: Program| {
        let mut tried = BTreeSet::new();
        program.each(|op| {
            tried.insert(op.kind.name(op.mode));
        });
        tried.len()
    };
    assert_eq!(tried(generate_disturbed(1, 20_000, 4, &cast)), 43);
    assert_eq!(tried(generate(1, 20_000, 4, &cast)), 37);
}

/// Everything that can be done to a tenant, between its spans.
fn piece() -> Program {
    let disturb = |id: OpId, disturbance| op(id, Kind::Disturb(disturbance), vec![]);
    let member = B.member;
    let block: Vec<Op> = vec![
        disturb(2, Disturbance::Remove { member }),
        span(3, B, vec![]),
        disturb(4, Disturbance::Rebind { member, count: 2 }),
        span(5, B, vec![]),
        disturb(6, Disturbance::Defaults { registry: 0 }),
        session(7, B, vec![span(8, B, vec![])]),
        disturb(9, Disturbance::Vanish { member }),
        span(10, B, vec![]),
        disturb(11, Disturbance::Broken { registry: 0 }),
        disturb(12, Disturbance::Vanish { member }),
        span(13, B, vec![]),
        disturb(15, Disturbance::Rotate { member }),
        disturb(16, Disturbance::Remove { member }),
        span(17, B, vec![]),
    ];
    program(vec![span(1, B, block), span(14, A, vec![])])
}

/// What is found where the history of the run is doctored.
fn found(doctor: impl FnOnce(&mut Performed)) -> BTreeSet<FindingKind> {
    found_in(&piece(), doctor)
}

fn found_in(program: &Program, doctor: impl FnOnce(&mut Performed)) -> BTreeSet<FindingKind> {
    let runtime = runtime().expect("threads");
    let stage = Stage::new(&members(), runtime.handle(), Ours::disturbed).expect("a port");
    let mut performed = stage.perform(program, 1);
    doctor(&mut performed);
    let expected = expect_replaced(program, &members(), &performed.observed.instances);
    let findings = stage.judge(&expected, &performed).findings;
    findings.counts.into_keys().collect()
}

#[test]
fn a_tenant_that_is_disturbed_in_every_way_is_as_it_must_be() {
    let kinds = found(|performed| {
        assert!(performed.observed.wrong.is_empty(), "{:?}", performed.observed.wrong);
        let came_by = &performed.observed.instances;
        let tracers: Vec<usize> = [1, 3, 5, 7, 13].map(|op| came_by[&op]).into();
        assert_eq!(tracers.iter().collect::<BTreeSet<_>>().len(), 5, "{came_by:?}");
        assert_eq!(came_by[&7], came_by[&8], "nothing happened between them");
        assert_eq!(came_by[&8], came_by[&10], "who is gone is used on by those who have it");
        let settings = |op: OpId| performed.flushed.instances[&came_by[&op]].settings.clone();
        let setting = |binding, defaults| vec![Setting { binding, defaults }];
        assert_eq!(settings(3), setting(0, 0));
        assert_eq!(settings(5), setting(1, 0));
        assert_eq!(settings(7), setting(1, 1));
        assert_eq!(settings(13), setting(2, 1));
    });
    assert_eq!(kinds, BTreeSet::new());
}

#[test]
fn settings_of_another_time_are_found() {
    let other = |change: fn(&mut Setting)| {
        found(|performed| {
            let number = performed.observed.instances[&5];
            let instance = performed.flushed.instances.get_mut(&number).expect("it is there");
            instance.settings.iter_mut().for_each(change);
        })
    };
    // The headers are those of another of the name's tracers.
    let kinds = BTreeSet::from([FindingKind::WrongSource, FindingKind::WrongAttribute]);
    assert_eq!(other(|setting| setting.binding = 9), kinds);
    assert_eq!(
        other(|setting| setting.defaults = 9),
        BTreeSet::from([FindingKind::WrongAttribute])
    );
}

#[test]
fn a_tracer_that_no_time_can_have_given_is_found() {
    let kinds = found(|performed| {
        let number = performed.observed.instances[&3];
        let instance = performed.flushed.instances.get_mut(&number).expect("it is there");
        instance.settings.clear();
    });
    assert_eq!(kinds, BTreeSet::from([FindingKind::WrongLookup]));
}

/// Spans of one tracer while its key is rotated under it, all of it held until the end.
fn rotated(who: Who, times: u32) -> Program {
    let member = who.member;
    let rotations = (0..times).flat_map(|at| {
        let rotate = op(10 + 2 * at, Kind::Disturb(Disturbance::Rotate { member }), vec![]);
        [rotate, span(11 + 2 * at, who, vec![])]
    });
    program(vec![span(1, who, rotations.collect())])
}

#[test]
fn an_old_key_is_refused_from_the_moment_of_the_swap_and_what_it_brought_comes_with_the_new_one() {
    // Nobody is told of its new key, and no tracer is made: it is known by a refusal or not at all. Keys come again after four.
    assert!(members()[B.member].has_key_in_vault);
    for times in [1, 6] {
        let kinds = found_in(&rotated(B, times), |performed| {
            assert!(performed.flushed.tally.refused > 0, "{:?}", performed.flushed.tally);
            assert_eq!(performed.flushed.books[B.member].dropped, 0);
        });
        assert_eq!(kinds, BTreeSet::new());
    }
}

#[test]
fn a_span_that_is_sent_with_a_key_that_is_refused_is_sent_again() {
    let times = 1..=3;
    let refused = times
        .clone()
        .map(|id| op(id, Kind::Refused { member: B.member }, vec![]));
    let kinds = found_in(&program(refused.collect()), |performed| {
        assert!(performed.observed.wrong.is_empty(), "{:?}", performed.observed.wrong);
        let refused = performed.flushed.tally.refused;
        assert!(refused >= times.count() as u64, "each key once, at least: {refused}");
    });
    assert_eq!(kinds, BTreeSet::new());
}

#[test]
fn what_takes_longer_than_the_limit_is_not_waited_for() {
    assert_eq!(within(Duration::from_secs(300), || 1), Some(1));
    let (held, end) = mpsc::channel::<()>();
    assert_eq!(within(Duration::from_millis(1), move || end.recv()), None);
    drop(held);
    let panics = || within(Duration::from_secs(300), || panic!("as the work does"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
}
