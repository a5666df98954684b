//! Calls of gRPC, with tonic at both ends.

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

use super::client::{Server, attribute, ended, header_source};
use super::current;
use crate::support::{LONG, World, binding};

/// Messages as the bytes that they are.
#[derive(Clone, Copy)]
struct Plain;

impl Codec for Plain {
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

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

type Answers = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Says in whose scope it runs, and ends as the method is called.
fn answer(method: &str) -> Result<tonic::Response<Answers>, Status> {
    let first = stream::once(async { Ok(Bytes::from(current())) });
    let code = match method {
        "Refuse" => return Err(Status::not_found("no such thing")),
        "Fine" => return Ok(tonic::Response::new(Box::pin(first))),
        "Hang" => return Ok(tonic::Response::new(Box::pin(first.chain(stream::pending())))),
        "Miss" => Code::NotFound,
        _ => Code::Internal,
    };
    let last = stream::once(std::future::ready(Err(Status::new(code, "half way"))));
    Ok(tonic::Response::new(Box::pin(first.chain(last))))
}

async fn serve(request: Request<AxumBody>) -> Response<tonic::body::Body> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let mut grpc = tonic::server::Grpc::new(Plain);
    let service = tower::service_fn(move |_: tonic::Request<Bytes>| std::future::ready(answer(&method)));
    grpc.server_streaming(service, request).await
}

/// Calls a method for a tenant, and gives the messages and the code.
async fn call(server: &Server, tenant: &str, method: &'static str) -> (Vec<Bytes>, Code) {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let client = PropagationLayer::new().with_spans().layer(client);
    let origin: Uri = format!("http://{}", server.address).parse().expect("a URL");
    let mut client = tonic::client::Grpc::with_origin(client, origin);
    client.ready().await.expect("it connects when it is called");
    let mut request = tonic::Request::new(Bytes::from("question"));
    request
        .metadata_mut()
        .insert("x-tenant", tenant.parse().expect("a value"));
    let path = http::uri::PathAndQuery::from_static(method);
    let mut answers = match client.server_streaming(request, path, Plain).await {
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
async fn a_calls_span_ends_with_its_trailers_and_its_code_is_an_error_where_the_conventions_say_so() {
    let world = World::with(&["acme", "globex"], |builder| {
        builder.tenant("acme", binding("acme").trust_remote_parent(true))
    });
    let server = Server::start(Router::new().fallback(serve).layer(header_source(&world))).await;
    let acme = world.tenant("acme");
    let said = [Bytes::from("tenant:acme")];
    let unset = StatusCode::Unset;
    for (count, (path, messages, code, error, status_of_server)) in (1..).zip([
        ("/demo.Echo/Fine", &said[..], Code::Ok, None, unset),
        ("/demo.Echo/Refuse", &[], Code::NotFound, None, unset),
        ("/demo.Echo/Miss", &said[..], Code::NotFound, None, unset),
        (
            "/demo.Echo/Fail",
            &said[..],
            Code::Internal,
            Some("INTERNAL"),
            StatusCode::Error,
        ),
        ("/demo.Echo/Hang", &said[..], Code::Cancelled, None, unset),
    ]) {
        let answered = acme.scope(call(&server, "acme", path)).await;
        assert_eq!(answered, (messages.to_vec(), code), "{path}");
        ended(&world, "acme", count * 2);
        let name = &path[1..];
        let project = world.project("acme");
        let of = |kind| {
            project
                .spans_named(name)
                .find(|span| span.kind == kind)
                .expect("both ends")
        };
        let (server, client) = (of(SpanKind::Server), of(SpanKind::Client));
        assert_eq!(server.parent_span_id.as_ref(), Some(&client.span_id));
        let method = path.rsplit('/').next().expect("one");
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
        // To who asked every code but 0 is an error, and one that is not there is none.
        let is_error = !matches!(code, Code::Ok | Code::Cancelled);
        assert_eq!(client.status.code == StatusCode::Error, is_error, "{path}");
    }
    assert_eq!(
        call(&server, "globex", "/demo.Echo/Fine").await.0,
        [Bytes::from("tenant:globex")]
    );
    ended(&world, "globex", 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_refused_is_refused_by_grpc() {
    let world = World::new(&["acme"]);
    let server = Server::start(Router::new().fallback(serve).layer(header_source(&world))).await;
    for (tenant, code) in [("hooli", Code::NotFound), ("ACME", Code::InvalidArgument)] {
        let refused = tokio::time::timeout(LONG, call(&server, tenant, "/demo.Echo/Fine")).await;
        assert_eq!(refused.expect("in time"), (Vec::new(), code));
    }
    // The code is in the head, and no body follows.
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
    let body = body.collect().await.expect("nothing");
    assert!(body.trailers().is_none() && body.to_bytes().is_empty());
}
