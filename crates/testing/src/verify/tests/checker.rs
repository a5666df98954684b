//! The checker finds each kind of deviation: with altered expectations and with faulty subjects.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use tokio::runtime::Runtime;

use super::super::check::finding::FindingKind;
use super::super::oracle::env::{InSession, Parent};
use super::super::oracle::expect::{Enriched, Expected, ExpectedSession, expect};
use super::super::ours::subject::Ours;
use super::super::peer::{self, Peer};
use super::super::program::cast::Member;
use super::super::program::operation::{Kind, Program};
use super::super::rounds::runtime;
use super::super::run::Wrong;
use super::super::stage::{Performed, Stage};
use super::{A, B, members, op, program, session, span};

type Kinds = BTreeSet<FindingKind>;

fn wrong() -> Wrong {
    Wrong {
        op: 77,
        member: 0,
        expected: "the right error",
        seen: "a tracer".to_owned(),
    }
}

/// A stage and its runtime. The runtime must be dropped last.
struct Fixture {
    stage: Stage<Ours>,
    _runtime: Runtime,
}

impl Fixture {
    /// Creates a stage with a subject for an altered cast; the checks use the original one.
    fn with(alter: impl FnOnce(&mut [Member])) -> Self {
        let runtime = runtime().expect("threads");
        let stage = Stage::new(&members(), runtime.handle(), |cast, collector| {
            let mut altered = cast.to_vec();
            alter(&mut altered);
            Ours::new(&altered, collector)
        });
        Self {
            stage: stage.expect("a port"),
            _runtime: runtime,
        }
    }

    fn new() -> Self {
        Self::with(|_| ())
    }

    fn perform(&self) -> (Expected, Performed) {
        (
            expect(&sample_program(), &members()),
            self.stage.perform(&sample_program(), 1),
        )
    }

    fn judge(&self, expected: &Expected, performed: &Performed) -> Kinds {
        let findings = self.stage.judge(expected, performed).findings;
        findings.counts.into_keys().collect()
    }
}

fn sample_program() -> Program {
    let enrich = |id| op(id, Kind::Enrich { session: 1 }, vec![]);
    let late = op(5, Kind::Late { span: 2 }, vec![]);
    let inject = op(6, Kind::Inject { target: A }, vec![]);
    let ask = op(10, Kind::Ask, vec![]);
    let event = op(11, Kind::Event { target: A }, vec![]);
    let inner = span(3, B, vec![span(4, A, vec![late, inject, ask, event])]);
    program(vec![
        session(1, A, vec![span(2, A, vec![inner]), enrich(7), enrich(8)]),
        span(9, B, vec![]),
    ])
}

/// Returns the findings after `alter` changed the expectation or the observations.
fn found(alter: impl FnOnce(&mut Expected, &mut Performed)) -> Kinds {
    let fixture = Fixture::new();
    let (mut expected, mut performed) = fixture.perform();
    alter(&mut expected, &mut performed);
    fixture.judge(&expected, &performed)
}

fn found_in(alter: impl FnOnce(&mut Expected)) -> Kinds {
    found(|expected, _| alter(expected))
}

fn only(kind: FindingKind) -> Kinds {
    Kinds::from([kind])
}

#[test]
fn a_correct_run_has_no_findings() {
    assert_eq!(found_in(|_| ()), Kinds::new());
}

#[test]
fn a_missing_span_is_lost() {
    let kinds = found_in(|expected| {
        let span = expected.spans[&2].clone();
        expected.spans.insert(77, span);
    });
    assert_eq!(kinds, only(FindingKind::Lost));
}

#[test]
fn a_missing_session_is_lost() {
    let kinds = found(|expected, performed| {
        let enrichments = Vec::new();
        expected.sessions.insert(77, ExpectedSession { target: A, enrichments });
        performed.observed.sessions.insert(77, "nowhere".to_owned());
    });
    assert_eq!(kinds, only(FindingKind::Lost));
}

#[test]
fn data_that_arrives_twice_is_duplicated() {
    let fixture = Fixture::new();
    fixture.stage.perform(&sample_program(), 1);
    let (expected, performed) = fixture.perform();
    let kinds = fixture.judge(&expected, &performed);
    assert!(kinds.contains(&FindingKind::Duplicated), "{kinds:?}");
    assert!(!kinds.contains(&FindingKind::Lost), "{kinds:?}");
}

