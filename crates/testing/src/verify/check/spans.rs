//! Checks that each span arrives once, in its own project, with the right parent, trace, session,
//! source and attributes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::super::oracle::env::{InSession, Parent};
use super::super::oracle::expect::{ExpectedSession, ExpectedSpan};
use super::super::ours::traced::{TRACED, TRACED_AS};
use super::super::program::cast::{Backend, Member, Setting};
use super::super::program::operation::{OpId, TracerRef};
use super::super::run::late_key;
use super::super::subject::PLANTED_KEY;
use super::finding::FindingKind;
use super::{Arrival, Check, SpanOrigin, parse_canary};
use tracer_registry_collector::{Project, Span};

/// Expected tracer and session of a span.
struct Wanted {
    target: TracerRef,
    session: Option<String>,
    /// Operation of the session with its data on the span, if the backend gets it there.
    session_data: Option<OpId>,
}

/// What the settings of a tracer decide of a span.
pub(super) struct Settings<'s> {
    source: Option<&'s str>,
    era: Option<&'s str>,
}

impl<'s> Settings<'s> {
    pub(super) fn of(span: &'s Span) -> Self {
        let text = |name: &str| {
            let values = [span.attributes.get(name), span.resource.attributes.get(name)];
            values.into_iter().flatten().find_map(Value::as_str)
        };
        Self {
            source: text("honeyhive.source").or_else(|| text("deployment.environment.name")),
            era: span.resource.attributes.get("era").and_then(Value::as_str),
        }
    }

    pub(super) fn fit(&self, member: &Member, at: Setting) -> bool {
        self.source == Some(&member.source_at(at)) && self.era == at.era().as_deref()
    }
}

