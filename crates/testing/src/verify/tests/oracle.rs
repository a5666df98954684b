//! The oracle on handwritten programs.

use super::super::oracle::env::{InSession, Parent};
use super::super::oracle::expect::{Enriched, Expected, expect};
use super::super::program::operation::{Forgery, How, Kind, OpId, Program, TracerRef};
use super::{A, B, by_hand, members, op, program, session, span};

fn expected(program: &Program) -> Expected {
    expect(program, &members())
}

fn parent(expected: &Expected, op: OpId) -> Parent {
    expected.spans[&op].parent
}

#[test]
fn the_parent_is_the_innermost_span_of_the_same_tracer() {
    let expected = expected(&program(vec![span(1, A, vec![span(2, B, vec![span(3, A, vec![])])])]));
    assert_eq!(parent(&expected, 1), Parent::None);
    assert_eq!(parent(&expected, 2), Parent::None);
    assert_eq!(parent(&expected, 3), Parent::Span(1));
}

#[test]
fn the_session_is_the_innermost_of_the_same_tracer_and_outlasts_inner_scopes() {
    let inner = op(
        2,
        Kind::Scope { target: B },
        vec![op(
            3,
            Kind::Scope { target: A },
            vec![span(4, A, vec![span(5, B, vec![])])],
        )],
    );
    let expected = expected(&program(vec![session(1, A, vec![inner]), span(6, A, vec![])]));
    assert_eq!(expected.spans[&4].session, InSession::Started(1));
    assert_eq!(expected.spans[&5].session, InSession::None);
    assert_eq!(expected.spans[&6].session, InSession::None);
}

#[test]
fn a_thread_runs_in_the_captured_scope_only() {
    for (carried, wanted) in [(true, Parent::Span(1)), (false, Parent::None)] {
        let thread = Kind::Thread { carried, scoped: true };
        let expected = expected(&program(vec![span(
            1,
            A,
            vec![op(2, thread, vec![span(3, A, vec![])])],
        )]));
        assert_eq!(parent(&expected, 3), wanted, "carried: {carried}");
    }
}

#[test]
fn a_message_without_a_scope_runs_in_the_span_of_the_worker() {
    let message = |carried| Kind::Channel { worker: 0, carried };
    let expected = expected(&program(vec![span(
        1,
        B,
        vec![
            op(2, message(false), vec![span(3, B, vec![]), span(4, A, vec![])]),
            op(5, message(true), vec![span(6, B, vec![])]),
        ],
    )]));
    assert_eq!(parent(&expected, 3), Parent::Span(9000));
    assert_eq!(parent(&expected, 4), Parent::None);
    assert_eq!(parent(&expected, 6), Parent::Span(1));
}

#[test]
fn late_attributes_are_set_only_on_open_spans() {
    let late = |id| op(id, Kind::Late { span: 1 }, vec![]);
    let expected = expected(&program(vec![by_hand(1, A, vec![late(2), late(3)])]));
    assert_eq!(expected.spans[&1].late, [2], "the span ends after the first operation");
    let deferred = op(4, Kind::Deferred { carried: true }, vec![late(5), span(6, A, vec![])]);
    let expected = self::expected(&program(vec![span(1, A, vec![deferred])]));
    assert!(expected.spans[&1].late.is_empty());
    assert_eq!(parent(&expected, 6), Parent::Span(1), "an ended span is still a parent");
}

#[test]
fn baggage_belongs_to_the_tracer_of_the_innermost_scope() {
    let baggage = |id, target, body| op(id, Kind::Baggage { target }, body);
    let inject = |id, target| op(id, Kind::Inject { target }, vec![]);
    let inner = span(4, B, vec![baggage(5, B, vec![inject(6, A), inject(7, B)])]);
    let covered = by_hand(3, B, vec![baggage(8, A, vec![inject(9, A)])]);
    let within = program(vec![span(1, A, vec![baggage(2, A, vec![inner, covered])])]);
    let expected = expected(&within);
    assert!(!expected.is_invalid);
    assert_eq!(expected.headers[&6].baggage, [2]);
    assert_eq!(expected.headers[&7].baggage, [5]);
    assert_eq!(expected.headers[&9].baggage, [8, 2]);
    assert_eq!(expected.headers[&6].parent, Parent::Span(1));
}

