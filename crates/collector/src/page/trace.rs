//! One trace, and one of its spans.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::{Value, json};

use super::cut::{Budget, short};
use super::llm::Llm;
use super::trace_list::service;
use crate::model::{Attributes, Span, SpanKind, StatusCode as SpanStatusCode};
use crate::respond::{Page, respond, to_json};
use crate::server::serving::{ServingRef, Shared};
use crate::store::{Label, TraceSpans};

/// Spans of a trace that the page draws, those that start first.
const MAX_SPANS: usize = 5000;

/// A span in the waterfall.
#[derive(Serialize)]
struct Row<'a> {
    sequence: u64,
    span_id: &'a str,
    parent_span_id: Option<&'a str>,
    name: String,
    kind: SpanKind,
    /// After the start of the trace.
    start_nanos: u64,
    duration_nanos: u64,
    status: SpanStatusCode,
    service: Option<String>,
    events: usize,
    links: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    llm: Option<Llm>,
    /// The owner that the span states, if it is not that of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign: Option<String>,
    /// The other project that has its parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_in: Option<String>,
}

/// Parameter: `last`, the sequence of the last span that the client has.
pub(super) async fn trace(
    State(serving): State<ServingRef>,
    Path((project, trace)): Path<(String, String)>,
    uri: Uri,
) -> Response {
    let mut parameters = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let last = parameters.find(|(name, _)| name == "last");
    let last = last.and_then(|(_, last)| last.parse().ok());
    let shared = Arc::clone(&serving.shared);
    let page = move || {
        let (found, label) = find(&shared, &project, &trace)?;
        if Some(found.last) == last {
            return to_json(&json!({ "unchanged": true }));
        }
        rows(&shared, &found, &label)
    };
    respond(&serving, page).await
}

fn find(shared: &Shared, project: &str, trace_id: &str) -> Result<(TraceSpans, Label), (StatusCode, String)> {
    let unknown = |what: &str, name: &str| (StatusCode::NOT_FOUND, format!("unknown {what} {name:?}"));
    let store = &shared.store;
    let id = store.find(project).ok_or_else(|| unknown("project", project))?;
    let trace = store.trace(id, &trace_id.to_ascii_lowercase());
    let trace = trace.ok_or_else(|| unknown("trace", trace_id))?;
    let label = store.labels([id]).remove(&id.index());
    Ok((trace, label.ok_or_else(|| unknown("project", project))?))
}

fn rows(shared: &Shared, trace: &TraceSpans, label: &Label) -> Page {
    let mut spans: Vec<&Span> = trace.spans.iter().map(AsRef::as_ref).collect();
    spans.sort_by_key(|span| (span.start_unix_nanos, span.sequence));
    let start = spans.first().map_or(0, |span| span.start_unix_nanos);
    let end = spans.iter().map(|span| span.end_unix_nanos).max().unwrap_or(0);
    let errors = spans.iter().filter(|span| span.status.code == SpanStatusCode::Error);
    let errors = errors.count();
    let found = spans.len();
    let trace_id = spans.first().map_or("", |span| span.trace_id.as_str());

    let present: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let parents = spans.iter().filter_map(|span| span.parent_span_id.as_deref());
    let missing: HashSet<&str> = parents.filter(|parent| !present.contains(parent)).collect();
    let elsewhere = shared.store.elsewhere(trace.project, trace_id, &missing);
    let elsewhere: HashMap<&str, String> = elsewhere
        .iter()
        .map(|(id, label)| (id.as_str(), shown(label)))
        .collect();

    let owners = &shared.store.owners;
    let rows = spans.iter().take(MAX_SPANS).map(|span| Row {
        sequence: span.sequence,
        span_id: &span.span_id,
        parent_span_id: span.parent_span_id.as_deref(),
        name: short(&span.name),
        kind: span.kind,
        start_nanos: span.start_unix_nanos - start,
        duration_nanos: span.duration_nanos(),
        status: span.status.code,
        service: service(span),
        events: span.events.len(),
        links: span.links.len(),
        llm: Llm::of(&span.attributes),
        foreign: owners.foreign_span(label.name.as_deref(), span).map(short),
        parent_in: span
            .parent_span_id
            .as_deref()
            .and_then(|parent| elsewhere.get(parent).cloned()),
    });
    let rows: Vec<Row<'_>> = rows.collect();
    to_json(&json!({
        "project": label.fingerprint,
        "project_name": label.name.as_deref().map(short),
        "trace_id": trace_id,
        "start_unix_millis": start / 1_000_000,
        "duration_nanos": end.saturating_sub(start),
        "errors": errors,
        "found": found,
        "last": trace.last,
        "spans": rows,
    }))
}

fn shown(label: &Label) -> String {
    label
        .name
        .as_deref()
        .map_or_else(|| label.fingerprint.to_string(), short)
}

/// All of one span, cut.
pub(super) async fn span(
    State(serving): State<ServingRef>,
    Path((project, trace, sequence)): Path<(String, String, u64)>,
) -> Response {
    let shared = Arc::clone(&serving.shared);
    let page = move || {
        let (found, label) = find(&shared, &project, &trace)?;
        let span = found.spans.iter().find(|span| span.sequence == sequence);
        let unknown = || (StatusCode::NOT_FOUND, format!("unknown span {sequence}"));
        let span = span.ok_or_else(unknown)?;
        let foreign = shared.store.owners.foreign_span(label.name.as_deref(), span);
        to_json(&details(span, foreign))
    };
    respond(&serving, page).await
}

fn details(span: &Span, foreign: Option<&str>) -> Value {
    let mut budget = Budget::new();
    let attributes = budget.object(&span.attributes);
    let mut part = |attributes: &Attributes| budget.object(attributes);
    let resource = part(&span.resource.attributes);
    let scope = part(&span.scope.attributes);
    let events: Vec<_> = span.events.iter().map(|event| part(&event.attributes)).collect();
    let links: Vec<_> = span.links.iter().map(|link| part(&link.attributes)).collect();
    let events: Vec<_> = span
        .events
        .iter()
        .zip(events)
        .map(|(event, attributes)| {
            json!({
                "name": budget.text(&event.name),
                "offset_nanos": i128::from(event.time_unix_nanos) - i128::from(span.start_unix_nanos),
                "attributes": attributes,
            })
        })
        .collect();
    let links: Vec<_> = span
        .links
        .iter()
        .zip(links)
        .map(|(link, attributes)| {
            json!({
                "trace_id": budget.text(&link.trace_id),
                "span_id": budget.text(&link.span_id),
                "attributes": attributes,
            })
        })
        .collect();
    json!({
        "sequence": span.sequence,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "name": budget.text(&span.name),
        "kind": span.kind,
        "start_unix_millis": span.start_unix_nanos / 1_000_000,
        "duration_nanos": span.duration_nanos(),
        "status": span.status.code,
        "status_message": budget.text(&span.status.message),
        "session": span.session_id.as_deref().map(|session| budget.text(session)),
        "key": span.key,
        "llm": Llm::of(&span.attributes),
        "foreign": foreign.map(short),
        "attributes": attributes,
        "events": events,
        "links": links,
        "resource": resource,
        "scope": {
            "name": budget.text(&span.scope.name),
            "version": budget.text(&span.scope.version),
            "attributes": scope,
        },
        "dropped": {
            "attributes": span.dropped_attributes,
            "events": span.dropped_events,
            "links": span.dropped_links,
        },
    })
}
