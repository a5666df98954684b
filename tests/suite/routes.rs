//! Wildcard routes: which project receives spans of a tenant and feature.

use tracer_registry::config::Binding;
use tracer_registry::selector::Slug;
use tracer_registry::source::SourceError;
use tracer_registry::{KeySource, Selector};

use crate::support::{World, binding, key_of};

/// Searches of each tenant go to the tenant's search project; those of `b` have their own route.
/// The binding source has only `known_to_source`.
fn world(known_to_source: &'static str) -> World {
    let searches = Binding::new()
        .api_key(KeySource::provider("test", "{tenant}-search"))
        .source("{tenant}");
    let world = World::with(&["a", "b"], |builder| {
        builder
            .route(&Selector::feature("search").tenant("*"), searches)
            .route(&Selector::feature("search").tenant("b"), binding("b-own"))
            .binding_source(move |tenant: &Slug| {
                Ok::<_, SourceError>((tenant.as_str() == known_to_source).then(|| binding(known_to_source)))
            })
    });
    for project in ["a-search", "b-search", "b-own", "c", "c-search"] {
        world.collector.name_project(project, &key_of(project));
    }
    world
}

#[test]
fn a_wildcard_route_gives_each_tenant_its_own_project() {
    let world = world("c");
    for tenant in ["a", "b", "c"] {
        let search = world
            .registry
            .get(Selector::tenant(tenant).feature("search"))
            .expect("known");
        drop(search.start_span("search"));
        drop(world.registry.tenant(tenant).expect("known").start_span("other"));
    }
    world.flush();
    for (project, names) in [
        ("a", vec!["other"]),
        ("a-search", vec!["search"]),
        ("b", vec!["other"]),
        ("b-own", vec!["search"]),
        ("b-search", vec![]),
        ("c", vec!["other"]),
        ("c-search", vec!["search"]),
    ] {
        let project = world.project(project);
        let received: Vec<&str> = project.spans().iter().map(|span| span.name.as_str()).collect();
        assert_eq!(received, names, "{project:?}");
    }
    let source = world.project("a-search").spans()[0].source.clone();
    assert_eq!(source.as_deref(), Some("a"));
}

#[test]
fn a_wildcard_route_does_not_make_an_unknown_tenant_valid() {
    let world = world("unused");
    for selector in ["tenant:d", "tenant:d,feature:search"] {
        let selector: Selector = selector.parse().expect("a selector");
        let error = world.registry.get(&selector).expect_err("unknown");
        assert!(
            error.is_unknown() && error.to_string().contains("tenant \"d\" is not configured"),
            "{error}"
        );
    }
    assert!(world.collector.projects().iter().all(|project| project.requests == 0));
}
