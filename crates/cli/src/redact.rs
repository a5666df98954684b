//! `redact`: shows what the rules of a tenant leave of a request, and sends nothing.

use std::io::{self, Read as _, Write};
use std::path::PathBuf;

use anstream::stderr;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tracer_registry::config::Config;
use tracer_registry::ingest::{Redacted, Traces};
use tracer_registry::selector::SelectorBuilder;
use tracer_registry::text::printable;
use tracer_registry::{Selector, TracerRegistry};
use tracer_registry_gateway::config::Settings;
use tracer_registry_gateway::traces_from_json;

use super::error::{CliError, Outcome};
use super::json;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration file, or a folder that contains default.toml or gateway.toml
    #[arg(long, value_name = "FILE", default_value = "config")]
    config: PathBuf,
    #[command(flatten)]
    of: Parts,
    /// Format of the request. Default: JSON if it starts with { and ends with }
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Format to print
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "json")]
    output: Format,
}

/// The selector.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Parts {
    /// Name of a tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Name of an environment
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Option<String>,
    /// Name of a feature
    #[arg(long, value_name = "FEATURE")]
    feature: Option<String>,
}

/// A format of an OTLP trace request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// OTLP/JSON
    Json,
    /// Protobuf: an ExportTraceServiceRequest
    Protobuf,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let selector = arguments.of.selector()?;
    let config = Config::load_for_gateway(&arguments.config).map_err(CliError::Config)?;
    let settings = if config.has_gateway() {
        Settings::read(&config).map_err(CliError::Config)?
    } else {
        Settings::default()
    };
    // A running process may use the files of the spool.
    let registry = TracerRegistry::builder().config(config).without_spool().build()?;
    let body = read(settings.max_request)?;
    let traces = traces(body, arguments.format)?;
    let spans = traces.spans();
    let redacted = registry
        .redact(&selector, traces)
        .map_err(|source| CliError::Redact(selector.clone(), Box::new(source)))?;
    report(&selector, spans, &redacted)?;
    let body = redacted.traces.into_protobuf();
    match arguments.output {
        Format::Json => {
            let request = ExportTraceServiceRequest::decode(body).map_err(CliError::Decode)?;
            json::write_pretty(out, &request)?;
        }
        // `out` removes what looks like colours.
        Format::Protobuf => io::stdout().lock().write_all(&body)?,
    }
    Ok(Outcome::Success)
}

/// Reads the request from standard input.
fn read(max: usize) -> Result<Bytes, CliError> {
    let mut body = Vec::new();
    let read = io::stdin().lock().take(max as u64 + 1).read_to_end(&mut body);
    read.map_err(CliError::Input)?;
    if body.len() > max {
        return Err(CliError::LargeInput(max));
    }
    Ok(body.into())
}

fn traces(body: Bytes, format: Option<Format>) -> Result<Traces, CliError> {
    if body.starts_with(&[0x1f, 0x8b]) {
        return Err(CliError::NoTraces("it is compressed with gzip".to_owned()));
    }
    let is_json = body.trim_ascii_start().starts_with(b"{") && body.trim_ascii_end().ends_with(b"}");
    let detected = if is_json { Format::Json } else { Format::Protobuf };
    match format.unwrap_or(detected) {
        Format::Json => traces_from_json(&body).map_err(|error| CliError::NoTraces(error.to_string())),
        Format::Protobuf => Traces::from_protobuf(body).map_err(|error| CliError::NoTraces(error.to_string())),
    }
}

/// Writes what was changed to standard error.
fn report(selector: &Selector, spans: usize, redacted: &Redacted) -> Result<(), CliError> {
    let mut err = stderr();
    let of_spans = if spans == 1 { "span" } else { "spans" };
    let rules = match redacted.rules.len() {
        0 => "no rules".to_owned(),
        1 => "1 rule".to_owned(),
        count => format!("{count} rules"),
    };
    writeln!(err, "{selector}: {spans} {of_spans}, {rules}")?;
    for (rule, count) in &redacted.rules {
        writeln!(err, "  {}: {}", printable(rule), values(*count, "changed"))?;
    }
    if redacted.unreadable > 0 {
        writeln!(
            err,
            "  no rule can be applied: {}",
            values(redacted.unreadable, "removed")
        )?;
    }
    Ok(())
}

fn values(count: u64, what: &str) -> String {
    format!("{count} {} {what}", if count == 1 { "value" } else { "values" })
}

impl Parts {
    fn selector(&self) -> Result<Selector, CliError> {
        let mut selector = SelectorBuilder::default();
        if let Some(tenant) = &self.tenant {
            selector = selector.tenant(tenant);
        }
        if let Some(environment) = &self.environment {
            selector = selector.environment(environment);
        }
        if let Some(feature) = &self.feature {
            selector = selector.feature(feature);
        }
        selector.try_into().map_err(CliError::Selector)
    }
}
