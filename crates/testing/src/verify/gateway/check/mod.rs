//! Compares what the receiver got, and what the clients saw, with what the oracle permits.

mod copies;
pub(super) mod counts;
mod ledger;
mod sent_session;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use self::sent_session::{SentSession, op_of, wrong_answer};
use super::super::check::Checked;
use super::super::check::finding::{FindingKind, Findings};
use super::super::check::scan::{Owners, scan};
use super::super::program::cast::{Backend, Member, Setting};
use super::super::program::operation::OpId;
use super::content::{self, Attributes, Place, SentBlock, SentSpan, hex, is_removed, session_id, session_of_trace};
use super::oracle::{Expectation, arriving, code_of, expect, expect_session, owners, too_large};
use super::program::{Export, Kind, Op, Program, Storage};
use super::run::{Observations, Observed};
use super::seen::Seen;
use super::world::{State, World};
use tracer_registry::config::SessionMode;
use tracer_registry_collector::{LocalCollector, Span};

/// What the round left besides the data in the collector.
pub(super) struct Left {
    pub(super) observed: Observations,
    pub(super) states: Vec<State>,
    pub(super) seen: Seen,
    /// Members whose data may have arrived several times.
    pub(super) repeated: BTreeSet<usize>,
}

/// Permitted arrivals of a span.
struct Arrivals<'p> {
    op: OpId,
    /// The member that it belongs to.
    source: usize,
    /// The member that gets it: the same, or a target of its copies.
    member: usize,
    block: Arc<SentBlock>,
    /// Index of the span in its block.
    index: usize,
    min: u64,
    max: u64,
    /// Permitted arrivals besides, of what was in flight at a cut.
    repeats: u64,
    /// Settings that the tracer may have had.
    settings: Vec<Setting>,
    span: &'p super::program::Span,
}

struct Check<'a> {
    world: &'a World,
    program: &'a Program,
    left: &'a Left,
    names: Vec<String>,
    findings: Findings,
    /// Requests to the session API that may have been taken.
    sessions: BTreeMap<OpId, SentSession>,
    spans: u64,
    /// Arrivals of what was in flight at a cut, besides the permitted ones.
    repeated: u64,
    /// Arrivals by member.
    counts: BTreeMap<usize, [u64; 2]>,
    /// Copies that did not arrive, by target, with the first operation.
    missing: BTreeMap<usize, (u64, OpId)>,
}

/// Permitted arrivals by the span and the member that gets it.
type ExpectedArrivals<'p> = BTreeMap<(OpId, usize), Arrivals<'p>>;

/// Checks everything that a program left. Also returns how many spans and session events arrived
/// again after a cut.
pub(super) fn check(program: &Program, world: &World, collector: &LocalCollector, left: &Left) -> (Checked, u64) {
    let mut check = Check {
        world,
        program,
        left,
        names: world.members.iter().map(Member::name).collect(),
        findings: Findings::default(),
        sessions: BTreeMap::new(),
        spans: 0,
        repeated: 0,
        counts: BTreeMap::new(),
        missing: BTreeMap::new(),
    };
    check.check_answers();
    check.sessions = check.sent_sessions();
    let arrivals = check.expected_arrivals();
    check.check_spans(&arrivals, collector);
    check.check_sessions(collector);
    check.check_missing();
    check.check_processes(collector);
    check.check_ledger(collector);
    check.check_requests(collector);
    let owners = check.owners(&arrivals);
    let requests = collector.requests();
    let bytes = scan(
        requests.iter().map(AsRef::as_ref),
        &world.members,
        &owners,
        &mut check.findings,
    );
    let checked = Checked {
        findings: check.findings,
        spans: check.spans,
        sessions: check.sessions.values().filter(|session| session.is_start()).count() as u64,
        enrichments: check.sessions.values().filter(|session| !session.is_start()).count() as u64,
        requests: requests.len() as u64,
        bytes,
    };
    (checked, check.repeated)
}

