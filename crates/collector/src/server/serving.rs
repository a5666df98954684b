//! What requests are served with, and what is done before any of them is looked at.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};

use super::activity::Activity;
use super::budget::Budget;
use super::hosts::Hosts;
use super::worker::Worker;
use crate::faults::list::Faults;
use crate::model::{Fingerprints, Format, Received};
use crate::request::answer::Refusal;
use crate::request::grpc;
use crate::request::key_headers::KeyHeaders;
use crate::request::recorder::Recorder;
use crate::store::Store;

/// What a request takes beside its texts.
const REQUEST_OVERHEAD_BYTES: usize = 1024;

/// What the handle and the server's thread have in common.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) observers: Vec<Observer>,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) key_headers: KeyHeaders,
    pub(crate) max_body_bytes: usize,
}

/// Called with each answered request, on the server's thread.
pub(crate) type Observer = Box<dyn Fn(&Received) + Send + Sync>;

pub(crate) struct Serving {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: Worker,
    pub(crate) budget: Budget,
    pub(crate) hosts: Hosts,
    /// How long a part of a body may take to come.
    pub(crate) client_timeout: Duration,
}

pub(crate) type ServingRef = Arc<Serving>;

impl Serving {
    /// Does work that takes a while on the worker's thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let panicked = || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the body cannot be read");
        self.worker.run(work).await.unwrap_or_else(|| Err(panicked()))
    }
}

/// Refuses what is for another host, and what there is no memory for.
pub(crate) async fn admit(State(serving): State<ServingRef>, request: Request, next: Next) -> Response {
    let by_grpc = grpc::is_spoken(request.headers());
    let refused = async |refusal: Refusal| {
        let answer = refusal.to_response(Format::Json);
        if by_grpc { grpc::translate(answer).await } else { answer }
    };
    if let Err(refusal) = serving.hosts.check(request.uri(), request.headers()) {
        return refused(refusal).await;
    }
    let texts = request.headers().iter();
    let texts = texts.map(|(name, value)| name.as_str().len() + value.len());
    let bytes = texts.sum::<usize>() + request.uri().path().len() + REQUEST_OVERHEAD_BYTES;
    let Some(_held) = serving.budget.hold(bytes) else {
        return refused(Refusal::busy()).await;
    };
    // A client that asks for a page has sent everything. Other requests have a body, which is waited for first.
    let activity = request
        .extensions()
        .get::<Activity>()
        .filter(|_| request.method() == Method::GET);
    let _answering = activity.map(Activity::answer);
    next.run(request).await
}
