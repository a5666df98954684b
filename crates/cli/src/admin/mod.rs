//! `admin`: reads from a running gateway, and controls it.

pub(crate) mod actions;
pub(crate) mod arguments;
mod cluster;
pub(crate) mod connect;
mod pages;
mod tenants;

use std::io::Write;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracer_registry::text::printable;

use super::error::{CliError, Outcome};
use arguments::{Command, Events};
use connect::{Connection, Gateway, write};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let Arguments { connection, command } = arguments;
    let json = connection.json;
    if json && matches!(command, Command::Metrics) {
        return Err(CliError::NoJson);
    }
    let gateway = Gateway::connect(connection)?;
    match command {
        Command::Tenants(tenants) => page(&gateway, &tenants.path(), json, out, tenants::write),
        Command::Tenant(of) => page(&gateway, &of.path(""), json, out, tenants::write_one),
        Command::Refused(of) if json => page(&gateway, &of.path("/refused"), json, out, pages::refused),
        Command::Refused(of) => page(&gateway, &of.path("/refused?body=false"), json, out, pages::refused),
        Command::Callers(callers) => page(&gateway, &callers.path(), json, out, pages::callers),
        Command::Endpoints => page(&gateway, "/api/endpoints", json, out, pages::endpoints),
        Command::Spool => page(&gateway, "/api/spool", json, out, pages::config),
        Command::Cluster => page(&gateway, "/api/cluster", json, out, cluster::write),
        Command::Stream => page(&gateway, "/api/stream", json, out, pages::config),
        Command::Config => page(&gateway, "/api/config", json, out, pages::config),
        Command::Attention => attention(&gateway, json, out),
        Command::Events(events) => events.follow(&gateway, json, out),
        Command::Metrics => {
            for line in gateway.get_text("/metrics")?.lines() {
                writeln!(out, "{}", printable(line))?;
            }
            Ok(Outcome::Success)
        }
        action => actions::run(action, &gateway, json, out),
    }
}

/// Gets a page and writes it as JSON or with `text`.
fn page<T: DeserializeOwned, W: Write>(
    gateway: &Gateway,
    path: &str,
    json: bool,
    out: &mut W,
    text: impl FnOnce(&T, &mut W) -> Result<(), CliError>,
) -> Result<Outcome, CliError> {
    write(&gateway.get(path)?, json, out, text).map(|()| Outcome::Success)
}

fn attention(gateway: &Gateway, json: bool, out: &mut impl Write) -> Result<Outcome, CliError> {
    let answer = gateway.get("/api/attention")?;
    write(&answer, json, out, pages::attention)?;
    let listed = answer["attention"].as_array().into_iter().flatten();
    let errors = listed.filter(|item| item["severity"] == "error").count();
    Ok(Outcome::success_if(errors == 0))
}

impl Events {
    /// Prints changes until ctrl-c, or until the gateway ends.
    fn follow(&self, gateway: &Gateway, json: bool, out: &mut impl Write) -> Result<Outcome, CliError> {
        let path = match self.after {
            Some(after) => format!("/api/events?after={after}"),
            None => "/api/events".to_owned(),
        };
        gateway.follow(&path, |line| {
            if line.is_empty() {
                return Ok(());
            }
            let change: Value = serde_json::from_str(line).map_err(CliError::Answer)?;
            write(&change, json, out, pages::change)?;
            Ok(out.flush()?)
        })?;
        Ok(Outcome::Success)
    }
}
