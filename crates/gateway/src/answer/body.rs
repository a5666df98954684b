//! Bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::Receiver;

/// A body of one part, with trailers if the format has any, or of parts that are made while it is
/// sent.
#[derive(Debug, Default)]
pub(crate) struct AnswerBody {
    data: Bytes,
    trailers: Option<HeaderMap>,
    parts: Option<Receiver<Bytes>>,
}

impl AnswerBody {
    pub(crate) fn new(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self {
            data,
            trailers,
            parts: None,
        }
    }

    /// Creates a body that ends when the sender of its parts is dropped.
    pub(crate) fn stream(parts: Receiver<Bytes>) -> Self {
        Self {
            parts: Some(parts),
            ..Self::default()
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(parts) = &mut self.parts {
            return parts.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part))));
        }
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none() && self.parts.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.parts {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.data.len() as u64),
        }
    }
}
