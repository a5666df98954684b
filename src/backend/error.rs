//! Why a binding has no destination.

use crate::config::BackendName;

/// Why a binding has no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// The backend has no address that is the same for all customers.
    #[error("the backend {0} needs an endpoint: it has no one address for everybody")]
    NoEndpoint(BackendName),
    /// The backend takes protobuf only.
    #[error("the backend {0} takes protobuf only; set export.protocol to \"http/protobuf\"")]
    ProtobufOnly(BackendName),
    /// The backend takes no gRPC.
    #[error(
        "the backend {0} is spoken to by HTTP only; set export.protocol to \"http/protobuf\", or the backend to \"otlp\" where a collector \
         is in between"
    )]
    NoGrpc(BackendName),
    /// gRPC has paths of its own, and an endpoint with another one is an endpoint for HTTP.
    #[error(
        "{0} has a path, and gRPC has its own: the endpoint is a scheme, a host and a port, as in \"https://collector.example:4317\""
    )]
    GrpcPath(String),
    /// An `https` address, in a program that was built without the feature `tls`.
    #[error("{0} needs TLS, and this program was built without the feature `tls` of tracer-registry")]
    NoTls(String),
    /// A project is configured, and the backend takes none.
    #[error("the backend {0} takes no project from `project`; remove the setting")]
    NoProject(BackendName),
    /// No project is configured, and the backend takes nothing without one.
    #[error("the backend {0} needs `project`: it takes no spans without one")]
    ProjectMissing(BackendName),
    /// The project is configured in two ways, of which the backend takes one.
    #[error("the project of the backend {backend} is set twice, by `project` and by `{by}`; remove one of them")]
    ProjectTwice {
        /// The backend.
        backend: BackendName,
        /// The other setting.
        by: String,
    },
    /// The project cannot be sent as a header.
    #[error("the project has characters that a header cannot carry, and the backend {0} takes it from a header")]
    ProjectCharacters(BackendName),
    /// The source cannot be sent as a header.
    #[error("the source has characters that a header cannot carry")]
    Source,
}
