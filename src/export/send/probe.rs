//! Probes of an endpoint: one request, sent once, to check whether the endpoint accepts a key or a
//! span.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use serde::{Deserialize, Serialize};

use super::verdict::{Verdict, judge};
use crate::backend::Destination;
use crate::export::accounting::flush::after;
use crate::export::encode::body;
use crate::export::encode::synthetic_span::span;
use crate::export::engine::Engine;
use crate::export::error::ExportError;
use crate::export::net::connections::Connections;
use crate::export::net::exchange::Call;
use crate::export::shared::Shared;
use crate::ledger::DropReason;
use crate::secret::ApiKey;
use crate::selector::Selector;
use crate::util::wall_time::Moment;

/// Name of the probe span and of the attribute that marks it.
const CHECK: &str = "tracer_registry.check";

/// Content of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeContent {
    /// An export without a span.
    Nothing,
    /// One span.
    Span,
}

/// What the exporter does with spans that a receiver does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpanFate {
    /// Retried for up to `export.retry.max_elapsed`, then dropped.
    Retried,
    /// Kept until another key is available, for up to `export.retry.max_elapsed`, then dropped.
    WaitsForAnotherKey,
    /// Dropped at once.
    Dropped(DropReason),
}

impl Engine {
    /// Sends a probe once. Wait for the result with [`answer`](Self::answer).
    pub(crate) fn probe(
        &self,
        selector: &Selector,
        destination: Arc<Destination>,
        connections: Arc<Connections>,
        key: ApiKey,
        content: ProbeContent,
    ) -> Receiver<Result<(), (SpanFate, ExportError)>> {
        let (answer, receiver) = sync_channel(1);
        let shared = Arc::clone(&self.shared);
        let resource = destination.resource(selector);
        self.shared.driver.spawn(async move {
            drop(answer.send(probe(&shared, &resource, &destination, &connections, &key, content).await));
            shared.driver.notify_completed();
        });
        receiver
    }

    /// Waits for the result of a probe. Returns `None` if the engine stopped.
    pub(crate) fn answer<T: Send>(&self, receiver: Receiver<T>) -> Option<T> {
        let Some(inline) = self.shared.driver.as_inline() else {
            return receiver.recv().ok();
        };
        let mut answer = None;
        let result = &mut answer;
        // Bounded by the request timeout.
        inline.drive(after(Duration::MAX), move || match receiver.try_recv() {
            Ok(answer) => {
                *result = Some(answer);
                true
            }
            Err(TryRecvError::Disconnected) => true,
            Err(TryRecvError::Empty) => false,
        });
        answer
    }
}

async fn probe(
    shared: &Shared,
    resource: &Resource,
    destination: &Destination,
    connections: &Connections,
    key: &ApiKey,
    content: ProbeContent,
) -> Result<(), (SpanFate, ExportError)> {
    let settings = &shared.settings;
    let span = (content == ProbeContent::Span).then(|| {
        let mut span = span(CHECK, Moment::now(), vec![KeyValue::new(CHECK, true)]);
        destination.finish(&mut span, None);
        span
    });
    let spans: Vec<_> = span.iter().collect();
    let encoded = body::spans(&spans, resource, settings.protocol, settings.compression)
        .map_err(|error| (SpanFate::Dropped(DropReason::Encoding), error))?;
    let call = Call::spans(settings.protocol, destination, encoded);
    // A probe is requested explicitly, so it ignores the breakers.
    let attempt = shared
        .transport
        .send(&call, destination, key, &connections.lease(false))
        .await;
    let sent = spans.len() as u64;
    match judge(&call.url, attempt.result, sent, &attempt.secrets, SystemTime::now()) {
        Verdict::Delivered {
            rejected: 1..,
            warning: Some(error),
        } => Err((SpanFate::Dropped(DropReason::Rejected), error)),
        Verdict::Delivered { .. } => Ok(()),
        Verdict::Deny { error } => Err((SpanFate::WaitsForAnotherKey, error)),
        // A fault counts as an outage while no other span is delivered.
        Verdict::Retry { error, .. } | Verdict::Fault { error } => Err((SpanFate::Retried, error)),
        Verdict::Refuse { error, reason } | Verdict::Drop { error, reason } => Err((SpanFate::Dropped(reason), error)),
    }
}

impl fmt::Display for SpanFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retried => f.write_str("retried for up to export.retry.max_elapsed"),
            Self::WaitsForAnotherKey => f.write_str("kept for another key for up to export.retry.max_elapsed"),
            Self::Dropped(reason) => {
                f.write_str("dropped as ")?;
                reason.serialize(f)
            }
        }
    }
}
