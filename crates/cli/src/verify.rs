//! `verify`: runs random programs and reports every leak.

use std::io::Write;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::Args;
use tracer_registry::text::printable;
use tracer_registry_testing::{Failure, FindingKind, SideReport, Verify, VerifyReport, verify};

use super::error::{CliError, Outcome};
use super::json;
use super::table::{self, Align};

/// Findings of a failure that are printed.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command")]
pub(crate) struct Arguments {
    /// Seed of the random programs; the same seed generates the same ones
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Tenants in the first of the two registries
    #[arg(long, value_name = "N", default_value = "12")]
    tenants: NonZeroUsize,
    /// Operations to run; with --gateway, requests
    #[arg(
        long,
        value_name = "N",
        default_value = "20000",
        default_value_if("gateway", "true", "1500")
    )]
    operations: NonZeroUsize,
    /// Threads that use the same tracers concurrently, at most 256
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Run for this many seconds instead of a number of operations
    #[arg(long, value_name = "N", conflicts_with = "operations")]
    seconds: Option<NonZeroU64>,
    /// Also run the programs on plain SDK providers; the exit code ignores them
    #[arg(long, conflicts_with = "gateway")]
    peer: bool,
    /// Run random requests of concurrent clients on a gateway, which this program starts
    #[arg(long)]
    gateway: bool,
    /// Run the requests on three replicas of the gateway, which share a stream on NATS servers: the
    /// program of the variable NATS_SERVER, or nats-server on the path
    #[cfg(feature = "jetstream")]
    #[arg(long, requires = "gateway")]
    cluster: bool,
    /// Also disturb the registries: evictions, reloads, removed tenants, rotated keys; with
    /// --gateway also rotated tokens, faults of the receiver and restarts; with --cluster also
    /// kills of replicas and servers
    #[arg(long)]
    chaos: bool,
    /// Seconds until a program, with its checks, counts as hung
    #[arg(long, value_name = "N", default_value = "300")]
    limit: NonZeroU64,
    /// Print only JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let options = Verify::new()
        .seed(arguments.seed)
        .tenants(arguments.tenants.get())
        .operations(arguments.operations.get())
        .threads(arguments.threads.into())
        .peer(arguments.peer)
        .chaos(arguments.chaos)
        .limit(Duration::from_secs(arguments.limit.get()));
    let options = match arguments.seconds {
        Some(seconds) => options.duration(Duration::from_secs(seconds.get())),
        None => options,
    };
    #[cfg(feature = "jetstream")]
    let options = options.cluster(arguments.cluster);
    let options = if arguments.gateway {
        options.gateway(std::env::current_exe()?)
    } else {
        options
    };
    let report = verify(&options)?;
    if arguments.json {
        json::write(out, &report)?;
    } else {
        show(out, &report)?;
    }
    Ok(Outcome::success_if(report.is_clean()))
}

fn show(out: &mut impl Write, report: &VerifyReport) -> Result<(), CliError> {
    writeln!(
        out,
        "{} operations in {} {} on {} tracers of {}, {} concurrent {}\n",
        report.total_operations(),
        report.rounds,
        if report.rounds == 1 { "program" } else { "programs" },
        report.tracers,
        match (report.gateway, report.cluster) {
            (_, Some(_)) => "3 replicas of a gateway",
            (Some(_), None) => "a gateway",
            (None, None) => "2 registries",
        },
        report.threads,
        if report.gateway.is_some() { "clients" } else { "threads" },
    )?;
    let kinds: Vec<[String; 2]> = report
        .operations
        .iter()
        .map(|(kind, count)| [(*kind).to_owned(), count.to_string()])
        .collect();
    table::write(out, [("operation", Align::Left), ("count", Align::Right)], &kinds)?;
    writeln!(out)?;
    show_sides(out, report)?;
    if let Some(chaos) = report.chaos {
        writeln!(
            out,
            "\nchaos: {} tracers evicted, {} created above the pool limit, {} requests refused for an old key",
            chaos.evicted, chaos.grown, chaos.refused
        )?;
    }
    if let Some(gateway) = report.gateway {
        writeln!(
            out,
            "\ngateway: {} restarts, {} kills, {} items sent again, {} answers without room, {} requests without an answer; \
             receiver: {} requests refused for an old key, {} with another fault",
            gateway.restarts,
            gateway.kills,
            gateway.repeated,
            gateway.no_room,
            gateway.unanswered,
            gateway.refused_keys,
            gateway.receiver_faults
        )?;
    }
    if let Some(cluster) = report.cluster {
        writeln!(
            out,
            "stream: {} servers killed, {} items acknowledged, {} without an acknowledgement in time, {} received twice and \
             sent once",
            cluster.server_kills, cluster.published, cluster.unconfirmed, cluster.duplicates
        )?;
    }
    writeln!(out)?;
    if let Some(failure) = &report.failure {
        show_failure(out, failure)?;
    }
    let colour = if report.is_clean() { "32" } else { "31" };
    writeln!(out, "\x1b[{colour}m{}\x1b[0m", printable(&report.to_string()))?;
    Ok(())
}

fn show_sides(out: &mut impl Write, report: &VerifyReport) -> Result<(), CliError> {
    let counts = |side: &SideReport| {
        let mut counts = vec![
            ("spans received".to_owned(), side.spans.to_string()),
            ("sessions".to_owned(), side.sessions.to_string()),
            ("enrichments".to_owned(), side.enrichments.to_string()),
            ("requests".to_owned(), side.requests.to_string()),
            ("bytes scanned".to_owned(), side.bytes.to_string()),
            ("seconds running".to_owned(), format!("{:.2}", side.running_seconds)),
            ("seconds delivering".to_owned(), format!("{:.2}", side.flushing_seconds)),
            ("seconds checking".to_owned(), format!("{:.2}", side.checking_seconds)),
        ];
        counts.extend(FindingKind::ALL.map(|kind| (kind.to_string(), side.count(kind).to_string())));
        counts
    };
    let ours = counts(&report.ours);
    match report.peer.as_ref().map(counts) {
        None => {
            let rows: Vec<[String; 2]> = ours.into_iter().map(|(what, count)| [what, count]).collect();
            table::write(out, [("result", Align::Left), ("this crate", Align::Right)], &rows)?;
        }
        Some(peer) => {
            let rows: Vec<[String; 3]> = ours
                .into_iter()
                .zip(peer)
                .map(|((what, ours), (_, peer))| [what, ours, peer])
                .collect();
            let columns = [
                ("result", Align::Left),
                ("this crate", Align::Right),
                ("plain providers", Align::Right),
            ];
            table::write(out, columns, &rows)?;
        }
    }
    Ok(())
}

fn show_failure(out: &mut impl Write, failure: &Failure) -> Result<(), CliError> {
    let heading = if failure.reproduced {
        "shortest failing program"
    } else {
        "failing program (it did not fail again)"
    };
    writeln!(out, "{heading}:\n")?;
    for line in failure.program.lines() {
        writeln!(out, "{}", printable(line))?;
    }
    for finding in failure.findings.iter().take(SHOWN) {
        writeln!(out, "{}", printable(&finding.to_string()))?;
    }
    if let Some(more) = failure.findings.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        writeln!(out, "and {more} more")?;
    }
    writeln!(out, "\nreproduce with: {}\n", printable(&failure.command))?;
    Ok(())
}