impl<'a> Check<'a> {
    fn exports(&self) -> impl Iterator<Item = (OpId, &'a Export)> + use<'a> {
        self.program.ops().filter_map(|op| match &op.kind {
            Kind::Export(export) => Some((op.id, export)),
            Kind::Session(_) | Kind::Disturb(_) => None,
        })
    }

    fn find(
        &mut self,
        kind: FindingKind,
        member: Option<usize>,
        op: OpId,
        expected: impl std::fmt::Display,
        seen: impl std::fmt::Display,
    ) {
        let name = member.map_or("all", |member| &self.names[member]);
        self.findings.add(kind, name, Some(op), expected, seen);
    }

    /// Returns what is permitted in each state from `first` to the last one of a request.
    fn permitted(&self, kind: &Kind, observed: &Observed, first: usize) -> Vec<Expectation> {
        let (world, token) = (self.world, observed.token);
        let states = self.left.states[first..=observed.period.last].iter();
        let permitted = states.filter_map(|state| match kind {
            Kind::Export(export) => Some(expect(world, state, export, token)),
            Kind::Session(session) => Some(expect_session(world, state, session, token)),
            Kind::Disturb(_) => None,
        });
        permitted.collect()
    }

    fn check_answers(&mut self) {
        for op in self.program.ops() {
            let Some(observed) = self.left.observed.get(&op.id) else {
                continue;
            };
            let Some(answer) = &observed.answer else { continue };
            let permitted = self.permitted(&op.kind, observed, observed.last_first);
            let code = |status| code_of(&op.kind, status);
            let mut statuses = BTreeSet::new();
            for expected in &permitted {
                statuses.extend(expected.refusals.iter().copied().map(code));
                if expected.refusals.is_empty() {
                    statuses.insert(code(200));
                }
            }
            if !statuses.contains(&answer.status) {
                let seen = format!("{} after {} attempts without one", answer.status, observed.unknown);
                let wanted = format!("one of the answers {statuses:?}");
                self.find(FindingKind::WrongAnswer, None, op.id, wanted, seen);
                continue;
            }
            if let Some(body) = &answer.malformed {
                self.find(FindingKind::WrongAnswer, None, op.id, "the body of a success", body);
            }
            let success = permitted.iter().find(|expected| expected.refusals.is_empty());
            let Some(expected) = success.filter(|_| answer.status == code(200)) else {
                continue;
            };
            match &op.kind {
                Kind::Export(export) => {
                    let wanted = too_large(self.world, self.program.seed, export, &expected.members);
                    if answer.rejected != wanted {
                        let (wanted, seen) = (format!("{wanted} rejected spans"), answer.rejected);
                        self.find(FindingKind::WrongAnswer, None, op.id, wanted, seen);
                    }
                }
                Kind::Session(session) => {
                    if let Some(wanted) = wrong_answer(session, self.program.seed, &answer.json) {
                        self.find(FindingKind::WrongAnswer, None, op.id, wanted, &answer.json);
                    }
                }
                Kind::Disturb(_) => {}
            }
        }
    }

    /// Returns how often a request may have been taken.
    fn times(kind: &Kind, observed: &Observed) -> (u64, u64) {
        let answer = observed.answer.as_ref();
        let min = u64::from(answer.is_some_and(|answer| answer.status == code_of(kind, 200)));
        (min, min + u64::from(observed.unknown + observed.unconfirmed))
    }

    fn expected_arrivals(&self) -> ExpectedArrivals<'a> {
        let mut all = BTreeMap::new();
        for Op { id: op, kind, .. } in self.program.ops() {
            let (Kind::Export(export), Some(observed)) = (kind, self.left.observed.get(op)) else {
                continue;
            };
            let permitted = self.permitted(kind, observed, observed.period.first);
            // The configuration never moves a request to another member.
            let Some(success) = permitted.iter().find(|expected| expected.refusals.is_empty()) else {
                continue;
            };
            let (min, max) = Self::times(kind, observed);
            if max == 0 {
                continue;
            }
            let owners: HashMap<OpId, Option<usize>> = {
                let blocks = export.blocks.iter().map(|block| block.id);
                blocks.zip(owners(self.world, export)).collect()
            };
            let mut received: HashMap<(OpId, usize), Arc<SentBlock>> = HashMap::new();
            for ([source, member], block, span) in arriving(self.world, self.program.seed, export, &success.members) {
                let receive = || {
                    let owner = owners[&block.id];
                    let sent = content::block(self.world, self.program.seed, block, owner);
                    let received = sent.received_by(&self.world.members[member]);
                    Arc::new(received)
                };
                let index = block
                    .spans
                    .iter()
                    .position(|other| other.id == span.id)
                    .unwrap_or_default();
                let is_copy = source != member;
                // What is on disk gets the settings of the time at which it is sent, and a target's
                // tracer is replaced after a reload.
                let first = if is_copy { 0 } else { observed.period.first };
                let last = if self.program.storage == Storage::Memory && !is_copy {
                    observed.period.last
                } else {
                    self.left.states.len() - 1
                };
                let states = &self.left.states[first..=last];
                let mut settings: Vec<Setting> = states.iter().map(|state| state.settings[member]).collect();
                settings.dedup();
                let is_repeated = self.left.repeated.contains(&member);
                all.insert(
                    (span.id, member),
                    Arrivals {
                        op: *op,
                        source,
                        member,
                        block: Arc::clone(received.entry((block.id, member)).or_insert_with(receive)),
                        index,
                        min,
                        max: if is_repeated { u64::MAX } else { max },
                        repeats: self.left.seen.repeats(&self.names[member], span.id),
                        settings,
                        span,
                    },
                );
            }
        }
        all
    }

