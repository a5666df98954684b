//! One request by gRPC: tonic makes and reads what is around the message, our own connections carry it.
//!
//! What `export.compression` says is done when the batch is encoded, once for all attempts at it. tonic would do it again for each of them.
//! So the message passes through tonic as it is, and is marked as compressed afterwards.

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

use super::exchange::{Answer, Broken, Cut, Exchange, MAX_ANSWER_BYTES, Reply};

const ENCODING: &str = "grpc-encoding";
const STATUS: &str = "grpc-status";
/// The first byte of a compressed message.
const COMPRESSED: u8 = 1;

/// Sends once. The receiver is told how long it has.
pub(crate) async fn send(exchange: Exchange<'_>, url: Uri) -> Result<Reply, Broken> {
    let mut origin = url.into_parts();
    let path = origin
        .path_and_query
        .take()
        .ok_or_else(|| Broken::before("the URL has no path".to_owned()))?;
    origin.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    let origin = Uri::from_parts(origin).map_err(|error| Broken::before(error.to_string()))?;
    // Nothing is set after this: no metadata stands in the key's place.
    let sign = move |mut request: tonic::Request<()>| {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        exchange.sign(&mut headers);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    };
    let mut client = Grpc::with_origin(InterceptedService::new(exchange, sign), origin)
        .max_decoding_message_size(MAX_ANSWER_BYTES)
        // There are servers that answer as they were asked, whatever they were told.
        .accept_compressed(CompressionEncoding::Gzip);
    let mut request = tonic::Request::new(exchange.call.encoded.body.clone());
    request.set_timeout(exchange.timeout);
    match client.unary(request, path, Whole).await {
        Ok(answer) => Ok(Reply::Grpc(Ok(answer.into_inner()))),
        Err(status) => match std::error::Error::source(&status).and_then(|source| source.downcast_ref()) {
            Some(Failed::Broken(broken)) => Err(broken.clone()),
            // A success is one only where it says so by gRPC.
            Some(Failed::NoGrpc(answer)) if answer.status.is_success() => Ok(Reply::NoGrpc(answer.clone())),
            Some(Failed::NoGrpc(answer)) => Ok(Reply::Http(answer.clone())),
            None => Ok(Reply::Grpc(Err(Box::new(status)))),
        },
    }
}

/// Why there is no answer by gRPC.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("{0}")]
    Broken(Broken),
    /// From something on the way that does not speak it, such as a gateway.
    #[error("answered {}", .0.status)]
    NoGrpc(Answer),
}

/// An answer that was read, with its trailers.
pub(crate) type Answered = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

impl<'a> Service<Request<Body>> for Exchange<'a> {
    type Response = Response<Answered>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(exchange_bytes(*self, request))
    }
}

async fn exchange_bytes(exchange: Exchange<'_>, request: Request<Body>) -> Result<Response<Answered>, Failed> {
    let (mut parts, body) = request.into_parts();
    let whole = body.collect().await;
    let whole = whole.map_err(|status| Failed::Broken(Broken::before(status.message().to_owned())))?;
    let mut message = BytesMut::from(whole.to_bytes());
    if let Some(encoding) = exchange.call.encoded.headers.get(CONTENT_ENCODING) {
        parts.headers.insert(ENCODING, encoding.clone());
        message[0] = COMPRESSED;
    }
    let request = Request::from_parts(parts, Full::new(message.freeze()));
    let (answer, trailers) = exchange.perform(request).await.map_err(Failed::Broken)?;
    // A status may be in the trailers, so what is cut has none. A refusal by HTTP is one whatever became of its text.
    match answer.cut.clone() {
        Some(Cut::TimedOut(_)) => return Err(Failed::Broken(Broken::TimedOut)),
        Some(Cut::Broken(reason)) if !answer.status.is_client_error() => {
            let connected = true;
            return Err(Failed::Broken(Broken::Failed { reason, connected }));
        }
        _ => {}
    }
    let has_status = |headers: &HeaderMap| headers.contains_key(STATUS);
    if !has_status(&answer.headers) {
        let is_grpc = answer.headers.get(CONTENT_TYPE).is_some_and(is_grpc);
        if answer.status != StatusCode::OK || !is_grpc {
            return Err(Failed::NoGrpc(answer));
        }
        if !trailers.as_ref().is_some_and(has_status) {
            return Err(Failed::Broken(Broken::Failed {
                reason: "the answer ended without a grpc-status".to_owned(),
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

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Debug)]
struct Whole;

impl Codec for Whole {
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

impl Encoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
