//! Counts of projects as they change: a stream of lines of JSON.
//!
//! Each line has the projects that changed since the last one. A client that reads slowly gets
//! fewer lines, never older ones, because a line is written when the connection can take it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::cut::short;
use crate::request::answer;
use crate::server::serving::ServingRef;
use crate::store::{Changed, Counts, Label, ProjectId};

/// Shortest time between two lines.
const INTERVAL: Duration = Duration::from_millis(50);
/// Longest time between two lines. Shorter if clients must send more often.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Projects in a line.
const LINE_PROJECTS: usize = 1000;

struct Live {
    serving: ServingRef,
    changes: watch::Receiver<()>,
    seen: Vec<Option<Counts>>,
    /// When the next line may be written; `None` before the first.
    next: Option<Instant>,
    is_partial: bool,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn live(State(serving): State<ServingRef>, headers: HeaderMap) -> Response {
    // A page of another site cannot read the stream, but could occupy all of them.
    let site = headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return answer::error(StatusCode::FORBIDDEN, "request of a page of another site");
    }
    let Ok(permit) = Arc::clone(&serving.streams).try_acquire_owned() else {
        return answer::error(StatusCode::SERVICE_UNAVAILABLE, "too many streams: close another page");
    };
    let live = Live {
        changes: serving.shared.store.changes.subscribe(),
        serving,
        seen: Vec::new(),
        next: None,
        is_partial: false,
        _permit: permit,
    };
    let lines = stream::unfold(live, |mut live| async {
        let bytes = live.line().await;
        Some((Ok::<_, Infallible>(bytes), live))
    });
    answer::with_type(StatusCode::OK, "application/x-ndjson", Body::from_stream(lines))
}

impl Live {
    async fn line(&mut self) -> Bytes {
        let heartbeat = HEARTBEAT.min(self.serving.client_timeout / 2);
        match self.next {
            Some(next) if !self.is_partial => {
                // The store outlives the stream, so the sender does.
                let _ = timeout(heartbeat, self.changes.changed()).await;
                sleep_until(next).await;
            }
            _ => {}
        }
        self.changes.mark_unchanged();
        let is_first = self.next.is_none();
        let changed = self.serving.shared.store.changed(&mut self.seen, LINE_PROJECTS);
        self.is_partial = changed.is_partial;
        self.next = Some(Instant::now() + INTERVAL);
        let mut line = line(&changed, is_first).to_string();
        line.push('\n');
        line.into()
    }
}

fn line(changed: &Changed, is_first: bool) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let projects = changed.projects.iter();
    let projects: Vec<Value> = projects.map(|(id, label, counts)| row(*id, label, counts)).collect();
    json!({
        // The client forgets what it has, because the collector may be another one.
        "first": is_first,
        "more": changed.is_partial,
        "now": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        "requests_without_key": changed.requests_without_key,
        "refused_projects": changed.refused_projects,
        "projects": projects,
    })
}

fn row(id: ProjectId, label: &Label, counts: &Counts) -> Value {
    json!({
        "id": id.index(),
        "name": label.name.as_deref().map(short),
        "fingerprint": label.fingerprint,
        "keys": counts.keys,
        "spans": counts.spans,
        "traces": counts.traces,
        "sessions": counts.sessions,
        "events": counts.events,
        "errors": counts.errors,
        "foreign": counts.foreign,
        "requests": counts.requests,
        "refused": counts.refused,
        "rejected": counts.rejected,
        "dropped": counts.dropped,
        "received": counts.received,
        "last": counts.last_unix_millis,
    })
}
