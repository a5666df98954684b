//! `schema`: the JSON Schema of the configuration.

use std::io::Write;

use tracer_registry::config::json_schema;

use super::error::{CliError, Outcome};
use super::json;

pub(super) fn run(out: &mut impl Write) -> Result<Outcome, CliError> {
    json::write_pretty(out, &json_schema())?;
    Ok(Outcome::Well)
}
