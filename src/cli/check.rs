//! `check`: every binding of a configuration, where its key comes from, and whether it works.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tracer_registry::{BuildError, CheckedBinding, Connection, Probe, TracerRegistry, printable};

use super::error::CliError;
use super::table::{self, Align};
use super::{Outcome, json};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration: a file, or a folder with a file called default
    #[arg(long, value_name = "FILE", default_value = "config")]
    config: PathBuf,
    /// Also send an empty export to each endpoint, and see whether it takes the key
    #[arg(long)]
    connect: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let registry = match TracerRegistry::from_config(&arguments.config) {
        Ok(registry) => registry,
        Err(BuildError::Config(faults)) if arguments.json => {
            let faults = faults.faults().iter();
            let faults =
                faults.map(|fault| json!({"file": fault.file(), "key": fault.key(), "message": fault.message()}));
            json::write_pretty(out, &json!({"faults": faults.collect::<Vec<_>>()}))?;
            return Ok(Outcome::Fault);
        }
        Err(error) => return Err(error.into()),
    };
    let checked = registry.check(if arguments.connect { Probe::Connect } else { Probe::Keys });
    if arguments.json {
        json::write_pretty(out, &json!({"bindings": checked}))?;
    } else {
        write_table(out, &checked)?;
    }
    let faulty = checked.iter().any(CheckedBinding::is_faulty);
    Ok(if faulty { Outcome::Fault } else { Outcome::Well })
}

fn write_table(out: &mut impl Write, checked: &[CheckedBinding]) -> Result<(), CliError> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 5]> = checked
        .iter()
        .map(|binding| {
            let fingerprint = binding.fingerprint.map(|fingerprint| fingerprint.to_string());
            [
                binding.selector.clone(),
                text(&binding.key_source),
                text(&fingerprint),
                text(&binding.endpoint),
                result(binding),
            ]
        })
        .collect();
    let columns = [
        ("binding", Align::Left),
        ("key from", Align::Left),
        ("fingerprint", Align::Left),
        ("endpoint", Align::Left),
        ("result", Align::Left),
    ];
    table::write(out, columns, &rows)?;
    for binding in checked {
        for warning in &binding.warnings {
            let warning = format!("{}: {warning}", binding.selector);
            writeln!(out, "warning: {}", printable(&warning))?;
        }
    }
    let faulty = checked.iter().filter(|binding| binding.is_faulty()).count();
    writeln!(out, "{} bindings, {faulty} with a fault", checked.len())?;
    Ok(())
}

fn result(binding: &CheckedBinding) -> String {
    match (&binding.error, &binding.connection) {
        (Some(error), _) => error.to_string(),
        (None, Connection::NotTried) if binding.fingerprint.is_none() => "for any other tenant".to_owned(),
        (None, Connection::NotTried) => "ok".to_owned(),
        (None, Connection::Accepted) => "ok, the endpoint takes the key".to_owned(),
        (None, Connection::Failed(error)) => error.to_string(),
    }
}
