//! `demo`: one service with tenants, environments, features and an A/B test. Reads every span back
//! from the collector and compares it with what the service made.

mod audit;
mod service;
mod setup;
mod tally;

use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;
use tracer_registry::report::Report;
use tracer_registry::text::printable;
use tracer_registry_collector::LocalCollector;

use super::error::{CliError, Outcome};
use super::json;
use super::signal::on_interrupt;
use super::table::{self, Align};
use audit::{Findings, audit};
use setup::Setup;
use tally::Tally;

/// Time limit for the delivery of all spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// Project of the trace that is printed.
const SHOWN_PROJECT: &str = "tenant:acme";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Requests to send to the service
    #[arg(long, value_name = "N", default_value_t = 300)]
    requests: u64,
    /// Print only JSON
    #[arg(long)]
    json: bool,
    /// Keep the collector running until interrupted
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let setup = Setup::new()?;
    let tally = Tally::default();
    // Look up every project once, so that the table also lists those without requests.
    for selector in Setup::selectors() {
        setup.registry.get(&selector)?;
    }
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    runtime.block_on(service::serve_and_ask(
        setup.registry.clone(),
        tally.clone(),
        arguments.requests,
    ))?;
    let report = setup.registry.force_flush(FLUSH_TIMEOUT);
    let elapsed = started.elapsed();
    let findings = audit(&setup.collector, &tally.made());
    let success = findings.lost == 0 && findings.leaked == 0 && report.is_complete();
    if arguments.json {
        json::write(out, &findings)?;
    } else {
        show(out, arguments, &findings, &report, &setup.collector, elapsed)?;
    }
    out.flush()?;
    if arguments.keep {
        keep_running(out, arguments, &setup.collector)?;
    }
    Ok(Outcome::success_if(success))
}

fn show(
    out: &mut impl Write,
    arguments: &Arguments,
    findings: &Findings,
    report: &Report,
    collector: &LocalCollector,
    elapsed: Duration,
) -> Result<(), CliError> {
    let spans: u64 = findings.projects.iter().map(|row| row.spans_sent).sum();
    writeln!(
        out,
        "{} HTTP requests for 3 tenants, traced by {} tracers in one process: {spans} spans in {:.2} s\n",
        arguments.requests,
        findings.projects.len(),
        elapsed.as_secs_f64()
    )?;
    let rows: Vec<[String; 7]> = findings
        .projects
        .iter()
        .map(|row| {
            [
                row.selector.clone(),
                row.fingerprint.to_string(),
                row.sessions.to_string(),
                row.traces.to_string(),
                row.spans_sent.to_string(),
                row.spans_received.to_string(),
                row.spans_foreign.to_string(),
            ]
        })
        .collect();
    let columns = [
        ("project", Align::Left),
        ("fingerprint", Align::Left),
        ("sessions", Align::Right),
        ("traces", Align::Right),
        ("spans sent", Align::Right),
        ("received", Align::Right),
        ("foreign", Align::Right),
    ];
    table::write(out, columns, &rows)?;
    let shown = collector
        .project(SHOWN_PROJECT)
        .and_then(|project| project.traces().into_iter().next());
    if let Some(trace) = shown {
        writeln!(
            out,
            "\none trace of {SHOWN_PROJECT} (spans that other tracers made during it are in their own projects):\n\n{}",
            trace.tree()
        )?;
    }
    let (colour, word) = if findings.lost + findings.leaked == 0 {
        ("32", "isolated")
    } else {
        ("31", "NOT ISOLATED")
    };
    writeln!(
        out,
        "\x1b[{colour}m{word}\x1b[0m: {} lost, {} leaked",
        findings.lost, findings.leaked
    )?;
    if !report.is_complete() {
        writeln!(out, "not delivered:")?;
        for line in report.to_string().lines() {
            writeln!(out, "{}", printable(line))?;
        }
    }
    Ok(())
}

fn keep_running(out: &mut impl Write, arguments: &Arguments, collector: &LocalCollector) -> Result<(), CliError> {
    let (sender, interrupt) = mpsc::channel();
    // The dropped sender is the signal. Install the handler before printing, so that a reader of
    // the message can stop the program.
    on_interrupt(move || drop::<mpsc::Sender<()>>(sender))?;
    let url = collector.url();
    let message = format!("the collector keeps running (ctrl-c to stop): {url}/");
    // With --json, standard output contains only the document.
    if arguments.json {
        writeln!(anstream::stderr(), "{message}")?;
    } else {
        writeln!(out, "{message}")?;
        out.flush()?;
    }
    while interrupt.recv().is_ok() {}
    Ok(())
}
