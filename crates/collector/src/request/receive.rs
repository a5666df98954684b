//! From a request to its answer: the order of the checks, the faults, the export of traces.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::answer::{self, Refusal};
use super::body::{self, Coding, ContentType};
use super::recorder::RecordedRequest;
use super::{grpc, honeyhive};
use crate::faults::fault::{Action, Answer};
use crate::faults::list::Met;
use crate::model::{Endpoint, Fingerprint, Format, Received, Span};
use crate::otlp;
use crate::otlp::ParseError;
use crate::server::activity::Activity;
use crate::server::serving::{Serving, ServingRef};
use crate::server::shared::Shared;
use crate::server::wire::Breaker;
use crate::store::ProjectId;

/// How much of a truncated answer is written: its head and a part of its body.
const TRUNCATED_AFTER_BYTES: usize = 1024;

/// How much memory the content of a body may take while it is read, as a multiple of the bound on its size.
const MEMORY_FACTOR: usize = 10;
/// What it may take in any case.
const LEAST_MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// A request whose key is known.
pub(crate) struct Call<'a> {
    serving: &'a Serving,
    pub(crate) shared: &'a Shared,
    pub(crate) parts: &'a Parts,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Fingerprint,
    pub(crate) project: ProjectId,
    pub(crate) project_name: Option<&'a str>,
    pub(crate) content_type: &'a ContentType,
    wire_bytes: usize,
    body_bytes: usize,
    /// How many spans a fault wants refused.
    reject_spans: u64,
}

/// An answer, and what came of the request.
pub(crate) struct Outcome {
    pub(crate) response: Response,
    pub(crate) stored: Vec<Arc<Span>>,
    pub(crate) rejected_spans: u64,
    pub(crate) sessions: Vec<String>,
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Self {
        Self {
            response,
            stored: Vec::new(),
            rejected_spans: 0,
            sessions: Vec::new(),
        }
    }
}

/// Everything that is not a page or the read-back interface.
pub(crate) async fn receive(State(serving): State<ServingRef>, request: Request) -> Response {
    let by_grpc = grpc::is_spoken(request.headers());
    let response = answer_to(&serving, request).await;
    if by_grpc {
        grpc::translate(response).await
    } else {
        response
    }
}

async fn answer_to(serving: &Serving, request: Request) -> Response {
    let shared = &*serving.shared;
    let (parts, body) = request.into_parts();
    let Some(endpoint) = Endpoint::of(parts.uri.path()) else {
        return answer::not_found(parts.uri.path());
    };
    if !endpoint.methods().contains(&parts.method) {
        return answer::method_not_allowed(endpoint.methods());
    }
    let Some(mut held) = serving.budget.hold(0) else {
        return Refusal::busy().to_response(Format::Json);
    };
    // The body is read before anything is refused: a client that is still writing may miss the answer.
    let wire = body::collect(body, shared.max_body_bytes, serving.client_timeout, &mut held).await;
    if wire.is_err() {
        held.release();
    }
    let _answering = parts.extensions.get::<Activity>().map(Activity::answer);
    let wire_bytes = wire.as_ref().map_or(0, Bytes::len);
    let body = match wire {
        Ok(wire) => match serving.unpack(&parts.headers, &wire).await {
            // What was unpacked is held as well, since the request may have to wait.
            Ok(body) if body.len() > wire.len() && !held.grow(body.len()) => Err((Refusal::busy(), wire)),
            unpacked => unpacked.map_err(|refusal| (refusal, wire)),
        },
        Err(refusal) => Err((refusal, Bytes::new())),
    };
    let seen = body.as_ref().unwrap_or_else(|(_, wire)| wire).clone();
    let content_type = ContentType::of(&parts.headers);
    let format = content_type.format();

    let Some(key) = shared.key_headers.key_of(&parts.headers) else {
        record(shared, &parts, seen, None, None);
        shared.store.count_without_key();
        return Refusal::no_key().to_response(format.unwrap_or(Format::Json));
    };
    let key = shared.fingerprints.of(&key);
    let Some((project, project_name)) = shared.store.open(key) else {
        let refusal = Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "there are as many projects as the collector may hold",
        );
        return refusal.to_response(format.unwrap_or(Format::Json));
    };
    let project_name = project_name.as_deref();
    let body_bytes = seen.len();
    record(shared, &parts, seen.clone(), Some(key), project_name);

    let mut call = Call {
        serving,
        shared,
        parts: &parts,
        endpoint,
        key,
        project,
        project_name,
        content_type: &content_type,
        wire_bytes,
        body_bytes,
        reject_spans: 0,
    };
    let outcome = match shared.faults.meet(key, endpoint, &seen) {
        Some(met) => call.suffer(met, body.map_err(|(refusal, _)| refusal)).await,
        None => Some(call.serve(body.map_err(|(refusal, _)| refusal)).await),
    };
    let Some(outcome) = outcome else {
        return Response::new(Body::empty());
    };
    call.tell(outcome)
}

