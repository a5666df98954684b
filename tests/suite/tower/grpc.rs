//! gRPC calls with tonic as server and client.

use axum::Router;
use axum::body::Body as AxumBody;
use bytes::{Buf, BufMut, Bytes};
use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};
use tower_layer::Layer;
use tracer_registry::tower::PropagationLayer;
use tracer_registry_collector::{SpanKind, StatusCode};

use super::client::{Server, attribute, header_source, wait_for_ended};
use super::current;
use crate::support::{LONG, World, binding};

/// Codec of messages as raw bytes.
#[derive(Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
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

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

type ResponseStream = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Streams the current tracer's selector, then ends with the status for the method's name.
fn answer(method: &str) -> Result<tonic::Response<ResponseStream>, Status> {
    let first = stream::once(async { Ok(Bytes::from(current())) });
    let code = match method {
        "Refuse" => return Err(Status::not_found("no such thing")),
        "Fine" => return Ok(tonic::Response::new(Box::pin(first))),
        "Hang" => return Ok(tonic::Response::new(Box::pin(first.chain(stream::pending())))),
        "Miss" => Code::NotFound,
        _ => Code::Internal,
    };
    let last = stream::once(std::future::ready(Err(Status::new(code, "midway"))));
    Ok(tonic::Response::new(Box::pin(first.chain(last))))
}

async fn serve(request: Request<AxumBody>) -> Response<tonic::body::Body> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let mut grpc = tonic::server::Grpc::new(RawCodec);
    let service = tower::service_fn(move |_: tonic::Request<Bytes>| std::future::ready(answer(&method)));
    grpc.server_streaming(service, request).await
}

/// Calls a method for a tenant. Returns the messages and the status code.
async fn call(server: &Server, tenant: &str, method: &'static str) -> (Vec<Bytes>, Code) {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let client = PropagationLayer::new().with_spans().layer(client);
    let origin: Uri = format!("http://{}", server.address).parse().expect("a URL");
    let mut client = tonic::client::Grpc::with_origin(client, origin);
    client.ready().await.expect("connects on the first call");
    let mut request = tonic::Request::new(Bytes::from("question"));
    request
        .metadata_mut()
        .insert("x-tenant", tenant.parse().expect("a value"));
    let path = http::uri::PathAndQuery::from_static(method);
    let mut answers = match client.server_streaming(request, path, RawCodec).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (Vec::new(), status.code()),
    };
    let mut all = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(message)) if method.ends_with("Hang") => return (vec![message], Code::Cancelled),
            Ok(Some(message)) => all.push(message),
            Ok(None) => return (all, Code::Ok),
            Err(status) => return (all, status.code()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_calls_span_ends_with_its_trailers_and_its_code_is_an_error_by_the_conventions() {
    let world = World::with(&["acme", "globex"], |builder| {
        builder.tenant("acme", binding("acme").trust_remote_parent(true))
    });
    let server = Server::start(Router::new().fallback(serve).layer(header_source(&world))).await;
    let acme = world.tenant("acme");
    let messages_sent = [Bytes::from("tenant:acme")];
    let unset = StatusCode::Unset;
    for (count, (path, messages, code, error, status_of_server)) in (1..).zip([
        ("/demo.Echo/Fine", &messages_sent[..], Code::Ok, None, unset),
        ("/demo.Echo/Refuse", &[], Code::NotFound, None, unset),
        ("/demo.Echo/Miss", &messages_sent[..], Code::NotFound, None, unset),
        (
            "/demo.Echo/Fail",
            &messages_sent[..],
            Code::Internal,
            Some("INTERNAL"),
            StatusCode::Error,
        ),
        ("/demo.Echo/Hang", &messages_sent[..], Code::Cancelled, None, unset),
    ]) {
        let result = acme.scope(call(&server, "acme", path)).await;
        assert_eq!(result, (messages.to_vec(), code), "{path}");
        wait_for_ended(&world, "acme", count * 2);
        let name = &path[1..];
        let project = world.project("acme");
        let span_of = |kind| {
            project
                .spans_named(name)
                .find(|span| span.kind == kind)
                .expect("spans of server and client")
        };
        let (server, client) = (span_of(SpanKind::Server), span_of(SpanKind::Client));
        assert_eq!(server.parent_span_id.as_ref(), Some(&client.span_id));
        let method = path.rsplit('/').next().expect("a method");
        for (attribute_name, value) in [
            ("rpc.system", "grpc".into()),
            ("rpc.service", "demo.Echo".into()),
            ("rpc.method", method.into()),
            ("rpc.grpc.status_code", (code as i32).into()),
            ("http.request.method", "POST".into()),
            ("error.type", error.map_or(serde_json::Value::Null, Into::into)),
        ] {
            assert_eq!(attribute(server, attribute_name), &value, "{path} {attribute_name}");
        }
        assert_eq!(server.status.code, status_of_server, "{path}");
        // For the client, each code but 0 is an error, and a missing code is none.
        let is_error = !matches!(code, Code::Ok | Code::Cancelled);
        assert_eq!(client.status.code == StatusCode::Error, is_error, "{path}");
    }
    assert_eq!(
        call(&server, "globex", "/demo.Echo/Fine").await.0,
        [Bytes::from("tenant:globex")]
    );
    wait_for_ended(&world, "globex", 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_has_a_grpc_status() {
    let world = World::new(&["acme"]);
    let server = Server::start(Router::new().fallback(serve).layer(header_source(&world))).await;
    for (tenant, code) in [("hooli", Code::NotFound), ("ACME", Code::InvalidArgument)] {
        let refused = tokio::time::timeout(LONG, call(&server, tenant, "/demo.Echo/Fine")).await;
        assert_eq!(refused.expect("in time"), (Vec::new(), code));
    }
    // The status is in the head, and there is no body.
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::post(format!("http://{}/demo.Echo/Fine", server.address));
    let request = request
        .header("content-type", "application/grpc+proto")
        .body(Full::<Bytes>::default());
    let (head, body) = client
        .request(request.expect("a request"))
        .await
        .expect("an answer")
        .into_parts();
    assert_eq!(
        (head.status.as_u16(), &head.headers["grpc-status"]),
        (200, &"3".parse().expect("a value"))
    );
    assert_eq!(head.headers["grpc-message"], "request has no tenant identifier");
    let body = body.collect().await.expect("an empty body");
    assert!(body.trailers().is_none() && body.to_bytes().is_empty());
}
