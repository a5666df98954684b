//! A response body in the scope of its request.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll};

use bytes::Buf;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use opentelemetry::Context;
use pin_project_lite::pin_project;

use super::exchange::{Exchange, watch};
use crate::context::attach;
use crate::span::type_of;

pin_project! {
    /// A response body that is polled and dropped in the scope of its request, and ends the
    /// request's span.
    ///
    /// Frames, trailers, errors and size hints of the inner body pass through.
    pub struct TracedBody<B> {
        // `None` during the drop, and in responses of this crate.
        #[pin]
        body: Option<B>,
        cx: Context,
        exchange: Option<Exchange>,
        // Remaining bytes of the declared length. A server may stop polling once none remain.
        left: Option<u64>,
    }

    impl<B> PinnedDrop for TracedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = attach(this.cx);
            this.body.set(None);
            drop(this.exchange.take());
        }
    }
}

impl<B> TracedBody<B> {
    /// Creates an empty body.
    pub(super) fn empty() -> Self {
        Self {
            body: None,
            cx: Context::new(),
            exchange: None,
            left: None,
        }
    }
}

impl<B: Body> TracedBody<B> {
    /// Wraps the body of a response: the body runs in `cx` and ends the span.
    pub(super) fn wrap(response: Response<B>, cx: Context, mut exchange: Option<Exchange>) -> Response<Self> {
        let may_follow = exchange
            .as_mut()
            .is_none_or(|exchange| exchange.record_response(&response));
        let left = response.headers().get(CONTENT_LENGTH);
        let left = left.and_then(|length| length.to_str().ok()?.parse().ok());
        let left = left.or_else(|| response.body().size_hint().exact());
        // A gRPC call ends with its trailers.
        let is_empty = left == Some(0) && exchange.as_ref().is_some_and(|exchange| !exchange.is_grpc());
        if !may_follow || is_empty || response.body().is_end_stream() {
            finish(&mut exchange);
        }
        response.map(|body| Self {
            body: Some(body),
            cx,
            exchange,
            left,
        })
    }
}

fn finish(exchange: &mut Option<Exchange>) {
    if let Some(exchange) = exchange.take() {
        exchange.finish();
    }
}

impl<B: Body> Body for TracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let Some(mut body) = this.body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let _entered = attach(this.cx);
        let polled = watch(this.exchange, || body.as_mut().poll_frame(task));
        let Some(exchange) = this.exchange else {
            return polled;
        };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => finish(this.exchange),
            Poll::Ready(Some(Err(_))) => {
                if let Some(exchange) = this.exchange.take() {
                    exchange.fail(type_of::<B::Error>());
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(left), Some(data)) = (this.left.as_mut(), frame.data_ref()) {
                    *left = left.saturating_sub(data.remaining() as u64);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    exchange.record_trailers(trailers);
                }
                // A server may stop polling after any of these. A gRPC call ends with its trailers.
                let is_complete = *this.left == Some(0) && !exchange.is_grpc();
                if frame.is_trailers() || is_complete || body.is_end_stream() {
                    finish(this.exchange);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> fmt::Debug for TracedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracedBody")
            .field("is_open", &self.exchange.is_some())
            .finish_non_exhaustive()
    }
}
