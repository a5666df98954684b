//! Delivers the spans of a function that is frozen between invocations.
//!
//! With `export.mode = "inline"` there are no threads to freeze: each invocation sends its spans in
//! its own flush.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::time::Duration;

use support::Backend;
use tracer_registry::config::{Export, ExportMode};
use tracer_registry::{LookupError, TracerRegistry};

/// Handles one invocation. The registry is created once, when the process starts.
fn handle(registry: &TracerRegistry, tenant: &str, question: &str) -> Result<(), LookupError> {
    let tracer = registry.tenant(tenant)?;
    tracer.in_span("answer", |span| span.input("question", question));

    // Flush last, before the answer is sent and the process is frozen.
    let report = tracer.force_flush(Duration::from_secs(2));
    println!("{report}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start(&["acme"])?;
    let registry = TracerRegistry::builder()
        .defaults(backend.endpoint())
        .tenant("acme", backend.key("acme"))
        .export(Export {
            mode: Some(ExportMode::Inline),
            ..Export::default()
        })
        .build()?;

    for question in ["why?", "how?", "when?"] {
        handle(&registry, "acme", question)?;
    }
    println!("received: {}", backend.project("acme").spans().len());
    Ok(())
}
