//! Outgoing headers, the current scope, and the subject's ledgers and explanations.

use std::collections::BTreeMap;

use opentelemetry::trace::TraceId;

use super::super::headers;
use super::super::oracle::env::{InSession, Parent};
use super::super::run::baggage_key;
use super::Check;
use super::finding::FindingKind;
use super::sessions::enrichments_in;
use tracer_registry_collector::{OperationKind, Project};

impl Check<'_> {
    pub(super) fn check_headers(&mut self) {
        let expected = self.expected;
        for (op, wanted) in &expected.headers {
            let (member, observed) = (wanted.target.member, self.observed);
            let Some(seen) = observed.headers.get(op) else {
                self.find(
                    FindingKind::WrongHeaders,
                    member,
                    Some(*op),
                    "headers",
                    "none, the operation did not run",
                );
                continue;
            };
            let Ok(parent) = self.parent_ids(wanted.parent) else {
                continue;
            };
            let trace = parent.map(|(trace, _)| trace.to_owned());
            let parent = parent.map(|(trace, span)| headers::traceparent(trace, span));
            let others: Vec<_> = seen
                .iter()
                .filter(|(name, value)| match name.as_str() {
                    "traceparent" | "baggage" => false,
                    // Incoming requests have no tracestate.
                    "tracestate" => parent.is_none() || !value.is_empty(),
                    _ => true,
                })
                .collect();
            if !others.is_empty() {
                let seen = format!("also {others:?}");
                self.find(
                    FindingKind::WrongHeaders,
                    member,
                    Some(*op),
                    "traceparent and baggage",
                    seen,
                );
            }
            if seen.get("traceparent") != parent.as_ref() {
                let (expected, seen) = (
                    format!("traceparent {parent:?}"),
                    format!("{:?}", seen.get("traceparent")),
                );
                self.find(FindingKind::WrongHeaders, member, Some(*op), expected, seen);
            }
            let of = &self.cast[member];
            let mut baggage: Vec<(String, String)> = wanted
                .baggage
                .iter()
                .map(|set| (baggage_key(*set), of.canary(*set)))
                .collect();
            let incoming = wanted.incoming.and_then(|incoming| observed.incoming.get(&incoming));
            let incoming = incoming.map(headers::accepted_baggage).unwrap_or_default().into_iter();
            baggage.extend(incoming.map(|(key, value)| (key.to_owned(), value.to_owned())));
            baggage.retain(|(key, _)| key != "session.id");
            if of.takes_sessions {
                // A trusted remote trace becomes a session only with its first span in this
                // process.
                let is_session = matches!(wanted.parent, Parent::Span(op) if self.has_session_of_trace(op));
                let trace = trace.as_deref().filter(|_| is_session);
                let session = self.session_id(wanted.target, wanted.session, trace);
                baggage.extend(session.map(|id| ("session.id".to_owned(), id)));
            }
            baggage.sort_unstable();
            let expected: Vec<(&str, &str)> = baggage
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            let seen = headers::baggage(seen);
            if seen != expected {
                let (expected, seen) = (format!("baggage {expected:?}"), format!("{seen:?}"));
                self.find(FindingKind::WrongHeaders, member, Some(*op), expected, seen);
            }
        }
    }

    /// Checks the current tracer and session that the program observed.
    pub(super) fn check_current(&mut self) {
        let expected = self.expected;
        for (op, wanted) in &expected.current {
            let Some((member, session)) = self.observed.current.get(op) else {
                // Plain providers have no scopes.
                if self.reports_sessions {
                    let expected = "a current scope or none";
                    self.find(
                        FindingKind::WrongCurrent,
                        0,
                        Some(*op),
                        expected,
                        "none, the operation did not run",
                    );
                }
                continue;
            };
            let wanted_member = wanted.map(|(target, _)| target.member);
            if *member != wanted_member {
                let shown = |member: Option<usize>| member.map_or("none", |member| self.names[member].as_str());
                let (expected, seen) = (shown(wanted_member).to_owned(), shown(*member).to_owned());
                self.find(
                    FindingKind::WrongCurrent,
                    wanted_member.unwrap_or(0),
                    Some(*op),
                    expected,
                    seen,
                );
                continue;
            }
            let Some((target, wanted)) = *wanted else { continue };
            // The session of a trace is current only in the trace's first span; the span checks
            // cover it.
            if wanted == InSession::None && self.cast[target.member].has_sessions_of_traces() {
                continue;
            }
            let wanted = self.session_id(target, wanted, None);
            if *session != wanted {
                let (expected, seen) = (format!("the session {wanted:?}"), format!("{session:?}"));
                self.find(FindingKind::WrongCurrent, target.member, Some(*op), expected, seen);
            }
        }
    }

    pub(super) fn check_ledgers(&mut self) {
        let flushed = self.flushed;
        if let Some(incomplete) = &flushed.incomplete {
            self.findings
                .add(FindingKind::Incomplete, "all", None, "everything delivered", incomplete);
        }
        for (member, ledger) in flushed.ledgers.iter().enumerate() {
            let project = self.projects[member].as_ref();
            let spans = project.map_or(0, |project| project.spans().len() as u64);
            let events = project.map_or(0, |project| {
                let operations = project.sessions().iter().flat_map(|session| &session.operations);
                let events = operations.map(|operation| match operation.kind {
                    OperationKind::Start => 1,
                    OperationKind::Enrich => enrichments_in(operation).len() as u64,
                    _ => 0,
                });
                events.sum()
            });
            // `check_copies` compares what a target dropped with the copies that are missing.
            let may_lose = flushed.unable.contains(&member);
            let matches = [ledger.accepted, ledger.delivered] == [spans + ledger.dropped, spans]
                && ledger.events_delivered == events
                && (may_lose || ledger.dropped == 0)
                && ledger.events_dropped == 0;
            if !matches {
                let expected = format!("{spans} spans and {events} session events delivered, none dropped");
                self.find(FindingKind::WrongLedger, member, None, expected, format!("{ledger:?}"));
            }
        }
    }

    /// Checks that the subject explains each trace by the members that got its spans.
    pub(super) fn check_explained(&mut self, delivered: impl Fn(TraceId) -> Option<Vec<u64>>) {
        let mut arrived: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (member, project) in self.projects.iter().enumerate() {
            for span in project.iter().flat_map(Project::spans) {
                let of_trace = arrived.entry(span.trace_id.clone());
                of_trace.or_insert_with(|| vec![0; self.names.len()])[member] += 1;
            }
        }
        for (trace, arrived) in arrived {
            let Some(delivered) = TraceId::from_hex(&trace).ok().and_then(&delivered) else {
                continue;
            };
            for (member, (arrived, delivered)) in arrived.into_iter().zip(delivered).enumerate() {
                if arrived != delivered {
                    let expected = format!("{arrived} spans of trace {trace} explained as delivered");
                    self.find(FindingKind::WrongLedger, member, None, expected, delivered);
                }
            }
        }
    }
}
