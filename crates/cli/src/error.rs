//! What a subcommand ends with.

use std::io;

use tracer_registry::{BuildError, LookupError};
use tracer_registry_collector::CollectorError;
use tracer_registry_testing::VerifyError;

/// What a subcommand found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is well.
    Well,
    /// A fault was found and reported.
    Fault,
}

impl Outcome {
    pub(super) fn well_if(well: bool) -> Self {
        if well { Self::Well } else { Self::Fault }
    }
}

/// Why a subcommand could not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("the registry cannot be made")]
    Build(#[from] BuildError),
    #[error("a tracer cannot be had")]
    Lookup(#[from] LookupError),
    #[error("the local collector cannot be started")]
    Collector(#[from] CollectorError),
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
    #[error("the output cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("nothing can be verified")]
    Verify(#[from] VerifyError),
    #[error("the demo's {what}")]
    Demo { what: &'static str, source: io::Error },
    #[error("a request to the demo's service failed: {0}")]
    Request(String),
}

impl CliError {
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
