//! `stream init`: creates the streams of `[gateway.stream]`, and shows what differs.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tokio::runtime::Builder;
use tracer_registry::config::Config;
use tracer_registry::text::printable;
use tracer_registry_stream::{Difference, Found, InitReport, Mode, OpenError, Server, ThingKind};

use super::error::{CliError, Outcome};
use super::table::{self, Align};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the streams, consumers and buckets that are missing, and show what differs from the
    /// configuration
    Init(InitArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "The exit code is 1 if something is missing or differs, or a gateway would not start.")]
struct InitArguments {
    /// Configuration file, or a folder that contains default.toml and gateway.toml
    #[arg(long, value_name = "FILE", default_value = "config")]
    config: PathBuf,
    /// Create and change nothing
    #[arg(long, conflicts_with = "update")]
    check: bool,
    /// Also change what differs, if the servers allow it
    #[arg(long)]
    update: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let Command::Init(arguments) = &arguments.command;
    let config = Config::load_for_gateway(&arguments.config).map_err(CliError::Config)?;
    let options = tracer_registry_gateway::stream_options(&config).map_err(CliError::Config)?;
    let mode = match (arguments.check, arguments.update) {
        (true, _) => Mode::Check,
        (false, true) => Mode::Update,
        (false, false) => Mode::Create,
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(OpenError::Thread)?;
    let report = runtime.block_on(tracer_registry_stream::init(&options, mode))?;
    write(&report, out)?;
    Ok(Outcome::success_if(report.is_as_configured()))
}

fn write(report: &InitReport, out: &mut impl Write) -> Result<(), CliError> {
    let left = Align::Left;
    let rows: Vec<[String; 4]> = report.servers.iter().map(server).collect();
    if !rows.is_empty() {
        let columns = [("SERVER", left), ("MONITOR", left), ("VERSION", left), ("SYNC", left)];
        table::write(out, columns, &rows)?;
        writeln!(out)?;
    }
    let [mut as_configured, mut created, mut updated, mut differ] = [0; 4];
    let mut rows = Vec::new();
    for thing in &report.things {
        let kind = match thing.kind {
            ThingKind::Stream => "stream",
            ThingKind::Consumer => "consumer",
            ThingKind::Bucket => "bucket",
        };
        let row = |state: &str, detail: String| [kind.to_owned(), thing.name.clone(), state.to_owned(), detail];
        match &thing.found {
            // Many, and all equal.
            Found::AsConfigured => as_configured += 1,
            Found::Missing => {
                differ += 1;
                rows.push(row("missing", String::new()));
            }
            Found::Created => {
                created += 1;
                rows.push(row("created", String::new()));
            }
            Found::Updated(differences) => {
                updated += 1;
                rows.extend(differences.iter().map(|difference| row("updated", detail(difference))));
            }
            Found::Differs { differences, refused } => {
                differ += 1;
                rows.extend(differences.iter().map(|difference| row("differs", detail(difference))));
                rows.extend(refused.iter().map(|why| row("not updated", why.clone())));
            }
        }
    }
    if !rows.is_empty() {
        table::write(
            out,
            [("KIND", left), ("NAME", left), ("STATE", left), ("DETAIL", left)],
            &rows,
        )?;
        writeln!(out)?;
    }
    writeln!(
        out,
        "{as_configured} as configured, {created} created, {updated} updated, {differ} missing or different"
    )?;
    if let Some(why) = &report.refused {
        writeln!(out, "a gateway would not start: {}", printable(why))?;
    }
    Ok(())
}

fn server(server: &Server) -> [String; 4] {
    let url = server.url.clone();
    match &server.state {
        Ok(state) => {
            let sync = if state.sync_always { "always" } else { "not each write" };
            [state.name.clone(), url, state.version.clone(), sync.to_owned()]
        }
        Err(error) => ["?".to_owned(), url, String::new(), error.clone()],
    }
}

fn detail(difference: &Difference) -> String {
    let Difference { field, is, should, .. } = difference;
    format!("{field} is {is}, should be {should}")
}