#[test]
fn an_unknown_span_is_unexpected() {
    let kinds = found_in(|expected| drop(expected.spans.remove(&9)));
    assert!(kinds.contains(&FindingKind::Unexpected), "{kinds:?}");
}

#[test]
fn a_wrong_parent_and_a_wrong_trace_are_found() {
    let kinds = found_in(|expected| expected.spans.get_mut(&4).expect("expected").parent = Parent::None);
    assert_eq!(kinds, Kinds::from([FindingKind::WrongParent, FindingKind::WrongTrace]));
    let kinds = found_in(|expected| expected.spans.get_mut(&9).expect("expected").parent = Parent::Span(3));
    assert!(
        kinds.is_superset(&Kinds::from([FindingKind::WrongParent, FindingKind::WrongTrace])),
        "{kinds:?}"
    );
}

#[test]
fn a_wrong_session_is_found() {
    let kinds = found_in(|expected| expected.spans.get_mut(&4).expect("expected").session = InSession::None);
    assert_eq!(kinds, only(FindingKind::WrongSession));
}

#[test]
fn missing_and_unexpected_attributes_are_found() {
    let kinds = found_in(|expected| expected.spans.get_mut(&2).expect("expected").late.push(77));
    assert_eq!(kinds, only(FindingKind::WrongAttribute));
    let kinds = found_in(|expected| expected.spans.get_mut(&2).expect("expected").late.clear());
    assert_eq!(kinds, only(FindingKind::WrongAttribute));
}

#[test]
fn a_misplaced_or_missing_event_is_found() {
    let kinds = found_in(|expected| expected.events.extend([(11, 2)]));
    assert_eq!(kinds, only(FindingKind::WrongAttribute));
    let kinds = found_in(|expected| expected.events.extend([(77, 2)]));
    assert_eq!(kinds, only(FindingKind::WrongAttribute));
}

#[test]
fn missing_duplicated_and_reordered_enrichments_are_found() {
    let enrichments = |change: fn(&mut Vec<Enriched>)| {
        found_in(|expected| change(&mut expected.sessions.get_mut(&1).expect("expected").enrichments))
    };
    assert_eq!(
        enrichments(|all| {
            let one = Enriched { op: 77, ..all[0] };
            all.push(one);
        }),
        only(FindingKind::Lost)
    );
    assert_eq!(enrichments(|all| all.truncate(1)), only(FindingKind::Duplicated));
    assert_eq!(enrichments(|all| all.reverse()), only(FindingKind::WrongOrder));
}

#[test]
fn wrong_headers_are_found() {
    let kinds = found_in(|expected| expected.headers.get_mut(&6).expect("expected").parent = Parent::Span(2));
    assert_eq!(kinds, only(FindingKind::WrongHeaders));
    let kinds = found_in(|expected| expected.headers.get_mut(&6).expect("expected").baggage.push(77));
    assert_eq!(kinds, only(FindingKind::WrongHeaders));
}

#[test]
fn a_wrong_current_tracer_or_session_is_found() {
    for other in [A, B] {
        let kinds = found_in(|expected| expected.current.extend([(10, Some((other, InSession::None)))]));
        assert_eq!(kinds, only(FindingKind::WrongCurrent), "{other:?}");
    }
}

#[test]
fn wrong_look_ups_ledgers_flushes_and_panics_are_found() {
    let kinds = found(|_, performed| performed.observed.wrong.push(wrong()));
    assert_eq!(kinds, only(FindingKind::WrongLookup));
    let kinds = found(|_, performed| performed.flushed.ledgers[0].delivered += 1);
    assert_eq!(kinds, only(FindingKind::WrongLedger));
    let kinds = found(|_, performed| performed.flushed.incomplete = Some("too slow".to_owned()));
    assert_eq!(kinds, only(FindingKind::Incomplete));
    let kinds = found(|_, performed| performed.panicked = true);
    assert_eq!(kinds, only(FindingKind::Incomplete));
}

