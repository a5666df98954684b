//! That each kind of deviation is found: expectations that are doctored, and subjects that misbehave.

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
        expected: "the error for it",
        seen: "a tracer".to_owned(),
    }
}

/// The order matters: the runtime goes last.
struct Theatre {
    stage: Stage<Ours>,
    _runtime: Runtime,
}

impl Theatre {
    /// A stage whose subject is made for another cast than the one that it is judged by.
    fn with(doctor: impl FnOnce(&mut [Member])) -> Self {
        let runtime = runtime().expect("threads");
        let stage = Stage::new(&members(), runtime.handle(), |cast, collector| {
            let mut doctored = cast.to_vec();
            doctor(&mut doctored);
            Ours::new(&doctored, collector)
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
        (expect(&piece(), &members()), self.stage.perform(&piece(), 1))
    }

    fn judge(&self, expected: &Expected, performed: &Performed) -> Kinds {
        let findings = self.stage.judge(expected, performed).findings;
        findings.counts.into_keys().collect()
    }
}

/// A little of everything.
fn piece() -> Program {
    let enrich = |id| op(id, Kind::Enrich { session: 1 }, vec![]);
    let late = op(5, Kind::Late { span: 2 }, vec![]);
    let inject = op(6, Kind::Inject { who: A }, vec![]);
    let ask = op(10, Kind::Ask, vec![]);
    let event = op(11, Kind::Event { who: A }, vec![]);
    let inner = span(3, B, vec![span(4, A, vec![late, inject, ask, event])]);
    program(vec![
        session(1, A, vec![span(2, A, vec![inner]), enrich(7), enrich(8)]),
        span(9, B, vec![]),
    ])
}

/// What is found where the expectation or what was seen is doctored.
fn found(doctor: impl FnOnce(&mut Expected, &mut Performed)) -> Kinds {
    let theatre = Theatre::new();
    let (mut expected, mut performed) = theatre.perform();
    doctor(&mut expected, &mut performed);
    theatre.judge(&expected, &performed)
}

fn found_in(doctor: impl FnOnce(&mut Expected)) -> Kinds {
    found(|expected, _| doctor(expected))
}

fn only(kind: FindingKind) -> Kinds {
    Kinds::from([kind])
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(found_in(|_| ()), Kinds::new());
}

#[test]
fn a_span_that_does_not_arrive_is_lost() {
    let kinds = found_in(|expected| {
        let span = expected.spans[&2].clone();
        expected.spans.insert(77, span);
    });
    assert_eq!(kinds, only(FindingKind::Lost));
}

#[test]
fn a_session_that_does_not_arrive_is_lost() {
    let kinds = found(|expected, performed| {
        let enrichments = Vec::new();
        expected.sessions.insert(77, ExpectedSession { who: A, enrichments });
        performed.observed.sessions.insert(77, "nowhere".to_owned());
    });
    assert_eq!(kinds, only(FindingKind::Lost));
}

#[test]
fn what_arrives_twice_is_duplicated() {
    let theatre = Theatre::new();
    theatre.stage.perform(&piece(), 1);
    let (expected, performed) = theatre.perform();
    let kinds = theatre.judge(&expected, &performed);
    assert!(kinds.contains(&FindingKind::Duplicated), "{kinds:?}");
    assert!(!kinds.contains(&FindingKind::Lost), "{kinds:?}");
}

#[test]
fn a_span_that_nobody_made_is_unexpected() {
    let kinds = found_in(|expected| drop(expected.spans.remove(&9)));
    assert!(kinds.contains(&FindingKind::Unexpected), "{kinds:?}");
}

#[test]
fn another_parent_and_another_trace_are_found() {
    let kinds = found_in(|expected| expected.spans.get_mut(&4).expect("it is there").parent = Parent::None);
    assert_eq!(kinds, Kinds::from([FindingKind::WrongParent, FindingKind::WrongTrace]));
    let kinds = found_in(|expected| expected.spans.get_mut(&9).expect("it is there").parent = Parent::Span(3));
    assert!(
        kinds.is_superset(&Kinds::from([FindingKind::WrongParent, FindingKind::WrongTrace])),
        "{kinds:?}"
    );
}

#[test]
fn another_session_is_found() {
    let kinds = found_in(|expected| expected.spans.get_mut(&4).expect("it is there").session = InSession::None);
    assert_eq!(kinds, only(FindingKind::WrongSession));
}

#[test]
fn attributes_that_are_not_there_are_found() {
    let kinds = found_in(|expected| expected.spans.get_mut(&2).expect("it is there").late.push(77));
    assert_eq!(kinds, only(FindingKind::WrongAttribute));
    let kinds = found_in(|expected| expected.spans.get_mut(&2).expect("it is there").late.clear());
    assert_eq!(kinds, only(FindingKind::WrongAttribute));
}

#[test]
fn an_event_that_is_on_another_span_or_nowhere_is_found() {
    let kinds = found_in(|expected| expected.events.extend([(11, 2)]));
    assert_eq!(kinds, only(FindingKind::WrongAttribute));
    let kinds = found_in(|expected| expected.events.extend([(77, 2)]));
    assert_eq!(kinds, only(FindingKind::WrongAttribute));
}

#[test]
fn enrichments_that_are_missing_too_many_or_in_another_order_are_found() {
    let enrichments = |change: fn(&mut Vec<Enriched>)| {
        found_in(|expected| change(&mut expected.sessions.get_mut(&1).expect("it is there").enrichments))
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
fn headers_other_than_the_tracers_own_are_found() {
    let kinds = found_in(|expected| expected.headers.get_mut(&6).expect("it is there").parent = Parent::Span(2));
    assert_eq!(kinds, only(FindingKind::WrongHeaders));
    let kinds = found_in(|expected| expected.headers.get_mut(&6).expect("it is there").baggage.push(77));
    assert_eq!(kinds, only(FindingKind::WrongHeaders));
}

#[test]
fn another_current_tracer_or_session_is_found() {
    for other in [A, B] {
        let kinds = found_in(|expected| expected.current.extend([(10, Some((other, InSession::None)))]));
        assert_eq!(kinds, only(FindingKind::WrongCurrent), "{other:?}");
    }
}

#[test]
fn look_ups_books_flushes_and_panics_are_told() {
    let kinds = found(|_, performed| performed.observed.wrong.push(wrong()));
    assert_eq!(kinds, only(FindingKind::WrongLookup));
    let kinds = found(|_, performed| performed.flushed.books[0].delivered += 1);
    assert_eq!(kinds, only(FindingKind::WrongBooks));
    let kinds = found(|_, performed| performed.flushed.incomplete = Some("too slow".to_owned()));
    assert_eq!(kinds, only(FindingKind::Incomplete));
    let kinds = found(|_, performed| performed.panicked = true);
    assert_eq!(kinds, only(FindingKind::Incomplete));
}

#[test]
fn a_request_without_a_key_is_found() {
    let theatre = Theatre::new();
    let mut stream = TcpStream::connect(theatre.stage.collector.addr()).expect("it listens");
    let request = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("it reads");
    stream.read_to_string(&mut String::new()).expect("it answers");
    let (expected, performed) = theatre.perform();
    assert_eq!(theatre.judge(&expected, &performed), only(FindingKind::NoKey));
}

#[test]
fn swapped_keys_leak() {
    let theatre = Theatre::with(|cast| {
        let other = cast[B.member].key.clone();
        cast[B.member].key = std::mem::replace(&mut cast[A.member].key, other);
    });
    let (expected, performed) = theatre.perform();
    let kinds = theatre.judge(&expected, &performed);
    assert!(
        kinds.is_superset(&Kinds::from([FindingKind::Leaked, FindingKind::Lost])),
        "{kinds:?}"
    );
}

#[test]
fn another_source_is_found() {
    let theatre = Theatre::with(|cast| cast[A.member].source = "elsewhere".to_owned());
    let (expected, performed) = theatre.perform();
    // On the spans, and in the header of the requests.
    let kinds = Kinds::from([FindingKind::WrongSource, FindingKind::WrongHeaders]);
    assert_eq!(theatre.judge(&expected, &performed), kinds);
}

#[test]
fn other_data_of_a_session_is_found() {
    let kinds = found_in(|expected| {
        // The session of #1 is taken for that of #77, whose data would be another.
        let session = expected.sessions.remove(&1).expect("it is there");
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
fn one_context_for_all_providers_leaks() {
    let runtime = runtime().expect("threads");
    let cast = peer::cast(&members());
    let stage = Stage::new(&cast, runtime.handle(), |cast, collector| {
        Peer::new(cast, collector, runtime.handle())
    });
    let stage = stage.expect("a port");
    let expected = expect(&piece(), &cast);
    let counts = stage.judge(&expected, &stage.perform(&piece(), 1)).findings.counts;
    let kinds: Kinds = counts.into_keys().collect();
    let leaks = [
        FindingKind::Leaked,
        FindingKind::WrongParent,
        FindingKind::WrongTrace,
        FindingKind::WrongSession,
    ];
    assert!(kinds.is_superset(&Kinds::from(leaks)), "{kinds:?}");
}
