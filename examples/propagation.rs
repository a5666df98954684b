//! Continues a trace in another process, and shows what its headers may decide.
//!
//! Two services, each with its own registry. The binding of acme trusts remote parents and
//! propagates sessions; that of globex does not.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::time::Duration;

use http::HeaderMap;
use support::Backend;
use tracer_registry::{BuildError, LookupError, Session, TracerRegistry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start(&["acme", "globex"])?;
    let front = service(&backend)?;
    let back = service(&backend)?;

    // The front sends a request for acme in a session.
    let acme = front.tenant_async("acme").await?;
    let session = acme.session("chat").start();
    let headers = session.scope(acme.in_span_async("ask", async |_| {
        let mut headers = HeaderMap::new();
        acme.inject_headers(&mut headers);
        headers
    }));
    let headers = headers.await;

    // The back answers. It chooses the tenant by the authenticated caller, never by the headers.
    assert_eq!(answer(&back, "acme", &headers).await?.as_deref(), Some(session.id()));
    assert_eq!(answer(&back, "globex", &headers).await?, None);

    for service in [front, back] {
        let report = service.shutdown(Duration::from_secs(5));
        assert!(report.is_complete(), "{report}");
    }
    for (title, tenant) in [
        ("acme, by both services:", "acme"),
        ("globex, which trusts no headers:", "globex"),
    ] {
        println!("{title}\n{}", backend.project(tenant).tree());
    }
    Ok(())
}

fn service(backend: &Backend) -> Result<TracerRegistry, BuildError> {
    let acme = backend.key("acme").trust_remote_parent(true).propagate_session_id(true);
    TracerRegistry::builder()
        .defaults(backend.endpoint())
        .tenant("acme", acme)
        .tenant("globex", backend.key("globex"))
        .build()
}

/// Answers a request. Returns the id of its session.
async fn answer(back: &TracerRegistry, tenant: &str, headers: &HeaderMap) -> Result<Option<String>, LookupError> {
    let tracer = back.tenant_async(tenant).await?;
    let answer = tracer.in_span_async("POST /answer", async |_| {
        Session::current().map(|session| session.id().to_owned())
    });
    Ok(tracer.extract_headers(headers).scope(answer).await)
}
