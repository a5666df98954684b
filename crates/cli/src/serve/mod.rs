//! `serve`: runs the gateway.

mod demo;
mod log;
mod reload;
mod systemd;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use clap::Args;
use futures_util::future::Either;
use tracer_registry::config::{Config, SpoolMode};
use tracer_registry::status::{SpoolHealth, SpoolStatus};
use tracer_registry::text::printable;
use tracer_registry_collector::Received;
use tracer_registry_gateway::config::{LogFormat, OtherSignals, Settings};
use tracer_registry_gateway::{Gateway, StartError};
use tracing::{info, warn};

use super::error::{CliError, Outcome};
use super::signal::{Signal, Waiter};
use demo::Demo;
use reload::Reloads;

#[derive(Debug, Args)]
#[command(
    after_help = "SIGHUP reads the configuration again. SIGTERM and ctrl-c deliver what is queued and stop; \
                        the exit code is 3 if accepted data was lost."
)]
pub(crate) struct Arguments {
    /// Configuration file, or a folder that contains default.toml and gateway.toml
    #[arg(long, value_name = "FILE", default_value = "config")]
    config: PathBuf,
    /// Serve three tenants on loopback addresses, with the local collector as their backend, and
    /// print the spans that arrive
    #[arg(long, conflicts_with = "config")]
    demo: bool,
    /// Address of the demo for OTLP/HTTP
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:4318",
        requires = "demo",
        conflicts_with = "config"
    )]
    http: SocketAddr,
    /// Address of the demo for OTLP/gRPC
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:4317",
        requires = "demo",
        conflicts_with = "config"
    )]
    grpc: SocketAddr,
    /// Address of the demo for `admin` and `explain`
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:4320",
        requires = "demo",
        conflicts_with = "config"
    )]
    admin: SocketAddr,
    /// Stop like at SIGTERM when standard input ends, so that the gateway ends with its parent
    #[arg(long, hide = true)]
    until_end_of_input: bool,
}

/// Requests of the demo that may wait for a slow reader of the output; further ones are skipped.
const QUEUED_REQUESTS: usize = 1000;

enum Event {
    EndOfInput,
    Received(Received),
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let mut signals = Waiter::install(true)?;
    // Lives until the end, so that without a demo nothing is received.
    let (sender, mut events) = tokio::sync::mpsc::channel(QUEUED_REQUESTS);
    if arguments.until_end_of_input {
        let ends = sender.clone();
        thread::Builder::new().spawn(move || {
            drop(io::copy(&mut io::stdin(), &mut io::sink()));
            drop(ends.blocking_send(Event::EndOfInput));
        })?;
    }
    let demo = arguments.demo.then(|| {
        let sender = sender.clone();
        Demo::start([arguments.http, arguments.grpc, arguments.admin], move |received| {
            // This thread prints, so that a slow output does not delay the backend.
            drop(sender.try_send(Event::Received(received.clone())));
        })
    });
    let demo = demo.transpose()?;
    let config = match &demo {
        Some(demo) => demo.config()?,
        None => Config::load_for_gateway(&arguments.config).map_err(CliError::Config)?,
    };
    let log = Settings::read(&config).map_err(CliError::Config)?.log;
    log::install(log);
    let gateway = Gateway::start(config).map_err(|error| match error {
        StartError::Listen { .. } if demo.is_some() => CliError::DemoAddress(error),
        error => error.into(),
    })?;
    write_lines(&facts(&gateway), log.format, out)?;
    if let Some(demo) = &demo {
        demo.write_usage(&gateway, out)?;
    }
    out.flush()?;
    reload::ready(gateway.registry(), None);
    let mut reloads = Reloads::default();
    loop {
        match signals.wait(events.recv()) {
            Either::Left(Signal::Stop) | Either::Right(None | Some(Event::EndOfInput)) => break,
            Either::Left(Signal::Reload) => reloads.request(gateway.registry()),
            Either::Right(Some(Event::Received(received))) => {
                if let Some(demo) = demo.as_ref().filter(|_| !received.stored.is_empty()) {
                    write!(out, "{}", demo.trees(&received))?;
                    out.flush()?;
                }
            }
        }
    }
    systemd::notify("STOPPING=1\nSTATUS=delivering what is queued");
    let timeout = gateway.settings().shutdown_timeout;
    info!("stopping within {timeout:?}");
    let report = gateway.shutdown(timeout);
    write_lines(&report.registry.to_string(), log.format, out)?;
    if report.cut_off > 0 {
        warn!("{} connections with a request in progress were cut off", report.cut_off);
    }
    Ok(if report.is_complete() {
        Outcome::Success
    } else {
        Outcome::Lost
    })
}

