//! Results of a subcommand.

use std::io;

use http::StatusCode;
use tracer_registry::config::ConfigError;
use tracer_registry::secret::SecretError;
use tracer_registry::selector::SelectorError;
use tracer_registry::{BuildError, LookupError, Selector};
use tracer_registry_collector::CollectorError;
use tracer_registry_gateway::{ClientError, StartError};
use tracer_registry_spool::OpenError;
use tracer_registry_spool::check::CheckError;
use tracer_registry_testing::VerifyError;

use super::admin::arguments::TOKEN_VARIABLE;

/// Result of a subcommand that ran to its end; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    /// The subcommand found and reported a fault.
    Failure,
    /// `serve` accepted data that it could not deliver.
    Lost,
}

impl Outcome {
    pub(super) fn success_if(success: bool) -> Self {
        if success { Self::Success } else { Self::Failure }
    }
}

/// Error that stopped a subcommand.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("invalid configuration")]
    Config(#[source] ConfigError),
    #[error("cannot build the registry")]
    Build(#[source] BuildError),
    #[error("cannot get a tracer")]
    Lookup(#[from] LookupError),
    #[error("cannot start the local collector")]
    Collector(#[from] CollectorError),
    #[error("cannot start the local collector; use --listen for another address")]
    AddressInUse(#[source] CollectorError),
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    #[error("cannot write the output as JSON")]
    Json(#[from] serde_json::Error),
    #[error("cannot run the verification")]
    Verify(#[from] VerifyError),
    #[error("the demo cannot {action}")]
    Demo { action: &'static str, source: io::Error },
    #[error("cannot start the gateway")]
    Gateway(#[source] StartError),
    #[error("cannot start the demo; use --http, --grpc and --admin for other addresses")]
    DemoAddress(#[source] StartError),
    #[cfg(feature = "jetstream")]
    #[error("the binding is not changed: {0}")]
    Binding(String),
    #[cfg(feature = "jetstream")]
    #[error("cannot set the stream up")]
    Stream(#[from] tracer_registry_stream::OpenError),
    #[error("cannot work on the spool")]
    Spool(#[source] CheckError),
    #[error("{0} has no spool.path; name another configuration with --config, or the gateway with --url")]
    NoSpool(String),
    #[error("cannot redact for {0}")]
    Redact(Selector, #[source] Box<LookupError>),
    #[error("cannot read the request from standard input")]
    Input(#[source] io::Error),
    #[error("the request on standard input is larger than {0} bytes (gateway.max_request)")]
    LargeInput(usize),
    #[error("standard input is no OTLP trace request: {0}")]
    NoTraces(String),
    #[error("cannot print the request as JSON; use --output protobuf")]
    Decode(#[source] prost::DecodeError),
    #[error("{used}, and {config} has no table [gateway.admin]; end the process, or add the table")]
    SpoolInUse { used: OpenError, config: String },
    #[error("invalid selector")]
    Selector(#[source] SelectorError),
    #[error("admin metrics prints text and has no --json")]
    NoJson,
    #[error("cannot read the configuration of the gateway; use --config for another, or --url and a token")]
    GatewayConfig(#[source] ConfigError),
    #[error("{0} has no table [gateway.admin]; add it, or name the gateway with --url")]
    NoAdmin(String),
    #[error("gateway.admin.listen has port 0; name the gateway with --url")]
    NoPort,
    #[error("cannot read the token; use --token-file, or the variable {TOKEN_VARIABLE}")]
    Token(#[source] SecretError),
    #[error("cannot ask the gateway")]
    Client(#[from] ClientError),
    #[error("the gateway's answer has a line of more than 1 MiB")]
    LongLine,
    #[error("the gateway at {url} refuses the token of {token_source}")]
    Unauthorized { url: String, token_source: String },
    #[error("{url} answers {status}, not as an admin listener does")]
    NoAdminListener { url: String, status: StatusCode },
    #[error("the gateway refuses this: {0}")]
    Refused(String),
    #[error("the gateway's answer has an unknown form; use the tracer-registry of its version, or --json")]
    Answer(#[source] serde_json::Error),
    #[error("request to the demo service failed: {0}")]
    Request(String),
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Config(error) => Self::Config(error),
            error => Self::Build(error),
        }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Build(error) => error.into(),
            error => Self::Gateway(error),
        }
    }
}

impl CliError {
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