    fn check_spans(&mut self, arrivals: &ExpectedArrivals<'a>, collector: &LocalCollector) {
        let mut seen: BTreeMap<(OpId, usize), u64> = BTreeMap::new();
        let mut rejected: BTreeMap<usize, u64> = BTreeMap::new();
        for member in 0..self.names.len() {
            let Some(project) = collector.project(&self.names[member]) else {
                continue;
            };
            rejected.insert(member, project.summary().rejected_spans);
            for span in project.spans() {
                self.spans += 1;
                let id = op_of(span);
                if let Some(session) = id.and_then(|id| self.sessions.get_mut(&id)) {
                    session.arrived(member, span);
                    continue;
                }
                let id = id.unwrap_or_default();
                let Some(expected) = arrivals.get(&(id, member)) else {
                    let mut elsewhere = arrivals.range((id, 0)..=(id, usize::MAX));
                    if let Some((_, expected)) = elsewhere.next() {
                        let seen = format!("span #{id} in the project of {}", self.names[member]);
                        let (owner, op) = (Some(expected.source), expected.op);
                        self.find(FindingKind::Leaked, owner, op, "its own project", seen);
                    } else {
                        let seen = format!("{:?} of a request that was not answered with success", span.name);
                        self.find(FindingKind::Unexpected, Some(member), id, "no such span", seen);
                    }
                    continue;
                };
                *seen.entry((id, member)).or_default() += 1;
                self.check_span(id, expected, span);
            }
        }
        for (key @ (id, _), expected) in arrivals {
            let count = seen.get(key).copied().unwrap_or_default();
            let wanted = || format!("span #{id} {} to {} times", expected.min, expected.max);
            let totals = self.counts.entry(expected.member).or_default();
            totals[0] += expected.min;
            totals[1] = totals[1].saturating_add(expected.max).saturating_add(expected.repeats);
            self.repeated += count.saturating_sub(expected.max);
            if count > expected.max.saturating_add(expected.repeats) {
                self.find(
                    FindingKind::Duplicated,
                    Some(expected.member),
                    expected.op,
                    wanted(),
                    count,
                );
            } else if count < expected.min && expected.member != expected.source {
                self.note_missing(expected.member, expected.op, expected.min - count);
            } else if count < expected.min {
                // The receiver rejects spans of some requests.
                let rejected = rejected.entry(expected.member).or_default();
                if *rejected > 0 {
                    *rejected -= 1;
                } else {
                    self.find(FindingKind::Lost, Some(expected.member), expected.op, wanted(), count);
                }
            }
        }
    }

