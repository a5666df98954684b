//! `demo`: the main job, shown. Tenants, environments, features and an A/B test in one service;
//! every span is read back from the collector and held against what the service made.

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
use super::signal::interrupted;
use super::table::{self, Align};
use audit::{Findings, audit};
use setup::World;
use tally::Tally;

/// How long everything may take to be delivered.
const FLUSH: Duration = Duration::from_secs(30);
/// The project whose trace is shown.
const SHOWN: &str = "tenant:acme";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many requests the service is asked
    #[arg(long, value_name = "N", default_value_t = 300)]
    requests: u64,
    /// Print JSON and nothing else
    #[arg(long)]
    json: bool,
    /// Leave the collector up until interrupted
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let world = World::new()?;
    let tally = Tally::default();
    // Every project is looked up once, so that one without requests is shown too.
    for selector in World::selectors() {
        world.registry.get(&selector)?;
    }
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    runtime.block_on(service::serve_and_ask(
        world.registry.clone(),
        tally.clone(),
        arguments.requests,
    ))?;
    let report = world.registry.force_flush(FLUSH);
    let took = started.elapsed();
    let findings = audit(&world.collector, &tally.made());
    let well = findings.lost == 0 && findings.leaked == 0 && report.is_complete();
    if arguments.json {
        json::write(out, &findings)?;
    } else {
        show(out, arguments, &findings, &report, &world.collector, took)?;
    }
    out.flush()?;
    if arguments.keep {
        keep(out, arguments, &world.collector)?;
    }
    Ok(Outcome::well_if(well))
}

fn show(
    out: &mut impl Write,
    arguments: &Arguments,
    findings: &Findings,
    report: &Report,
    collector: &LocalCollector,
    took: Duration,
) -> Result<(), CliError> {
    let spans: u64 = findings.projects.iter().map(|row| row.spans_sent).sum();
    writeln!(
        out,
        "{} requests over HTTP for 3 tenants, traced by {} tracers of one process: {spans} spans in {:.2} s\n",
        arguments.requests,
        findings.projects.len(),
        took.as_secs_f64()
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
        ("project of", Align::Left),
        ("key", Align::Left),
        ("sessions", Align::Right),
        ("traces", Align::Right),
        ("spans sent", Align::Right),
        ("received", Align::Right),
        ("foreign", Align::Right),
    ];
    table::write(out, columns, &rows)?;
    let shown = collector
        .project(SHOWN)
        .and_then(|project| project.traces().into_iter().next());
    if let Some(trace) = shown {
        writeln!(
            out,
            "\na trace of {SHOWN}, in which spans of three other tracers were made:\n\n{}",
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

fn keep(out: &mut impl Write, arguments: &Arguments, collector: &LocalCollector) -> Result<(), CliError> {
    let (sender, interrupt) = mpsc::channel();
    // The end of the channel is the signal; nothing is sent through it. Listened for before the message.
    interrupted(move || drop::<mpsc::Sender<()>>(sender))?;
    let message = format!("the collector stays up: {}/api/projects; ctrl-c ends", collector.url());
    // With --json, standard output is one document and nothing else.
    if arguments.json {
        writeln!(anstream::stderr(), "{message}")?;
    } else {
        writeln!(out, "{message}")?;
        out.flush()?;
    }
    while interrupt.recv().is_ok() {}
    Ok(())
}
