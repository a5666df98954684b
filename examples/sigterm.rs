//! Loses no spans when the service is stopped by SIGTERM.
//!
//! systemd, Docker and Kubernetes stop a service with SIGTERM, whose default action ends the
//! process at once and loses all queued data. So the program waits for the signal, finishes its
//! requests, and shuts the registry down within the grace period (Docker: 10 s, Kubernetes: 30 s,
//! systemd: 90 s).
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::env;
use std::error::Error;
use std::time::Duration;

use tokio::sync::mpsc;
use tracer_registry::config::{Binding, Export};
use tracer_registry::{KeySource, TracerRegistry};
use tracer_registry_collector::LocalCollector;

/// Below the grace period of the process, to leave time for the rest of the shutdown.
const GRACE: Duration = Duration::from_secs(8);

#[cfg(unix)]
async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => println!("SIGTERM"),
        _ = interrupt.recv() => println!("SIGINT"),
    }
    Ok(())
}

#[cfg(not(unix))]
async fn asked_to_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Answers requests until the channel closes.
async fn serve(
    registry: TracerRegistry,
    mut requests: mpsc::Receiver<u32>,
) -> Result<u32, Box<dyn Error + Send + Sync>> {
    let mut answered = 0;
    while let Some(number) = requests.recv().await {
        let acme = registry.tenant_async("acme").await?;
        acme.in_span_async("answer", async |span| span.input("number", number))
            .await;
        answered += 1;
        if answered == 10 {
            println!("10 requests are answered");
        }
    }
    Ok(answered)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Uses the receiver given as an argument, otherwise a local one.
    let given = env::args().nth(1);
    let own = LocalCollector::builder().project("acme", "key-of-acme").start()?;
    let registry = TracerRegistry::builder()
        .secret_source("fixed", |_: &str| Ok("key-of-acme".into()))
        .defaults(Binding::new().endpoint(given.unwrap_or_else(|| own.url())))
        .tenant("acme", Binding::new().api_key(KeySource::provider("fixed", "acme")))
        .export(Export {
            // Send nothing before the shutdown, to show that it delivers everything.
            scheduled_delay: Some(Duration::from_secs(3600)),
            ..Export::default()
        })
        .build()?;

    let (accept, requests) = mpsc::channel(1);
    let serving = tokio::spawn(serve(registry.clone(), requests));
    let accepting = async {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        for number in 0.. {
            pace.tick().await;
            if accept.send(number).await.is_err() {
                return;
            }
        }
    };
    println!("process {}", std::process::id());
    tokio::select! {
        asked = asked_to_end() => asked?,
        () = accepting => {}
    }
    // Refuse new requests, finish the accepted ones, then send their spans.
    drop(accept);
    let answered = serving.await?.map_err(|error| error.to_string())?;
    let report = tokio::task::spawn_blocking(move || registry.shutdown(GRACE)).await?;
    println!("{answered} requests, complete: {}", report.is_complete());
    print!("{report}");
    Ok(())
}
