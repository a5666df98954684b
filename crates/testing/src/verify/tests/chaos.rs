//! Programs with replaced tracers: the oracle on handwritten programs, and the checker on altered
//! histories.

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
use super::super::program::operation::{Disturbance, How, Kind, Op, OpId, Program, TracerRef};
use super::super::program::print::print;
use super::super::rounds::runtime;
use super::super::stage::{Performed, Stage};
use super::super::watchdog::within;
use super::{A, B, by_hand, members, op, program, session, span};

fn expected(program: &Program, instances: &[(OpId, usize)]) -> Expected {
    expect_replaced(program, &members(), &instances.iter().copied().collect())
}

#[test]
fn a_replaced_tracer_differs_from_its_successor_of_the_same_name() {
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
fn a_session_does_not_pass_to_the_successor_of_its_tracer() {
    let in_session = program(vec![session(1, A, vec![span(2, A, vec![]), span(3, A, vec![])])]);
    let expected = expected(&in_session, &[(1, 1), (2, 1), (3, 2)]);
    assert_eq!(expected.spans[&2].session, InSession::Started(1));
    assert_eq!(expected.spans[&3].session, InSession::None);
}

#[test]
fn operations_without_a_look_up_use_the_tracer_of_the_scope() {
    let routed = |id| {
        let how = How::Routed;
        op(id, Kind::Span { target: A, how }, vec![])
    };
    let inject = op(5, Kind::Inject { target: A }, vec![]);
    let baggage = op(4, Kind::Baggage { target: A }, vec![inject]);
    let in_span = program(vec![span(1, A, vec![routed(2), baggage])]);
    // The interpreter looks the routed tracer up too and finds the successor, which gets no span.
    let expected = expected(&in_span, &[(1, 1), (2, 2), (5, 1)]);
    assert_eq!(expected.spans[&2].parent, Parent::Span(1));
    assert_eq!(expected.headers[&5].baggage, [4]);
}

#[test]
fn nested_spans_by_hand_may_belong_to_two_instances_of_a_tracer() {
    let by_hands = program(vec![by_hand(1, A, vec![by_hand(2, A, vec![])])]);
    assert!(expected(&by_hands, &[]).is_invalid);
}

#[test]
fn disturbed_programs_are_valid_and_contain_every_kind_of_operation() {
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
    let kinds = |program: Program| {
        let mut kinds = BTreeSet::new();
        program.each(|op| {
            kinds.insert(op.kind.name(op.mode));
        });
        kinds.len()
    };
    assert_eq!(kinds(generate_disturbed(1, 20_000, 4, &cast)), 46);
    assert_eq!(kinds(generate(1, 20_000, 4, &cast)), 37);
}

/// Returns a program with every disturbance of a tenant, between its spans.
fn sample_program() -> Program {
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
        disturb(18, Disturbance::Pause { member }),
        disturb(16, Disturbance::Remove { member }),
        span(17, B, vec![]),
    ];
    program(vec![span(1, B, block), span(14, A, vec![])])
}

/// Returns the findings after `alter` changed the observations of the sample program.
fn found(alter: impl FnOnce(&mut Performed)) -> BTreeSet<FindingKind> {
    found_in(&sample_program(), alter)
}

fn found_in(program: &Program, alter: impl FnOnce(&mut Performed)) -> BTreeSet<FindingKind> {
    let runtime = runtime().expect("threads");
    let stage = Stage::new(&members(), runtime.handle(), Ours::disturbed).expect("a port");
    let mut performed = stage.perform(program, 1);
    alter(&mut performed);
    let expected = expect_replaced(program, &members(), &performed.observed.instances);
    let findings = stage.judge(&expected, &performed).findings;
    findings.counts.into_keys().collect()
}

#[test]
fn a_tenant_with_every_disturbance_has_no_findings() {
    let kinds = found(|performed| {
        assert!(performed.observed.wrong.is_empty(), "{:?}", performed.observed.wrong);
        let instances = &performed.observed.instances;
        let tracers: Vec<usize> = [1, 3, 5, 7, 13].map(|op| instances[&op]).into();
        assert_eq!(tracers.iter().collect::<BTreeSet<_>>().len(), 5, "{instances:?}");
        assert_eq!(instances[&7], instances[&8], "no disturbance between them");
        assert_eq!(
            instances[&8], instances[&10],
            "code keeps using the handle of a removed tenant"
        );
        let settings = |op: OpId| performed.flushed.instances[&instances[&op]].settings.clone();
        let setting = |binding, defaults| vec![Setting { binding, defaults }];
        assert_eq!(settings(3), setting(0, 0));
        assert_eq!(settings(5), setting(1, 0));
        assert_eq!(settings(7), setting(1, 1));
        assert_eq!(settings(13), setting(2, 1));
    });
    assert_eq!(kinds, BTreeSet::new());
}

