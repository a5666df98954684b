//! Checks that each session is started once, with its own data and all its enrichments in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::super::oracle::env::{InSession, Parent};
use super::super::oracle::expect::ExpectedSession;
use super::super::program::cast::PLANTED;
use super::super::program::operation::OpId;
use super::super::subject::PLANTED_KEY;
use super::finding::FindingKind;
use super::{Check, parse_canary, session_of_trace};
use tracer_registry_collector::{Operation, OperationKind, Project, Session};

impl Check<'_> {
    pub(super) fn check_sessions(&mut self) {
        let expected = self.expected;
        let mut known: BTreeSet<(usize, String)> = BTreeSet::new();
        for (op, session) in &expected.sessions {
            let member = session.target.member;
            let Some(id) = self.observed.sessions.get(op) else {
                self.find(
                    FindingKind::Lost,
                    member,
                    Some(*op),
                    "a session",
                    "none, the operation did not run",
                );
                continue;
            };
            known.insert((member, id.clone()));
            if !self.cast[member].has_calls() {
                // A copied start may create the session for a target too.
                known.extend(self.targets_of(member).map(|target| (target, id.clone())));
                continue;
            }
            match self.session(member, id) {
                Some(found) => self.check_session(*op, session, &found),
                None => self.find(FindingKind::Lost, member, Some(*op), "a session", "none"),
            }
        }
        for ((member, id), spans) in self.sessions_of_traces() {
            known.insert((member, id.clone()));
            let found = self.session(member, &id);
            let starts = found.iter().flat_map(|session| &session.operations);
            let mut seen: Vec<&str> = starts
                .filter_map(|operation| operation.body.get("session_name")?.as_str())
                .collect();
            seen.sort_unstable();
            // The session has the name of its first span, which `check_spans` checks.
            let name = |op: &OpId| self.own_span(*op).map(|span| span.name.clone());
            let mut expected: Vec<String> = spans.iter().filter_map(name).collect();
            expected.sort_unstable();
            if seen != expected {
                let (expected, seen) = (
                    format!("the trace's session, started by {expected:?}"),
                    format!("{seen:?}"),
                );
                self.find(
                    FindingKind::WrongSessionData,
                    member,
                    spans.first().copied(),
                    expected,
                    seen,
                );
            }
        }
        for member in 0..self.projects.len() {
            let sessions = self.projects[member].iter().flat_map(Project::sessions);
            let unexpected: Vec<String> = sessions
                .filter(|session| !known.contains(&(member, session.id.clone())))
                .map(|session| session.id.clone())
                .collect();
            for id in unexpected {
                self.find(FindingKind::Unexpected, member, None, "no such session", id);
            }
        }
    }

    fn session(&self, member: usize, id: &str) -> Option<Arc<Session>> {
        let sessions = self.projects[member].as_ref()?.sessions();
        sessions.iter().find(|session| session.id == id).cloned()
    }

    fn check_session(&mut self, op: OpId, expected: &ExpectedSession, found: &Session) {
        let member = expected.target.member;
        let canary = self.cast[member].canary(op);
        let starts = found
            .operations
            .iter()
            .filter(|operation| operation.kind == OperationKind::Start);
        let starts = starts.count();
        if starts != 1 || found.operations[0].kind != OperationKind::Start {
            let seen = format!("{starts} starts in {} calls", found.operations.len());
            self.find(
                FindingKind::Duplicated,
                member,
                Some(op),
                "one start, as the first call",
                seen,
            );
        }
        let data = [
            found.name.as_deref(),
            text(&found.metadata, "m"),
            text(&found.inputs, "i"),
            text(&found.user_properties, "u"),
        ];
        let own = |key: &str| ["m", "last"].contains(&key) || enriched(key).is_some();
        let of = &self.cast[member];
        let at = self.setting(expected.target, |at| found.source.as_deref() == Some(&of.source_at(at)));
        let setting = of.own_at("plan", at);
        let others = found.metadata.iter().filter(|(key, value)| {
            if *key == "plan" {
                return value.as_str() != Some(&setting);
            }
            if *key == PLANTED_KEY {
                // Each enrichment overwrites it.
                let text = value.as_str().unwrap_or_default();
                return if of.redacts() {
                    text != of.planted(op)
                } else {
                    !text.contains(PLANTED)
                };
            }
            let canary = value.as_str().and_then(parse_canary);
            !own(key) || enriched(key).is_some_and(|op| canary.map(|(_, found)| found) != Some(op))
        });
        let others = others.count();
        if data != [Some(canary.as_str()); 4] || others > 0 {
            self.find(
                FindingKind::WrongSessionData,
                member,
                Some(op),
                canary,
                format!("{data:?}"),
            );
        }
        let source = self.cast[member].source_at(at);
        if found.source.as_deref() != Some(&source) {
            let (expected, seen) = (source, format!("{:?}", found.source));
            self.find(FindingKind::WrongSource, member, Some(op), expected, seen);
        }
        self.check_enrichments(op, expected, found);
    }

    /// Checks enrichments by their content, because queued enrichments may be merged into one
    /// request.
    fn check_enrichments(&mut self, op: OpId, expected: &ExpectedSession, found: &Session) {
        let member = expected.target.member;
        let mut seen: Vec<(OpId, usize)> = Vec::new();
        for (call, operation) in found.operations.iter().enumerate() {
            seen.extend(
                enrichments_in(operation)
                    .into_iter()
                    .map(|enrichment| (enrichment.unwrap_or(op), call)),
            );
        }
        let mut wanted: Vec<OpId> = expected.enrichments.iter().map(|enriched| enriched.op).collect();
        let mut received: Vec<OpId> = seen.iter().map(|(op, _)| *op).collect();
        wanted.sort_unstable();
        received.sort_unstable();
        if wanted != received {
            let kind = if received.len() < wanted.len() {
                FindingKind::Lost
            } else {
                FindingKind::Duplicated
            };
            let (expected, seen) = (format!("enrichments {wanted:?}"), format!("{received:?}"));
            self.find(kind, member, Some(op), expected, seen);
            return;
        }
        let calls: BTreeMap<OpId, usize> = seen.into_iter().collect();
        let mut strands: BTreeMap<OpId, Vec<OpId>> = BTreeMap::new();
        for enriched in &expected.enrichments {
            strands.entry(enriched.strand).or_default().push(enriched.op);
        }
        for strand in strands.values() {
            if !strand.is_sorted_by_key(|op| calls.get(op)) {
                let (expected, seen) = (
                    format!("enrichments in the order {strand:?}"),
                    format!("in the calls {calls:?}"),
                );
                self.find(FindingKind::WrongOrder, member, Some(op), expected, seen);
            }
        }
        // Each enrichment overwrites this entry. With one strand, the last enrichment is known.
        let last = expected.enrichments.iter().rev().find(|enriched| enriched.op != op);
        if let Some(last) = last.filter(|_| strands.len() == 1) {
            let canary = self.cast[member].canary(last.op);
            let seen = text(&found.metadata, "last");
            if seen != Some(&canary) {
                self.find(
                    FindingKind::WrongOrder,
                    member,
                    Some(op),
                    format!("{canary} last"),
                    format!("{seen:?}"),
                );
            }
        }
    }

    /// Returns the sessions of traces, with the first spans of each trace in this process. Each of
    /// these spans starts the session.
    fn sessions_of_traces(&self) -> BTreeMap<(usize, String), Vec<OpId>> {
        let mut sessions: BTreeMap<(usize, String), Vec<OpId>> = BTreeMap::new();
        for (op, span) in &self.expected.spans {
            let member = &self.cast[span.target.member];
            let is_first = !matches!(span.parent, Parent::Span(_)) && span.session == InSession::None;
            if let Some(found) = self.own_span(*op).filter(|_| is_first)
                && member.has_sessions_of_traces()
                && member.has_calls()
            {
                let id = session_of_trace(&found.trace_id);
                sessions.entry((span.target.member, id)).or_default().push(*op);
            }
        }
        sessions
    }
}

/// Returns the enrichments in a call; `None` for the end of the session.
pub(super) fn enrichments_in(operation: &Operation) -> Vec<Option<OpId>> {
    let metadata = operation.body.get("metadata").and_then(Value::as_object);
    let keys = metadata.iter().flat_map(|metadata| metadata.keys());
    let ends = operation.body.get("duration").map(|_| None);
    keys.filter_map(|key| enriched(key)).map(Some).chain(ends).collect()
}

/// Returns the operation of the enrichment that sets an entry.
fn enriched(key: &str) -> Option<OpId> {
    key.strip_prefix('e')?.parse().ok()
}

fn text<'a>(attributes: &'a tracer_registry_collector::Attributes, key: &str) -> Option<&'a str> {
    attributes.get(key).and_then(Value::as_str)
}
