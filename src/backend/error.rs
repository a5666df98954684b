//! Errors of destinations.

use crate::config::BackendName;

/// A binding cannot be converted to a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// The backend has no default endpoint, because its address differs between customers.
    #[error("the backend {0} needs an endpoint: it has no default")]
    NoEndpoint(BackendName),
    /// The backend accepts only protobuf.
    #[error("the backend {0} accepts only protobuf; set export.protocol to \"http/protobuf\"")]
    ProtobufOnly(BackendName),
    /// The backend does not support gRPC.
    #[error(
        "the backend {0} does not support gRPC; set export.protocol to \"http/protobuf\", or send through a collector with the backend \"otlp\""
    )]
    NoGrpc(BackendName),
    /// gRPC defines the path, so an endpoint with a path is meant for HTTP.
    #[error("{0} has a path; a gRPC endpoint is a scheme, a host and a port, as in \"https://collector.example:4317\"")]
    GrpcPath(String),
    /// The address uses `https`, and the program was built without the feature `tls`.
    #[error("{0} needs TLS, and this program was built without the feature `tls` of tracer-registry")]
    NoTls(String),
    /// A project is configured, and the backend does not support the setting.
    #[error("the backend {0} does not support `project`; remove the setting")]
    NoProject(BackendName),
    /// No project is configured, and the backend requires one.
    #[error("the backend {0} requires `project`")]
    ProjectMissing(BackendName),
    /// The project is configured twice, and the backend uses only one of the settings.
    #[error("the project is set twice for the backend {backend}, by `project` and by `{by}`; remove one of them")]
    ProjectTwice {
        /// The backend.
        backend: BackendName,
        /// The other setting.
        by: String,
    },
    /// The project cannot be sent as a header.
    #[error("the project contains characters that are invalid in a header; the backend {0} reads it from a header")]
    ProjectCharacters(BackendName),
    /// The source cannot be sent as a header.
    #[error("the source contains characters that are invalid in a header")]
    Source,
}
