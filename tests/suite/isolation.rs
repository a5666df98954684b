//! Isolation between tracers: parents, sessions, scopes, links and attributes.

pub(crate) mod attach_limit;
mod manual_context;
mod returning_spans;
mod separate_tracers;

use std::sync::Arc;
use std::thread;

use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracer_registry::{Enrichment, TracerHandle};

use crate::support::World;

fn pair(world: &World) -> (TracerHandle, TracerHandle) {
    (
        world.registry.tenant("a").expect("configured"),
        world.registry.tenant("b").expect("configured"),
    )
}

#[test]
fn a_span_under_another_tracers_span_is_a_root_or_child_of_its_own_ancestor() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    a.in_span("a-outer", |_| {
        b.in_span("b-inner", |_| a.in_span("a-inner", |_| ()));
    });
    world.flush();
    let (outer, inner, foreign) = (
        world.span("a", "a-outer"),
        world.span("a", "a-inner"),
        world.span("b", "b-inner"),
    );
    assert_eq!(foreign.parent_span_id, None);
    assert_ne!(foreign.trace_id, outer.trace_id);
    // The parent is the tracer's own ancestor, beyond the other tracer's span.
    assert_eq!(inner.parent_span_id.as_ref(), Some(&outer.span_id));
    assert_eq!(inner.trace_id, outer.trace_id);
    for id in [&outer.trace_id, &outer.span_id, &inner.span_id] {
        world.assert_no_trace_of(id, "b");
    }
    world.assert_no_trace_of(&foreign.trace_id, "a");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "third-party code uses OpenTelemetry's functions"
)]
fn the_ancestor_is_found_if_opentelemetrys_functions_made_spans_current() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    let (a_otel, b_otel) = (a.tracer("third-party"), b.tracer("third-party"));
    // Only OpenTelemetry's own functions: `in_span` of its trait, and a manually built context.
    b_otel.in_span("b-outer", |_| {
        a_otel.in_span("a-middle", |cx| {
            b_otel.start_with_context("b-inner", &cx).end();
            let manual = Context::map_current(|cx| cx.with_span(a_otel.start("a-manual")));
            let _attached = manual.attach();
            b_otel.start("b-under-manual").end();
            a_otel.start("a-under-manual").end();
        });
    });
    world.flush();
    let (outer, middle) = (world.span("b", "b-outer"), world.span("a", "a-middle"));
    assert_eq!(middle.parent_span_id, None);
    for name in ["b-inner", "b-under-manual"] {
        assert_eq!(
            world.span("b", name).parent_span_id.as_ref(),
            Some(&outer.span_id),
            "{name}"
        );
    }
    assert_eq!(
        world.span("a", "a-manual").parent_span_id.as_ref(),
        Some(&middle.span_id)
    );
    assert_eq!(
        world.span("a", "a-under-manual").parent_span_id.as_ref(),
        Some(&world.span("a", "a-manual").span_id)
    );
}

#[test]
fn spans_of_another_registry_or_provider_are_never_parents() {
    let world = World::new(&["a"]);
    let other = World::new(&["a"]);
    let ours = world.registry.tenant("a").expect("configured");
    let theirs = other.registry.tenant("a").expect("configured");
    let plain = SdkTracerProvider::builder().build().tracer("plain");
    theirs.in_span("theirs", |_| ours.start_span("under-theirs").end());
    plain.in_span("plain", |_| {
        ours.in_span("under-plain", |_| ours.start_span("child").end());
    });
    world.flush();
    assert_eq!(world.span("a", "under-theirs").parent_span_id, None);
    assert_eq!(world.span("a", "under-plain").parent_span_id, None);
    assert_eq!(
        world.span("a", "child").parent_span_id.as_ref(),
        Some(&world.span("a", "under-plain").span_id)
    );
}

