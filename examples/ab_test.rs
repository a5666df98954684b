//! Traces an A/B test: which variant answered, and how well it did.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use support::Backend;
use tracer_registry::{Enrichment, TracerRegistry};

/// Every third request gets the new prompt.
fn variant_of(request: u32) -> &'static str {
    if request % 3 == 1 { "friendly" } else { "terse" }
}

fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start(&["answers"])?;
    let registry = TracerRegistry::builder()
        .defaults(backend.endpoint().source("production"))
        .feature("answers", backend.key("answers"))
        .build()?;

    // One tracer for both variants: they are compared, so they belong in one project. The session
    // distinguishes them.
    let answers = registry.feature("answers")?;
    for request in 0..30 {
        let variant = variant_of(request);
        let session = answers
            .session("answer")
            .metadata("variant", variant)
            .input("request", request)
            .start();
        {
            let _in_session = session.enter();
            answers.in_span("answer", |span| span.set_attribute("prompt", variant));
        }
        // Feedback arrives later. It needs only the session handle.
        let helpful = variant == "friendly" || request % 2 == 0;
        session.enrich(
            Enrichment::new()
                .feedback("helpful", helpful)
                .metric("tokens", 100 + request),
        );
    }

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    let project = backend.project("answers");
    let mut outcomes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for session in project.sessions() {
        let variant = session.metadata["variant"]
            .as_str()
            .ok_or("the variant is not a string")?;
        let outcome = outcomes.entry(variant).or_default();
        outcome.0 += 1;
        outcome.1 += usize::from(session.feedback["helpful"] == true);
        // The session has only the span of its variant.
        let spans = project.spans_of_session(&session.id);
        assert!(spans.len() == 1 && spans[0].attributes["prompt"] == variant);
    }
    for (variant, (sessions, helpful)) in &outcomes {
        println!("{variant}: {sessions} sessions, {helpful} helpful");
    }
    assert_eq!(outcomes, BTreeMap::from([("friendly", (10, 10)), ("terse", (20, 10))]));
    Ok(())
}
