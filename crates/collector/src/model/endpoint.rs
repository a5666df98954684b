//! Which path means what.

use http::Method;
use serde::Serialize;

/// Path of an export by gRPC.
const GRPC_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A call that the collector takes data by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `POST …/v1/traces`, and by gRPC `opentelemetry.proto.collector.trace.v1.TraceService/Export`
    Traces,
    /// `POST …/session/start` and `POST …/v1/sessions`
    Sessions,
    /// `POST …/events` and `PUT …/events`
    Events,
}

impl Endpoint {
    /// Receivers put their paths under prefixes, so the end of the path decides.
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

    /// The methods that it takes.
    pub(crate) fn methods(self) -> &'static [Method] {
        match self {
            Self::Traces | Self::Sessions => &[Method::POST],
            Self::Events => &[Method::POST, Method::PUT],
        }
    }
}