#[test]
fn outdated_settings_are_found() {
    let other = |change: fn(&mut Setting)| {
        found(|performed| {
            let number = performed.observed.instances[&5];
            let instance = performed.flushed.instances.get_mut(&number).expect("recorded");
            instance.settings.iter_mut().for_each(change);
        })
    };
    // Not WrongHeaders: another instance of the name has these headers.
    let kinds = BTreeSet::from([FindingKind::WrongSource, FindingKind::WrongAttribute]);
    assert_eq!(other(|setting| setting.binding = 9), kinds);
    assert_eq!(
        other(|setting| setting.defaults = 9),
        BTreeSet::from([FindingKind::WrongAttribute])
    );
}

#[test]
fn a_tracer_without_permitted_settings_is_found() {
    let kinds = found(|performed| {
        let number = performed.observed.instances[&3];
        let instance = performed.flushed.instances.get_mut(&number).expect("recorded");
        instance.settings.clear();
    });
    assert_eq!(kinds, BTreeSet::from([FindingKind::WrongLookup]));
}

/// Returns spans of one tracer with rotations of its key between them, in an outer span.
fn rotated(target: TracerRef, times: u32) -> Program {
    let member = target.member;
    let rotations = (0..times).flat_map(|at| {
        let rotate = op(10 + 2 * at, Kind::Disturb(Disturbance::Rotate { member }), vec![]);
        [rotate, span(11 + 2 * at, target, vec![])]
    });
    program(vec![span(1, target, rotations.collect())])
}

#[test]
fn requests_with_a_rotated_key_are_refused_and_repeated_with_the_new_one() {
    // Only a refusal announces the new key. After four rotations the keys repeat.
    assert!(members()[B.member].has_key_in_vault);
    for times in [1, 6] {
        let kinds = found_in(&rotated(B, times), |performed| {
            assert!(performed.flushed.tally.refused > 0, "{:?}", performed.flushed.tally);
            assert_eq!(performed.flushed.ledgers[B.member].dropped, 0);
        });
        assert_eq!(kinds, BTreeSet::new());
    }
}

#[test]
fn a_span_sent_with_a_refused_key_is_sent_again() {
    let times = 1..=3;
    let refused = times
        .clone()
        .map(|id| op(id, Kind::Refused { member: B.member }, vec![]));
    let kinds = found_in(&program(refused.collect()), |performed| {
        assert!(performed.observed.wrong.is_empty(), "{:?}", performed.observed.wrong);
        let refused = performed.flushed.tally.refused;
        assert!(refused >= times.count() as u64, "at least once per key: {refused}");
    });
    assert_eq!(kinds, BTreeSet::new());
}

#[test]
fn a_target_that_refuses_copies_or_has_no_key_does_not_touch_its_sources() {
    let targets: Vec<usize> = (0..members().len()).filter(|at| members()[*at].is_target()).collect();
    let disturbed = (10..).step_by(10).zip(&targets).flat_map(|(id, member)| {
        let member = *member;
        let disturb = |id, disturbance| op(id, Kind::Disturb(disturbance), vec![]);
        [
            span(id, A, vec![]),
            disturb(id + 1, Disturbance::Refuse { member }),
            span(id + 2, B, vec![]),
            disturb(id + 3, Disturbance::Withhold { member }),
            span(id + 4, B, vec![]),
        ]
    });
    let kinds = found_in(&program(disturbed.collect()), |performed| {
        assert!(performed.observed.wrong.is_empty(), "{:?}", performed.observed.wrong);
        assert_eq!(performed.flushed.unable, targets.iter().copied().collect());
    });
    assert_eq!(kinds, BTreeSet::new());
}

#[test]
fn work_beyond_the_limit_is_abandoned() {
    assert_eq!(within(Duration::from_secs(300), || 1), Some(1));
    let (held, end) = mpsc::channel::<()>();
    assert_eq!(within(Duration::from_millis(1), move || end.recv()), None);
    drop(held);
    let panics = || within(Duration::from_secs(300), || panic!("of the work"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
}
