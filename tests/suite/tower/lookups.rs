//! Requests whose tracer does not exist yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::{Notify, Semaphore};
use tower::ServiceExt;
use tower_layer::Layer;
use tracer_registry::selector::Slug;
use tracer_registry::source::{AsyncBindingSource, BindingFuture, SourceError};

use super::client::{Server, get_as, header_source, wait_for_ended};
use super::current;
use crate::support::{World, binding, wait_for};

/// A binding source that knows every tenant and answers as many calls as it has permits.
#[derive(Clone)]
struct Slow {
    permits: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
    started: Arc<Notify>,
}

impl Slow {
    fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(0)),
            calls: Arc::default(),
            started: Arc::default(),
        }
    }

    fn world(&self) -> World {
        let source = self.clone();
        World::with(&["there"], move |builder| builder.async_binding_source(source))
    }
}

impl AsyncBindingSource for Slow {
    fn binding<'a>(&'a self, tenant: &'a Slug) -> BindingFuture<'a> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.started.notify_one();
            let permit = self.permits.acquire().await.map_err(|_| SourceError::new("closed"))?;
            permit.forget();
            Ok(Some(binding(tenant)))
        })
    }
}

#[tokio::test]
async fn a_single_thread_serves_other_requests_while_some_wait_for_their_tracer() {
    let slow = Slow::new();
    let world = slow.world();
    let server = Server::start(Router::new().fallback(async || current()).layer(header_source(&world))).await;
    let waiting = join_all((0..50).map(|_| get_as(&server, "acme", "/")));
    let others = async {
        slow.started.notified().await;
        assert_eq!(get_as(&server, "there", "/").await.text(), "tenant:there");
        slow.permits.add_permits(1);
    };
    let (answers, ()) = tokio::join!(waiting, others);
    for answer in answers {
        assert_eq!(answer.text(), "tenant:acme");
    }
    assert_eq!(slow.calls.load(Ordering::SeqCst), 1, "one call for all requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_span_includes_the_look_up_and_a_request_cancelled_during_it_has_no_span() {
    let slow = Slow::new();
    let world = slow.world();
    world.collector.name_project("acme", &crate::support::key_of("acme"));
    let layer = header_source(&world);
    let served = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&served);
    let service = layer.layer(tower::service_fn(move |_: Request<Full<bytes::Bytes>>| {
        counting.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, std::io::Error>(Response::new(current())) }
    }));
    let ask = || {
        let request = Request::get("/").header("x-tenant", "acme").body(Full::default());
        service.clone().oneshot(request.expect("a request"))
    };
    // Dropped during the look-up.
    tokio::select! {
        biased;
        _ = ask() => panic!("the source has not answered"),
        () = slow.started.notified() => {}
    }
    assert_eq!(served.load(Ordering::SeqCst), 0);

    let calls = tokio::spawn(ask());
    slow.started.notified().await;
    let during_look_up = std::time::SystemTime::now();
    slow.permits.add_permits(1);
    let answer = calls.await.expect("no panic").expect("no error");
    let answer = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .expect("a text");
    assert_eq!(answer.to_bytes(), "tenant:acme");
    wait_for_ended(&world, "acme", 1);
    let start = world.span("acme", "GET").start_unix_nanos;
    let during_look_up = during_look_up
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos();
    assert!(
        u128::from(start) <= during_look_up,
        "{start} must not be after {during_look_up}"
    );
    assert_eq!(served.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracer_removed_from_the_pool_is_kept_until_the_response_body_ends() {
    let world = World::new(&["acme"]);
    let service = header_source(&world).layer(tower::service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, std::io::Error>(Response::new(Full::new(bytes::Bytes::from(
            "text",
        )))))
    }));
    let request = Request::get("/")
        .header("x-tenant", "acme")
        .body(())
        .expect("a request");
    let answer = service.oneshot(request).await.expect("no error");
    assert!(
        world
            .registry
            .remove(tracer_registry::Selector::tenant("acme"))
            .expect("a name")
    );
    let status = || world.status("acme").tracers;
    assert_eq!(status(), 1, "the body keeps the tracer");
    drop(http_body_util::BodyExt::collect(answer.into_body()).await);
    tokio::task::block_in_place(|| {
        wait_for("the drop of the tracer", status, |tracers| *tracers == 0);
    });
    wait_for_ended(&world, "acme", 1);
}
