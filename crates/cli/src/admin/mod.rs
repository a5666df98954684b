//! `admin`: asks a running gateway, or tells it to do something.

mod actions;
pub(crate) mod connect;
mod pages;
mod tenants;

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracer_registry::text::printable;

use super::error::{CliError, Outcome};
use super::json;
use connect::{Connection, Gateway, encoded};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List tenants, page by page
    Tenants(Tenants),
    /// Show one tenant: its key, destination, counts and errors
    Tenant(Selected),
    /// List the last batches of a tenant that its receiver refused, with the receiver's words
    Refused(Selected),
    /// List callers with their requests and refusals
    Callers(Callers),
    /// List receivers with the tenants that send there
    Endpoints,
    /// Show the running configuration
    Config,
    /// List what needs an operator; exits with 1 if one of it is an error
    Attention,
    /// Print each change of state until ctrl-c
    Events(Events),
    /// Print the metrics in Prometheus text
    Metrics,
    /// Read the configuration again
    Reload,
    /// Send what a tenant has queued, and wait for it
    Flush(Flush),
    /// Stop sending for a tenant; its data keeps queueing
    Pause(Selected),
    /// Send again for a paused tenant
    Resume(Selected),
    /// Remove the tracer of a tenant; the next data creates a new one
    Remove(Selected),
    /// Read the key of a tenant again and use it
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Selected {
    /// Name of a tenant, or a selector such as feature:search,tenant:acme
    #[arg(value_name = "SELECTOR")]
    selector: String,
}

#[derive(Debug, Args)]
struct Tenants {
    /// Order: by name, or the largest number or age first
    #[arg(long, value_enum, default_value_t = Order::Selector)]
    order: Order,
    /// List only these
    #[arg(long, value_enum, default_value_t = Only::All)]
    only: Only,
    /// List only selectors that contain this text
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Continue after this position, which the page before shows at its end
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// Most tenants to list, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Selector,
    QueuedBytes,
    Queued,
    Dropped,
    Delivered,
    OldestQueued,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Only {
    All,
    Failing,
    Paused,
}

#[derive(Debug, Args)]
struct Callers {
    /// List only callers with this text in their name
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Continue after this caller
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// Most callers to list, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

#[derive(Debug, Args)]
struct Events {
    /// Begin after the change with this number; 0 begins with the oldest that is kept
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
}

#[derive(Debug, Args)]
struct Flush {
    #[command(flatten)]
    of: Selected,
    /// Longest time to wait, up to 30s
    #[arg(long, value_name = "TIME", default_value = "5s")]
    timeout: String,
}

#[derive(Debug, Args)]
struct Rotate {
    #[command(flatten)]
    of: Selected,
    /// Read the key and try it at the receiver, and change nothing
    #[arg(long)]
    dry_run: bool,
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

/// Writes an answer as JSON or with `text`.
fn write<T: DeserializeOwned, W: Write>(
    answer: &Value,
    json: bool,
    out: &mut W,
    text: impl FnOnce(&T, &mut W) -> Result<(), CliError>,
) -> Result<(), CliError> {
    if json {
        return json::write(out, answer);
    }
    text(&T::deserialize(answer).map_err(CliError::Answer)?, out)
}

fn attention(gateway: &Gateway, json: bool, out: &mut impl Write) -> Result<Outcome, CliError> {
    let answer = gateway.get("/api/attention")?;
    write(&answer, json, out, pages::attention)?;
    let listed = answer["attention"].as_array().into_iter().flatten();
    let errors = listed.filter(|item| item["severity"] == "error").count();
    Ok(Outcome::success_if(errors == 0))
}

impl Selected {
    /// Returns the path of the selector, with what follows it.
    fn path(&self, rest: &str) -> String {
        format!("/api/tenants/{}{rest}", encoded(&self.selector))
    }
}

impl Tenants {
    fn path(&self) -> String {
        let order = match self.order {
            Order::Selector => "selector",
            Order::QueuedBytes => "queued_bytes",
            Order::Queued => "queued",
            Order::Dropped => "dropped",
            Order::Delivered => "delivered",
            Order::OldestQueued => "oldest_queued",
        };
        let only = match self.only {
            Only::All => "all",
            Only::Failing => "failing",
            Only::Paused => "paused",
        };
        let path = format!("/api/tenants?order={order}&only={only}&limit={}", self.limit);
        with_text(path, [("contains", &self.contains), ("after", &self.after)])
    }
}

impl Callers {
    fn path(&self) -> String {
        let path = format!("/api/callers?limit={}", self.limit);
        with_text(path, [("contains", &self.contains), ("after", &self.after)])
    }
}

/// Appends the parameters that are set.
fn with_text(mut path: String, parameters: [(&str, &Option<String>); 2]) -> String {
    for (name, value) in parameters {
        if let Some(value) = value {
            path = format!("{path}&{name}={}", encoded(value));
        }
    }
    path
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
