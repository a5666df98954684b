//! The demo of `serve`: a gateway for three tenants, with the local collector as its backend.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tracer_registry::config::Config;
use tracer_registry::text::printable;
use tracer_registry_collector::{LocalCollector, Received, TreeDetail, tree_with};
use tracer_registry_gateway::Gateway;
use uuid::Uuid;

use crate::admin::arguments::TOKEN_VARIABLE;
use crate::error::CliError;

const CONFIGURATION: &str = include_str!("demo.toml");
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
/// Token files and tokens. Not secret: the demo listens on loopback addresses.
const TOKENS: [(&str, &str); 4] = [
    ("acme", "demo-token-of-acme"),
    ("globex", "demo-token-of-globex"),
    ("shared", "demo-token-of-shared-api"),
    ("admin", "demo-token-of-the-admin"),
];
/// Trace id of [`EXAMPLE`].
const EXAMPLE_TRACE: &str = "5b8efff798038103d269b633813fc60c";
const EXAMPLE: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"hello","kind":1,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000500000000"}]}]}]}"#;

/// The backend and the files of the demo.
pub(super) struct Demo {
    pub(super) collector: Arc<LocalCollector>,
    folder: TempDir,
}

impl Demo {
    /// Starts the collector, which calls `received` with each request, and writes the files.
    pub(super) fn start(
        addresses: [SocketAddr; 3],
        received: impl Fn(&Received) + Send + Sync + 'static,
    ) -> Result<Self, CliError> {
        let keys = TENANTS.map(|tenant| (tenant, format!("demo_{}", Uuid::new_v4().simple())));
        let builder = LocalCollector::builder().observer(received);
        let collector = keys
            .iter()
            .fold(builder, |builder, (tenant, key)| builder.project(*tenant, key))
            .start()?;
        let folder = write(&keys, &collector.url(), addresses);
        let folder = folder.map_err(|source| CliError::Demo {
            action: "write its configuration",
            source,
        })?;
        Ok(Self {
            collector: Arc::new(collector),
            folder,
        })
    }

    pub(super) fn config(&self) -> Result<Config, CliError> {
        // Files only: an environment variable must not send the demo's spans elsewhere.
        Config::load_files_for_gateway(self.folder.path()).map_err(CliError::Config)
    }

    /// Prints how to send spans, and how to ask what happened to them.
    pub(super) fn write_usage(&self, gateway: &Gateway, out: &mut impl Write) -> io::Result<()> {
        let Some(http) = gateway.http() else { return Ok(()) };
        let token = TOKENS[0].1;
        writeln!(out, "  received data  {}/", self.collector.url())?;
        writeln!(out, "\nsend a span to the project of tenant acme:\n")?;
        writeln!(
            out,
            "curl http://{http}/v1/traces -H 'authorization: Bearer {token}' \\"
        )?;
        writeln!(out, "  -H 'content-type: application/json' -d '{EXAMPLE}'")?;
        writeln!(
            out,
            "\nor run any program with OpenTelemetry's SDK and these variables:\n"
        )?;
        writeln!(out, "export OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}")?;
        writeln!(out, "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")?;
        writeln!(out, "export OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{token}")?;
        writeln!(out, "\nother tokens: {} (tenant globex),", TOKENS[1].1)?;
        writeln!(
            out,
            "{} with the header x-tenant: acme, globex or initech\n\n\
             docs/gateway.md has programs in Python, Node, Go and Java\n",
            TOKENS[2].1
        )?;
        let Some(admin) = gateway.admin() else { return Ok(()) };
        writeln!(out, "see what happened to a trace, and what needs attention:\n")?;
        writeln!(out, "export {TOKEN_VARIABLE}={}", TOKENS[3].1)?;
        writeln!(out, "tracer-registry explain {EXAMPLE_TRACE} --url http://{admin}")?;
        writeln!(out, "tracer-registry admin tenants --url http://{admin}\n")
    }

    /// Returns the traces of a project that a request added spans to, as text trees.
    pub(super) fn trees(&self, received: &Received) -> String {
        let name = received.project.as_deref().unwrap_or_default();
        let Some(project) = self.collector.project(name) else {
            return String::new();
        };
        let mut text = format!("project {}:\n", printable(name));
        for trace in project.traces() {
            if received.stored.iter().any(|span| span.trace_id == trace.trace_id) {
                for line in tree_with(&trace.spans, TreeDetail::Durations).lines() {
                    text.push_str("  ");
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }
}

fn write(keys: &[(&str, String)], endpoint: &str, [http, grpc, admin]: [SocketAddr; 3]) -> io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let keys = keys.iter().map(|(tenant, key)| (*tenant, key.as_str()));
    write_files(&folder.path().join("keys"), keys)?;
    write_files(&folder.path().join("tokens"), TOKENS)?;
    fs::write(folder.path().join("default.toml"), CONFIGURATION)?;
    // A layer that sets the endpoint sets its key too.
    let local = format!(
        "[defaults]\nendpoint = \"{endpoint}\"\napi_key = {{ file = \"keys/{{tenant}}\" }}\n\
         [gateway]\nhttp = \"{http}\"\ngrpc = \"{grpc}\"\nadmin.listen = \"{admin}\"\n"
    );
    fs::write(folder.path().join("local.toml"), local)?;
    Ok(folder)
}

fn write_files<'c>(folder: &Path, contents: impl IntoIterator<Item = (&'c str, &'c str)>) -> io::Result<()> {
    fs::create_dir(folder)?;
    let mut contents = contents.into_iter();
    contents.try_for_each(|(file, content)| fs::write(folder.join(file), format!("{content}\n")))
}