    /// Checks everything of a span that arrived.
    fn check_span(&mut self, id: OpId, expected: &Arrivals<'_>, span: &Span) {
        let (member, op) = (Some(expected.member), expected.op);
        let sent = &expected.block.spans[expected.index];
        let ids = [hex(&sent.trace_id), hex(&sent.span_id)];
        if [&span.trace_id, &span.span_id] != ids.each_ref() {
            let seen = format!("{} {}", span.trace_id, span.span_id);
            self.find(
                FindingKind::WrongTrace,
                member,
                op,
                format!("span #{id} as {}", ids.join(" ")),
                seen,
            );
        }
        let parent = sent.parent.map(|parent| hex(&parent));
        if span.parent_span_id != parent {
            let (wanted, seen) = (
                format!("span #{id} under {parent:?}"),
                format!("{:?}", span.parent_span_id),
            );
            self.find(FindingKind::WrongParent, member, op, wanted, seen);
        }
        let (wanted, seen) = (shown(sent), shown_received(span));
        if wanted != seen {
            self.find(
                FindingKind::WrongAttribute,
                member,
                op,
                format!("span #{id}: {wanted}"),
                seen,
            );
        }
        let scope = &expected.block.scope;
        let backend = self.world.members[expected.member].backend;
        let scope_attributes = scope
            .attributes
            .iter()
            .filter(|(name, _)| !is_removed(backend, name, Place::Scope));
        let scope = json!([
            scope.name,
            scope.version,
            object(scope_attributes),
            expected.block.schema_url
        ]);
        let received = json!([
            span.scope.name,
            span.scope.version,
            span.scope.attributes,
            span.resource.schema_url
        ]);
        if scope != received {
            self.find(
                FindingKind::WrongAttribute,
                member,
                op,
                format!("span #{id} in scope {scope}"),
                received,
            );
        }
        let received = [json!(span.resource.attributes), json!(span.attributes)];
        let permitted = expected.settings.iter().map(|at| self.attributes(expected, sent, *at));
        let permitted: Vec<[Value; 2]> = permitted.collect();
        if !permitted.contains(&received) {
            let wanted = permitted
                .first()
                .map(|[resource, span]| format!("{resource} and {span}"))
                .unwrap_or_default();
            let [resource, attributes] = received;
            let kind = if session_differs(&permitted, &attributes) {
                FindingKind::WrongSession
            } else {
                FindingKind::WrongAttribute
            };
            self.find(
                kind,
                member,
                op,
                format!("span #{id} with {wanted}"),
                format!("{resource} and {attributes}"),
            );
        }
    }

