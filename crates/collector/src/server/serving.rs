//! State of the server, and the checks before any request is handled.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};
use tokio::sync::Semaphore;

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

/// Size of a request without its texts.
const REQUEST_OVERHEAD_BYTES: usize = 1024;

/// State that the handle and the server's thread share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) observers: Vec<Observer>,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) key_headers: KeyHeaders,
    pub(crate) max_body_bytes: usize,
}

/// Function that the server's thread calls with each request that has a key.
pub(crate) type Observer = Box<dyn Fn(&Received) + Send + Sync>;

pub(crate) struct Serving {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: Worker,
    pub(crate) budget: Budget,
    pub(crate) hosts: Hosts,
    /// Permits of streams for pages.
    pub(crate) streams: Arc<Semaphore>,
    /// Time limit for each part of a body.
    pub(crate) client_timeout: Duration,
}

pub(crate) type ServingRef = Arc<Serving>;

impl Serving {
    /// Runs blocking work on the worker's thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let panicked = || {
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal error while reading the body",
            )
        };
        self.worker.run(work).await.unwrap_or_else(|| Err(panicked()))
    }
}

/// Refuses requests for another host, and requests above the memory limit.
pub(crate) async fn admit(State(serving): State<ServingRef>, request: Request, next: Next) -> Response {
    let is_grpc = grpc::is_grpc(request.headers());
    let refused = async |refusal: Refusal| {
        let response = refusal.to_response(Format::Json);
        if is_grpc {
            grpc::translate(response).await
        } else {
            response
        }
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
    // A GET request is complete. Other requests have a body that must arrive first.
    let activity = request
        .extensions()
        .get::<Activity>()
        .filter(|_| request.method() == Method::GET);
    let _responding = activity.map(Activity::start_response);
    next.run(request).await
}
