//! Compares the spans that the collector received with those that the service made.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tracer_registry::Selector;
use tracer_registry_collector::{Fingerprint, LocalCollector, Project};

use super::tally::OWNER;

#[derive(Debug, Serialize)]
pub(super) struct Findings {
    pub(super) projects: Vec<Row>,
    /// Spans that are missing from their own project.
    pub(super) lost: u64,
    /// Spans, sessions and parents in a project that is not their own.
    pub(super) leaked: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) selector: String,
    pub(super) fingerprint: Fingerprint,
    pub(super) sessions: usize,
    pub(super) traces: usize,
    pub(super) spans_sent: u64,
    pub(super) spans_received: u64,
    pub(super) spans_foreign: u64,
}

/// Reads all projects back, including those of unknown keys, which must be empty.
pub(super) fn audit(collector: &LocalCollector, made: &BTreeMap<Selector, u64>) -> Findings {
    let mut findings = Findings {
        projects: Vec::new(),
        lost: 0,
        leaked: 0,
    };
    for summary in collector.projects() {
        let Some(project) = collector.project_of_fingerprint(summary.fingerprint) else {
            continue;
        };
        let name = summary.name.unwrap_or_else(|| "(unknown key)".to_owned());
        let sent = made
            .iter()
            .find(|(selector, _)| selector.to_string() == name)
            .map_or(0, |(_, count)| *count);
        let own = |owner: Option<&serde_json::Value>| owner.and_then(serde_json::Value::as_str) == Some(&name);
        let foreign = project
            .spans()
            .iter()
            .filter(|span| !own(span.attributes.get(OWNER)))
            .count() as u64;
        let foreign_sessions = project
            .sessions()
            .iter()
            .filter(|session| !own(session.metadata.get(OWNER)))
            .count() as u64;
        let received = project.spans().len() as u64 - foreign;
        findings.lost += sent.saturating_sub(received);
        findings.leaked += foreign + foreign_sessions + dangling(&project) + received.saturating_sub(sent);
        findings.projects.push(Row {
            selector: name,
            fingerprint: summary.fingerprint,
            sessions: summary.sessions,
            traces: summary.traces,
            spans_sent: sent,
            spans_received: received,
            spans_foreign: foreign,
        });
    }
    findings
}

/// Counts spans with a parent or a session that is not in the same project.
fn dangling(project: &Project) -> u64 {
    let spans: BTreeSet<(&str, &str)> = project
        .spans()
        .iter()
        .map(|span| (span.trace_id.as_str(), span.span_id.as_str()))
        .collect();
    let sessions: BTreeSet<&str> = project.sessions().iter().map(|session| session.id.as_str()).collect();
    let is_dangling = |span: &tracer_registry_collector::Span| {
        let has_parent = span
            .parent_span_id
            .as_deref()
            .is_none_or(|parent| spans.contains(&(&span.trace_id, parent)));
        let has_session = span
            .session_id
            .as_deref()
            .is_none_or(|session| sessions.contains(session));
        !has_parent || !has_session
    };
    project.spans().iter().filter(|span| is_dangling(span)).count() as u64
}
