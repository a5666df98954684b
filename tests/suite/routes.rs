//! Routes for every tenant: where the spans of several parts land.

use tracer_registry::config::Binding;
use tracer_registry::selector::Slug;
use tracer_registry::source::SourceError;
use tracer_registry::{KeySource, Selector};

use crate::support::{World, binding, key_of};

/// Searches of every tenant in a project of its own, and those of `b` in one of its own choice.
fn world(known_elsewhere: &'static str) -> World {
    let searches = Binding::new()
        .api_key(KeySource::provider("test", "{tenant}-search"))
        .source("{tenant}");
    let world = World::with(&["a", "b"], |builder| {
        builder
            .route(&Selector::feature("search").tenant("*"), searches)
            .route(&Selector::feature("search").tenant("b"), binding("b-own"))
            .binding_source(move |tenant: &Slug| {
                Ok::<_, SourceError>((tenant.as_str() == known_elsewhere).then(|| binding(known_elsewhere)))
            })
    });
    for project in ["a-search", "b-search", "b-own", "c", "c-search"] {
        world.collector.name_project(project, &key_of(project));
    }
    world
}

#[test]
fn every_tenants_searches_are_in_a_project_of_its_own() {
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
        let landed: Vec<&str> = project.spans().iter().map(|span| span.name.as_str()).collect();
        assert_eq!(landed, names, "{project:?}");
    }
    let source = world.project("a-search").spans()[0].source.clone();
    assert_eq!(source.as_deref(), Some("a"));
}

#[test]
fn a_route_for_every_tenant_makes_no_unknown_tenant_known() {
    let world = world("nobody-asks-for-it");
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
