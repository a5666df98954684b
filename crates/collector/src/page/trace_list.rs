//! The newest traces of a project, or of all projects.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::{Value, json};

use super::cut::short;
use super::llm::Llm;
use super::query::Query;
use super::search::Search;
use crate::model::{Span, StatusCode as SpanStatusCode};
use crate::respond::{respond, to_json};
use crate::server::serving::{ServingRef, Shared};
use crate::store::{Label, TraceSpans};

/// Time limit of a list. A search that reaches it continues at `next`.
const TIME_LIMIT: Duration = Duration::from_millis(150);
/// Traces and spans that are read under one lock.
const READ_TRACES: usize = 200;
const READ_SPANS: usize = 5000;
/// Services of a trace that a row shows.
const SHOWN_SERVICES: usize = 3;

/// A trace in the list.
#[derive(Serialize)]
struct Row {
    project: String,
    project_name: Option<String>,
    trace_id: String,
    /// Name of its first root, or of its first span if its roots are missing.
    name: String,
    has_root: bool,
    start_unix_millis: u64,
    duration_nanos: u64,
    spans: usize,
    errors: usize,
    foreign: usize,
    session: Option<String>,
    services: Vec<String>,
    models: Vec<String>,
    tokens: u64,
    /// Sequence of its last span, which is the cursor `before` of the traces behind it.
    last: u64,
}

pub(super) async fn traces(State(serving): State<ServingRef>, uri: Uri) -> Response {
    let shared = Arc::clone(&serving.shared);
    let page = move || {
        let parameters = ["project", "search", "session", "errors", "foreign", "limit", "before"];
        to_json(&list(&shared, &Query::of(&uri, &parameters)?)?)
    };
    respond(&serving, page).await
}

fn list(shared: &Shared, query: &Query) -> Result<Value, (StatusCode, String)> {
    let store = &shared.store;
    let unknown = |name: &String| (StatusCode::NOT_FOUND, format!("unknown project {name:?}"));
    let find = |name: &String| store.find(name).ok_or_else(|| unknown(name));
    let project = query.project.as_ref().map(find).transpose()?;
    let search = Search::new(&query.search);
    let started = Instant::now();
    let mut before = query.before;
    let mut rows = Vec::new();
    let is_complete = loop {
        let read = store.newest_traces(project, before, READ_TRACES, READ_SPANS);
        let labels = store.labels(read.iter().map(|trace| trace.project));
        if read.is_empty() {
            break true;
        }
        for trace in read {
            before = trace.last;
            let Some(label) = labels.get(&trace.project.index()) else {
                continue;
            };
            let in_session = |span: &Arc<Span>| query.session.is_none() || span.session_id == query.session;
            if trace.spans.iter().any(in_session) && search.matches(&trace.spans.iter().map(AsRef::as_ref)) {
                let row = row(shared, &trace, label);
                if (row.errors > 0 || !query.only_errors) && (row.foreign > 0 || !query.only_foreign) {
                    rows.push(row);
                }
            }
            if rows.len() == query.limit || started.elapsed() > TIME_LIMIT {
                break;
            }
        }
        if rows.len() == query.limit || started.elapsed() > TIME_LIMIT {
            break store.newest_traces(project, before, 1, 1).is_empty();
        }
    };
    let next = (!is_complete).then_some(before);
    Ok(json!({ "traces": rows, "next": next }))
}

fn row(shared: &Shared, trace: &TraceSpans, label: &Label) -> Row {
    let spans = &trace.spans;
    let mut models = BTreeSet::new();
    let mut services = BTreeSet::new();
    let (mut tokens, mut errors, mut foreign) = (0_u64, 0, 0);
    let (mut start, mut end) = (u64::MAX, 0);
    let mut first: Option<&Span> = None;
    let mut sessions: BTreeSet<&str> = BTreeSet::new();
    for span in spans {
        start = start.min(span.start_unix_nanos);
        end = end.max(span.end_unix_nanos);
        errors += usize::from(span.status.code == SpanStatusCode::Error);
        let owners = &shared.store.owners;
        foreign += usize::from(owners.foreign_span(label.name.as_deref(), span).is_some());
        let place = |span: &Span| (span.parent_span_id.is_some(), span.start_unix_nanos, span.sequence);
        if first.is_none_or(|first| place(span) < place(first)) {
            first = Some(span);
        }
        if let Some(llm) = Llm::of(&span.attributes) {
            models.extend(llm.model);
            tokens = tokens.saturating_add(llm.input_tokens.unwrap_or(0));
            tokens = tokens.saturating_add(llm.output_tokens.unwrap_or(0));
        }
        services.extend(service(span));
        sessions.extend(span.session_id.as_deref());
    }
    let cut = |texts: BTreeSet<String>| texts.into_iter().take(SHOWN_SERVICES).collect();
    Row {
        project: label.fingerprint.to_string(),
        project_name: label.name.as_deref().map(short),
        trace_id: first.map(|span| span.trace_id.clone()).unwrap_or_default(),
        name: first.map(|span| short(&span.name)).unwrap_or_default(),
        has_root: first.is_some_and(|span| span.parent_span_id.is_none()),
        start_unix_millis: start / 1_000_000,
        duration_nanos: end.saturating_sub(start),
        spans: spans.len(),
        errors,
        foreign,
        // An id is cut too: a session with a longer one is found by search alone.
        session: sessions.first().map(|session| short(session)),
        services: cut(services),
        models: cut(models),
        tokens,
        last: trace.last,
    }
}

/// Name of the service in the resource of a span.
pub(super) fn service(span: &Span) -> Option<String> {
    span.resource
        .attributes
        .get("service.name")
        .and_then(Value::as_str)
        .map(short)
}
