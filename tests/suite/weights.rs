//! Weighted fair sharing of export permits.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::Span as _;
use tracer_registry::TracerRegistry;
use tracer_registry::config::{Compression, Export};
use tracer_registry::secret::Fingerprinter;

use crate::support::{binding, collector, keys, quick, wait_for};

/// Spans per tenant.
const SPANS: usize = 3_200;

#[test]
fn export_bytes_are_shared_by_weight_whatever_the_size_of_spans() {
    // No weight is more than half of the total: a tracer never gets two successive batches while
    // others wait.
    let weights = [
        ("light", 50),
        ("usual", 100),
        ("another", 100),
        ("third", 100),
        ("heavy", 200),
    ];
    let tenants = weights.map(|(name, _)| name);
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let fingerprinter = Fingerprinter::new();
    let observed = Arc::clone(&arrived);
    let collector = collector(&tenants, &fingerprinter)
        .observer(move |received| {
            let request = (received.project.clone().unwrap_or_default(), received.wire_bytes);
            observed.lock().expect("not poisoned").push(request);
        })
        .start()
        .expect("a free port");
    let mut builder = TracerRegistry::builder()
        .fingerprinter(fingerprinter)
        .secret_source("test", keys())
        .export(Export {
            max_concurrent_exports: Some(1),
            max_export_batch_size: Some(40),
            scheduled_delay: Some(Duration::from_secs(3600)),
            compression: Some(Compression::None),
            // Long enough that a busy machine does not count as a slow receiver, which has a
            // separate semaphore.
            timeout: Some(Duration::from_secs(240)),
            ..quick()
        });
    for (name, weight) in weights {
        builder = builder.tenant(name, binding(name).endpoint(collector.url()).weight(weight));
    }
    // Two requests that are never answered. One is moved to the slow lanes; the other keeps the
    // only permit until everything is queued.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent_url = format!("http://{}", silent.local_addr().expect("bound"));
    for plug in ["aside", "plug"] {
        builder = builder.tenant(plug, binding(plug).endpoint(&silent_url));
    }
    let registry = builder.build().expect("valid");
    let plugs = ["aside", "plug"].map(|plug| {
        let tracer = registry.tenant(plug).expect("configured");
        (0..40).for_each(|_| tracer.start_span("span").end());
        silent.accept().expect("a connection")
    });
    let large = "x".repeat(300);
    for name in tenants {
        let tracer = registry.tenant(name).expect("configured");
        for _ in 0..SPANS {
            tracer.in_span("span", |span| {
                // The tenant with the lowest weight has the largest spans.
                if name == "light" {
                    span.set_attribute("large", large.clone());
                }
            });
        }
    }
    drop((plugs, silent));
    let delivered = || {
        let statuses = registry.status().tracers;
        statuses.iter().map(|status| status.spans.delivered).sum::<u64>()
    };
    wait_for("all spans", delivered, |spans| *spans == (tenants.len() * SPANS) as u64);
    drop(registry.shutdown(Duration::ZERO));

    let arrived = arrived.lock().expect("not poisoned");
    let until = arrived
        .iter()
        .rposition(|(tenant, _)| tenant == "heavy")
        .expect("the last batch of heavy");
    let sent = |name: &str| {
        let requests_of = arrived[..until].iter().filter(|(tenant, _)| tenant == name);
        let bytes = requests_of.map(|(_, bytes)| *bytes).sum::<usize>();
        f64::from(u32::try_from(bytes).expect("some kilobytes"))
    };
    for (name, weight) in weights {
        let share = sent(name) / f64::from(weight) / (sent("heavy") / 200.0);
        assert!((0.7..1.4).contains(&share), "{name}: {share}");
    }
}
