//! Endpoints that receive data.

use http::Method;
use serde::Serialize;

/// Path of a gRPC export.
const GRPC_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// An endpoint that receives data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `POST …/v1/traces`, and the gRPC method
    /// `opentelemetry.proto.collector.trace.v1.TraceService/Export`
    Traces,
    /// `POST …/session/start` and `POST …/v1/sessions`
    Sessions,
    /// `POST …/events` and `PUT …/events`
    Events,
}

impl Endpoint {
    /// Returns the endpoint of a path. Compares the end of the path, because receivers have
    /// prefixes.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let ends = |end| path.ends_with(end);
        if ends("/v1/traces") || path == GRPC_TRACES {
            Some(Self::Traces)
        } else if ends("/session/start") || ends("/v1/sessions") {
            Some(Self::Sessions)
        } else if ends("/events") {
            Some(Self::Events)
        } else {
            None
        }
    }

    /// Returns the allowed methods.
    pub(crate) fn methods(self) -> &'static [Method] {
        match self {
            Self::Traces | Self::Sessions => &[Method::POST],
            Self::Events => &[Method::POST, Method::PUT],
        }
    }
}
