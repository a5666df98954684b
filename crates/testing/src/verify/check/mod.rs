//! Compares the data in the collector with the oracle's expectation and the program's observations.

mod copies;
mod events;
pub(super) mod finding;
mod outgoing;
pub(super) mod scan;
mod sessions;
mod spans;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use opentelemetry::trace::TraceId;
use uuid::Uuid;

use self::finding::{FindingKind, Findings};
use self::scan::{Owners, from_hex, scan};
use super::headers;
use super::oracle::env::{InSession, Parent};
use super::oracle::expect::Expected;
use super::program::cast::{Backend, CANARY, Member, Setting};
use super::program::operation::{OpId, TracerRef};
use super::run::Observed;
use super::subject::Flushed;
use tracer_registry_collector::{LocalCollector, Project, Span};

/// Result of a round.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) findings: Findings,
    pub(super) spans: u64,
    pub(super) sessions: u64,
    pub(super) enrichments: u64,
    pub(super) requests: u64,
    pub(super) bytes: u64,
}

/// Origin of a received span: an operation, or a session call of a backend that gets them as spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SpanOrigin {
    Span(OpId),
    SessionStart(OpId),
    Enrichment(OpId),
    SessionEnd(OpId),
}

/// A received span, and the member of its project.
struct Arrival {
    member: usize,
    span: Arc<Span>,
}

struct Check<'a> {
    cast: &'a [Member],
    names: Vec<String>,
    expected: &'a Expected,
    observed: &'a Observed,
    projects: Vec<Option<Project>>,
    flushed: &'a Flushed,
    /// Settings of each tracer instance, found on its spans.
    settings: HashMap<usize, Setting>,
    arrived: BTreeMap<SpanOrigin, Vec<Arrival>>,
    /// Spans of a source in the project of a target.
    copied: BTreeMap<(SpanOrigin, usize), Vec<Arc<Span>>>,
    /// Whether sessions have starts, data and enrichments, not only ids.
    reports_sessions: bool,
    findings: Findings,
}

/// Checks all data that a program left in the collector.
pub(super) fn check(
    cast: &[Member],
    expected: &Expected,
    observed: &Observed,
    flushed: &Flushed,
    collector: &LocalCollector,
    reports_sessions: bool,
    delivered: impl Fn(TraceId) -> Option<Vec<u64>>,
) -> Checked {
    let names: Vec<String> = cast.iter().map(Member::name).collect();
    let mut check = Check {
        projects: names.iter().map(|name| collector.project(name)).collect(),
        cast,
        names,
        expected,
        observed,
        flushed,
        settings: HashMap::new(),
        arrived: BTreeMap::new(),
        copied: BTreeMap::new(),
        reports_sessions,
        findings: Findings::default(),
    };
    check.sort_spans();
    check.check_spans();
    let copies = check.check_copies();
    if reports_sessions {
        check.check_sessions();
    }
    check.check_events();
    check.check_headers();
    check.check_current();
    check.check_ledgers();
    check.check_explained(delivered);
    check.check_requests(collector);
    for wrong in &observed.wrong {
        check.find(
            FindingKind::WrongLookup,
            wrong.member,
            Some(wrong.op),
            wrong.expected,
            &wrong.seen,
        );
    }
    check.check_instances();
    let owners = check.owners();
    let requests = collector.requests();
    let bytes = scan(requests.iter().map(AsRef::as_ref), cast, &owners, &mut check.findings);
    Checked {
        spans: copies
            + check
                .arrived
                .values()
                .map(|arrivals| arrivals.len() as u64)
                .sum::<u64>(),
        sessions: if reports_sessions {
            expected.sessions.len() as u64
        } else {
            0
        },
        enrichments: expected
            .sessions
            .values()
            .filter(|_| reports_sessions)
            .map(|session| session.enrichments.len() as u64)
            .sum(),
        requests: requests.len() as u64,
        bytes,
        findings: check.findings,
    }
}

