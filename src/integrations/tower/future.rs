//! The response future of a [`TenantService`](super::TenantService).
//!
//! | state | next |
//! |---|---|
//! | looking up | running, refused, or looking up the fallback |
//! | running | completed; the span continues in the body |
//! | refused | completed |

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::settings::{Attempt, Decision, Settings, Step};
use super::{RunningFuture, TracedBody, incoming, refusal};
use crate::context;
use crate::registry::LookupError;
use crate::selector::Selector;
use crate::tracer::TracerHandle;
use crate::util::wall_time::Moment;

pin_project! {
    /// The response future of a [`TenantService`](super::TenantService).
    ///
    /// # Cancel safety
    /// A drop also drops the service's future, in the request's scope, and ends the span as
    /// cancelled.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        LookingUp { waiting: Box<Waiting<S, B>> },
        Running { #[pin] future: RunningFuture<S::Future> },
        // `None` after completion.
        Refused { response: Option<Response<()>> },
    }
}

type LookUp = Pin<Box<dyn Future<Output = Result<TracerHandle, LookupError>> + Send>>;

/// A pending look-up, and the request that waits for it.
struct Waiting<S, B> {
    selector: Selector,
    look_up: LookUp,
    attempt: Attempt,
    received: Moment,
    settings: Arc<Settings>,
    /// `None` once the look-up has completed.
    request: Option<(Parts, B)>,
    /// The service that returned ready.
    service: S,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    /// Creates the future of a request that needs no look-up.
    pub(super) fn decided(decision: Decision, settings: &Settings, parts: Parts, body: B, service: &mut S) -> Self {
        Self {
            state: State::start(decision, settings, None, parts, body, service),
        }
    }

    /// Creates the future of a request that needs a look-up.
    pub(super) fn looking_up(
        selector: Selector,
        attempt: Attempt,
        settings: Arc<Settings>,
        parts: Parts,
        body: B,
        service: S,
    ) -> Self {
        Self {
            state: State::LookingUp {
                waiting: Box::new(Waiting {
                    look_up: Box::pin(settings.registry.get_async(selector.clone())),
                    selector,
                    attempt,
                    received: Moment::now(),
                    settings,
                    request: Some((parts, body)),
                    service,
                }),
            },
        }
    }
}

impl<S, B> Waiting<S, B>
where
    S: Service<Request<B>>,
{
    fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<State<S, B>> {
        loop {
            let found = ready!(self.look_up.as_mut().poll(task));
            match self.settings.found(&self.selector, found, self.attempt) {
                Step::LookUp(selector, attempt) => {
                    self.look_up = Box::pin(self.settings.registry.get_async(selector.clone()));
                    self.selector = selector;
                    self.attempt = attempt;
                }
                Step::Decided(decision) => {
                    let (parts, body) = self.request.take().expect("not polled after completion");
                    let service = &mut self.service;
                    let state = State::start(decision, &self.settings, Some(self.received), parts, body, service);
                    return Poll::Ready(state);
                }
            }
        }
    }
}

impl<S, B> State<S, B>
where
    S: Service<Request<B>>,
{
    fn start(
        decision: Decision,
        settings: &Settings,
        received: Option<Moment>,
        parts: Parts,
        body: B,
        service: &mut S,
    ) -> Self {
        let (cx, exchange) = match decision {
            Decision::Serve(tracer) => {
                let exchange = incoming::open(settings, &tracer, &parts, received);
                (exchange.context().clone(), Some(exchange))
            }
            Decision::ServeUntraced => (context::untraced(&context::current()), None),
            Decision::Refuse(kind, status) => {
                return Self::Refused {
                    response: Some(refusal::response(kind, status, &parts.headers)),
                };
            }
        };
        let call = || service.call(Request::from_parts(parts, body));
        Self::Running {
            future: RunningFuture::start(cx, exchange, call),
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Output = Result<Response<TracedBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::LookingUp { waiting } => ready!(waiting.poll(task)),
                StateProjection::Running { future } => return future.poll(task),
                StateProjection::Refused { response } => {
                    let response = response.take().expect("not polled after completion");
                    return Poll::Ready(Ok(response.map(|()| TracedBody::empty())));
                }
            };
            state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