#[test]
fn untrusted_headers_set_no_parent() {
    let members = members();
    let trusting = |trusts: bool| {
        let found = members.iter().position(|member| member.trusts_parents == trusts);
        TracerRef::pooled(found.expect("the cast has both"))
    };
    for (target, wanted) in [(trusting(true), Parent::Remote(1)), (trusting(false), Parent::None)] {
        let forgery = Forgery::Parent;
        let expected = expected(&program(vec![op(
            1,
            Kind::Incoming { target, forgery },
            vec![span(2, target, vec![])],
        )]));
        assert_eq!(parent(&expected, 2), wanted);
    }
}

#[test]
fn spans_without_a_named_tracer_belong_to_the_innermost_scope() {
    for how in [How::Routed, How::TracedInScope, How::Subscriber] {
        let unnamed = |target| op(2, Kind::Span { target, how }, vec![]);
        let in_scope = expected(&program(vec![span(1, A, vec![unnamed(A)])]));
        assert!(!in_scope.is_invalid, "{how:?}");
        assert_eq!(parent(&in_scope, 2), Parent::Span(1));
        assert!(expected(&program(vec![span(1, B, vec![unnamed(A)])])).is_invalid);
        assert!(expected(&program(vec![unnamed(A)])).is_invalid);
    }
    let unscoped = |by_subscriber| op(2, Kind::Unscoped { by_subscriber }, vec![span(3, A, vec![])]);
    for by_subscriber in [true, false] {
        let nowhere = expected(&program(vec![unscoped(by_subscriber)]));
        assert!(!nowhere.is_invalid);
        assert_eq!(nowhere.spans.keys().collect::<Vec<_>>(), [&3, &9000]);
        assert!(expected(&program(vec![span(1, A, vec![unscoped(by_subscriber)])])).is_invalid);
    }
}

#[test]
fn an_event_is_on_the_open_span_of_the_scopes_tracer() {
    let event = |id, target| op(id, Kind::Event { target }, vec![]);
    let inner = op(3, Kind::Scope { target: A }, vec![event(4, A)]);
    let in_scopes = expected(&program(vec![span(1, A, vec![span(2, B, vec![event(5, B), inner])])]));
    assert!(!in_scopes.is_invalid);
    assert_eq!(in_scopes.events, [(4, 1), (5, 2)].into());
    let ended = by_hand(2, A, vec![event(3, A), event(4, A)]);
    let by_hand_in_scope = expected(&program(vec![op(1, Kind::Scope { target: A }, vec![ended])]));
    assert_eq!(
        by_hand_in_scope.events,
        [(3, 2)].into(),
        "the span ends after the first"
    );
    let covered = by_hand(2, B, vec![event(3, A)]);
    let covered = expected(&program(vec![span(1, A, vec![covered])]));
    assert!(
        !covered.is_invalid && covered.events.is_empty(),
        "only the id of #1 is accessible there"
    );
}

#[test]
fn a_request_has_a_remote_parent_only_if_its_tenant_trusts_headers() {
    for (member, of) in members().iter().enumerate() {
        let request = Kind::Request {
            member,
            forgery: Forgery::Parent,
            read: true,
        };
        let target = TracerRef::pooled(member);
        let expected = expected(&program(vec![op(1, request, vec![span(2, target, vec![])])]));
        let remote = if of.trusts_parents {
            Parent::Remote(1)
        } else {
            Parent::None
        };
        assert_eq!(parent(&expected, 1), remote);
        assert_eq!(parent(&expected, 2), Parent::Span(1));
    }
}

