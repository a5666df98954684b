//! Tracers with similar bindings, and tracers next to others that are created and dropped.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use serde_json::json;
use tracer_registry::config::{AuthScheme, BackendName, Binding, SessionMode};
use tracer_registry::{Enrichment, LookupError, Selector, TracerRegistry};

use crate::support::{LONG, World, binding};

/// Changes one field. Gets the URL of another receiver.
type Change = fn(Binding, &str) -> Binding;

#[test]
fn bindings_that_differ_in_one_field_have_separate_tracers() {
    let elsewhere = World::new(&["same"]);
    let url = elsewhere.collector.url();
    let changes: [(&str, Change); 8] = [
        ("endpoint", |binding, url| binding.endpoint(url)),
        ("header", |binding, _| binding.header("x-project", "other")),
        ("sessions", |binding, _| binding.sessions(SessionMode::AutoCreate)),
        ("source", |binding, _| binding.source("other")),
        ("metadata", |binding, _| binding.metadata("plan", "other")),
        ("resource", |binding, _| binding.resource("service.name", "other")),
        ("sampling", |binding, _| binding.sampling_ratio(0.0)),
        ("auth", |binding, _| binding.auth("x-api-key", AuthScheme::Raw)),
    ];
    // All bindings share one key and differ only in the field.
    let world = World::with(&["same"], |builder| {
        changes.iter().fold(builder, |builder, (name, change)| {
            builder.tenant(*name, change(binding("same"), &url))
        })
    });
    let base = world.tenant("same");
    for (name, _) in &changes {
        let tracer = world.tenant(name);
        assert!(!tracer.same_tracer(&base), "{name}");
        let session = tracer.session(*name).start();
        let _in_session = session.enter();
        base.in_span(format!("base beside {name}"), |_| {
            tracer.in_span(format!("of {name}"), |_| ());
        });
    }
    world.flush();
    let here = world.project("same");
    for (name, _) in &changes {
        let beside = world.span("same", &format!("base beside {name}"));
        assert_eq!(beside.parent_span_id, None);
        assert_eq!(beside.attributes["honeyhive.source"], "test");
        assert_eq!(beside.attributes.get("honeyhive_metadata.plan"), None);
        assert_eq!(beside.attributes.get("honeyhive.session_id"), None);
        assert_eq!(beside.resource.attributes["service.name"], "unknown_service");
    }
    assert_eq!(elsewhere.names("same"), ["of endpoint"]);
    assert!(here.span_named("of endpoint").is_none() && here.span_named("of sampling").is_none());
    assert_eq!(world.span("same", "of source").attributes["honeyhive.source"], "other");
    assert_eq!(
        world.span("same", "of metadata").attributes["honeyhive_metadata.plan"],
        "other"
    );
    assert_eq!(
        world.span("same", "of resource").resource.attributes["service.name"],
        "other"
    );
    for request in world.collector.requests() {
        let body = String::from_utf8_lossy(&request.body);
        let of_header = body.contains("of header") || body.contains("\"session_name\":\"header\"");
        assert_eq!(
            request.header("x-project").is_some(),
            of_header,
            "{} {body}",
            request.path
        );
        let of_auth = body.contains("of auth") || body.contains("\"session_name\":\"auth\"");
        assert_eq!(
            request.header("x-api-key").is_some(),
            of_auth,
            "{} {body}",
            request.path
        );
    }
}

#[test]
fn a_span_links_only_to_its_own_tracer_and_other_processes() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let of_a = a.in_span("cause", |span| span.span_context());
    let own = b.in_span("own cause", |span| span.span_context());
    let remote = SpanContext::new(
        TraceId::from(7),
        SpanId::from(7),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    b.in_span("effect", |span| {
        for cause in [&of_a, &own, &remote] {
            span.context().span().add_link(cause.clone(), Vec::new());
        }
    });
    world.flush();
    let effect = world.span("b", "effect");
    let linked: Vec<String> = effect.links.iter().map(|link| link.span_id.clone()).collect();
    assert_eq!(linked, [own.span_id().to_string(), remote.span_id().to_string()]);
    let trace_of_a = of_a.trace_id().to_bytes();
    for request in world.collector.requests() {
        let found = request.body.windows(16).any(|window| window == trace_of_a);
        assert_eq!(found, request.project.as_deref() == Some("a"), "{}", request.path);
    }
}

#[test]
fn a_tracer_is_unaffected_by_creation_flush_and_shutdown_of_others() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let session = b.session("s").start();
    let outer = b.in_span("outer", |span| {
        let _in_session = session.enter();
        // Creates and drops tracers of a, flushes, and shuts down another registry.
        for round in 0..20 {
            let tracer = world.registry.dedicated(Selector::tenant("a")).expect("configured");
            let _in_a = tracer.enter();
            tracer.in_span("a's", |_| drop(b.start_span(format!("inner {round}"))));
        }
        let _in_a = a.enter();
        assert!(world.registry.force_flush(LONG).is_complete());
        let other = TracerRegistry::builder()
            .secret_source("test", crate::support::keys())
            .tenant(
                "a",
                binding("a").backend(BackendName::Otlp).endpoint(world.collector.url()),
            )
            .build()
            .expect("a valid configuration");
        let theirs = other.tenant("a").expect("configured");
        theirs.in_span("of the other registry", |_| drop(b.start_span("inner last")));
        assert!(other.shutdown(LONG).is_complete());
        assert!(matches!(other.tenant("a"), Err(LookupError::Shutdown)));
        drop(theirs);
        b.start_span("after the shutdown");
        session.enrich(Enrichment::new().metadata("still", "there"));
        span.span_context().span_id().to_string()
    });
    world.flush();
    let project = world.project("b");
    assert_eq!(project.spans().len(), 23, "{}", project.tree());
    for span in project.spans().iter().filter(|span| span.name != "outer") {
        assert_eq!(span.parent_span_id.as_ref(), Some(&outer), "{}", project.tree());
        assert_eq!(span.attributes["honeyhive.session_id"], session.id());
    }
    assert_eq!(
        project.session(session.id()).expect("started").metadata["still"],
        json!("there")
    );
    assert_eq!(world.project("a").spans().len(), 21);
    let ledger = world.status("b").spans;
    assert_eq!((ledger.accepted, ledger.delivered, ledger.lost()), (23, 23, 0));
}
