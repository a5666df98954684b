//! Isolates one request or job completely, with a tracer that lives only as long.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::time::Duration;

use support::Backend;
use tracer_registry::{Enrichment, LookupError, Selector, TracerRegistry};

const REQUESTS: u32 = 3;

/// Serves one request with its own tracer. Nothing needs closing: after the function returns, the
/// tracer's data is sent in the background.
fn serve(registry: &TracerRegistry, number: u32) -> Result<(), LookupError> {
    let tracer = registry.dedicated(Selector::tenant("acme"))?;
    let session = tracer
        .session(format!("request {number}"))
        .input("number", number)
        .start();
    let _in_session = session.enter();
    let rows = tracer.in_span(format!("request {number}"), |_| {
        tracer.in_span("load rows", |span| {
            span.set_attribute("rows", i64::from(number));
            number
        })
    });
    session.enrich(Enrichment::new().outputs(rows));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start(&["acme"])?;
    let registry = TracerRegistry::builder()
        .defaults(backend.endpoint())
        .tenant("acme", backend.key("acme"))
        .build()?;

    // Each call creates a new tracer, different from the pooled one.
    let (one, other) = (
        registry.dedicated(Selector::tenant("acme"))?,
        registry.dedicated(Selector::tenant("acme"))?,
    );
    assert!(!one.same_tracer(&other) && !one.same_tracer(&registry.tenant("acme")?));
    // A span of one tracer is never the parent of the other's span, even with the same key and
    // project.
    one.in_span("of one", |_| other.in_span("of the other", |_| ()));
    drop((one, other));

    for number in 1..=REQUESTS {
        serve(&registry, number)?;
    }
    // The accounting outlives the tracers: all spans count under their selector.
    let report = registry.shutdown(Duration::from_secs(5));
    print!("{report}");
    assert!(report.is_complete(), "{report}");

    let project = backend.show("acme");
    assert_eq!(project.traces().len(), 5);
    let mut sessions = project.sessions().to_vec();
    sessions.sort_by(|one, other| one.name.cmp(&other.name));
    for session in sessions {
        let spans = project.spans_of_session(&session.id);
        println!(
            "{}: {} spans, outputs {}",
            session.name.as_deref().unwrap_or("?"),
            spans.len(),
            session.outputs["result"]
        );
        assert_eq!(spans.len(), 2);
    }
    assert_eq!(project.sessions().len(), 3);
    Ok(())
}
