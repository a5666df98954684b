//! What requests are served with, and what is done before any of them is looked at.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;

use super::activity::Activity;
use super::budget::Budget;
use super::hosts::Hosts;
use super::shared::SharedRef;
use super::worker::Worker;
use crate::model::Format;
use crate::request::answer::Refusal;
use crate::request::grpc;

/// What a request takes beside its texts.
const REQUEST_OVERHEAD_BYTES: usize = 1024;

pub(crate) struct Serving {
    pub(crate) shared: SharedRef,
    pub(crate) worker: Worker,
    pub(crate) budget: Budget,
    pub(crate) hosts: Hosts,
    /// How long a part of a body may take to come.
    pub(crate) client_timeout: Duration,
}

pub(crate) type ServingRef = Arc<Serving>;

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
    // Who asks for a page has sent everything. Other requests have a body, which is waited for first.
    let activity = request
        .extensions()
        .get::<Activity>()
        .filter(|_| request.method() == Method::GET);
    let _answering = activity.map(Activity::answer);
    next.run(request).await
}