#[test]
fn a_request_without_a_key_is_found() {
    let fixture = Fixture::new();
    let mut stream = TcpStream::connect(fixture.stage.collector.addr()).expect("it listens");
    let request = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("it reads");
    stream.read_to_string(&mut String::new()).expect("it answers");
    let (expected, performed) = fixture.perform();
    assert_eq!(fixture.judge(&expected, &performed), only(FindingKind::NoKey));
}

#[test]
fn swapped_keys_leak() {
    let fixture = Fixture::with(|cast| {
        let other = cast[B.member].key.clone();
        cast[B.member].key = std::mem::replace(&mut cast[A.member].key, other);
    });
    let (expected, performed) = fixture.perform();
    let kinds = fixture.judge(&expected, &performed);
    assert!(
        kinds.is_superset(&Kinds::from([FindingKind::Leaked, FindingKind::Lost])),
        "{kinds:?}"
    );
}

/// Index of the first target, which gets copies of `A` and `B`. The second one samples.
const TARGET: usize = 11;

/// Returns the findings for a subject with an altered cast.
fn found_with(alter: impl FnOnce(&mut [Member])) -> Kinds {
    let fixture = Fixture::with(alter);
    let (expected, performed) = fixture.perform();
    fixture.judge(&expected, &performed)
}

#[test]
fn missing_and_forbidden_copies_are_found() {
    assert!(members()[TARGET].is_target() && members()[A.member].copies_to(&members()[TARGET]));
    assert_eq!(found_with(|cast| cast[A.member].also.clear()), only(FindingKind::Lost));
    let kinds = found_with(|cast| {
        // It would not take each trace.
        cast[TARGET + 1].ratio = 1.0;
        cast[A.member].also = cast[B.member].also.clone();
    });
    assert!(kinds.contains(&FindingKind::Leaked), "{kinds:?}");
    let kinds = found(|_, performed| performed.flushed.ledgers[TARGET].dropped += 1);
    assert_eq!(kinds, only(FindingKind::WrongLedger));
}

#[test]
fn copies_with_the_redaction_or_the_settings_of_others_are_found() {
    let kinds = found_with(|cast| cast[TARGET].has_key_in_vault = false);
    assert_eq!(kinds, only(FindingKind::WrongAttribute), "redacted");
    let kinds = found_with(|cast| {
        cast[TARGET].has_key_in_vault = false;
        cast[TARGET].source = cast[A.member].source.clone();
    });
    assert!(
        kinds.is_superset(&Kinds::from([FindingKind::WrongSource, FindingKind::Leaked])),
        "{kinds:?}"
    );
}

#[test]
fn a_wrong_source_is_found() {
    let fixture = Fixture::with(|cast| cast[A.member].source = "elsewhere".to_owned());
    let (expected, performed) = fixture.perform();
    // Spans and request headers contain the source.
    let kinds = Kinds::from([FindingKind::WrongSource, FindingKind::WrongHeaders]);
    assert_eq!(fixture.judge(&expected, &performed), kinds);
}

#[test]
fn wrong_session_data_is_found() {
    let kinds = found_in(|expected| {
        // Expect the data of #77 in the session of #1.
        let session = expected.sessions.remove(&1).expect("expected");
        expected.sessions.insert(77, session);
    });
    assert!(kinds.contains(&FindingKind::Unexpected), "{kinds:?}");
    let kinds = found(|expected, performed| {
        let session = expected.sessions[&1].clone();
        expected.sessions.insert(77, session);
        let id = performed.observed.sessions[&1].clone();
        performed.observed.sessions.insert(77, id);
    });
    assert_eq!(kinds, only(FindingKind::WrongSessionData));
}

#[test]
fn plain_providers_leak() {
    let runtime = runtime().expect("threads");
    let cast = peer::cast(&members());
    let stage = Stage::new(&cast, runtime.handle(), |cast, collector| {
        Peer::new(cast, collector, runtime.handle())
    });
    let stage = stage.expect("a port");
    let expected = expect(&sample_program(), &cast);
    let performed = stage.perform(&sample_program(), 1);
    let counts = stage.judge(&expected, &performed).findings.counts;
    let kinds: Kinds = counts.into_keys().collect();
    let leaks = [
        FindingKind::Leaked,
        FindingKind::WrongParent,
        FindingKind::WrongTrace,
        FindingKind::WrongSession,
    ];
    assert!(kinds.is_superset(&Kinds::from(leaks)), "{kinds:?}");
}