impl Check<'_> {
    fn find(
        &mut self,
        kind: FindingKind,
        member: usize,
        op: Option<OpId>,
        expected: impl std::fmt::Display,
        seen: impl std::fmt::Display,
    ) {
        self.findings.add(kind, &self.names[member], op, expected, seen);
    }

    /// Returns the span of an operation if exactly one arrived, in its own project.
    fn own_span(&self, op: OpId) -> Option<&Span> {
        let target = self.expected.spans.get(&op)?.target;
        self.own(SpanOrigin::Span(op), target.member).map(AsRef::as_ref)
    }

    /// Returns the span of an origin if exactly one arrived, in the project of its member.
    fn own(&self, origin: SpanOrigin, member: usize) -> Option<&Arc<Span>> {
        match self.arrived.get(&origin)?.as_slice() {
            [only] if only.member == member => Some(&only.span),
            _ => None,
        }
    }

    /// Returns the trace id and the span id of a parent. `Err` if the parent did not arrive as
    /// expected.
    fn parent_ids(&self, parent: Parent) -> Result<Option<(&str, &str)>, Missing> {
        match parent {
            Parent::None => Ok(None),
            Parent::Span(op) => {
                let span = self.own_span(op).ok_or(Missing)?;
                Ok(Some((&span.trace_id, &span.span_id)))
            }
            Parent::Remote(op) => {
                let headers = self.observed.incoming.get(&op).ok_or(Missing)?;
                Ok(Some(headers::parent_ids(headers).ok_or(Missing)?))
            }
        }
    }

    /// Returns whether the trace of a span started outside any session, so that a member with a
    /// session per trace has one for it.
    fn has_session_of_trace(&self, op: OpId) -> bool {
        match self.expected.spans.get(&op) {
            Some(span) => match span.parent {
                Parent::Span(parent) => self.has_session_of_trace(parent),
                Parent::None | Parent::Remote(_) => span.session == InSession::None,
            },
            None => false,
        }
    }

    /// Returns the id of a session. `trace` is the trace id of the span if its trace may be a
    /// session.
    fn session_id(&self, target: TracerRef, session: InSession, trace: Option<&str>) -> Option<String> {
        match session {
            InSession::Started(op) => self.observed.sessions.get(&op).cloned(),
            InSession::Incoming(op) => {
                let headers = self.observed.incoming.get(&op)?;
                let id = headers::accepted_baggage(headers)
                    .into_iter()
                    .find(|(key, _)| *key == "session.id")?;
                Some(id.1.to_owned())
            }
            InSession::None if self.cast[target.member].has_sessions_of_traces() => trace.map(session_of_trace),
            InSession::None => None,
        }
    }

    /// Returns the owner of every session id and trace id.
    fn owners(&self) -> Owners {
        let mut owners = Owners::default();
        for (op, span) in &self.expected.spans {
            let is_root = matches!(span.parent, Parent::None);
            if let Some(found) = self.own_span(*op).filter(|_| is_root) {
                let trace = from_hex(found.trace_id.as_bytes());
                owners.traces.insert(trace, Some(span.target.member));
                owners
                    .sessions
                    .insert(session_of_trace(&found.trace_id).into_bytes(), Some(span.target.member));
            }
        }
        for (op, session) in &self.expected.sessions {
            if let Some(id) = self.observed.sessions.get(op) {
                owners
                    .sessions
                    .insert(id.clone().into_bytes(), Some(session.target.member));
            }
        }
        // Ids from incoming headers belong to the member that accepts them, or to no member. Ids of
        // other members keep their owners.
        for (op, (member, accepted)) in &self.expected.incoming {
            let Some(forged) = self.observed.incoming.get(op) else {
                continue;
            };
            if let Some((trace, _)) = headers::parent_ids(forged).filter(|(trace, _)| trace.len() == 32) {
                let owner = accepted.parent.then_some(*member);
                owners.traces.entry(from_hex(trace.as_bytes())).or_insert(owner);
                let session = session_of_trace(trace).into_bytes();
                owners.sessions.entry(session).or_insert(owner);
            }
            for (_, id) in headers::accepted_baggage(forged)
                .into_iter()
                .filter(|(key, _)| *key == "session.id")
            {
                let owner = accepted.session.then_some(*member);
                owners.sessions.entry(id.as_bytes().to_vec()).or_insert(owner);
            }
        }
        owners
    }

    /// Returns the settings of a tracer: known ones, or the possible ones that `fits` accepts.
    fn setting(&self, target: TracerRef, fits: impl Fn(Setting) -> bool) -> Setting {
        let known = self.settings.get(&target.instance).copied();
        let possible = || {
            self.flushed
                .instances
                .get(&target.instance)
                .map(|instance| &instance.settings)
        };
        let fitting = || possible()?.iter().copied().find(|setting| fits(*setting));
        let first = || possible()?.first().copied();
        known.or_else(fitting).or_else(first).unwrap_or_default()
    }

    /// Checks that each tracer has settings that were valid at the time of its look-ups.
    fn check_instances(&mut self) {
        for (number, instance) in &self.flushed.instances {
            if instance.settings.is_empty() {
                let ops = self.observed.instances.iter();
                let op = ops.filter(|(_, found)| *found == number).map(|(op, _)| *op).min();
                let (expected, seen) = ("a tracer with valid settings", "outdated or future settings");
                self.find(FindingKind::WrongLookup, instance.member, op, expected, seen);
            }
        }
    }

    /// Returns the settings that the tracers of a member may have had: those that look-ups found, also
    /// before this program, and others, because programs do not look targets up.
    fn settings_of(&self, member: usize) -> Vec<Setting> {
        let of_member = self
            .flushed
            .instances
            .values()
            .filter(|instance| instance.member == member);
        let found = of_member.flat_map(|instance| &instance.settings);
        let settings = found.chain(self.flushed.settings.get(member).into_iter().flatten());
        let settings: Vec<Setting> = settings.copied().collect();
        if settings.is_empty() {
            vec![Setting::default()]
        } else {
            settings
        }
    }

    fn check_requests(&mut self, collector: &LocalCollector) {
        let keyless = collector.requests_without_key();
        if keyless > 0 {
            self.findings
                .add(FindingKind::NoKey, "all", None, "no request without a key", keyless);
        }
        let requests = if self.reports_sessions {
            collector.requests()
        } else {
            Vec::new()
        };
        let mut settings: HashMap<usize, Vec<Setting>> = HashMap::new();
        for request in &requests {
            let project = request.project.as_deref();
            let Some(member) = project.and_then(|project| self.names.iter().position(|name| name == project)) else {
                continue;
            };
            let of = &self.cast[member];
            let seen = ["x-project", "x-source"].map(|name| request.header(name).map(str::to_owned));
            let at = |setting: &Setting| {
                let source = (of.backend == Backend::Honeyhive).then(|| of.source_at(*setting));
                [Some(of.own_at("project", *setting)), source]
            };
            let possible = settings.entry(member).or_insert_with(|| self.settings_of(member));
            if !possible.iter().any(|setting| at(setting) == seen) {
                let expected = format!("x-project and x-source {:?}", possible.first().map(at));
                let seen = format!("{seen:?} in {}", request.path);
                self.find(FindingKind::WrongHeaders, member, None, expected, seen);
            }
        }
        let discarded = collector.dropped_requests();
        if discarded > 0 {
            let expected = "all requests recorded";
            self.findings.add(
                FindingKind::Incomplete,
                "the collector",
                None,
                expected,
                format!("{discarded} discarded"),
            );
        }
    }
}

/// Marks data that did not arrive as expected. The check that missed it reports it.
struct Missing;

/// Returns the session id of a trace: the trace id as a UUID with version and variant of a random
/// one.
fn session_of_trace(trace: &str) -> String {
    let mut id = from_hex(trace.as_bytes());
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    Uuid::from_bytes(id).hyphenated().to_string()
}

/// Returns the token and the operation of a canary.
pub(super) fn parse_canary(text: &str) -> Option<(&str, OpId)> {
    let (token, op) = text.strip_prefix(CANARY)?.split_once('-')?;
    Some((token, op.parse().ok()?))
}
