//! `schema`: the JSON Schema of the configuration.

use std::io::Write;

use tracer_registry::config::json_schema;

use super::Outcome;
use super::error::CliError;

pub(super) fn run(out: &mut impl Write) -> Result<Outcome, CliError> {
    serde_json::to_writer_pretty(&mut *out, &json_schema())?;
    writeln!(out)?;
    Ok(Outcome::Well)
}
