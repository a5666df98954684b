//! The future of a service, in the scope of its request.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use http::Response;
use http_body::Body;
use opentelemetry::Context;
use pin_project_lite::pin_project;

use super::TracedBody;
use super::exchange::{Exchange, watch};
use crate::context::{InScope, attach};
use crate::span::type_of;

pin_project! {
    /// The future of a service, polled and dropped in the scope of its request.
    pub struct RunningFuture<F> {
        // Declared before the exchange, so values that the future holds drop before the span ends.
        #[pin]
        future: InScope<F>,
        exchange: Option<Exchange>,
    }
}

impl<F> RunningFuture<F> {
    /// Calls the service in a context.
    pub(super) fn start(cx: Context, mut exchange: Option<Exchange>, call: impl FnOnce() -> F) -> Self {
        let future = {
            let _entered = attach(&cx);
            watch(&mut exchange, call)
        };
        Self {
            future: InScope::new(future, cx),
            exchange,
        }
    }
}

impl<F, B, E> Future for RunningFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<TracedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let cx = this.future.context().clone();
        let result = ready!(watch(this.exchange, || this.future.as_mut().poll(task)));
        let exchange = this.exchange.take();
        Poll::Ready(match result {
            Ok(response) => {
                // `wrap` calls methods of the body.
                let _entered = attach(&cx);
                Ok(TracedBody::wrap(response, cx, exchange))
            }
            Err(error) => {
                if let Some(exchange) = exchange {
                    exchange.fail(type_of::<E>());
                }
                Err(error)
            }
        })
    }
}

impl<F> fmt::Debug for RunningFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningFuture").finish_non_exhaustive()
    }
}
