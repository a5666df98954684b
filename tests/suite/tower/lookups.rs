//! Tracers that are not there when their first request comes.

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

use super::client::{Server, ended, get_as, header_source};
use super::current;
use crate::support::{World, binding, wait_for};

/// Knows every tenant, and answers as many questions as there are permits.
#[derive(Clone)]
struct Slow {
    permits: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
    begun: Arc<Notify>,
}

impl Slow {
    fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(0)),
            asked: Arc::default(),
            begun: Arc::default(),
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
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.begun.notify_one();
            let permit = self.permits.acquire().await.map_err(|_| SourceError::new("closed"))?;
            permit.forget();
            Ok(Some(binding(tenant)))
        })
    }
}

#[tokio::test]
async fn while_requests_wait_for_their_tracer_the_only_thread_serves_others() {
    let slow = Slow::new();
    let world = slow.world();
    let server = Server::start(Router::new().fallback(async || current()).layer(header_source(&world))).await;
    let waiting = join_all((0..50).map(|_| get_as(&server, "acme", "/")));
    let others = async {
        slow.begun.notified().await;
        assert_eq!(get_as(&server, "there", "/").await.text(), "tenant:there");
        slow.permits.add_permits(1);
    };
    let (answers, ()) = tokio::join!(waiting, others);
    for answer in answers {
        assert_eq!(answer.text(), "tenant:acme");
    }
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1, "asked once for all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_the_look_up_is_part_of_the_span_and_who_goes_away_meanwhile_leaves_nothing() {
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
    // Dropped where it waits.
    tokio::select! {
        biased;
        _ = ask() => panic!("nobody answered"),
        () = slow.begun.notified() => {}
    }
    assert_eq!(served.load(Ordering::SeqCst), 0);

    let asked = tokio::spawn(ask());
    slow.begun.notified().await;
    let between = std::time::SystemTime::now();
    slow.permits.add_permits(1);
    let answer = asked.await.expect("no panic").expect("no error");
    let answer = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .expect("a text");
    assert_eq!(answer.to_bytes(), "tenant:acme");
    ended(&world, "acme", 1);
    let began = world.span("acme", "GET").start_unix_nanos;
    let between = between
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos();
    assert!(
        u128::from(began) <= between,
        "{began} is when it came, before {between}"
    );
    assert_eq!(served.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracer_that_went_idle_while_its_body_is_read_is_the_same_until_the_body_ends() {
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
    assert_eq!(status(), 1, "the body keeps it");
    drop(http_body_util::BodyExt::collect(answer.into_body()).await);
    tokio::task::block_in_place(|| {
        wait_for("the tracer ends", status, |tracers| *tracers == 0);
    });
    ended(&world, "acme", 1);
}
