//! Copies: each target gets each span of its sources once, or counts it as dropped. The copy has the
//! ids and the data of the span, and the redaction and the settings of the target.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::oracle::env::InSession;
use super::super::program::cast::{Backend, Member, REDACTED, is_in_ratio, planted};
use super::super::subject::PLANTED_KEY;
use super::finding::FindingKind;
use super::scan::from_hex;
use super::spans::{Settings, session_origins};
use super::{Check, SpanOrigin};
use tracer_registry_collector::Span;

impl Check<'_> {
    /// Returns the number of copies that arrived.
    pub(super) fn check_copies(&mut self) -> u64 {
        let mut copied = std::mem::take(&mut self.copied);
        let count = copied.values().map(|copies| copies.len() as u64).sum();
        let mut missing: BTreeMap<usize, Vec<SpanOrigin>> = BTreeMap::new();
        let mut left_out: BTreeMap<usize, u64> = BTreeMap::new();
        for (origin, source) in self.origins() {
            // A lost span is reported already.
            let Some(original) = self.own(origin, source).cloned() else {
                continue;
            };
            for target in self.targets_of(source).collect::<Vec<_>>() {
                let found = copied.remove(&(origin, target)).unwrap_or_default();
                let is_left_out = self.cast[target].is_sampled()
                    && matches!(origin, SpanOrigin::Span(_))
                    && !is_in_ratio(from_hex(original.trace_id.as_bytes()));
                match found.as_slice() {
                    [] if is_left_out => *left_out.entry(target).or_default() += 1,
                    [] => missing.entry(target).or_default().push(origin),
                    [copy] if !is_left_out => self.check_copy(origin, [source, target], &original, copy),
                    several => {
                        let expected = if is_left_out { "no copy" } else { "one copy" };
                        let seen = several.len();
                        self.find(FindingKind::Duplicated, target, Some(origin.op()), expected, seen);
                    }
                }
            }
        }
        for (origin, target) in copied.into_keys() {
            let seen = format!("a copy of {origin:?}");
            self.find(FindingKind::Unexpected, target, Some(origin.op()), "no such span", seen);
        }
        for (target, ledger) in self.flushed.ledgers.iter().enumerate() {
            let (missing, dropped) = (missing.remove(&target).unwrap_or_default(), ledger.dropped);
            let lost = missing.len() as u64;
            // Without a tracer, a target also counts what it would leave out.
            let most = lost + left_out.get(&target).copied().unwrap_or_default();
            // `check_ledgers` finds drops that no disturbance explains.
            if !(lost..=most).contains(&dropped) && self.cast[target].is_target() {
                let kind = if lost > dropped {
                    FindingKind::Lost
                } else {
                    FindingKind::WrongLedger
                };
                let expected = format!("as many copies lost as its ledger counts as dropped, {dropped}");
                let op = missing.first().map(|origin| origin.op());
                self.find(
                    kind,
                    target,
                    op,
                    expected,
                    format!("{lost}, or {most} with those left out"),
                );
            }
        }
        count
    }

    /// Returns the members that get copies of the spans of a member.
    pub(super) fn targets_of(&self, source: usize) -> impl Iterator<Item = usize> + use<'_> {
        let source = &self.cast[source];
        (0..self.cast.len()).filter(|target| source.copies_to(&self.cast[*target]))
    }

    /// Returns the origins of all expected spans, with their members.
    fn origins(&self) -> Vec<(SpanOrigin, usize)> {
        let spans = self.expected.spans.iter();
        let spans = spans.map(|(op, span)| (SpanOrigin::Span(*op), span.target.member));
        let sessions = self.expected.sessions.iter().flat_map(|(op, session)| {
            let member = session.target.member;
            let of_session = session_origins(*op, session).filter(move |_| !self.cast[member].has_calls());
            of_session.map(move |origin| (origin, member))
        });
        spans.chain(sessions).collect()
    }

    fn check_copy(&mut self, origin: SpanOrigin, [source, target]: [usize; 2], original: &Span, copy: &Arc<Span>) {
        let op = origin.op();
        let ids = |span: &Span| json!([span.trace_id, span.span_id, span.parent_span_id]);
        if ids(copy) != ids(original) {
            let (expected, seen) = (format!("the ids {}", ids(original)), ids(copy));
            self.find(FindingKind::WrongTrace, target, Some(op), expected, seen);
        }
        let [from, to] = [source, target].map(|member| &self.cast[member]);
        // The session that the span is in, or is data of.
        let (session, is_span) = match origin {
            SpanOrigin::Span(op) => (self.expected.spans[&op].session, true),
            _ => (InSession::Started(op), false),
        };
        // Session data is redacted before it becomes a span of its own.
        let is_redacted = to.redacts() || (from.redacts() && !is_span);
        let received = |key: &str, value: &Value| match (key, session) {
            _ if key.rsplit('.').next() != Some(PLANTED_KEY) => value.clone(),
            _ if is_redacted => json!(REDACTED),
            (PLANTED_KEY, _) => json!(planted(&from.canary(op))),
            (_, InSession::Started(op)) => json!(planted(&from.canary(op))),
            _ => Value::Null,
        };
        // The session of a trace is not copied.
        let of_trace = session == InSession::None && from.has_sessions_of_traces();
        let wanted = own_attributes(original, from).filter(|(key, _)| !of_trace || *key != session_key(from));
        let wanted = wanted.map(|(key, value)| (key, received(key, value)));
        let seen = own_attributes(copy, to).map(|(key, value)| (key, value.clone()));
        let (wanted, seen): (BTreeMap<&str, Value>, BTreeMap<&str, Value>) = (wanted.collect(), seen.collect());
        let rest = [original, copy].map(|span| {
            let dropped = [span.dropped_attributes, span.dropped_events, span.dropped_links];
            let times = [span.start_unix_nanos, span.end_unix_nanos];
            json!([
                span.name,
                span.kind,
                times,
                span.events,
                span.links,
                span.status,
                span.trace_state,
                span.flags,
                span.scope.name,
                dropped
            ])
        });
        if wanted != seen || rest[0] != rest[1] {
            let (expected, seen) = (
                format!("a copy of {} with {wanted:?}", rest[0]),
                format!("{} with {seen:?}", rest[1]),
            );
            self.find(FindingKind::WrongAttribute, target, Some(op), expected, seen);
        }
        let settings = self.settings_of(target);
        let fitting = settings
            .iter()
            .find(|at| Settings::of(copy).fit(&self.cast[target], **at));
        let at = fitting.or(settings.first()).copied().unwrap_or_default();
        self.check_settings(op, target, at, copy);
    }
}

/// Returns the attributes of a span that the binding of a member does not add.
fn own_attributes<'s>(span: &'s Span, member: &Member) -> impl Iterator<Item = (&'s str, &'s Value)> {
    let added: &[&str] = match member.backend {
        Backend::Honeyhive => &["honeyhive.source", "honeyhive_metadata.plan"],
        Backend::Otlp => &[],
    };
    let attributes = span.attributes.iter().map(|(key, value)| (key.as_str(), value));
    attributes.filter(|(key, _)| *key != "honeyhive_event_type" && !added.contains(key))
}

fn session_key(member: &Member) -> &'static str {
    match member.backend {
        Backend::Honeyhive => "honeyhive.session_id",
        Backend::Otlp => "session.id",
    }
}
