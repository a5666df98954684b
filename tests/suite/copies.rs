//! Copies of spans for a second tracer (`also`), with real receivers.

mod documented;
mod failures;
#[cfg(feature = "gateway")]
mod ingest;
mod isolation;
mod look_ups;
mod sampling;
#[cfg(feature = "spool")]
mod spool;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, Span as _, Tracer as _, TracerProvider as _};
use tracer_registry::config::{BackendName, Binding, Limits};
use tracer_registry::status::{LedgerSnapshot, TracerStatus};
use tracer_registry::{RegistryBuilder, Selector, TracerRegistry};

use crate::support::{World, binding};

pub(crate) const OPERATIONS: &str = "environment:operations";

pub(crate) fn operations() -> Selector {
    OPERATIONS.parse().expect("a selector")
}

/// The projects of the tenants, and `ops`, that of the target.
fn projects<'a>(tenants: &[&'a str]) -> Vec<&'a str> {
    tenants.iter().copied().chain(["ops"]).collect()
}

/// A world in which the tenants `copied` have copies in the environment `operations`, which has the
/// key and the project `ops`.
pub(crate) fn world(copied: &[&str], adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> World {
    World::with(&projects(copied), |builder| {
        let builder = copied.iter().fold(builder, |builder, tenant| {
            builder.tenant(*tenant, binding(tenant).also(&operations()))
        });
        adapt(builder.environment("operations", binding("ops")))
    })
}

/// Like [`World::with`], with plain receivers: no binding adds anything.
pub(crate) fn plain_world(projects: &[&str], adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> World {
    World::with_url(projects, |builder, url| adapt(builder.defaults(plain(url))))
}

pub(crate) fn plain(url: &str) -> Binding {
    Binding::new().backend(BackendName::Otlp).endpoint(url)
}

pub(crate) fn status_of(registry: &TracerRegistry, selector: &str) -> TracerStatus {
    let status = registry.tracer_status(selector.parse::<Selector>().expect("a selector"));
    status.expect("a valid selector").expect("has a ledger")
}

/// Returns the ledger of a selector's spans. Asserts that it balances.
pub(crate) fn ledger_of(registry: &TracerRegistry, selector: &str) -> LedgerSnapshot {
    let ledger = status_of(registry, selector).spans;
    let sum = ledger.delivered + ledger.pending() + ledger.spooled + ledger.lost();
    assert_eq!(ledger.accepted, sum, "{ledger:?}");
    ledger
}

/// Asserts that everything accepted was delivered, as often as the receiver counted.
fn assert_delivered(world: &World, selector: &str, project: &str) {
    let ledger = ledger_of(&world.registry, selector);
    let received = world.project(project).spans().len() as u64;
    assert_eq!((ledger.accepted, ledger.delivered), (received, received), "{selector}");
}

#[test]
fn a_span_arrives_in_both_projects_with_its_ids_and_with_what_each_binding_adds() {
    let tenant = binding("a").metadata("plan", "team").also(&operations());
    let target = binding("ops")
        .source("operations")
        .metadata("seen_by", "operators")
        .resource("site", "eu");
    let world = World::with(&["a", "b", "ops"], |builder| {
        builder.tenant("a", tenant).environment("operations", target)
    });
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let session = a.session("chat").start();
    let entered = session.enter();
    a.in_span("outer", |_| {
        a.in_span("inner", |span| {
            span.set_attribute("question", "why?");
            span.add_event("thought", vec![KeyValue::new("about", "it")]);
        });
    });
    drop(entered);
    b.in_span("of b", |_| ());
    world.flush();
    for name in ["outer", "inner"] {
        let (own, copy) = (world.span("a", name), world.span("ops", name));
        assert_eq!(
            (&own.trace_id, &own.span_id, &own.parent_span_id, own.flags),
            (&copy.trace_id, &copy.span_id, &copy.parent_span_id, copy.flags)
        );
        assert_eq!(
            (own.start_unix_nanos, own.end_unix_nanos),
            (copy.start_unix_nanos, copy.end_unix_nanos)
        );
        assert_eq!(
            (&own.events, &own.kind, &own.status),
            (&copy.events, &copy.kind, &copy.status)
        );
        assert_eq!(
            (&own.session_id, &copy.session_id),
            (&Some(session.id().to_owned()), &own.session_id)
        );
        assert_eq!(
            (own.source.as_deref(), copy.source.as_deref()),
            (Some("test"), Some("operations"))
        );
        let metadata = |span: &tracer_registry_collector::Span, name: &str| {
            span.attributes.get(&format!("honeyhive_metadata.{name}")).cloned()
        };
        assert_eq!(metadata(&own, "plan"), Some("team".into()));
        assert_eq!((metadata(&own, "seen_by"), metadata(&copy, "plan")), (None, None));
        assert_eq!(metadata(&copy, "seen_by"), Some("operators".into()));
        assert_eq!(copy.resource.attributes.get("site"), Some(&"eu".into()));
        assert_eq!(own.resource.attributes.get("site"), None);
    }
    assert_eq!(
        world.span("ops", "inner").attributes.get("question"),
        Some(&"why?".into())
    );
    assert_eq!(
        (world.names("b"), world.names("ops").len()),
        (vec!["of b".to_owned()], 2)
    );
    // Sessions are not copied.
    assert_eq!(world.project("a").sessions().len(), 1);
    let status = status_of(&world.registry, OPERATIONS);
    assert_eq!(status.session_events, LedgerSnapshot::default());
    for (selector, project) in [("tenant:a", "a"), ("tenant:b", "b"), (OPERATIONS, "ops")] {
        assert_delivered(&world, selector, project);
    }
}

#[test]
fn a_copy_keeps_links_to_its_own_trace_and_exposes_no_other_tracer() {
    let world = world(&["a", "b"], |builder| builder);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let operations = world.registry.environment("operations").expect("configured");
    let [of_a, of_b, of_target] = [&a, &b, &operations].map(|tracer| tracer.start_span("linked"));
    let contexts = [&of_a, &of_b, &of_target].map(|span| span.span_context().clone());
    let links = contexts.iter().cloned().map(Link::with_context).collect();
    let tracer = a.tracer("library");
    tracer.span_builder("links").with_links(links).start(&tracer).end();
    drop([of_a, of_b, of_target]);
    world.flush();
    for project in ["a", "ops"] {
        let links = &world.span(project, "links").links;
        let linked: Vec<&str> = links.iter().map(|link| link.span_id.as_str()).collect();
        assert_eq!(linked, [contexts[0].span_id().to_string()], "{project}");
    }
    assert_eq!(world.span("ops", "links").dropped_links, 2);
}

#[test]
fn copied_spans_are_no_parents_in_their_target() {
    let world = world(&["a"], |builder| builder);
    let (a, operations) = (
        world.tenant("a"),
        world.registry.environment("operations").expect("configured"),
    );
    a.in_span("of a", |_| operations.in_span("of the target", |_| ()));
    world.flush();
    let (own, copy) = (world.span("ops", "of the target"), world.span("ops", "of a"));
    assert_eq!((&own.parent_span_id, &copy.parent_span_id), (&None, &None));
    assert_ne!(own.trace_id, copy.trace_id);
    assert_eq!(world.names("a"), ["of a"]);
}

#[test]
fn cut_values_are_counted_in_the_copy_too() {
    let world = world(&["a"], |builder| builder);
    let a = world.tenant("a");
    a.in_span("plain", |_| ());
    a.in_span("cut", |span| {
        let deep = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::json!({ "in": inner }));
        span.metadata("deep", deep);
    });
    world.flush();
    for name in ["plain", "cut"] {
        let count = |project: &str| {
            world
                .span(project, name)
                .attributes
                .get("tracer_registry.cut_values")
                .cloned()
        };
        assert_eq!(count("a"), count("ops"));
        assert_eq!(count("a").is_some(), name == "cut");
    }
}

#[test]
fn limits_of_a_span_are_those_of_its_own_tracer() {
    let world = World::with(&["a", "ops"], |builder| {
        let few = Limits {
            attributes: Some(2),
            ..Limits::default()
        };
        builder
            .tenant("a", binding("a").limits(few).also(&operations()))
            .environment("operations", binding("ops"))
    });
    world.tenant("a").in_span("span", |span| {
        for key in ["one", "two", "three"] {
            span.set_attribute(key, 1);
        }
    });
    world.flush();
    for project in ["a", "ops"] {
        let span = world.span(project, "span");
        assert_eq!(
            (
                span.attributes.contains_key("two"),
                span.attributes.contains_key("three")
            ),
            (true, false)
        );
        assert_eq!(span.dropped_attributes, 1);
    }
}

#[test]
fn session_data_is_copied_if_it_is_sent_as_a_span() {
    let world = plain_world(&["a", "ops"], |builder| {
        builder
            .tenant("a", binding("a").also(&operations()))
            .environment("operations", binding("ops"))
    });
    let session = world.tenant("a").session("chat").input("question", "why?").start();
    session.end();
    world.flush();
    let own = world.names("a");
    assert_eq!(own, ["session.start", "session.end"]);
    assert_eq!(world.names("ops"), own);
}

#[test]
fn several_targets_get_every_span() {
    let audit: Selector = "feature:audit".parse().expect("a selector");
    let world = World::with(&["a", "quiet", "ops", "audit"], |builder| {
        builder
            .tenant("*", binding("a").also(&operations()).also(&audit))
            .tenant("quiet", binding("quiet").also(&audit).without_copies())
            .environment("operations", binding("ops"))
            .feature("audit", binding("audit"))
    });
    world.tenant("any").in_span("copied", |_| ());
    world.tenant("quiet").in_span("of quiet", |_| ());
    world.flush();
    for (project, expected) in [
        ("a", "copied"),
        ("ops", "copied"),
        ("audit", "copied"),
        ("quiet", "of quiet"),
    ] {
        assert_eq!(world.names(project), [expected], "{project}");
    }
}

#[test]
fn the_status_of_a_source_names_its_targets_and_no_other_status_does() {
    let world = world(&["a"], |builder| builder.tenant("b", binding("b")));
    drop((world.tenant("a"), world.tenant("b")));
    let [target] = &status_of(&world.registry, "tenant:a").copies[..] else {
        panic!("one target");
    };
    assert_eq!((&target.selector, target.works), (&operations(), true));
    for selector in ["tenant:b", OPERATIONS] {
        assert!(status_of(&world.registry, selector).copies.is_empty(), "{selector}");
    }
}

#[test]
fn a_thousand_tenants_share_one_target() {
    const TENANTS: u64 = 1_000;
    let world = World::with(&["all", "ops"], |builder| {
        builder
            .tenant("*", binding("all").also(&operations()))
            .environment("operations", binding("ops"))
    });
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let world = &world;
            threads.spawn(move || {
                for number in (thread..TENANTS).step_by(4) {
                    let tenant = world.tenant(&format!("t{number}"));
                    tenant.in_span(format!("of {number}"), |_| ());
                    tenant.start_span(format!("also of {number}")).end();
                }
            });
        }
    });
    world.flush();
    let ledger = ledger_of(&world.registry, OPERATIONS);
    assert_eq!((ledger.accepted, ledger.delivered), (2 * TENANTS, 2 * TENANTS));
    let (mut own, mut copies) = (world.names("all"), world.names("ops"));
    own.sort();
    copies.sort();
    assert_eq!(own, copies);
    assert_eq!(status_of(&world.registry, OPERATIONS).tracers, 1);
}

#[test]
fn a_copied_span_cannot_claim_a_session_that_is_not_its_own() {
    let world = world(&["a"], |builder| builder);
    let a = world.tenant("a");
    let session = a.session("chat").start();
    let entered = session.enter();
    a.in_span("claims", |span| {
        span.set_attribute("honeyhive.session_id", "another");
        span.set_attribute("twice", 1);
        span.set_attribute("twice", 2);
    });
    drop(entered);
    world.flush();
    for project in ["a", "ops"] {
        let span = world.span(project, "claims");
        assert_eq!(span.session_id.as_deref(), Some(session.id()), "{project}");
        assert_eq!(
            (span.duplicate_attributes, &span.attributes["twice"]),
            (0, &2.into()),
            "{project}"
        );
    }
}
