//! `collect`: the local collector alone.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use clap::Args;
use tracer_registry::text::printable;
use tracer_registry_collector::{CollectorBuilder, Format, LocalCollector, Received};

use super::error::{CliError, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen; 4318 is the port of OTLP over HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4318")]
    listen: String,
    /// Also take requests for this host, such as the name of the collector's container; "*" takes all. May be repeated
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// Also take keys from this header, such as a binding's auth.header. May be repeated
    #[arg(long, value_name = "NAME")]
    key_header: Vec<String>,
}

/// How many lines may wait for a terminal that takes none.
const WAITING_LINES: usize = 1000;
/// How many characters of a path or an id are shown.
const SHOWN_CHARS: usize = 100;
/// How many sessions of a request are named.
const SHOWN_SESSIONS: usize = 3;

/// What the main thread waits for.
enum Event {
    Received(String),
    Interrupted,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let (sender, events) = mpsc::sync_channel(WAITING_LINES);
    let lines = sender.clone();
    let missed = Arc::new(AtomicU64::new(0));
    let missing = Arc::clone(&missed);
    let collector = LocalCollector::builder().listen(&arguments.listen);
    let hosts = arguments.allow_host.iter();
    let collector = hosts.fold(collector, CollectorBuilder::allow_host);
    let headers = arguments.key_header.iter();
    let collector = headers.fold(collector, CollectorBuilder::key_header);
    let collector = collector
        // Only handed over here: writing a line must not hold up the server.
        .observer(move |received| {
            if lines.try_send(Event::Received(line(received))).is_err() {
                missing.fetch_add(1, Ordering::SeqCst);
            }
        })
        .start()?;
    let url = collector.url();
    super::signal::interrupted(move || drop(sender.send(Event::Interrupted)))?;
    writeln!(
        out,
        "listening on {url}: spans on {url}/v1/traces, HoneyHive clients with HH_API_URL={url}"
    )?;
    writeln!(out, "what was received: {url}/api/projects; ctrl-c ends")?;
    out.flush()?;
    while let Ok(Event::Received(line)) = events.recv() {
        writeln!(out, "{line}")?;
        let missed = missed.swap(0, Ordering::SeqCst);
        if missed > 0 {
            writeln!(out, "{missed} requests are not shown: the terminal was too slow")?;
        }
        out.flush()?;
    }
    Ok(Outcome::Well)
}

fn line(received: &Received) -> String {
    let project = received.project.clone().unwrap_or_else(|| received.key.to_string());
    let format = match received.format {
        Some(Format::Protobuf) => " of protobuf",
        Some(Format::Json) => " of JSON",
        Some(Format::Grpc) => " by gRPC",
        Some(_) | None => "",
    };
    let spans = if received.spans == 1 {
        "1 span".to_owned()
    } else {
        format!("{} spans", received.spans)
    };
    format!(
        "{}  {} {}: {spans}, {} bytes{format}{}",
        shown(&project),
        shown(&received.path),
        received.status,
        received.body_bytes,
        sessions(&received.sessions)
    )
}

fn sessions(ids: &[String]) -> String {
    if ids.is_empty() {
        return String::new();
    }
    let named: Vec<String> = ids.iter().take(SHOWN_SESSIONS).map(|id| shown(id)).collect();
    let more = match ids.len().saturating_sub(SHOWN_SESSIONS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(", session {}{more}", named.join(" "))
}

/// A text of the sender's, printable and cut.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", printable(&text[..end])),
        None => printable(text).to_string(),
    }
}
