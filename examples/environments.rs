//! Gives development, staging and production a project each.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::time::Duration;

use support::Backend;
use tracer_registry::TracerRegistry;

const ENVIRONMENTS: [&str; 3] = ["development", "staging", "production"];

fn main() -> Result<(), Box<dyn Error>> {
    // One project and one key file per environment, like mounted secrets.
    let backend = Backend::start(&ENVIRONMENTS)?;
    let mut builder = TracerRegistry::builder()
        .defaults(backend.endpoint())
        .active_environment("staging");
    for name in ENVIRONMENTS {
        builder = builder.environment(name, backend.key(name).source(name));
    }
    let registry = builder.build()?;

    registry.environment("production")?.in_span("charge card", |_| ());
    registry.environment("development")?.in_span("try an idea", |_| ());
    // The environment of the process. In a file, usually `active_environment = { env =
    // "ENVIRONMENT" }`.
    let active = registry.active()?;
    active.in_span("rehearse the release", |_| {
        active.in_span("charge test card", |_| ());
    });

    // An unknown name is an error. It never falls back to another environment's key.
    let error = registry.environment("prod").expect_err("not configured");
    println!("refused: {error}\n");

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    for (name, expected) in [
        ("development", "try an idea\n"),
        ("staging", "rehearse the release\n└─ charge test card\n"),
        ("production", "charge card\n"),
    ] {
        let project = backend.show(name);
        assert_eq!(project.tree(), expected);
        assert!(project.spans().iter().all(|span| span.source.as_deref() == Some(name)));
    }
    Ok(())
}