#[tokio::test]
async fn nested_spans_of_two_tenants_keep_sessions_and_sources_separate() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    let (session_a, session_b) = (a.session("of-a").start(), b.session("of-b").start());
    session_a
        .scope(a.in_span_async("a-work", async |_| {
            session_b
                .scope(b.in_span_async("b-work", async |_| tokio::task::yield_now().await))
                .await;
            // Started explicitly, outside any scope of b: no session, neither b's nor a's.
            b.start_span("b-explicit").end();
            a.in_span_async("a-more", async |_| ()).await;
        }))
        .await;
    world.flush();
    assert_eq!(world.span("a", "a-work").session_id.as_deref(), Some(session_a.id()));
    assert_eq!(world.span("a", "a-more").session_id.as_deref(), Some(session_a.id()));
    assert_eq!(world.span("b", "b-work").session_id.as_deref(), Some(session_b.id()));
    assert_eq!(world.span("b", "b-explicit").session_id, None);
    assert_eq!(world.span("b", "b-work").source.as_deref(), Some("test"));
    world.assert_no_trace_of(session_a.id(), "b");
    world.assert_no_trace_of(session_b.id(), "a");
}

#[test]
fn a_session_of_one_tracer_does_not_affect_another() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    let session = a.session("of-a").metadata("canary", "metadata-of-a").start();
    let _in_a = session.enter();
    b.in_span("b-span", |_| ());
    let of_b = b.session("of-b").start();
    of_b.enrich(Enrichment::new().metadata("canary", "enrichment-of-b"));
    session.enrich(Enrichment::new().metadata("more", "enrichment-of-a"));
    world.flush();
    assert_eq!(world.span("b", "b-span").session_id, None);
    for canary in [session.id(), "metadata-of-a", "enrichment-of-a"] {
        world.assert_no_trace_of(canary, "b");
    }
    for canary in [of_b.id(), "enrichment-of-b"] {
        world.assert_no_trace_of(canary, "a");
    }
    let stored = world.project("a").session(session.id()).cloned().expect("started");
    assert_eq!(stored.metadata.len(), 2, "{:?}", stored.metadata);
}

#[test]
fn spans_after_the_end_of_a_scope_do_not_carry_its_session() {
    let world = World::new(&["a"]);
    let a = world.registry.tenant("a").expect("configured");
    let session = a.session("short").start();
    {
        let _inside = session.enter();
        a.start_span("inside").end();
    }
    a.start_span("after").end();
    futures_util::FutureExt::now_or_never(session.scope(async { a.start_span("in-future").end() })).expect("ready");
    a.start_span("after-future").end();
    // A thread started inside the scope carries no session: scopes are captured, not inherited.
    let inside = session.enter();
    thread::scope(|threads| {
        threads.spawn(|| a.start_span("on-thread").end());
    });
    drop(inside);
    world.flush();
    for (name, inside) in [
        ("inside", true),
        ("after", false),
        ("in-future", true),
        ("after-future", false),
        ("on-thread", false),
    ] {
        let expected = inside.then_some(session.id());
        assert_eq!(world.span("a", name).session_id.as_deref(), expected, "{name}");
    }
}

#[test]
fn attributes_are_set_on_the_given_span_not_the_current_one() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    a.in_span("a-span", |span| {
        b.in_span("b-span", |_| span.set_attribute("canary", "for-a"));
    });
    world.flush();
    assert_eq!(world.span("a", "a-span").attributes["canary"], "for-a");
    assert!(!world.span("b", "b-span").attributes.contains_key("canary"));
}

#[test]
fn tenants_that_share_a_key_and_an_endpoint_have_separate_tracers() {
    let world = World::with(&["shared"], |builder| {
        let same = || crate::support::binding("shared");
        builder.tenant("a", same()).tenant("b", same())
    });
    let (a, b) = pair(&world);
    assert!(!a.same_tracer(&b));
    assert_eq!(a.fingerprint(), b.fingerprint());
    let session = a.session("of-a").start();
    let _inside = session.enter();
    a.in_span("a-span", |_| b.in_span("b-span", |_| ()));
    world.flush();
    let (of_a, of_b) = (world.span("shared", "a-span"), world.span("shared", "b-span"));
    assert_eq!(of_b.parent_span_id, None);
    assert_ne!(of_a.trace_id, of_b.trace_id);
    assert_eq!(of_b.session_id, None);
    let status = world.registry.status();
    for (handle, span) in [(&a, &of_a), (&b, &of_b)] {
        let selector = &span.resource.attributes["tracer_registry.selector"];
        assert_eq!(*selector, handle.selector().to_string());
        assert_eq!(status.tracer(handle.selector()).expect("looked up").spans.delivered, 1);
    }
    // Each request carries spans of one tracer, even with equal key and endpoint.
    let requests = world.collector.requests();
    let with_spans = requests.iter().filter(|request| request.path.ends_with("/v1/traces"));
    assert_eq!(with_spans.count(), 2);
}

