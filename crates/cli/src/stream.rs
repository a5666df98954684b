//! `stream init`: creates the streams of `[gateway.stream]`, and shows what differs.
//! `stream bindings`: bindings of tenants that all replicas share.

use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tokio::runtime::Builder;
use tracer_registry::config::{Binding, Config};
use tracer_registry::selector::Slug;
use tracer_registry::text::printable;
use tracer_registry_stream::{Difference, Found, InitReport, Mode, OpenError, Server, StreamOptions, ThingKind};

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
    /// Show or change the bindings of tenants that all replicas share
    #[command(subcommand)]
    Bindings(Bindings),
}

#[derive(Debug, Subcommand)]
enum Bindings {
    /// Show the tenants
    List(Configuration),
    /// Add or replace the binding of a tenant
    Put {
        /// Tenant
        tenant: Slug,
        /// JSON file with what a table `[tenants.<tenant>]` contains
        file: PathBuf,
        #[command(flatten)]
        configuration: Configuration,
    },
    /// Remove the binding of a tenant
    Remove {
        /// Tenant
        tenant: Slug,
        #[command(flatten)]
        configuration: Configuration,
    },
}

#[derive(Debug, Args)]
struct Configuration {
    /// Configuration file, or a folder that contains default.toml and gateway.toml
    #[arg(long, value_name = "FILE", default_value = "config")]
    config: PathBuf,
}

/// Largest file with a binding.
const MAX_BINDING: u64 = 256 << 10;

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
    match &arguments.command {
        Command::Init(arguments) => init(arguments, out),
        Command::Bindings(command) => bindings(command, out),
    }
}

fn options(config: &Path) -> Result<StreamOptions, CliError> {
    options_of(&load(config)?)
}

fn load(config: &Path) -> Result<Config, CliError> {
    Config::load_for_gateway(config).map_err(CliError::Config)
}

fn options_of(config: &Config) -> Result<StreamOptions, CliError> {
    tracer_registry_gateway::stream_options(config).map_err(CliError::Config)
}

fn run_to_end<T>(future: impl Future<Output = Result<T, OpenError>>) -> Result<T, CliError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(OpenError::Thread)?.block_on(future)?)
}

fn bindings(command: &Bindings, out: &mut impl Write) -> Result<Outcome, CliError> {
    match command {
        Bindings::List(Configuration { config }) => {
            let options = options(config)?;
            for tenant in run_to_end(tracer_registry_stream::list_bindings(&options))? {
                writeln!(out, "{}", printable(&tenant))?;
            }
        }
        Bindings::Put {
            tenant,
            file,
            configuration,
        } => {
            let config = load(&configuration.config)?;
            let options = options_of(&config)?;
            let json = read_binding(&config, tenant, file)?;
            let put = tracer_registry_stream::put_binding(&options, tenant.as_str(), json.into());
            run_to_end(put)?;
            writeln!(out, "all replicas use the binding of {tenant} within a second")?;
        }
        Bindings::Remove { tenant, configuration } => {
            let options = options(&configuration.config)?;
            let removed = run_to_end(tracer_registry_stream::remove_binding(&options, tenant.as_str()))?;
            let outcome = if removed { "removed" } else { "there was none" };
            writeln!(out, "{tenant}: {outcome}")?;
            return Ok(Outcome::success_if(removed));
        }
    }
    Ok(Outcome::success_if(true))
}

/// Reads and checks a binding, as a replica with this configuration does.
fn read_binding(config: &Config, tenant: &Slug, file: &Path) -> Result<Vec<u8>, CliError> {
    let mut json = Vec::new();
    let opened = File::open(file);
    let read = opened.and_then(|opened| opened.take(MAX_BINDING + 1).read_to_end(&mut json));
    let faulty = |why: String| CliError::Binding(format!("{}: {why}", printable(&file.display().to_string())));
    read.map_err(|error| faulty(error.to_string()))?;
    if json.len() as u64 > MAX_BINDING {
        return Err(faulty(format!("larger than {MAX_BINDING} bytes")));
    }
    let value = serde_json::from_slice(&json).map_err(|error| faulty(format!("no JSON: {error}")))?;
    let binding = Binding::from_json(value).map_err(|error| faulty(error.to_string()))?;
    config.check_binding(tenant, binding).map_err(faulty)?;
    Ok(json)
}

fn init(arguments: &InitArguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let options = options(&arguments.config)?;
    let mode = match (arguments.check, arguments.update) {
        (true, _) => Mode::Check,
        (false, true) => Mode::Update,
        (false, false) => Mode::Create,
    };
    let report = run_to_end(tracer_registry_stream::init(&options, mode))?;
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
