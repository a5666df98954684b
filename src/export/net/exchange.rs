//! One request and its answer, whatever protocol is around them.

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

/// How much of an answer is read. OTLP's answers are a few bytes; a server that sends more is not listened to.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How we call ourselves to servers.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// What one request asks for; the key is not in it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) by: By,
    pub(crate) url: String,
    pub(crate) encoded: Encoded,
}

/// How a request is made.
#[derive(Clone, Debug)]
pub(crate) enum By {
    Http(Method),
    #[cfg(feature = "grpc")]
    Grpc,
}

/// What a receiver said.
#[derive(Debug)]
pub(crate) enum Reply {
    Http(Answer),
    /// The message of an answer, or the status in its place.
    #[cfg(feature = "grpc")]
    Grpc(Result<Bytes, Box<tonic::Status>>),
    /// A success by HTTP, of a request by gRPC.
    #[cfg(feature = "grpc")]
    NoGrpc(Answer),
}

/// A server's answer by HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// As much of it as was read.
    pub(crate) body: Bytes,
    /// Why the rest of the body was not read, if there is more.
    pub(crate) cut: Option<Cut>,
}

/// What ended a body before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// More than [`MAX_ANSWER_BYTES`].
    TooLarge,
    /// The request's time was over.
    TimedOut(Duration),
    /// The connection broke.
    Broken(String),
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// Not within the request's time.
    #[error("not in time")]
    TimedOut,
    #[error("{reason}")]
    Failed { reason: String, connected: bool },
}

/// One attempt: what is asked, of whom, as whom, on what.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) call: &'a Call,
    pub(crate) to: &'a Destination,
    pub(crate) key: &'a ApiKey,
    pub(crate) on: &'a ClientLease<'a>,
    /// The connection that was got first.
    pub(super) connection: &'a OnceLock<CaptureConnection>,
    pub(crate) timeout: Duration,
    /// None for a time that the clock cannot add.
    pub(super) deadline: Option<Instant>,
}

impl Call {
    /// A request that carries spans.
    pub(crate) fn spans(protocol: Protocol, to: &Destination, encoded: Encoded) -> Self {
        let by = match protocol {
            Protocol::HttpProtobuf | Protocol::HttpJson => By::Http(Method::POST),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => By::Grpc,
            #[cfg(not(feature = "grpc"))]
            Protocol::Grpc => unreachable!("the configuration was checked"),
        };
        Self {
            by,
            url: to.traces_url.clone(),
            encoded,
        }
    }
}

impl Broken {
    /// No connection was made.
    pub(crate) fn before(reason: String) -> Self {
        Self::Failed {
            reason,
            connected: false,
        }
    }
}

impl Exchange<'_> {
    /// The headers of every request. The key is set last: nothing can stand in its place.
    pub(crate) fn sign(self, headers: &mut HeaderMap) {
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &self.to.headers {
            headers.insert(name.clone(), value.clone());
        }
        headers.insert(self.to.key_header.clone(), self.key.header_value(self.to.key_scheme));
    }

    /// Waits for something no longer than the request has time.
    async fn in_time<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self.deadline {
            Some(deadline) => timeout_at(deadline, work).await.ok(),
            None => Some(work.await),
        }
    }

    /// Sends one request, and reads the answer and its trailers.
    pub(crate) async fn perform(
        self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Answer, Option<HeaderMap>), Broken> {
        // A redirect is on the same host: the first connection says as much as the last.
        self.connection.get_or_init(|| capture_connection(&mut request));
        let response = self.in_time(self.on.client.request(request)).await;
        let response = response.ok_or(Broken::TimedOut)?.map_err(|error| Broken::Failed {
            connected: !error.is_connect(),
            reason: self.on.note_failure(&error),
        })?;
        let (parts, mut incoming) = response.into_parts();
        let mut body = BytesMut::new();
        let mut trailers = None;
        // The head is an answer, whatever becomes of the rest.
        let cut = loop {
            let frame = match self.in_time(incoming.frame()).await {
                Some(Some(Ok(frame))) => frame,
                Some(Some(Err(error))) => break Some(Cut::Broken(self.on.note_failure(&error))),
                Some(None) => break None,
                None => break Some(Cut::TimedOut(self.timeout)),
            };
            match frame.into_data() {
                Ok(data) => {
                    let room = MAX_ANSWER_BYTES - body.len();
                    body.extend_from_slice(&data[..data.len().min(room)]);
                    if data.len() > room {
                        break Some(Cut::TooLarge);
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        };
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.freeze(),
            cut,
        };
        Ok((answer, trailers))
    }
}
