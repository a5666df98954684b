//! Sessions of a project.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::cut::{Budget, short};
use super::query::Query;
use super::search::Search;
use crate::model::Attributes;
use crate::respond::{respond, to_json};
use crate::server::serving::ServingRef;
use crate::store::SessionView;

pub(super) async fn sessions(State(serving): State<ServingRef>, Path(project): Path<String>, uri: Uri) -> Response {
    let shared = Arc::clone(&serving.shared);
    let page = move || {
        let query = Query::of(&uri, &["search", "limit", "before"])?;
        let id = shared
            .store
            .find(&project)
            .ok_or_else(|| unknown("project", &project))?;
        let search = Search::new(&query.search);
        let mut found = shared.store.sessions(id);
        found.retain(|view| view.last() < query.before && matches(&search, view));
        found.sort_unstable_by_key(|view| Reverse(view.last()));
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(SessionView::last);
        let rows: Vec<Value> = found.iter().map(row).collect();
        to_json(&json!({ "sessions": rows, "next": next }))
    };
    respond(&serving, page).await
}

pub(super) async fn session(
    State(serving): State<ServingRef>,
    Path((project, session)): Path<(String, String)>,
) -> Response {
    let shared = Arc::clone(&serving.shared);
    let page = move || {
        let id = shared
            .store
            .find(&project)
            .ok_or_else(|| unknown("project", &project))?;
        let view = shared.store.session(id, &session);
        to_json(&details(&view.ok_or_else(|| unknown("session", &session))?))
    };
    respond(&serving, page).await
}

fn unknown(what: &str, name: &str) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("unknown {what} {name:?}"))
}

fn matches(search: &Search, view: &SessionView) -> bool {
    let session = view.session.as_deref();
    let names = session
        .into_iter()
        .flat_map(|session| session.name.iter().chain(&session.source));
    let values = session.into_iter().flat_map(|session| {
        let parts = [
            &session.metadata,
            &session.user_properties,
            &session.inputs,
            &session.outputs,
        ];
        parts.into_iter().flatten().filter_map(|(_, value)| value.as_str())
    });
    let id = std::iter::once(view.id.as_str());
    search.matches_texts(&id.chain(names.map(String::as_str)).chain(values))
}

fn row(view: &SessionView) -> Value {
    let session = view.session.as_deref();
    json!({
        // Not cut further than a client may send it back in a path.
        "id": short(&view.id),
        "name": session.and_then(|session| session.name.as_deref()).map(short),
        "source": session.and_then(|session| session.source.as_deref()).map(short),
        "origin": session.map(|session| session.origin),
        "spans": view.used.spans,
        "errors": view.used.errors,
        "calls": session.map_or(0, |session| session.operations.len()),
        "last": view.last(),
    })
}

fn details(view: &SessionView) -> Value {
    let mut shown = row(view);
    if let Some(session) = &view.session {
        let mut budget = Budget::new();
        let parts: [(&str, &Attributes); 7] = [
            ("inputs", &session.inputs),
            ("outputs", &session.outputs),
            ("metadata", &session.metadata),
            ("user_properties", &session.user_properties),
            ("feedback", &session.feedback),
            ("metrics", &session.metrics),
            ("config", &session.config),
        ];
        for (name, attributes) in parts {
            shown[name] = Value::Object(budget.object(attributes));
        }
    }
    shown
}
