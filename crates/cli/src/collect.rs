//! `collect`: runs the local collector.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use clap::Args;
use tracer_registry::text::printable;
use tracer_registry_collector::{CollectorBuilder, CollectorError, Format, LocalCollector, Received};

use super::error::{CliError, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Address to listen on; 4318 is the standard OTLP/HTTP port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4318")]
    listen: String,
    /// Also accept requests for this host; "*" accepts all. Repeatable
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// Also read keys from this header, such as a binding's auth.header. Repeatable
    #[arg(long, value_name = "NAME")]
    key_header: Vec<String>,
}

/// Lines that may wait for a slow reader of the output; further ones are skipped.
const QUEUED_LINES: usize = 1000;
/// Characters of a path or an id that a line shows.
const SHOWN_CHARS: usize = 100;
/// Session ids of a request that a line shows.
const SHOWN_SESSIONS: usize = 3;

enum Event {
    Received(String),
    Interrupted,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let (sender, events) = mpsc::sync_channel(QUEUED_LINES);
    let lines = sender.clone();
    let skipped = Arc::new(AtomicU64::new(0));
    let skipped_by_observer = Arc::clone(&skipped);
    let collector = LocalCollector::builder().listen(&arguments.listen);
    let hosts = arguments.allow_host.iter();
    let collector = hosts.fold(collector, CollectorBuilder::allow_host);
    let headers = arguments.key_header.iter();
    let collector = headers.fold(collector, CollectorBuilder::key_header);
    let collector = collector
        // The main thread writes the line, so a slow output does not delay the server.
        .observer(move |received| {
            if lines.try_send(Event::Received(line(received))).is_err() {
                skipped_by_observer.fetch_add(1, Ordering::SeqCst);
            }
        })
        .start()
        .map_err(|error| match &error {
            CollectorError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                CliError::AddressInUse(error)
            }
            _ => error.into(),
        })?;
    let url = collector.url();
    super::signal::on_interrupt(move || drop(sender.send(Event::Interrupted)))?;
    writeln!(out, "listening on {url} (ctrl-c to stop)")?;
    writeln!(out, "  OTLP/HTTP traces   {url}/v1/traces")?;
    writeln!(out, "  HoneyHive clients  HH_API_URL={url}")?;
    writeln!(out, "  tracer-registry    endpoint = \"{url}\"")?;
    writeln!(out, "  received data      {url}/")?;
    out.flush()?;
    while let Ok(Event::Received(line)) = events.recv() {
        writeln!(out, "{line}")?;
        let skipped = skipped.swap(0, Ordering::SeqCst);
        if skipped > 0 {
            writeln!(out, "{skipped} requests not shown: the output is read too slowly")?;
        }
        out.flush()?;
    }
    Ok(Outcome::Success)
}

fn line(received: &Received) -> String {
    let project = received.project.clone().unwrap_or_else(|| received.key.to_string());
    let format = match received.format {
        Some(Format::Protobuf) => " (protobuf)",
        Some(Format::Json) => " (JSON)",
        Some(Format::Grpc) => " (gRPC)",
        Some(_) | None => "",
    };
    let spans = if received.spans == 1 {
        "1 span".to_owned()
    } else {
        format!("{} spans", received.spans)
    };
    format!(
        "{}{}  {} {}: {spans}, {} bytes{format}{}",
        truncated(&project),
        selector(received),
        truncated(&received.path),
        received.status,
        received.body_bytes,
        sessions(&received.sessions)
    )
}

/// Returns the selector that this project's exporter states in the resource of each request.
fn selector(received: &Received) -> String {
    let mut resources = received.stored.iter().map(|span| &span.resource.attributes);
    let selector = resources.find_map(|attributes| attributes.get("tracer_registry.selector")?.as_str());
    selector.map_or_else(String::new, |selector| format!(" ({})", truncated(selector)))
}

fn sessions(ids: &[String]) -> String {
    if ids.is_empty() {
        return String::new();
    }
    let named: Vec<String> = ids.iter().take(SHOWN_SESSIONS).map(|id| truncated(id)).collect();
    let more = match ids.len().saturating_sub(SHOWN_SESSIONS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(", session {}{more}", named.join(" "))
}

/// Escapes and truncates text that the sender chose.
fn truncated(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", printable(&text[..end])),
        None => printable(text).to_string(),
    }
}
