//! Many requests of many tenants at once, a third of which break off.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use futures_util::stream::{self, StreamExt};
use tracer_registry::{Selector, TracerRegistry};

use super::client::{Server, attribute, get_as, header_source};
use crate::support::{World, wait_for};

const TENANTS: usize = 50;
const REQUESTS: usize = 1_200;
const AT_ONCE: usize = 200;
const ITEMS: usize = 3;

/// Items that each have a span with the request's number; where it is to be cut, the second one never comes.
async fn handler(Path((number, is_cut)): Path<(usize, bool)>) -> Body {
    let tracer = TracerRegistry::current().expect("a request is in a scope");
    let selector = tracer.selector().to_string();
    Body::from_stream(stream::iter(0..ITEMS).then(move |item| {
        let selector = selector.clone();
        async move {
            if is_cut && item > 0 {
                std::future::pending::<()>().await;
            }
            let tracer = TracerRegistry::current().expect("the body is in the request's scope");
            assert_eq!(tracer.selector().to_string(), selector);
            let made = tracer.in_span(format!("item of {number}"), async |span| {
                span.set_attribute("of", selector.clone());
                tokio::task::yield_now().await;
            });
            made.await;
            Ok::<_, Infallible>("item\n")
        }
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_once_of_fifty_tenants_leak_lose_and_leave_open_nothing() {
    let names: Vec<String> = (0..TENANTS).map(|tenant| format!("tenant-{tenant}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new(&names);
    let router = Router::new().route("/{number}/{is_cut}", get(handler));
    let server = Server::start(router.layer(header_source(&world))).await;
    let asked = (0..REQUESTS).map(|number| {
        let (server, tenant) = (&server, names[number % TENANTS]);
        async move {
            if number.is_multiple_of(3) {
                let request = format!("GET /{number}/true HTTP/1.1\r\nhost: a\r\nx-tenant: {tenant}\r\n\r\n");
                drop(server.begin(&request, "item\n").await);
            } else {
                let answer = get_as(server, tenant, &format!("/{number}/false")).await;
                assert_eq!(answer.text(), "item\n".repeat(ITEMS));
            }
        }
    });
    stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .for_each(|()| std::future::ready(()))
        .await;

    // Every request ends one span, and every item; nothing else is there.
    let cut = REQUESTS.div_ceil(3);
    let expected = (REQUESTS + cut + (REQUESTS - cut) * ITEMS) as u64;
    let sum = |count: fn(&tracer_registry::TracerStatus) -> u64| {
        let status = world.registry.status();
        status.tracers.iter().map(count).sum::<u64>()
    };
    tokio::task::block_in_place(|| {
        wait_for(
            "all spans end",
            || sum(|of| of.spans.accepted),
            |ended| *ended >= expected,
        );
        world.flush();
    });
    let dropped = |of: &tracer_registry::TracerStatus| of.spans.dropped.values().sum::<u64>();
    assert_eq!(
        (sum(|of| of.spans.accepted), sum(|of| of.spans.delivered)),
        (expected, expected)
    );
    assert_eq!(sum(dropped), 0);

    let mut received = 0;
    for (index, name) in names.iter().enumerate() {
        let project = world.project(name);
        received += project.spans().len() as u64;
        let requests: Vec<_> = project.spans_named("GET").collect();
        assert_eq!(requests.len(), REQUESTS / TENANTS, "{name}");
        for span in &requests {
            let path = attribute(span, "url.path").as_str().expect("a path");
            let number: usize = path.split('/').nth(1).expect("a number").parse().expect("a number");
            assert_eq!(number % TENANTS, index, "{path} is in the project of {name}");
            let error = (number.is_multiple_of(3)).then_some("cancelled");
            assert_eq!(attribute(span, "error.type").as_str(), error, "{path}");
            let items = project.spans_named(&format!("item of {number}")).collect::<Vec<_>>();
            assert_eq!(items.len(), if error.is_some() { 1 } else { ITEMS });
            for item in items {
                assert_eq!(item.parent_span_id.as_ref(), Some(&span.span_id));
                assert_eq!(attribute(item, "of"), &format!("tenant:{name}"));
            }
        }
    }
    assert_eq!(received, expected);

    // A span that is open keeps its tracer, and so does a scope.
    for name in &names {
        assert!(world.registry.remove(Selector::tenant(name)).expect("a name"));
    }
    let tracers = || {
        world
            .registry
            .status()
            .tracers
            .iter()
            .map(|of| of.tracers)
            .sum::<usize>()
    };
    tokio::task::block_in_place(|| wait_for("all tracers end", tracers, |left| *left == 0));
}