impl Check<'_> {
    /// Groups the received spans by origin.
    pub(super) fn sort_spans(&mut self) {
        for (member, project) in std::mem::take(&mut self.projects).into_iter().enumerate() {
            for span in project.iter().flat_map(Project::spans) {
                let Some((token, origin)) = origin_of(span) else {
                    self.find(FindingKind::Unexpected, member, None, "no such span", &span.name);
                    continue;
                };
                let owner = self.cast.iter().position(|owner| owner.token == token);
                if owner.is_some_and(|owner| self.cast[owner].copies_to(&self.cast[member])) {
                    self.copied.entry((origin, member)).or_default().push(Arc::clone(span));
                    continue;
                }
                if owner != Some(member) {
                    let seen = format!("{origin:?} in the project of {}", self.names[member]);
                    self.find(
                        FindingKind::Leaked,
                        owner.unwrap_or(member),
                        Some(origin.op()),
                        "its own project",
                        seen,
                    );
                }
                let span = Arc::clone(span);
                self.arrived.entry(origin).or_default().push(Arrival { member, span });
            }
            self.projects.push(project);
        }
    }

    pub(super) fn check_spans(&mut self) {
        let expected = self.expected;
        let mut roots: HashMap<String, OpId> = HashMap::new();
        for (op, span) in &expected.spans {
            let Some(found) = self.only(SpanOrigin::Span(*op), span.target) else {
                continue;
            };
            self.check_parent(*op, span, &found, &mut roots);
            let wanted = Wanted {
                target: span.target,
                session: {
                    let trace = self.has_session_of_trace(*op).then_some(found.trace_id.as_str());
                    self.session_id(span.target, span.session, trace)
                },
                session_data: match span.session {
                    InSession::Started(session) => Some(session),
                    _ => None,
                },
            };
            self.check_session_and_settings(*op, &wanted, &found);
            self.check_attributes(*op, span, &found);
        }
        for (op, session) in &expected.sessions {
            if self.cast[session.target.member].has_calls() || !self.reports_sessions {
                continue;
            }
            for origin in session_origins(*op, session) {
                let Some(found) = self.only(origin, session.target) else {
                    continue;
                };
                let wanted = Wanted {
                    target: session.target,
                    session: self.observed.sessions.get(op).cloned(),
                    session_data: Some(*op),
                };
                self.check_session_and_settings(origin.op(), &wanted, &found);
                if let Some(parent) = &found.parent_span_id {
                    self.find(
                        FindingKind::WrongParent,
                        session.target.member,
                        Some(origin.op()),
                        "no parent",
                        parent,
                    );
                }
            }
        }
        let unexpected: Vec<(SpanOrigin, usize)> = self
            .arrived
            .iter()
            .filter(|(origin, _)| !self.is_expected(**origin))
            .map(|(origin, arrivals)| (*origin, arrivals[0].member))
            .collect();
        for (origin, member) in unexpected {
            self.find(
                FindingKind::Unexpected,
                member,
                Some(origin.op()),
                "no such span",
                format!("{origin:?}"),
            );
        }
    }

    fn is_expected(&self, origin: SpanOrigin) -> bool {
        match origin {
            SpanOrigin::Span(op) => self.expected.spans.contains_key(&op),
            SpanOrigin::SessionStart(op) | SpanOrigin::SessionEnd(op) => self.expected.sessions.contains_key(&op),
            SpanOrigin::Enrichment(op) => {
                let mut all = self.expected.sessions.values().flat_map(|session| &session.enrichments);
                all.any(|enriched| enriched.op == op)
            }
        }
    }

    /// Returns the span of an origin if exactly one arrived in its project. Reports other counts.
    fn only(&mut self, origin: SpanOrigin, target: TracerRef) -> Option<Arc<Span>> {
        let arrivals = self.arrived.get(&origin).map_or(&[][..], Vec::as_slice);
        let mut own = arrivals.iter().filter(|arrival| arrival.member == target.member);
        let (count, found) = (
            own.clone().count(),
            own.next_back().map(|arrival| Arc::clone(&arrival.span)),
        );
        match count {
            0 => self.find(FindingKind::Lost, target.member, Some(origin.op()), "one span", "none"),
            1 => {}
            more => self.find(
                FindingKind::Duplicated,
                target.member,
                Some(origin.op()),
                "one span",
                more,
            ),
        }
        found.filter(|_| count == 1)
    }

    fn check_parent(&mut self, op: OpId, span: &ExpectedSpan, found: &Span, roots: &mut HashMap<String, OpId>) {
        let member = span.target.member;
        let Ok(parent) = self.parent_ids(span.parent) else {
            return;
        };
        let (trace, parent) = parent.unzip();
        let (trace, parent) = (trace.map(str::to_owned), parent.map(str::to_owned));
        if found.parent_span_id != parent {
            let (expected, seen) = (
                shown_parent(span.parent),
                self.shown_id(found.parent_span_id.as_deref()),
            );
            self.find(FindingKind::WrongParent, member, Some(op), expected, seen);
        }
        match trace {
            Some(trace) if trace != found.trace_id => {
                let expected = format!("the trace {trace} of {}", shown_parent(span.parent));
                self.find(FindingKind::WrongTrace, member, Some(op), expected, &found.trace_id);
            }
            Some(_) => {}
            None => {
                if let Some(other) = roots.insert(found.trace_id.clone(), op) {
                    let seen = format!("the same as #{other}");
                    self.find(FindingKind::WrongTrace, member, Some(op), "a new trace", seen);
                }
            }
        }
    }

    /// Describes the span with this id.
    fn shown_id(&self, id: Option<&str>) -> String {
        let Some(id) = id else {
            return "no parent".to_owned();
        };
        let mut arrivals = self
            .arrived
            .iter()
            .flat_map(|(origin, arrivals)| arrivals.iter().map(move |arrival| (origin, arrival)));
        match arrivals.find(|(_, arrival)| arrival.span.span_id == id) {
            Some((origin, arrival)) => format!("the span of #{} of {}", origin.op(), self.names[arrival.member]),
            None => format!("the unknown span {id}"),
        }
    }

    /// Checks the session, the source, the settings of the binding, and the session's data.
    fn check_session_and_settings(&mut self, op: OpId, wanted: &Wanted, found: &Span) {
        let member = wanted.target.member;
        if found.session_id != wanted.session {
            let shown = |id: Option<&str>| match id {
                None => "no session".to_owned(),
                Some(id) => match self.observed.sessions.iter().find(|(_, known)| *known == id) {
                    Some((op, _)) => format!("the session of #{op}"),
                    None => format!("the session {id}"),
                },
            };
            let (expected, seen) = (shown(wanted.session.as_deref()), shown(found.session_id.as_deref()));
            self.find(FindingKind::WrongSession, member, Some(op), expected, seen);
        }
        let at = self.setting(wanted.target, |at| Settings::of(found).fit(&self.cast[member], at));
        self.settings.insert(wanted.target.instance, at);
        self.check_settings(op, member, at, found);
        if !self.reports_sessions {
            return;
        }
        // Backends with a session API have no session data on spans.
        let session = wanted.session_data.filter(|_| !self.cast[member].has_calls());
        let expected = session.map(|session| self.cast[member].canary(session));
        for part in ["metadata.m", "user_properties.u"] {
            let seen = found
                .attributes
                .get(&format!("{}{part}", self.cast[member].session_prefix()));
            let seen = seen.map(|seen| seen.as_str().unwrap_or_default());
            if seen != expected.as_deref() {
                let (expected, seen) = (format!("{part} {expected:?}"), format!("{seen:?}"));
                self.find(FindingKind::WrongAttribute, member, Some(op), expected, seen);
            }
        }
    }

    /// Checks what the binding of a member adds to a span.
    pub(super) fn check_settings(&mut self, op: OpId, member: usize, at: Setting, found: &Span) {
        let (of, seen) = (&self.cast[member], Settings::of(found));
        if seen.source != Some(&of.source_at(at)) {
            let (expected, seen) = (of.source_at(at), seen.source.unwrap_or("none"));
            self.find(FindingKind::WrongSource, member, Some(op), expected, seen);
        }
        if !self.reports_sessions {
            return;
        }
        let resource = |name: &str| found.resource.attributes.get(name).and_then(Value::as_str);
        let plan = match of.backend {
            Backend::Honeyhive => found.attributes.get("honeyhive_metadata.plan").and_then(Value::as_str),
            Backend::Otlp => resource("tracer_registry.metadata.plan"),
        };
        let seen = [plan, resource("team"), resource("tracer_registry.selector"), seen.era];
        let expected = [
            Some(of.own_at("plan", at)),
            Some(of.own_at("team", at)),
            Some(of.selector()),
            at.era(),
        ];
        if seen != expected.each_ref().map(Option::as_deref) {
            let (expected, seen) = (format!("the settings {expected:?}"), format!("{seen:?}"));
            self.find(FindingKind::WrongAttribute, member, Some(op), expected, seen);
        }
    }

    fn check_attributes(&mut self, op: OpId, span: &ExpectedSpan, found: &Span) {
        let member = &self.cast[span.target.member];
        let text = |key: &str| found.attributes.get(key).and_then(Value::as_str);
        let wrong_work = text("work") != Some(&member.canary(op));
        let expected: BTreeSet<OpId> = span.late.iter().copied().collect();
        let keys = found
            .attributes
            .keys()
            .filter_map(|key| key.strip_prefix("late.")?.parse().ok());
        let seen: BTreeSet<OpId> = keys.collect();
        let other_value = expected
            .intersection(&seen)
            .find(|late| text(&late_key(**late)) != Some(&member.canary(**late)))
            .copied();
        if wrong_work {
            self.find(
                FindingKind::WrongAttribute,
                span.target.member,
                Some(op),
                "its own `work` attribute",
                "a missing or different one",
            );
        }
        let planted = self.cast[span.target.member].planted(op);
        if text(PLANTED_KEY) != Some(&planted) {
            let found = format!("{:?}", text(PLANTED_KEY));
            self.find(
                FindingKind::WrongAttribute,
                span.target.member,
                Some(op),
                planted,
                found,
            );
        }
        if expected != seen || other_value.is_some() {
            let (expected, seen) = (
                format!("late attributes of operations {expected:?}"),
                format!("{seen:?}, with a wrong value for {other_value:?}"),
            );
            self.find(
                FindingKind::WrongAttribute,
                span.target.member,
                Some(op),
                expected,
                seen,
            );
        }
    }
}

