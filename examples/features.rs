//! How does each feature, and a feature of one particular tenant, get a project of its own?
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::fs;
use std::time::Duration;

use tracer_registry::config::Binding;
use tracer_registry::{KeySource, Selector, TracerRegistry};
use tracer_registry_collector::LocalCollector;

fn main() -> Result<(), Box<dyn Error>> {
    let names = ["customer_experience", "search", "acme-search"];
    let collector = names
        .into_iter()
        .fold(LocalCollector::builder(), |builder, name| {
            builder.project(name, format!("key-of-{name}"))
        })
        .start()?;

    let secrets = tempfile::tempdir()?;
    for name in names {
        fs::write(secrets.path().join(name), format!("key-of-{name}\n"))?;
    }
    let key = |name: &str| Binding::new().api_key(KeySource::file(secrets.path().join(name)));
    let registry = TracerRegistry::builder()
        .defaults(Binding::new().endpoint(collector.url()).source("production"))
        .feature("customer_experience", key("customer_experience"))
        .feature("search", key("search").metadata("index", "v2"))
        .tenant("acme", Binding::new().metadata("plan", "enterprise"))
        // Acme's searches go to a project of their own; everything else about them is merged from the feature and the tenant.
        .route(&Selector::tenant("acme").feature("search"), key("acme-search"))
        .build()?;

    // One request goes through both features. Each has its own trace: a project shows nothing of the other's spans.
    let experience = registry.feature("customer_experience")?;
    let search = registry.feature("search")?;
    experience.in_span("handle query", |_| {
        search.in_span("search", |_| {
            search.in_span("rank", |_| ());
            // Further in, the first feature finds its own ancestor again.
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
        let project = collector.project(name).expect("named above");
        println!("project {name}\n{}", project.tree());
        assert_eq!(project.tree(), expected);
    }
    let merged = collector.project("acme-search").expect("named above");
    let attributes = &merged.spans()[0].attributes;
    println!(
        "acme-search: index {}, plan {}",
        attributes["honeyhive_metadata.index"], attributes["honeyhive_metadata.plan"]
    );
    Ok(())
}