#[test]
fn similar_slugs_are_separate_tenants_or_refused() {
    let world = World::new(&["acme-eu", "acme_eu", "acme.eu"]);
    let similar = ["acme-eu", "acme_eu", "acme.eu"];
    for slug in similar {
        world.registry.tenant(slug).expect("configured").start_span(slug).end();
    }
    for refused in [
        "ACME-EU",
        "../globex",
        "аcme-eu",
        "",
        " acme-eu",
        "acme-eu\n",
        "acme-eu/",
        "*",
        "{tenant}",
        "acme-eu\0",
        &"a".repeat(300),
    ] {
        assert!(world.registry.tenant(refused).is_err(), "{refused:?}");
    }
    world.flush();
    for slug in similar {
        let project = world.project(slug);
        let names: Vec<&str> = project.spans().iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, [slug]);
    }
    assert_eq!(
        world.registry.status().tracers.len(),
        3,
        "refused names leave nothing behind"
    );
}

#[test]
fn each_tracer_has_its_own_limits_and_sampling() {
    let limits = tracer_registry::config::Limits {
        attributes: Some(3),
        ..Default::default()
    };
    let world = World::with(&["a", "b", "none"], |builder| {
        builder
            .tenant("a", crate::support::binding("a").limits(limits))
            .tenant("none", crate::support::binding("none").sampling_ratio(0.0))
    });
    let (a, b) = pair(&world);
    let none = world.registry.tenant("none").expect("configured");
    let many = || (0..200).map(|n| KeyValue::new(format!("k{n}"), n));
    for tracer in [&a, &b, &none] {
        let session = tracer.session("s").start();
        let _inside = session.enter();
        tracer.in_span("in-session", |span| span.set_attributes(many()));
    }
    let builder = || SpanBuilder::from_name("outside").with_attributes(many());
    for tracer in [&a, &b, &none] {
        tracer.tracer("by-builder").build(builder()).end();
    }
    world.flush();
    for (tenant, limit) in [("a", 3), ("b", 128)] {
        for name in ["in-session", "outside"] {
            let span = world.span(tenant, name);
            let own = span.attributes.keys().filter(|key| key.starts_with('k')).count();
            assert_eq!(own, limit, "{tenant} {name}");
            assert_eq!(
                span.dropped_attributes,
                200 - u32::try_from(limit).expect("small"),
                "{tenant} {name}"
            );
            assert_eq!(
                span.session_id.is_some(),
                name == "in-session",
                "the session id is never dropped"
            );
        }
    }
    assert!(world.project("none").spans().is_empty());
    let status = world.registry.status();
    assert_eq!(
        status.tracer(none.selector()).expect("looked up").spans.accepted,
        0,
        "unsampled spans are not accepted"
    );
}

#[expect(clippy::async_yields_async, reason = "the task outlives the span that spawned it")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spawned_future_keeps_the_scope_it_was_created_in() {
    let world = World::new(&["a", "b"]);
    let (a, b) = pair(&world);
    let session = a.session("s").start();
    let parent = Arc::new(std::sync::Mutex::new(None));
    let parent_id = Arc::clone(&parent);
    session
        .scope(async {
            let outer = a.in_span_async("outer", async |span| {
                *parent_id.lock().expect("not poisoned") = Some(span.span_context().span_id().to_string());
                tokio::spawn(a.in_span_async("spawned", async |_| tokio::task::yield_now().await))
            });
            let task = outer.await;
            b.in_span_async("b-meanwhile", async move |_| task.await)
                .await
                .expect("no panic");
        })
        .await;
    tokio::task::spawn_blocking(move || {
        world.flush();
        let spawned = world.span("a", "spawned");
        assert_eq!(spawned.parent_span_id, parent.lock().expect("not poisoned").clone());
        assert_eq!(spawned.session_id.as_deref(), Some(session.id()));
        assert_eq!(world.span("b", "b-meanwhile").parent_span_id, None);
    })
    .await
    .expect("no panic");
}
