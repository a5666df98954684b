//! One gRPC request: tonic frames the message, this crate's connections send it.
//!
//! The batch is compressed once when it is encoded (`export.compression`). tonic would compress it
//! for each attempt, so the message passes through tonic unchanged and is marked as compressed
//! afterwards.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt, Full};
use tonic::Status;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::service::interceptor::InterceptedService;
use tower_service::Service;

use super::exchange::{Answer, Exchange, ExchangeError, MAX_ANSWER_BYTES, Reply, Truncation};

const ENCODING: &str = "grpc-encoding";
const STATUS: &str = "grpc-status";
/// The first byte of a compressed message.
const COMPRESSED: u8 = 1;

/// Sends once, with the timeout in `grpc-timeout`.
pub(crate) async fn send(exchange: Exchange<'_>, url: Uri) -> Result<Reply, ExchangeError> {
    let mut origin = url.into_parts();
    let path = origin
        .path_and_query
        .take()
        .ok_or_else(|| ExchangeError::before_connecting("URL has no path".to_owned()))?;
    origin.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    let origin = Uri::from_parts(origin).map_err(|error| ExchangeError::before_connecting(error.to_string()))?;
    // Runs last, so that no metadata replaces the key.
    let sign = move |mut request: tonic::Request<()>| {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        exchange.sign(&mut headers);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    };
    let mut client = Grpc::with_origin(InterceptedService::new(exchange, sign), origin)
        .max_decoding_message_size(MAX_ANSWER_BYTES)
        // Some servers compress their answer like the request, without asking whether it is
        // accepted.
        .accept_compressed(CompressionEncoding::Gzip);
    let mut request = tonic::Request::new(exchange.call.encoded.body.clone());
    request.set_timeout(exchange.timeout);
    match client.unary(request, path, RawBytes).await {
        Ok(answer) => Ok(Reply::Grpc(Ok(answer.into_inner()))),
        Err(status) => match std::error::Error::source(&status).and_then(|source| source.downcast_ref()) {
            Some(GrpcError::Exchange(error)) => Err(error.clone()),
            // Only a gRPC status can report success.
            Some(GrpcError::NotGrpc(answer)) if answer.status.is_success() => Ok(Reply::NotGrpc(answer.clone())),
            Some(GrpcError::NotGrpc(answer)) => Ok(Reply::Http(answer.clone())),
            None => Ok(Reply::Grpc(Err(Box::new(status)))),
        },
    }
}

/// Error of a request without a gRPC answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrpcError {
    #[error("{0}")]
    Exchange(ExchangeError),
    /// The answer is not gRPC, for example from a gateway.
    #[error("answered {}", .0.status)]
    NotGrpc(Answer),
}

/// Body of an answer with its trailers.
pub(crate) type AnswerBody = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

impl<'a> Service<Request<Body>> for Exchange<'a> {
    type Response = Response<AnswerBody>;
    type Error = GrpcError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, GrpcError>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), GrpcError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(exchange_bytes(*self, request))
    }
}

async fn exchange_bytes(exchange: Exchange<'_>, request: Request<Body>) -> Result<Response<AnswerBody>, GrpcError> {
    let (mut parts, body) = request.into_parts();
    let whole = body.collect().await;
    let whole =
        whole.map_err(|status| GrpcError::Exchange(ExchangeError::before_connecting(status.message().to_owned())))?;
    let mut message = BytesMut::from(whole.to_bytes());
    if let Some(encoding) = exchange.call.encoded.headers.get(CONTENT_ENCODING) {
        parts.headers.insert(ENCODING, encoding.clone());
        message[0] = COMPRESSED;
    }
    let request = Request::from_parts(parts, Full::new(message.freeze()));
    let (answer, trailers) = exchange.perform(request).await.map_err(GrpcError::Exchange)?;
    // The gRPC status may be in the trailers, so a truncated answer has none. An HTTP error status
    // counts even if its body is truncated.
    match answer.truncation.clone() {
        Some(Truncation::TimedOut(_)) => return Err(GrpcError::Exchange(ExchangeError::TimedOut)),
        Some(Truncation::Broken(reason)) if !answer.status.is_client_error() => {
            let connected = true;
            return Err(GrpcError::Exchange(ExchangeError::Failed { reason, connected }));
        }
        _ => {}
    }
    let has_status = |headers: &HeaderMap| headers.contains_key(STATUS);
    if !has_status(&answer.headers) {
        let is_grpc = answer.headers.get(CONTENT_TYPE).is_some_and(is_grpc);
        if answer.status != StatusCode::OK || !is_grpc {
            return Err(GrpcError::NotGrpc(answer));
        }
        if !trailers.as_ref().is_some_and(has_status) {
            return Err(GrpcError::Exchange(ExchangeError::Failed {
                reason: "answer has no grpc-status".to_owned(),
                connected: true,
            }));
        }
    }
    let body = Full::new(answer.body).with_trailers(ready(trailers.map(Ok)));
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

fn is_grpc(content_type: &http::HeaderValue) -> bool {
    content_type.as_bytes().starts_with(b"application/grpc")
}

/// Codec that passes messages through unchanged.
#[derive(Clone, Copy, Debug)]
struct RawBytes;

impl Codec for RawBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for RawBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
