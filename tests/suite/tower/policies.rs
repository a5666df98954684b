//! What becomes of requests that have no tracer of their own.

use axum::Router;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};
use tower_layer::Layer;
use tracer_registry::Selector;
use tracer_registry::tower::{Fallback, TenantErrorKind, TenantLayer};

use super::client::{Server, ended, get_as, header_source};
use super::{current, work};
use crate::log::Log;
use crate::support::World;

type Body = Full<&'static [u8]>;

fn selector(tenant: &str) -> Fallback {
    Fallback::Selector(Selector::tenant(tenant).try_into().expect("a name"))
}

fn with_pool_of_one(tenants: &[&str]) -> World {
    World::with(tenants, |builder| {
        let pool = tracer_registry::config::Pool {
            max_tracers: Some(1),
            ..Default::default()
        };
        builder.pool(pool)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_cannot_be_traced_now_is_refused_as_unavailable() {
    let world = with_pool_of_one(&["acme", "globex"]);
    let layer = header_source(&world);
    let server = Server::start(Router::new().fallback(async || current()).layer(layer.clone())).await;
    let acme = world.tenant("acme");
    assert_eq!(get_as(&server, "acme", "/").await.text(), "tenant:acme");
    assert_eq!(
        get_as(&server, "globex", "/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(layer.errors().unavailable, 1);
    drop(acme);

    let world = World::with(&["acme"], |builder| {
        let key = tracer_registry::KeySource::file("/there/is/no/such/file");
        builder.tenant("globex", tracer_registry::config::Binding::new().api_key(key))
    });
    let layer = header_source(&world);
    let server = Server::start(Router::new().fallback(async || current()).layer(layer.clone())).await;
    assert_eq!(
        get_as(&server, "globex", "/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(get_as(&server, "acme", "/").await.text(), "tenant:acme");
    assert_eq!(layer.errors().unavailable, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_trouble_has_what_it_was_told() {
    let world = World::with(&["acme", "fallback"], |builder| {
        let key = tracer_registry::KeySource::file("/there/is/no/such/file");
        builder.tenant("keyless", tracer_registry::config::Binding::new().api_key(key))
    });
    let layer = header_source(&world)
        .on(TenantErrorKind::Missing, selector("fallback"))
        .on(TenantErrorKind::Bad, Fallback::Refuse(StatusCode::IM_A_TEAPOT))
        .on(TenantErrorKind::Unknown, Fallback::Refuse(StatusCode::FORBIDDEN))
        .on(TenantErrorKind::Unavailable, Fallback::Untraced);
    let server = Server::start(Router::new().fallback(async || current()).layer(layer)).await;
    for _ in 0..2 {
        // The first one looks the fallback up, the second one finds it.
        assert_eq!(server.get("/", &[]).await.text(), "tenant:fallback");
    }
    assert_eq!(get_as(&server, "A", "/").await.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(get_as(&server, "hooli", "/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(get_as(&server, "keyless", "/").await.text(), "nobody");
    ended(&world, "fallback", 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_that_cannot_be_had_has_what_holds_for_that_and_no_second_fallback() {
    let world = World::new(&["acme"]);
    let service = || Router::new().fallback(async || current());
    let layer = header_source(&world).on(TenantErrorKind::Missing, selector("hooli"));
    let twice = layer.clone().on(TenantErrorKind::Unknown, selector("hooli"));
    let server = Server::start(service().layer(layer.on(TenantErrorKind::Unknown, Fallback::Untraced))).await;
    assert_eq!(server.get("/", &[]).await.text(), "nobody");
    let server = Server::start(service().layer(twice)).await;
    assert_eq!(server.get("/", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(get_as(&server, "globex", "/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untraced_request_runs_in_no_scope_and_nothing_of_one_around_it_leaks_in() {
    let world = World::new(&["acme", "globex"]);
    let layer = header_source(&world).on(TenantErrorKind::Missing, Fallback::Untraced);
    // In the call, in the future, in the body, and where it is dropped.
    let service = layer.layer(tower::service_fn(|_: Request<Body>| {
        let called = current();
        async move {
            let body = format!("{called}, {}", current());
            Ok::<_, std::io::Error>(Response::new(Seen(Some(body))))
        }
    }));
    let globex = world.tenant("globex");
    let asked = globex.in_span_async("outer", async |_| {
        let answer = service
            .clone()
            .oneshot(Request::new(Body::default()))
            .await
            .expect("no error");
        answer.into_body().collect().await.expect("a body").to_bytes()
    });
    assert_eq!(asked.await, "nobody, nobody, nobody");
    let mut for_acme = Request::new(Body::default());
    for_acme
        .headers_mut()
        .insert("x-tenant", "acme".parse().expect("a value"));
    let asked = globex.in_span_async("outer", async |_| {
        let answer = service.clone().oneshot(for_acme).await.expect("no error");
        answer.into_body().collect().await.expect("a body").to_bytes()
    });
    assert_eq!(asked.await, "tenant:acme, tenant:acme, tenant:acme");
    ended(&world, "acme", 1);
    assert_eq!(
        world.span("acme", "GET").parent_span_id,
        None,
        "globex's span is nobody's parent"
    );
}

/// A body that says in what scope it was polled.
struct Seen(Option<String>);

impl http_body::Body for Seen {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>> {
        let text = self.0.take().map(|text| format!("{text}, {}", current()));
        std::task::Poll::Ready(text.map(|text| Ok(http_body::Frame::data(text.into()))))
    }
}

/// A service that may be called only after it said that it is ready, and after each call is not.
struct Picky {
    is_ready: bool,
}

impl Clone for Picky {
    fn clone(&self) -> Self {
        Self { is_ready: false }
    }
}

impl Service<Request<Body>> for Picky {
    type Response = Response<String>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<String>, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), std::io::Error>> {
        self.is_ready = true;
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.is_ready),
            "it was not asked whether it is ready"
        );
        Box::pin(async {
            work("inside".to_owned()).await;
            Ok(Response::new(current()))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_that_said_it_is_ready_is_the_one_that_is_called() {
    let world = World::new(&["acme"]);
    let layer: TenantLayer = header_source(&world);
    let mut service = layer.layer(Picky { is_ready: false });
    // The first one is looked up, the second one is there.
    for _ in 0..2 {
        let request = Request::get("/").header("x-tenant", "acme").body(Body::default());
        let service = service.ready().await.expect("it is always ready");
        let answer = service.call(request.expect("a request")).await.expect("no error");
        assert_eq!(
            answer.into_body().collect().await.expect("a text").to_bytes(),
            "tenant:acme"
        );
    }
    ended(&world, "acme", 4);
}

#[tokio::test]
async fn a_tracer_that_cannot_be_had_is_warned_of_once_a_minute_with_its_selector() {
    let log = Log::default();
    // With one subscriber in the process, `tracing` asks that of the thread which comes to a line first, and other tests have none.
    let _second = tracing::Dispatch::new(Log::default());
    let _here = tracing::dispatcher::set_default(&tracing::Dispatch::new(log.clone()));
    let world = World::with(&["acme"], |builder| {
        let key = tracer_registry::KeySource::file("/there/is/no/such/file");
        builder.tenant("globex", tracer_registry::config::Binding::new().api_key(key))
    });
    let service = header_source(&world).layer(tower::service_fn(async |_: Request<()>| {
        Ok::<_, std::io::Error>(http::Response::new(String::new()))
    }));
    for tenant in ["globex", "globex", "nobody", "acme"] {
        let request = Request::get("/").header("x-tenant", tenant).body(());
        drop(service.clone().oneshot(request.expect("a request")).await);
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["WARN", "tenant:globex", "count=1", "/there/is/no/such/file"] {
        assert!(lines[0].contains(part), "no {part} in {lines:?}");
    }
}