impl SpanOrigin {
    pub(super) fn op(self) -> OpId {
        match self {
            Self::Span(op) | Self::SessionStart(op) | Self::Enrichment(op) | Self::SessionEnd(op) => op,
        }
    }
}

/// Returns the spans of a session, for a backend that gets sessions as spans.
pub(super) fn session_origins(op: OpId, session: &ExpectedSession) -> impl Iterator<Item = SpanOrigin> {
    let enrichments = session.enrichments.iter().map(move |enriched| {
        if enriched.op == op {
            SpanOrigin::SessionEnd(op)
        } else {
            SpanOrigin::Enrichment(enriched.op)
        }
    });
    enrichments.chain([SpanOrigin::SessionStart(op)])
}

fn shown_parent(parent: Parent) -> String {
    match parent {
        Parent::None => "no parent".to_owned(),
        Parent::Span(op) => format!("the span of #{op}"),
        Parent::Remote(op) => format!("the remote span of #{op}"),
    }
}

/// Returns the token of the member that made a span, and the span's origin.
fn origin_of(span: &Span) -> Option<(&str, SpanOrigin)> {
    let text = |key: &str| span.attributes.get(key).and_then(Value::as_str);
    match span.name.as_str() {
        "session.start" => {
            let input = text("honeyhive_inputs.i").or_else(|| text("tracer_registry.session.inputs.i"));
            let (token, op) = parse_canary(input?)?;
            Some((token, SpanOrigin::SessionStart(op)))
        }
        "session.enrich" => {
            let last = text("honeyhive_metadata.last").or_else(|| text("tracer_registry.session.metadata.last"));
            let (token, op) = parse_canary(last?)?;
            Some((token, SpanOrigin::Enrichment(op)))
        }
        "session.end" => {
            let name = text("honeyhive.session_name").or_else(|| text("tracer_registry.session.name"));
            let (token, op) = parse_canary(name?)?;
            Some((token, SpanOrigin::SessionEnd(op)))
        }
        name => {
            let name = match name {
                // The span name of a `#[trace]` function is fixed at compile time.
                TRACED => text(TRACED_AS)?,
                name => name.strip_prefix("GET ").unwrap_or(name),
            };
            let (token, op) = parse_canary(name)?;
            Some((token, SpanOrigin::Span(op)))
        }
    }
}
