//! `check`: lists each binding of a configuration and tests its key and connection.

use std::io::Write;
use std::path::PathBuf;

use anstream::stderr;
use clap::{Args, ValueEnum};
use serde_json::json;
use tracer_registry::check::{CheckMode, CheckedBinding, ConnectionCheck};
use tracer_registry::text::printable;
use tracer_registry::{BuildError, TracerRegistry};

use super::error::{CliError, Outcome};
use super::json;
use super::table::{self, Align};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration file, or a folder that contains default.toml
    #[arg(long, value_name = "FILE", default_value = "config")]
    config: PathBuf,
    /// Also connect to each endpoint. An empty export checks only the key; a span checks the
    /// project
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "key")]
    connect: Option<Connect>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Request that is sent to each endpoint.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Connect {
    /// Send an empty export with each key
    Key,
    /// Send one span named tracer_registry.check to each project
    Send,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let registry = match TracerRegistry::from_config(&arguments.config) {
        Ok(registry) => registry,
        Err(BuildError::Config(error)) if arguments.json => {
            let problems = error.problems().iter();
            let problems = problems
                .map(|problem| json!({"file": problem.file(), "key": problem.key(), "message": problem.message()}));
            json::write_pretty(out, &json!({"faults": problems.collect::<Vec<_>>()}))?;
            return Ok(Outcome::Failure);
        }
        Err(error) => return Err(error.into()),
    };
    let mode = match arguments.connect {
        None => CheckMode::Keys,
        Some(Connect::Key) => CheckMode::Connect,
        Some(Connect::Send) => {
            // On standard error, because the output may be JSON.
            let note =
                "sending one span named tracer_registry.check to the project of each binding with a readable key";
            writeln!(stderr(), "{note}")?;
            CheckMode::Send
        }
    };
    let checked = registry.check(mode);
    if arguments.json {
        json::write_pretty(out, &json!({"bindings": checked}))?;
    } else {
        write_table(out, &checked)?;
    }
    let faulty = checked.iter().any(CheckedBinding::is_faulty);
    Ok(Outcome::success_if(!faulty))
}

fn write_table(out: &mut impl Write, checked: &[CheckedBinding]) -> Result<(), CliError> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 6]> = checked
        .iter()
        .map(|binding| {
            let fingerprint = binding.fingerprint.map(|fingerprint| fingerprint.to_string());
            [
                binding.selector.clone(),
                text(&binding.key_source),
                text(&fingerprint),
                text(&binding.endpoint),
                text(&binding.project),
                result(binding),
            ]
        })
        .collect();
    let columns = [
        ("binding", Align::Left),
        ("key source", Align::Left),
        ("fingerprint", Align::Left),
        ("endpoint", Align::Left),
        ("project", Align::Left),
        ("result", Align::Left),
    ];
    table::write(out, columns, &rows)?;
    for binding in checked {
        for warning in &binding.warnings {
            let warning = format!("{}: {warning}", binding.selector);
            writeln!(out, "warning: {}", printable(&warning))?;
        }
    }
    if checked
        .iter()
        .any(|binding| binding.connection == ConnectionCheck::Accepted)
    {
        writeln!(
            out,
            "note: an empty export checks only the key; use --connect=send to check that each project accepts spans"
        )?;
    }
    let failed = checked.iter().filter(|binding| binding.is_faulty()).count();
    let bindings = if checked.len() == 1 { "binding" } else { "bindings" };
    writeln!(out, "{} {bindings}, {failed} failed", checked.len())?;
    Ok(())
}

fn result(binding: &CheckedBinding) -> String {
    match (&binding.error, &binding.connection) {
        (Some(error), _) => error.to_string(),
        (None, ConnectionCheck::NotTried) if binding.fingerprint.is_none() => "applies to any other tenant".to_owned(),
        (None, ConnectionCheck::NotTried) => "ok".to_owned(),
        (None, ConnectionCheck::Accepted) => "ok, the endpoint accepted the key".to_owned(),
        (None, ConnectionCheck::Delivered) => "ok, the endpoint accepted a span".to_owned(),
        (None, ConnectionCheck::Failed(error)) => error.to_string(),
        (None, ConnectionCheck::NotDelivered { fate, error }) => format!("the span is {fate}: {error}"),
        (None, other) => format!("{other:?}"),
    }
}
