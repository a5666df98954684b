//! One HTTP request and its answer, for all protocols.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::time::{Instant, timeout_at};

use super::connections::ClientLease;
use crate::backend::Destination;
use crate::config::Protocol;
use crate::export::encode::body::Encoded;
use crate::secret::ApiKey;

/// Most bytes of an answer to read. OTLP's answers are a few bytes long.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;
const USER_AGENT_VALUE: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// A request without its key.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: CallKind,
    pub(crate) url: String,
    pub(crate) encoded: Encoded,
}

/// Protocol of a request.
#[derive(Clone, Debug)]
pub(crate) enum CallKind {
    Http(Method),
    #[cfg(feature = "grpc")]
    Grpc,
}

/// Answer of a receiver.
#[derive(Debug)]
pub(crate) enum Reply {
    Http(Answer),
    /// The message, or the gRPC error status.
    #[cfg(feature = "grpc")]
    Grpc(Result<Bytes, Box<tonic::Status>>),
    /// An HTTP success without gRPC, in answer to a gRPC request.
    #[cfg(feature = "grpc")]
    NotGrpc(Answer),
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body as far as it was read.
    pub(crate) body: Bytes,
    /// Why the body was not read completely, if so.
    pub(crate) truncation: Option<Truncation>,
}

/// Cause of a truncated body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// Longer than [`MAX_ANSWER_BYTES`].
    TooLarge,
    /// The request timed out.
    TimedOut(Duration),
    /// The connection broke.
    Broken(String),
}

/// Error of a request without an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The request timed out.
    #[error("timed out")]
    TimedOut,
    #[error("{reason}")]
    Failed { reason: String, connected: bool },
}

/// One attempt at a request.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) call: &'a Call,
    pub(crate) to: &'a Destination,
    pub(crate) key: &'a ApiKey,
    pub(crate) on: &'a ClientLease<'a>,
    /// The first connection used.
    pub(super) connection: &'a OnceLock<CaptureConnection>,
    pub(crate) timeout: Duration,
    /// `None` if the timeout is beyond the clock's range.
    pub(super) deadline: Option<Instant>,
}

impl Call {
    /// Creates a request with spans.
    pub(crate) fn spans(protocol: Protocol, to: &Destination, encoded: Encoded) -> Self {
        let kind = match protocol {
            Protocol::HttpProtobuf | Protocol::HttpJson => CallKind::Http(Method::POST),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => CallKind::Grpc,
            #[cfg(not(feature = "grpc"))]
            Protocol::Grpc => unreachable!("the configuration was checked"),
        };
        Self {
            kind,
            url: to.traces_url.clone(),
            encoded,
        }
    }
}

impl ExchangeError {
    /// Creates an error for a failure before a connection was opened.
    pub(crate) fn before_connecting(reason: String) -> Self {
        Self::Failed {
            reason,
            connected: false,
        }
    }
}

impl Exchange<'_> {
    /// Sets the headers of every request. The key is set last, so that no other header replaces it.
    pub(crate) fn sign(self, headers: &mut HeaderMap) {
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        for (name, value) in &self.to.headers {
            headers.insert(name.clone(), value.clone());
        }
        headers.insert(self.to.key_header.clone(), self.key.header_value(self.to.key_scheme));
    }

    /// Runs work until the request's deadline. Returns `None` on timeout.
    async fn in_time<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self.deadline {
            Some(deadline) => timeout_at(deadline, work).await.ok(),
            None => Some(work.await),
        }
    }

    /// Sends one request. Returns the answer and its trailers.
    pub(crate) async fn perform(
        self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Answer, Option<HeaderMap>), ExchangeError> {
        // Capture only the first connection; redirects stay on the same host.
        self.connection.get_or_init(|| capture_connection(&mut request));
        let response = self.in_time(self.on.client.request(request)).await;
        let response = response
            .ok_or(ExchangeError::TimedOut)?
            .map_err(|error| ExchangeError::Failed {
                connected: !error.is_connect(),
                reason: self.on.note_failure(&error),
            })?;
        let (parts, mut incoming) = response.into_parts();
        let mut body = BytesMut::new();
        let mut trailers = None;
        // The head counts as an answer, even if the body is truncated.
        let truncation = loop {
            let frame = match self.in_time(incoming.frame()).await {
                Some(Some(Ok(frame))) => frame,
                Some(Some(Err(error))) => break Some(Truncation::Broken(self.on.note_failure(&error))),
                Some(None) => break None,
                None => break Some(Truncation::TimedOut(self.timeout)),
            };
            match frame.into_data() {
                Ok(data) => {
                    let room = MAX_ANSWER_BYTES - body.len();
                    body.extend_from_slice(&data[..data.len().min(room)]);
                    if data.len() > room {
                        break Some(Truncation::TooLarge);
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        };
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.freeze(),
            truncation,
        };
        Ok((answer, trailers))
    }
}
