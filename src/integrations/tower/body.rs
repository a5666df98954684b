//! A response's body, in the scope of its request.

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
    /// The body of a response, polled and dropped in the scope of its request. The request's span ends with it.
    ///
    /// Frames, trailers, errors and size hints are those of the body inside.
    pub struct TracedBody<B> {
        // `None` while it is dropped, and in answers of this crate.
        #[pin]
        body: Option<B>,
        cx: Context,
        exchange: Option<Exchange>,
        // Bytes that are left of the stated length. A server may not poll again after those, and need not poll at all if there are none.
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
    /// No body.
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
    /// Wraps a response's body: it runs in the context that it was made in, and ends the span.
    pub(super) fn put_into(response: Response<B>, cx: Context, mut exchange: Option<Exchange>) -> Response<Self> {
        let may_follow = exchange
            .as_mut()
            .is_none_or(|exchange| exchange.note_response(&response));
        let left = response.headers().get(CONTENT_LENGTH);
        let left = left.and_then(|length| length.to_str().ok()?.parse().ok());
        let left = left.or_else(|| response.body().size_hint().exact());
        // The outcome of a gRPC call is in its trailers.
        let is_empty = left == Some(0) && exchange.as_ref().is_some_and(|exchange| !exchange.is_call());
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
                    exchange.note_trailers(trailers);
                }
                // A server may see by any of these that nothing follows, and not poll again. The outcome of a gRPC call is in its trailers.
                let is_whole = *this.left == Some(0) && !exchange.is_call();
                if frame.is_trailers() || is_whole || body.is_end_stream() {
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
