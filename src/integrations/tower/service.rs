//! The service of a [`TenantLayer`](super::TenantLayer).

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::settings::{Settings, Step};
use super::{ResponseFuture, TracedBody};

/// A service that runs each request in its tenant's scope. Created by
/// [`TenantLayer`](super::TenantLayer).
#[derive(Clone)]
pub struct TenantService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> TenantService<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, B, R> Service<Request<B>> for TenantService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Body,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, B> {
        let (parts, body) = request.into_parts();
        match self.settings.step(&parts) {
            Step::Decided(decision) => ResponseFuture::decided(decision, &self.settings, parts, body, &mut self.inner),
            Step::LookUp(selector, attempt) => {
                // Keeps the service that returned ready for the later call, because a clone may
                // not be ready.
                let clone = self.inner.clone();
                let service = mem::replace(&mut self.inner, clone);
                let settings = Arc::clone(&self.settings);
                ResponseFuture::looking_up(selector, attempt, settings, parts, body, service)
            }
        }
    }
}

impl<S> fmt::Debug for TenantService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantService").finish_non_exhaustive()
    }
}