    /// Returns the attributes of the resource and the span after what the binding adds.
    fn attributes(&self, expected: &Arrivals<'_>, sent: &SentSpan, at: Setting) -> [Value; 2] {
        let member = &self.world.members[expected.member];
        let rules = self.world.rules[expected.member];
        let keep = |attributes: &Attributes, place: Place| -> Attributes {
            let kept = attributes
                .iter()
                .filter(|(name, _)| !is_removed(member.backend, name, place));
            kept.cloned().collect()
        };
        let add = |attributes: &mut Attributes, name: &str, value: String| {
            if attributes.iter().all(|(known, _)| known != name) {
                attributes.push((name.to_owned(), json!(value)));
            }
        };
        let mut resource = expected
            .block
            .resource
            .as_ref()
            .map(|sent| keep(sent, Place::Resource))
            .unwrap_or_default();
        let mut span = keep(&sent.attributes, Place::Span);
        if let Some(era) = at.era() {
            add(&mut resource, "era", era);
        }
        let (source, plan) = (member.source_at(at), member.own_at("plan", at));
        if !rules.is_plain {
            add(&mut resource, "team", member.own_at("team", at));
            match member.backend {
                Backend::Honeyhive => {
                    add(&mut span, "honeyhive.source", source);
                    add(&mut span, "honeyhive_metadata.plan", plan);
                }
                Backend::Otlp => {
                    add(&mut resource, "deployment.environment.name", source);
                    add(&mut resource, "tracer_registry.metadata.plan", plan);
                }
            }
        }
        let session = match member.backend {
            Backend::Honeyhive => {
                add(&mut span, "honeyhive_event_type", "tool".to_owned());
                "honeyhive.session_id"
            }
            Backend::Otlp => "session.id",
        };
        if member.sessions == SessionMode::PerTrace {
            add(&mut span, session, session_of_trace(sent.trace_id));
        }
        [object(&resource), object(&span)]
    }

    /// Compares what the gateways reported with what arrived.
    fn check_processes(&mut self, collector: &LocalCollector) {
        let seen = &self.left.seen;
        for wrong in &seen.wrong {
            self.findings
                .add(wrong.kind, "the gateway", wrong.op, wrong.expected, &wrong.seen);
        }
        let rejected: u64 = collector.projects().iter().map(|project| project.rejected_spans).sum();
        let is_lost = seen.lost && seen.dropped.values().all(|dropped| *dropped == 0);
        if rejected == 0 && (is_lost || !seen.incomplete.is_empty()) {
            let lines = format!("exit code 3 {}; {}", seen.lost, seen.incomplete.join(" | "));
            self.findings
                .add(FindingKind::Incomplete, "the gateway", None, "nothing dropped", lines);
        }
        if seen.spooled > 0 {
            self.findings.add(
                FindingKind::Incomplete,
                "the gateway",
                None,
                "nothing left on disk",
                seen.spooled,
            );
        }
        for (member, [min, max]) in self.counts.clone() {
            // A killed gateway reports nothing.
            let min = if seen.kills == 0 { min } else { 0 };
            let selector = self.world.members[member].selector();
            let [delivered, dropped] =
                [&seen.delivered, &seen.dropped].map(|counts| counts.get(&selector).copied().unwrap_or_default());
            // The receiver counts what it rejects.
            let rejected = collector
                .project(&self.names[member])
                .map_or(0, |project| project.summary().rejected_spans);
            if !(min.saturating_sub(rejected)..=max).contains(&(delivered + dropped)) {
                let wanted = format!("{min} to {max} spans delivered or dropped, {rejected} rejected");
                let seen = format!("{delivered} delivered, {dropped} dropped");
                self.findings
                    .add(FindingKind::WrongLedger, &self.names[member], None, wanted, seen);
            }
        }
    }

    /// Checks the headers of the binding, and that no request lacks a key.
    fn check_requests(&mut self, collector: &LocalCollector) {
        let keyless = collector.requests_without_key();
        if keyless > 0 {
            self.findings
                .add(FindingKind::NoKey, "all", None, "no request without a key", keyless);
        }
        let unknown: u64 = collector
            .projects()
            .iter()
            .filter(|project| project.name.is_none())
            .map(|of| of.requests)
            .sum();
        if unknown > 0 {
            self.findings.add(
                FindingKind::Leaked,
                "all",
                None,
                "only known keys",
                format!("{unknown} requests"),
            );
        }
        let discarded = collector.dropped_requests();
        if discarded > 0 {
            self.findings.add(
                FindingKind::Incomplete,
                "the collector",
                None,
                "all requests recorded",
                discarded,
            );
        }
        for request in collector.requests() {
            let Some(member) = self
                .names
                .iter()
                .position(|name| Some(name.as_str()) == request.project.as_deref())
            else {
                continue;
            };
            let project = request.header("x-project");
            let mut permitted = self
                .left
                .states
                .iter()
                .map(|state| self.world.members[member].own_at("project", state.settings[member]));
            if !permitted.any(|own| Some(own.as_str()) == project) {
                let (wanted, seen) = ("its own x-project", format!("{project:?}"));
                self.findings
                    .add(FindingKind::WrongHeaders, &self.names[member], None, wanted, seen);
            }
        }
    }

