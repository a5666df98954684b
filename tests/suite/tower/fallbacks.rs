//! Fallbacks for requests without a tracer.

use axum::Router;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};
use tower_layer::Layer;
use tracer_registry::Selector;
use tracer_registry::tower::{Fallback, TenantErrorKind, TenantLayer};

use super::client::{Server, get_as, header_source, wait_for_ended};
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
async fn each_tenant_error_kind_has_its_own_fallback() {
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
        // The first request looks the fallback up; the second one finds it.
        assert_eq!(server.get("/", &[]).await.text(), "tenant:fallback");
    }
    assert_eq!(get_as(&server, "A", "/").await.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(get_as(&server, "hooli", "/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(get_as(&server, "keyless", "/").await.text(), "untraced");
    wait_for_ended(&world, "fallback", 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresolvable_fallback_uses_the_fallback_of_its_own_error_but_no_second_selector() {
    let world = World::new(&["acme"]);
    let service = || Router::new().fallback(async || current());
    let layer = header_source(&world).on(TenantErrorKind::Missing, selector("hooli"));
    let twice = layer.clone().on(TenantErrorKind::Unknown, selector("hooli"));
    let server = Server::start(service().layer(layer.on(TenantErrorKind::Unknown, Fallback::Untraced))).await;
    assert_eq!(server.get("/", &[]).await.text(), "untraced");
    let server = Server::start(service().layer(twice)).await;
    assert_eq!(server.get("/", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(get_as(&server, "globex", "/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untraced_request_runs_in_no_scope_not_even_an_enclosing_one() {
    let world = World::new(&["acme", "globex"]);
    let layer = header_source(&world).on(TenantErrorKind::Missing, Fallback::Untraced);
    // `current` is called in the call, in the future and in the body.
    let service = layer.layer(tower::service_fn(|_: Request<Body>| {
        let called = current();
        async move {
            let body = format!("{called}, {}", current());
            Ok::<_, std::io::Error>(Response::new(CurrentTracerBody(Some(body))))
        }
    }));
    let globex = world.tenant("globex");
    let answer_text = globex.in_span_async("outer", async |_| {
        let answer = service
            .clone()
            .oneshot(Request::new(Body::default()))
            .await
            .expect("no error");
        answer.into_body().collect().await.expect("a body").to_bytes()
    });
    assert_eq!(answer_text.await, "untraced, untraced, untraced");
    let mut for_acme = Request::new(Body::default());
    for_acme
        .headers_mut()
        .insert("x-tenant", "acme".parse().expect("a value"));
    let answer_text = globex.in_span_async("outer", async |_| {
        let answer = service.clone().oneshot(for_acme).await.expect("no error");
        answer.into_body().collect().await.expect("a body").to_bytes()
    });
    assert_eq!(answer_text.await, "tenant:acme, tenant:acme, tenant:acme");
    wait_for_ended(&world, "acme", 1);
    assert_eq!(
        world.span("acme", "GET").parent_span_id,
        None,
        "the span of globex must not be a parent"
    );
}

/// A body that appends the tracer that is current when it is polled.
struct CurrentTracerBody(Option<String>);

impl http_body::Body for CurrentTracerBody {
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

/// A service that panics if it is called without a preceding `poll_ready`.
struct RequiresReady {
    is_ready: bool,
}

impl Clone for RequiresReady {
    fn clone(&self) -> Self {
        Self { is_ready: false }
    }
}

impl Service<Request<Body>> for RequiresReady {
    type Response = Response<String>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<String>, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), std::io::Error>> {
        self.is_ready = true;
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        Box::pin(async {
            work("inside".to_owned()).await;
            Ok(Response::new(current()))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ready_service_is_the_one_that_is_called() {
    let world = World::new(&["acme"]);
    let layer: TenantLayer = header_source(&world);
    let mut service = layer.layer(RequiresReady { is_ready: false });
    // The first request looks the tracer up; the second one finds it.
    for _ in 0..2 {
        let request = Request::get("/").header("x-tenant", "acme").body(Body::default());
        let service = service.ready().await.expect("always ready");
        let answer = service.call(request.expect("a request")).await.expect("no error");
        assert_eq!(
            answer.into_body().collect().await.expect("a text").to_bytes(),
            "tenant:acme"
        );
    }
    wait_for_ended(&world, "acme", 4);
}

#[tokio::test]
async fn a_failed_look_up_is_logged_once_a_minute_for_each_selector() {
    let log = Log::default();
    // With only one dispatcher, `tracing` caches a callsite's interest for the thread that reaches
    // it first, where other tests have no subscriber.
    let _second = tracing::Dispatch::new(Log::default());
    let _here = tracing::dispatcher::set_default(&tracing::Dispatch::new(log.clone()));
    let world = World::with(&["acme"], |builder| {
        let key = tracer_registry::KeySource::file("/there/is/no/such/file");
        let binding = tracer_registry::config::Binding::new().api_key(key);
        builder.tenant("globex", binding.clone()).tenant("initech", binding)
    });
    let service = header_source(&world).layer(tower::service_fn(async |_: Request<()>| {
        Ok::<_, std::io::Error>(http::Response::new(String::new()))
    }));
    for tenant in ["globex", "globex", "initech", "unknown", "acme", "initech"] {
        let request = Request::get("/").header("x-tenant", tenant).body(());
        drop(service.clone().oneshot(request.expect("a request")).await);
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, selector) in lines.iter().zip(["tenant:globex", "tenant:initech"]) {
        for part in ["WARN", selector, "count=1", "/there/is/no/such/file"] {
            assert!(line.contains(part), "no {part} in {lines:?}");
        }
    }
}
