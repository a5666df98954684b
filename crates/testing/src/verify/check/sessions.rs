//! The sessions: each started once, with its own data, and with all its enrichments, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::super::oracle::env::{InSession, Parent};
use super::super::oracle::expect::ExpectedSession;
use super::super::program::operation::OpId;
use super::finding::FindingKind;
use super::{Check, parse_canary, session_of_trace};
use tracer_registry_collector::{Operation, OperationKind, Project, Session};

impl Check<'_> {
    pub(super) fn check_sessions(&mut self) {
        let expected = self.expected;
        let mut known: BTreeSet<(usize, String)> = BTreeSet::new();
        for (op, session) in &expected.sessions {
            let member = session.who.member;
            let Some(id) = self.observed.sessions.get(op) else {
                self.find(
                    FindingKind::Lost,
                    member,
                    Some(*op),
                    "a session",
                    "none, it did not run",
                );
                continue;
            };
            known.insert((member, id.clone()));
            if !self.cast[member].has_calls() {
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
            // It is called like its span: that this is the operation's was seen before.
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
            let stray: Vec<String> = sessions
                .filter(|session| !known.contains(&(member, session.id.clone())))
                .map(|session| session.id.clone())
                .collect();
            for id in stray {
                self.find(FindingKind::Unexpected, member, None, "no such session", id);
            }
        }
    }

    fn session(&self, member: usize, id: &str) -> Option<Arc<Session>> {
        let sessions = self.projects[member].as_ref()?.sessions();
        sessions.iter().find(|session| session.id == id).cloned()
    }

    fn check_session(&mut self, op: OpId, expected: &ExpectedSession, found: &Session) {
        let member = expected.who.member;
        let canary = self.cast[member].canary(op);
        let starts = found
            .operations
            .iter()
            .filter(|operation| operation.kind == OperationKind::Start);
        let starts = starts.count();
        if starts != 1 || found.operations[0].kind != OperationKind::Start {
            let seen = format!("{starts} starts in {} calls", found.operations.len());
            self.find(FindingKind::Duplicated, member, Some(op), "one start, and first", seen);
        }
        let data = [
            found.name.as_deref(),
            text(&found.metadata, "m"),
            text(&found.inputs, "i"),
            text(&found.user_properties, "u"),
        ];
        let own = |key: &str| ["m", "last"].contains(&key) || enriched(key).is_some();
        let of = &self.cast[member];
        let at = self.setting(expected.who, |at| found.source.as_deref() == Some(&of.source_at(at)));
        let setting = of.own_at("plan", at);
        let others = found.metadata.iter().filter(|(key, value)| {
            if *key == "plan" {
                return value.as_str() != Some(&setting);
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

    /// Enrichments that wait behind each other may go out in one request, so calls are not counted but what they tell.
    fn check_enrichments(&mut self, op: OpId, expected: &ExpectedSession, found: &Session) {
        let member = expected.who.member;
        let mut seen: Vec<(OpId, usize)> = Vec::new();
        for (call, operation) in found.operations.iter().enumerate() {
            seen.extend(
                reported_by(operation)
                    .into_iter()
                    .map(|reported| (reported.unwrap_or(op), call)),
            );
        }
        let mut wanted: Vec<OpId> = expected.enrichments.iter().map(|enriched| enriched.op).collect();
        let mut there: Vec<OpId> = seen.iter().map(|(op, _)| *op).collect();
        wanted.sort_unstable();
        there.sort_unstable();
        if wanted != there {
            let kind = if there.len() < wanted.len() {
                FindingKind::Lost
            } else {
                FindingKind::Duplicated
            };
            let (expected, seen) = (format!("enrichments {wanted:?}"), format!("{there:?}"));
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
        // What each sets again is what the last one said, where it is known which one that is.
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

    /// Sessions that are traces, and the first spans that this process has of them: each starts the session.
    fn sessions_of_traces(&self) -> BTreeMap<(usize, String), Vec<OpId>> {
        let mut sessions: BTreeMap<(usize, String), Vec<OpId>> = BTreeMap::new();
        for (op, span) in &self.expected.spans {
            let member = &self.cast[span.who.member];
            let is_first = !matches!(span.parent, Parent::Span(_)) && span.session == InSession::None;
            if let Some(found) = self.own_span(*op).filter(|_| is_first)
                && member.has_sessions_of_traces()
                && member.has_calls()
            {
                let id = session_of_trace(&found.trace_id);
                sessions.entry((span.who.member, id)).or_default().push(*op);
            }
        }
        sessions
    }
}

/// The enrichments that a call tells of, or the one start; `None` for the session's end.
pub(super) fn reported_by(operation: &Operation) -> Vec<Option<OpId>> {
    let metadata = operation.body.get("metadata").and_then(Value::as_object);
    let keys = metadata.iter().flat_map(|metadata| metadata.keys());
    let ends = operation.body.get("duration").map(|_| None);
    keys.filter_map(|key| enriched(key)).map(Some).chain(ends).collect()
}

/// The operation whose enrichment sets an entry.
fn enriched(key: &str) -> Option<OpId> {
    key.strip_prefix('e')?.parse().ok()
}

fn text<'a>(attributes: &'a tracer_registry_collector::Attributes, key: &str) -> Option<&'a str> {
    attributes.get(key).and_then(Value::as_str)
}
