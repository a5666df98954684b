//! How does a function that is frozen between invocations deliver its spans?
//!
//! With `export.mode = "inline"` there are no threads that could be frozen at work: what an invocation made is sent by its own flush.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::fs;
use std::time::Duration;

use tracer_registry::config::{Binding, Export, ExportMode};
use tracer_registry::{KeySource, LookupError, TracerRegistry};
use tracer_registry_collector::LocalCollector;

/// One invocation. The registry is made once, when the process starts.
fn handle(registry: &TracerRegistry, tenant: &str, question: &str) -> Result<(), LookupError> {
    let tracer = registry.tenant(tenant)?;
    tracer.in_span("answer", |span| span.input("question", question));

    // The last thing before the answer goes out and everything stands still.
    let report = tracer.force_flush(Duration::from_secs(2));
    println!("{report}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let collector = LocalCollector::builder().project("acme", "key-of-acme").start()?;
    let secrets = tempfile::tempdir()?;
    let file = secrets.path().join("acme");
    fs::write(&file, "key-of-acme")?;

    let registry = TracerRegistry::builder()
        .defaults(Binding::new().endpoint(collector.url()))
        .tenant("acme", Binding::new().api_key(KeySource::file(file)))
        .export(Export {
            mode: Some(ExportMode::Inline),
            ..Export::default()
        })
        .build()?;

    for question in ["why?", "how?", "when?"] {
        handle(&registry, "acme", question)?;
    }
    let project = collector.project("acme").expect("named above");
    println!("received: {}", project.spans().len());
    Ok(())
}
