//! `collect`: the local collector alone.

use std::io::Write;
use std::sync::mpsc;

use clap::Args;
use tracer_registry::collector::{Format, LocalCollector, Received};

use super::Outcome;
use super::error::CliError;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen; 4318 is the port of OTLP over HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4318")]
    listen: String,
}

/// What the main thread waits for.
enum Event {
    Received(String),
    Interrupted,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let (sender, events) = mpsc::channel();
    let lines = sender.clone();
    let collector = LocalCollector::builder()
        .listen(&arguments.listen)
        // Only handed over here: writing a line must not hold up the server.
        .observer(move |received| drop(lines.send(Event::Received(line(received)))))
        .start()?;
    let url = collector.url();
    // Before anybody is told that it can be ended.
    super::interrupted(move || drop(sender.send(Event::Interrupted)))?;
    writeln!(
        out,
        "listening on {url}: spans on {url}/v1/traces, HoneyHive clients with HH_API_URL={url}"
    )?;
    writeln!(out, "what was received: {url}/api/projects; ctrl-c ends")?;
    out.flush()?;
    while let Ok(Event::Received(line)) = events.recv() {
        writeln!(out, "{line}")?;
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
    let sessions = match received.sessions.as_slice() {
        [] => String::new(),
        sessions => format!(", session {}", sessions.join(" ")),
    };
    let spans = if received.spans == 1 {
        "1 span".to_owned()
    } else {
        format!("{} spans", received.spans)
    };
    format!(
        "{project}  {} {}: {spans}, {} bytes{format}{sessions}",
        received.path, received.status, received.body_bytes
    )
}
