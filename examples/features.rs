//! Gives each feature, and one feature of a particular tenant, its own project.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::time::Duration;

use support::Backend;
use tracer_registry::config::Binding;
use tracer_registry::{Selector, TracerRegistry};

fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start(&["customer_experience", "search", "acme-search"])?;
    let registry = TracerRegistry::builder()
        .defaults(backend.endpoint().source("production"))
        .feature("customer_experience", backend.key("customer_experience"))
        .feature("search", backend.key("search").metadata("index", "v2"))
        .tenant("acme", Binding::new().metadata("plan", "enterprise"))
        // Searches of acme go to a separate project; their other settings are merged from the
        // feature and the tenant.
        .route(&Selector::tenant("acme").feature("search"), backend.key("acme-search"))
        .build()?;

    // One request uses both features. Each feature has its own trace; its project contains no spans
    // of the other.
    let experience = registry.feature("customer_experience")?;
    let search = registry.feature("search")?;
    experience.in_span("handle query", |_| {
        search.in_span("search", |_| {
            search.in_span("rank", |_| ());
            // The inner span of the first feature finds its ancestor again.
            experience.in_span("format answer", |_| ());
        });
    });
    registry
        .get(Selector::tenant("acme").feature("search"))?
        .in_span("search for acme", |_| ());

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    for (name, expected) in [
        ("customer_experience", "handle query\n└─ format answer\n"),
        ("search", "search\n└─ rank\n"),
        ("acme-search", "search for acme\n"),
    ] {
        assert_eq!(backend.show(name).tree(), expected);
    }
    let merged = backend.project("acme-search");
    let attributes = &merged.spans()[0].attributes;
    println!(
        "acme-search: index {}, plan {}",
        attributes["honeyhive_metadata.index"], attributes["honeyhive_metadata.plan"]
    );
    Ok(())
}