impl Serving {
    /// The message of a body, unpacked.
    async fn unpack(&self, headers: &HeaderMap, wire: &Bytes) -> Result<Bytes, Refusal> {
        let (coding, message) = body::message(headers, wire)?;
        if coding == Coding::Identity {
            return Ok(message);
        }
        let limit_bytes = self.shared.max_body_bytes;
        self.read(move || coding.unpack(&message, limit_bytes)).await
    }

    /// Does on the worker's thread what takes a while.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let panicked = || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the body cannot be read");
        self.worker.run(work).await.unwrap_or_else(|| Err(panicked()))
    }
}

fn record(shared: &Shared, parts: &Parts, body: Bytes, key: Option<Fingerprint>, project: Option<&str>) {
    let Some(recorder) = &shared.recorder else { return };
    recorder.record(RecordedRequest {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: shared.key_headers.redacted(&parts.headers, key.is_some()),
        body,
        key,
        project: project.map(str::to_owned),
    });
    shared.store.changes.tell();
}

impl Call<'_> {
    /// Counts a request that has its answer, and tells the observers of it.
    fn tell(&self, outcome: Outcome) -> Response {
        let status = outcome.response.status().as_u16();
        self.shared.store.count_answer(self.project, status);
        let received = Received {
            project: self.project_name.map(str::to_owned),
            key: self.key,
            endpoint: self.endpoint,
            path: self.parts.uri.path().to_owned(),
            format: self.content_type.format(),
            status,
            wire_bytes: self.wire_bytes,
            body_bytes: self.body_bytes,
            spans: outcome.stored.len(),
            stored: outcome.stored,
            rejected_spans: outcome.rejected_spans,
            sessions: outcome.sessions,
        };
        self.shared.observers.iter().for_each(|observer| observer(&received));
        outcome.response
    }

    /// The answer of a collector that behaves.
    async fn serve(&self, body: Result<Bytes, Refusal>) -> Outcome {
        let served = match body {
            Ok(body) => self.take(body).await,
            Err(refusal) => Err(refusal),
        };
        served.unwrap_or_else(|refusal| refusal.to_response(self.answer_format()).into())
    }

    async fn take(&self, body: Bytes) -> Result<Outcome, Refusal> {
        match self.endpoint {
            Endpoint::Traces => self.traces(body).await,
            Endpoint::Sessions => honeyhive::session(self, self.object(body).await?),
            Endpoint::Events => honeyhive::event(self, self.object(body).await?),
        }
    }

    async fn object(&self, body: Bytes) -> Result<Map<String, Value>, Refusal> {
        honeyhive::check_type(self.content_type)?;
        let max_memory = self.max_memory();
        self.serving
            .read(move || Ok(otlp::parse_object(&body, max_memory)?))
            .await
    }

    fn max_memory(&self) -> usize {
        let memory = self.shared.max_body_bytes.saturating_mul(MEMORY_FACTOR);
        memory.max(LEAST_MEMORY_BYTES)
    }

    async fn traces(&self, body: Bytes) -> Result<Outcome, Refusal> {
        let Some(format) = self.content_type.format() else {
            return Err(self
                .content_type
                .unsupported("application/x-protobuf, application/json and application/grpc are"));
        };
        let source = self.parts.headers.get("x-source");
        let source = source.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let (key, max_memory) = (self.key, self.max_memory());
        let read = move || {
            let request = otlp::parse(format, &body, max_memory)?;
            Ok(otlp::read(request, key, source.as_deref()))
        };
        let mut batch = self.serving.read(read).await?;

        let faulted = usize::try_from(self.reject_spans)
            .unwrap_or(usize::MAX)
            .min(batch.arrivals.len());
        batch.arrivals.drain(..faulted);
        // A fault is told as it was ordered, also where the request had fewer spans than it refuses.
        let rejected_spans = batch.rejected + self.reject_spans;
        let message = batch
            .rejection
            .unwrap_or_else(|| "refused by a fault that the collector was told".to_owned());

        let sessions = batch.arrivals.iter();
        let sessions = sessions.filter_map(|arrival| arrival.span.session_id.as_ref());
        let mut known = HashSet::new();
        let sessions = sessions.filter(|session| known.insert(*session)).cloned().collect();
        let stored = self
            .shared
            .store
            .add_spans(self.project, batch.arrivals, rejected_spans);
        Ok(Outcome {
            response: answer::exported(rejected_spans, &message, format),
            stored,
            rejected_spans,
            sessions,
        })
    }

    /// The answer of a collector that was told to misbehave; `None` where the connection breaks instead.
    async fn suffer(&mut self, met: Met, body: Result<Bytes, Refusal>) -> Option<Outcome> {
        self.shared.store.changes.tell();
        if matches!(met.action, Action::LoseAnswer) {
            let outcome = self.serve(body).await;
            self.tell(outcome);
            tokio::time::sleep(met.delay).await;
            self.breaker()?.reset();
            return None;
        }
        if !met.delay.is_zero() {
            tokio::time::sleep(met.delay).await;
        }
        match met.action {
            Action::Serve | Action::LoseAnswer => {}
            Action::Hang => self.shared.faults.until_cleared(met.id).await,
            Action::RejectSpans(spans) => self.reject_spans = spans,
            Action::Answer(ordered) => return Some(self.ordered(&ordered).into()),
            Action::Garbage => {
                let garbage: &[u8] = b"\xff\xfe neither protobuf nor JSON \x00";
                let content_type = match self.answer_format() {
                    Format::Protobuf | Format::Grpc => "application/x-protobuf",
                    Format::Json => "application/json",
                };
                return Some(answer::with_type(StatusCode::OK, content_type, garbage).into());
            }
            Action::Reset => {
                self.breaker()?.reset();
                return None;
            }
            Action::Truncate => {
                let mut outcome = self.serve(body).await;
                self.breaker()?.close_after(TRUNCATED_AFTER_BYTES);
                let body = vec![b' '; 64 * TRUNCATED_AFTER_BYTES];
                outcome.response = answer::with_type(outcome.response.status(), "application/json", body);
                return Some(outcome);
            }
        }
        Some(self.serve(body).await)
    }

    fn ordered(&self, ordered: &Answer) -> Response {
        let status = StatusCode::from_u16(ordered.status)
            .ok()
            .filter(|status| !status.is_informational());
        let status = status
            .filter(|status| status.as_u16() < 600)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = match &ordered.body {
            Some(text) => answer::with_type(status, "text/plain; charset=utf-8", text.clone()),
            None if status.is_success() || status == StatusCode::NOT_MODIFIED => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                response
            }
            None => answer::rpc_status(status, "the collector was told to answer so", self.answer_format()),
        };
        for (name, value) in [(RETRY_AFTER, &ordered.retry_after), (LOCATION, &ordered.location)] {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn breaker(&self) -> Option<&Breaker> {
        self.parts.extensions.get()
    }

    /// Only exports are answered in protobuf, and only those that came in it.
    fn answer_format(&self) -> Format {
        match self.endpoint {
            Endpoint::Traces => self.content_type.format().unwrap_or(Format::Json),
            Endpoint::Sessions | Endpoint::Events => Format::Json,
        }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        let status = match error {
            ParseError::Invalid(_) => StatusCode::BAD_REQUEST,
            ParseError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.to_string())
    }
}
