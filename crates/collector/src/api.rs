//! The read-back API: received data as JSON. Requires no key, because the collector is a tool on
//! loopback.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::header::{ACCEPT, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::{Project, ProjectSummary, Session, Span};
use crate::page;
use crate::request::answer;
use crate::respond::{Page, respond, to_json};
use crate::server::serving::ServingRef;

/// Spans in a response if the request has no limit.
const DEFAULT_SPAN_LIMIT: usize = 1000;

const WELCOME: &str = "\
Local collector: receives OpenTelemetry traces and shows the project that each span landed in.

Send data, with a key in Authorization (Bearer, Basic or raw), x-api-key, x-honeycomb-team, api_key or api-key:
  POST {prefix}/v1/traces            OTLP/HTTP, protobuf or JSON, plain or compressed; gRPC on the same port
  POST {prefix}/session/start        {\"session\": {..}}
  POST {prefix}/v1/sessions          the session object
  POST {prefix}/events               {\"event\": {..}}
  PUT  {prefix}/events               {\"event_id\": .., \"metadata\": {..}, ..}

Read data, without a key; {project} is a name or a fingerprint:
  GET /api/health
  GET /api/projects
  GET /api/projects/{project}
  GET /api/projects/{project}/spans?limit=&session=&trace=
  GET /api/projects/{project}/sessions
  GET /api/projects/{project}/events
  GET /api/projects/{project}/traces

The page for browsers is this address.
";

pub(crate) fn routes() -> Router<ServingRef> {
    Router::new()
        .route("/", get(index))
        .route(
            "/api/health",
            get(async || answer::json(StatusCode::OK, &json!({ "status": "ok" }))),
        )
        .route("/api/projects", get(projects))
        .route("/api/projects/{project}", get(project))
        .route("/api/projects/{project}/spans", get(spans))
        .route("/api/projects/{project}/sessions", get(sessions))
        .route("/api/projects/{project}/events", get(events))
        .route("/api/projects/{project}/traces", get(traces))
        .merge(page::routes())
        .method_not_allowed_fallback(async || answer::method_not_allowed(&[Method::GET]))
}

/// The page for browsers, a text for programs.
async fn index(headers: HeaderMap) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|accepted| accepted.to_str().ok());
    let mut response = if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        page::index()
    } else {
        answer::with_type(StatusCode::OK, "text/plain; charset=utf-8", WELCOME)
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

#[derive(Serialize)]
struct Overview {
    projects: Vec<ProjectSummary>,
    requests_without_key: u64,
    refused_projects: u64,
}

async fn projects(State(serving): State<ServingRef>) -> Response {
    let shared = Arc::clone(&serving.shared);
    let page = move || {
        let store = &shared.store;
        let overview = Overview {
            projects: store.summaries(),
            requests_without_key: store.requests_without_key(),
            refused_projects: store.refused_projects(),
        };
        to_json(&overview)
    };
    respond(&serving, page).await
}

async fn project(State(serving): State<ServingRef>, Path(name): Path<String>) -> Response {
    show(&serving, name, |project| to_json(project.summary())).await
}

#[derive(Serialize)]
struct ShownSpans<'a> {
    spans: &'a [&'a Span],
    found: usize,
}

async fn spans(State(serving): State<ServingRef>, Path(name): Path<String>, uri: Uri) -> Response {
    let filter = match Filter::of(&uri) {
        Ok(filter) => filter,
        Err(message) => return answer::error(StatusCode::BAD_REQUEST, &message),
    };
    let page = move |project: &Project| {
        let matching: Vec<&Span> = project
            .spans()
            .iter()
            .map(AsRef::as_ref)
            .filter(|span| filter.matches(span))
            .collect();
        let spans = &matching[matching.len().saturating_sub(filter.limit)..];
        let found = matching.len();
        to_json(&ShownSpans { spans, found })
    };
    show(&serving, name, page).await
}

#[derive(Serialize)]
struct ShownSession<'a> {
    #[serde(flatten)]
    session: &'a Session,
    spans: usize,
}

async fn sessions(State(serving): State<ServingRef>, Path(name): Path<String>) -> Response {
    let page = |project: &Project| {
        let mut spans: HashMap<&str, usize> = HashMap::new();
        for session in project.spans().iter().filter_map(|span| span.session_id.as_deref()) {
            *spans.entry(session).or_default() += 1;
        }
        let shown = |session| ShownSession {
            session,
            spans: spans.get(&*session.id).copied().unwrap_or(0),
        };
        let sessions: Vec<_> = project.sessions().iter().map(|session| shown(session)).collect();
        to_json(&HashMap::from([("sessions", sessions)]))
    };
    show(&serving, name, page).await
}

async fn events(State(serving): State<ServingRef>, Path(name): Path<String>) -> Response {
    let page = |project: &Project| {
        let events: Vec<_> = project.events().iter().map(AsRef::as_ref).collect();
        to_json(&HashMap::from([("events", events)]))
    };
    show(&serving, name, page).await
}

async fn traces(State(serving): State<ServingRef>, Path(name): Path<String>) -> Response {
    let page = |project: &Project| {
        let shown = |trace: &crate::Trace| json!({ "trace_id": trace.trace_id, "spans": trace.spans.len(), "tree": trace.tree() });
        let traces: Vec<Value> = project.traces().iter().map(shown).collect();
        to_json(&HashMap::from([("traces", traces)]))
    };
    show(&serving, name, page).await
}

/// Responds with a page about a project.
async fn show(serving: &ServingRef, name: String, page: impl FnOnce(&Project) -> Page + Send + 'static) -> Response {
    let shared = Arc::clone(&serving.shared);
    let page = move || match shared.store.project_by_name_or_fingerprint(&name) {
        Some(project) => page(&project),
        None => Err((StatusCode::NOT_FOUND, format!("unknown project {name:?}"))),
    };
    respond(serving, page).await
}

/// Query parameters of the spans page.
struct Filter {
    limit: usize,
    session: Option<String>,
    trace: Option<String>,
}

impl Filter {
    fn of(uri: &Uri) -> Result<Self, String> {
        let mut filter = Self {
            limit: DEFAULT_SPAN_LIMIT,
            session: None,
            trace: None,
        };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "limit" => {
                    filter.limit = value
                        .parse()
                        .map_err(|_| format!("limit must be a number, not {value:?}"))?;
                }
                "session" => filter.session = Some(value.into_owned()),
                "trace" => filter.trace = Some(value.to_ascii_lowercase()),
                _ => {
                    return Err(format!("unknown parameter {name:?}: use limit, session or trace"));
                }
            }
        }
        Ok(filter)
    }

    fn matches(&self, span: &Span) -> bool {
        let session = self
            .session
            .as_ref()
            .is_none_or(|session| span.session_id.as_ref() == Some(session));
        session && self.trace.as_ref().is_none_or(|trace| span.trace_id == *trace)
    }
}
