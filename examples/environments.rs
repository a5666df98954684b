//! How do development, staging and production each get a project of their own?
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::fs;
use std::time::Duration;

use tracer_registry::config::Binding;
use tracer_registry::{KeySource, TracerRegistry};
use tracer_registry_collector::LocalCollector;

const ENVIRONMENTS: [&str; 3] = ["development", "staging", "production"];

fn key_of(environment: &str) -> String {
    format!("key-of-{environment}")
}

fn main() -> Result<(), Box<dyn Error>> {
    // The collector stands for the hosted service: one project per key.
    let projects = ENVIRONMENTS.map(|name| (name, key_of(name)));
    let collector = projects
        .into_iter()
        .fold(LocalCollector::builder(), |builder, (name, key)| {
            builder.project(name, key)
        })
        .start()?;

    // One file per key, as a mounted secret comes.
    let secrets = tempfile::tempdir()?;
    let mut builder = TracerRegistry::builder()
        .defaults(Binding::new().endpoint(collector.url()))
        .active_environment("staging");
    for name in ENVIRONMENTS {
        let file = secrets.path().join(name);
        fs::write(&file, key_of(name))?;
        builder = builder.environment(name, Binding::new().api_key(KeySource::file(file)).source(name));
    }
    let registry = builder.build()?;

    registry.environment("production")?.in_span("charge card", |_| ());
    registry.environment("development")?.in_span("try an idea", |_| ());
    // The environment that the process runs in; in a file it is usually `active_environment = { env = "ENVIRONMENT" }`.
    let active = registry.active()?;
    active.in_span("rehearse the release", |_| {
        active.in_span("charge test card", |_| ());
    });

    // A name that is not configured is an error. It never falls back to another environment's key.
    let error = registry.environment("prod").expect_err("nobody configured it");
    println!("refused: {error}\n");

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    for (name, expected) in [
        ("development", "try an idea\n"),
        ("staging", "rehearse the release\n└─ charge test card\n"),
        ("production", "charge card\n"),
    ] {
        let project = collector.project(name).expect("named above");
        println!("project {name}\n{}", project.tree());
        assert_eq!(project.tree(), expected);
        assert!(project.spans().iter().all(|span| span.source.as_deref() == Some(name)));
    }
    Ok(())
}