#[test]
fn enrichments_are_ordered_within_a_strand() {
    let enrich = |id| op(id, Kind::Enrich { session: 1 }, vec![]);
    let tasks = op(3, Kind::JoinSet { carried: false }, vec![enrich(4), enrich(5)]);
    let expected = expected(&program(vec![session(1, A, vec![enrich(2), tasks, enrich(6)])]));
    let main = OpId::MAX;
    let strands = [(main, 2), (4, 4), (5, 5), (main, 6)].map(|(strand, op)| Enriched { strand, op });
    assert_eq!(expected.sessions[&1].enrichments, strands);
}

#[test]
fn a_deferred_task_does_not_carry_an_ended_session() {
    let deferred = op(2, Kind::Deferred { carried: true }, vec![span(3, A, vec![])]);
    let ending = |end| {
        let (target, given, current) = (A, true, true);
        Kind::Session {
            target,
            given,
            current,
            end,
        }
    };
    for (end, wanted) in [(Some(9), InSession::None), (None, InSession::Started(1))] {
        let expected = expected(&program(vec![op(1, ending(end), vec![deferred.clone()])]));
        assert_eq!(expected.spans[&3].session, wanted, "ended: {end:?}");
    }
}

#[test]
fn a_span_in_the_scope_of_an_ended_session_has_no_session() {
    let (target, given, current, end) = (A, true, true, Some(1));
    let ending = Kind::Session {
        target,
        given,
        current,
        end,
    };
    let outer = session(1, A, vec![op(2, ending, vec![span(3, A, vec![]), span(4, A, vec![])])]);
    let expected = expected(&program(vec![outer]));
    assert_eq!(expected.spans[&3].session, InSession::Started(2));
    assert_eq!(expected.spans[&4].session, InSession::None, "nor the outer session");
    assert_eq!(expected.sessions[&2].enrichments.len(), 1);
}

#[test]
fn directly_nested_spans_by_hand_of_two_tracers_are_invalid() {
    assert!(expected(&program(vec![by_hand(1, A, vec![by_hand(2, B, vec![])])])).is_invalid);
    let between = |inner| program(vec![by_hand(1, A, vec![op(3, Kind::Scope { target: B }, vec![inner])])]);
    assert!(!expected(&between(by_hand(2, B, vec![]))).is_invalid);
    assert!(!expected(&program(vec![by_hand(1, A, vec![by_hand(2, A, vec![])])])).is_invalid);
}

#[test]
fn a_dedicated_tracer_differs_from_the_pooled_one() {
    let own = TracerRef {
        dedicated: Some(1),
        ..A
    };
    let dedicated = |body| op(1, Kind::Dedicated { member: A.member }, body);
    let expected = expected(&program(vec![dedicated(vec![span(
        2,
        A,
        vec![span(3, own, vec![span(4, A, vec![])])],
    )])]));
    assert_eq!(parent(&expected, 3), Parent::None);
    assert_eq!(parent(&expected, 4), Parent::Span(2));
}

#[test]
fn a_session_can_be_entered_wherever_its_handle_is_reachable() {
    let again = op(
        3,
        Kind::Rejoin { session: 1 },
        vec![span(4, A, vec![]), span(5, B, vec![])],
    );
    let elsewhere = op(
        2,
        Kind::Thread {
            carried: false,
            scoped: false,
        },
        vec![again.clone(), span(6, A, vec![])],
    );
    let expected = expected(&program(vec![session(1, A, vec![elsewhere])]));
    assert_eq!(expected.spans[&4].session, InSession::Started(1));
    assert_eq!(expected.spans[&5].session, InSession::None);
    assert_eq!(expected.spans[&6].session, InSession::None);
    let alone = self::expected(&program(vec![again]));
    assert_eq!(
        alone.spans[&4].session,
        InSession::None,
        "an unreachable session is not entered"
    );
}

#[test]
fn values_of_a_dropped_future_are_dropped_in_its_span() {
    let dropped = Kind::Select { target: A, on_drop: 3 };
    let expected = expected(&program(vec![span(1, A, vec![op(2, dropped, vec![])])]));
    assert_eq!(parent(&expected, 2), Parent::Span(1));
    assert_eq!(parent(&expected, 3), Parent::Span(2));
}
