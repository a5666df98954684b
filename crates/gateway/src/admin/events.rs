//! Changes as they happen.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;
use tracer_registry::TracerRegistry;

use super::call::{self, Call};
use super::refusal::Refusal;
use crate::answer::{Answer, AnswerBody};

/// Time without a change after which an empty line is sent, so that proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Time within which the reader takes a line. The connection is then idle, and closed as such.
const STALL: Duration = Duration::from_secs(15);

/// `GET /api/events`. Ends when the tokens of the listener change, because the one that opened the
/// stream may be revoked. `request` is dropped when the stream ends: until then, the connection is
/// not idle.
pub(super) fn events(call: &Call, request: impl Send + 'static) -> Result<Answer, Refusal> {
    let after = call
        .query
        .parsed("after", "the number of a change", |text| text.parse().ok())?;
    let streams = Arc::clone(&call.admin.streams);
    let permit = streams.try_acquire_owned();
    let permit = permit.map_err(|_| Refusal::unavailable("too many streams of events are open"))?;
    let (parts, receiver) = mpsc::channel(1);
    let (admin, mut stop) = (Arc::clone(&call.admin), call.admin.stop.subscribe());
    let running = admin.current.running();
    tokio::spawn(async move {
        let is_over = || admin.current.running().callers.has_other_admins(&running.callers);
        tokio::select! {
            () = send(&admin.registry, after.unwrap_or(0), &parts, is_over) => {}
            () = parts.closed() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        drop((permit, request));
    });
    let mut answer = Answer::new(AnswerBody::stream(receiver));
    let lines = HeaderValue::from_static("application/x-ndjson");
    answer.headers_mut().insert(CONTENT_TYPE, lines);
    Ok(answer)
}

/// Sends the changes after a number, until the reader takes nothing, or `is_over` returns true.
async fn send(registry: &TracerRegistry, mut after: u64, parts: &Sender<Bytes>, is_over: impl Fn() -> bool) {
    loop {
        let (changes, missed) = registry.changes(after);
        // After they are read: a later change is not sent.
        if is_over() {
            return;
        }
        let mut lines = Vec::new();
        if missed > 0 {
            lines.extend_from_slice(format!("{}\n", json!({"missed": missed})).as_bytes());
        }
        for change in changes {
            after = change.number;
            lines.extend(call::json(&change).unwrap_or_default());
        }
        if lines.is_empty() {
            if timeout(HEARTBEAT, registry.changed(after)).await.is_ok() {
                continue;
            }
            lines.push(b'\n');
        }
        if !matches!(timeout(STALL, parts.send(lines.into())).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn registry() -> TracerRegistry {
        TracerRegistry::builder().build().expect("valid")
    }

    fn text(part: Option<Bytes>) -> String {
        String::from_utf8(part.expect("a part").to_vec()).expect("UTF-8")
    }

    #[tokio::test(start_paused = true)]
    async fn changes_come_at_once_and_an_empty_line_every_15_seconds() {
        let (registry, (parts, mut received)) = (registry(), mpsc::channel(1));
        registry.record_change("one", "first".to_owned());
        let sending = tokio::spawn({
            let registry = registry.clone();
            async move { send(&registry, 0, &parts, || false).await }
        });
        let started = Instant::now();
        let first = text(received.recv().await);
        assert!(first.ends_with('\n') && first.contains("\"name\":\"one\""), "{first}");
        assert_eq!(text(received.recv().await), "\n");
        assert_eq!(started.elapsed(), HEARTBEAT);
        registry.record_change("two", "second".to_owned());
        assert!(text(received.recv().await).contains("\"detail\":\"second\""));
        assert_eq!(started.elapsed(), HEARTBEAT);
        sending.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_ends_the_stream() {
        let (registry, (parts, received)) = (registry(), mpsc::channel(1));
        let started = Instant::now();
        // The first empty line fills the channel, and the second one waits.
        send(&registry, 0, &parts, || false).await;
        assert_eq!(started.elapsed(), 2 * HEARTBEAT + STALL);
        drop(received);
    }

    #[tokio::test]
    async fn a_reader_learns_how_many_changes_it_missed() {
        let (registry, (parts, mut received)) = (registry(), mpsc::channel(1));
        for _ in 0..1_030 {
            registry.record_change("many", String::new());
        }
        let sending = tokio::spawn(async move { send(&registry, 2, &parts, || false).await });
        let lines = text(received.recv().await);
        let mut lines = lines.lines();
        assert_eq!(lines.next(), Some("{\"missed\":4}"));
        assert_eq!(lines.count(), 1_024);
        sending.abort();
    }
}
