//! How does a trace go on in another process, and what may its headers decide?
//!
//! Two services, each with a registry of its own. The binding of acme trusts remote parents and takes sessions along; that of globex does not.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tracer_registry::config::Binding;
use tracer_registry::{KeySource, Session, TracerRegistry};
use tracer_registry_collector::LocalCollector;

type Headers = HashMap<String, String>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let collector = LocalCollector::builder()
        .project("acme", "key-of-acme")
        .project("globex", "key-of-globex")
        .start()?;
    let secrets = tempfile::tempdir()?;
    for tenant in ["acme", "globex"] {
        fs::write(secrets.path().join(tenant), format!("key-of-{tenant}"))?;
    }
    let front = service(&collector.url(), secrets.path())?;
    let back = service(&collector.url(), secrets.path())?;

    // The front asks, for acme, in a session.
    let acme = front.tenant("acme")?;
    let session = acme.session("chat").start();
    let headers = session.scope(acme.in_span_async("ask", async |_| {
        let mut headers = Headers::new();
        acme.inject(&mut headers);
        headers
    }));
    let headers = headers.await;

    // The back answers. For whom is its own decision, by what it knows of the caller; the headers come second.
    assert_eq!(answer(&back, "acme", &headers).await?.as_deref(), Some(session.id()));
    assert_eq!(answer(&back, "globex", &headers).await?, None);

    for service in [front, back] {
        let report = service.shutdown(Duration::from_secs(5));
        assert!(report.is_complete(), "{report}");
    }
    for (title, tenant) in [
        ("acme, by both services:", "acme"),
        ("globex, which trusts nobody:", "globex"),
    ] {
        let project = collector.project(tenant).expect("named above");
        println!("{title}\n{}", project.tree());
    }
    Ok(())
}

fn service(url: &str, secrets: &Path) -> Result<TracerRegistry, Box<dyn Error>> {
    let key_of = |tenant: &str| Binding::new().api_key(KeySource::file(secrets.join(tenant)));
    let registry = TracerRegistry::builder()
        .defaults(Binding::new().endpoint(url))
        .tenant(
            "acme",
            key_of("acme").trust_remote_parent(true).propagate_session_id(true),
        )
        .tenant("globex", key_of("globex"))
        .build()?;
    Ok(registry)
}

/// Answers a request, and says which session that was in.
async fn answer(back: &TracerRegistry, tenant: &str, headers: &Headers) -> Result<Option<String>, Box<dyn Error>> {
    let tracer = back.tenant(tenant)?;
    let answer = tracer.in_span_async("POST /answer", async |_| {
        Session::current().map(|session| session.id().to_owned())
    });
    Ok(tracer.extract(headers).scope(answer).await)
}