    /// Returns the owners of ids that only one member's spans have.
    fn owners(&self, arrivals: &ExpectedArrivals<'a>) -> Owners {
        let mut owners = Owners {
            strangers: self.world.strangers().into_iter().map(str::to_owned).collect(),
            ..Owners::default()
        };
        let seed = self.program.seed;
        let mut traces: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        let mut sessions: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for sent in self.sessions.values() {
            sessions.entry(sent.id.clone()).or_default().insert(sent.member);
        }
        for expected in arrivals.values() {
            traces.entry(expected.span.trace).or_default().insert(expected.source);
            if let Some((trace, _)) = expected.span.link {
                traces.entry(trace).or_default().insert(expected.source);
            }
            if let Some(session) = expected.span.session {
                let id = session_id(seed, session);
                sessions.entry(id).or_default().insert(expected.source);
            }
        }
        // Those of refused requests alone have no owner.
        for (_, export) in self.exports() {
            for span in export.blocks.iter().flat_map(|block| &block.spans) {
                traces.entry(span.trace).or_default();
            }
        }
        for (trace, members) in traces {
            if members.len() > 1 {
                continue;
            }
            let (owner, id) = (members.first().copied(), content::trace_id(seed, trace));
            owners.traces.insert(id, owner);
            owners.sessions.insert(session_of_trace(id).into_bytes(), owner);
        }
        for (id, members) in sessions.into_iter().filter(|(_, members)| members.len() == 1) {
            owners.sessions.insert(id.into_bytes(), members.first().copied());
        }
        owners
    }
}

fn object<'a>(attributes: impl IntoIterator<Item = &'a (String, Value)>) -> Value {
    attributes
        .into_iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns whether no permitted span has the session of the received one.
fn session_differs(permitted: &[[Value; 2]], received: &Value) -> bool {
    let names = ["honeyhive.session_id", "session.id"];
    let session = |span: &Value| names.map(|name| span[name].clone());
    permitted.iter().all(|[_, span]| session(span) != session(received))
}

/// Returns everything of a span that bindings never change.
fn shown(sent: &SentSpan) -> Value {
    let event = sent
        .event
        .iter()
        .map(|(time, name, attributes)| json!([time, name, object(attributes)]));
    let link = sent
        .link
        .iter()
        .map(|(trace, span, attributes)| json!([hex(trace), hex(span), object(attributes)]));
    let (message, code) = sent.status.clone().unwrap_or_default();
    json!({
        "kind": KINDS[usize::from(sent.kind)],
        "times": [sent.start, sent.end],
        "state": sent.trace_state,
        "events": event.collect::<Vec<_>>(),
        "links": link.collect::<Vec<_>>(),
        "status": [message, CODES[usize::from(code)]],
        "dropped": 0,
    })
}

const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
const CODES: [&str; 3] = ["unset", "ok", "error"];

fn shown_received(span: &Span) -> Value {
    let events = span
        .events
        .iter()
        .map(|event| json!([event.time_unix_nanos, event.name, event.attributes]));
    let links = span
        .links
        .iter()
        .map(|link| json!([link.trace_id, link.span_id, link.attributes]));
    json!({
        "kind": span.kind,
        "times": [span.start_unix_nanos, span.end_unix_nanos],
        "state": span.trace_state,
        "events": events.collect::<Vec<_>>(),
        "links": links.collect::<Vec<_>>(),
        "status": [span.status.message, json!(span.status.code)],
        "dropped": span.dropped_attributes + span.dropped_events + span.dropped_links + span.duplicate_attributes,
    })
}