/// Writes lines to standard output, or to the log if it is for programs.
fn write_lines(lines: &str, format: LogFormat, out: &mut impl Write) -> io::Result<()> {
    for line in lines.lines() {
        match format {
            LogFormat::Text => writeln!(out, "{}", printable(line))?,
            LogFormat::Json => info!("{}", line.split_whitespace().collect::<Vec<_>>().join(" ")),
        }
    }
    Ok(())
}

/// Returns where the gateway listens, and what it enforces.
fn facts(gateway: &Gateway) -> String {
    let Settings {
        tls,
        callers,
        open,
        other_signals,
        memory,
        max_request,
        ..
    } = gateway.settings();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = |address: Option<SocketAddr>| {
        address.map_or_else(|| "off".to_owned(), |address| format!("{scheme}://{address}"))
    };
    let tls = match tls {
        None => "off",
        Some(tls) if tls.client_ca.is_some() => "on, and clients need a certificate",
        Some(_) => "on",
    };
    let callers = match open {
        Some(selector) => format!("any, without credential, for {selector}"),
        None => callers.len().to_string(),
    };
    let signals = match other_signals {
        OtherSignals::Refuse => "refused",
        OtherSignals::Discard => "discarded",
    };
    let mib = |bytes: usize| bytes / (1024 * 1024);
    let limits = format!("{} MiB a request, {} MiB for all", mib(max_request), mib(memory));
    let spool = gateway.registry().status_without_tracers().spool;
    let spool = spool.map_or_else(|| "off".to_owned(), |spool| of_spool(&spool));
    let facts = [
        ("OTLP/HTTP", address(gateway.http())),
        ("OTLP/gRPC", address(gateway.grpc())),
        ("admin", address(gateway.admin())),
        ("TLS", tls.to_owned()),
        ("callers", callers),
        ("metrics, logs", signals.to_owned()),
        ("limits", limits),
        ("spool", spool),
    ];
    let lines = facts.map(|(name, fact)| format!("  {name:<15}{fact}\n"));
    format!("the gateway listens (ctrl-c to stop)\n{}", lines.concat())
}

/// Returns what is written to disk, how much it is, and what was found.
fn of_spool(spool: &SpoolStatus) -> String {
    let mode = match spool.mode {
        SpoolMode::Through => "through",
        _ => "overflow",
    };
    let health = match (spool.health, &spool.error) {
        (SpoolHealth::Working, _) => String::new(),
        (SpoolHealth::Full, _) => ", full".to_owned(),
        (_, Some(error)) => format!(", failing ({})", printable(error)),
        (_, None) => ", failing".to_owned(),
    };
    let (used, max) = (spool.bytes >> 20, spool.max_bytes >> 20);
    let recovered = spool.recovered;
    format!("{mode}{health}, {used} MiB of {max} MiB, {recovered} spans and session events recovered")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_line_of_a_spool_that_fails_says_why() {
        let line = |health: &str, error: Option<&str>| {
            let status = json!({
                "mode": "through", "path": "/spool", "health": health, "error": error, "since": null, "bytes": 3 << 20,
                "max_bytes": 9 << 20, "rows": 1, "spans": 1, "session_events": 0, "oldest": null, "recovered": 7,
                "expired": 0, "set_aside": [],
            });
            of_spool(&serde_json::from_value(status).expect("a status"))
        };
        let rest = "3 MiB of 9 MiB, 7 spans and session events recovered";
        assert_eq!(line("working", None), format!("through, {rest}"));
        assert_eq!(line("full", None), format!("through, full, {rest}"));
        assert_eq!(
            line("failing", Some("open: read-only")),
            format!("through, failing (open: read-only), {rest}")
        );
    }
}
