//! Request handlers with spans of the `tracing` crate.

use http::{Request, Response};
use tower::ServiceExt;
use tower_layer::Layer;
use tracer_registry::config::Binding;
use tracer_registry::tower::{Fallback, TenantErrorKind};
use tracer_registry::{KeySource, Selector};
use tracing::{Instrument, info_span};
use tracing_subscriber::layer::SubscriberExt;

use super::client::header_source;
use crate::support::World;

#[tracing::instrument]
async fn load_order() {
    tokio::task::yield_now().await;
    tracing::info_span!("read").in_scope(|| ());
}

#[tokio::test]
async fn spans_of_the_tracing_crate_are_children_of_their_request() {
    let world = World::new(&["acme", "globex"]);
    let subscriber = tracing_subscriber::registry().with(world.registry.tracing_layer());
    let _here = tracing::subscriber::set_default(subscriber);
    let service = header_source(&world).layer(tower::service_fn(async |_: Request<()>| {
        load_order().await;
        Ok::<_, std::io::Error>(Response::new(String::new()))
    }));
    let ask = |tenant| {
        let request = Request::get("/").header("x-tenant", tenant).body(());
        service.clone().oneshot(request.expect("a request"))
    };
    let (acme, globex) = tokio::join!(ask("acme"), ask("globex"));
    assert!(acme.is_ok() && globex.is_ok());
    world.flush();
    for tenant in ["acme", "globex"] {
        let tree = world.project(tenant).tree();
        assert_eq!(tree.trim_end(), "GET\n└─ load_order\n   └─ read");
    }
    assert_eq!(world.registry.status().unrouted.spans, 0);
}

#[tokio::test]
async fn spans_of_an_untraced_request_do_not_use_the_default() {
    let world = World::with(&["acme", "default"], |builder| {
        let keyless = Binding::new().api_key(KeySource::file("/there/is/no/such/file"));
        builder
            .tenant("keyless", keyless)
            .routing_default(&Selector::tenant("default"))
    });
    let _default = world.tenant("default");
    let subscriber = tracing_subscriber::registry().with(world.registry.tracing_layer());
    let _here = tracing::subscriber::set_default(subscriber);
    let layer = header_source(&world).on(TenantErrorKind::Unavailable, Fallback::Untraced);
    // The future is a child of the server's span, which is in no scope.
    let service = layer.layer(tower::service_fn(async |_: Request<()>| {
        load_order().in_current_span().await;
        load_order().await;
        Ok::<_, std::io::Error>(Response::new(String::new()))
    }));
    let request = Request::get("/").header("x-tenant", "keyless").body(());
    let answer = service.oneshot(request.expect("a request"));
    assert!(answer.instrument(info_span!("server")).await.is_ok());
    world.flush();
    assert_eq!(world.project("default").tree(), "server\n");
    assert_eq!(world.registry.status().unrouted.spans, 4);
}
