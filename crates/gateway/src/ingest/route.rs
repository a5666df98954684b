//! What a request asks for, by its path.

use crate::answer::{Format, Refusal, RefusalKind};

const TRACES: &str = "opentelemetry.proto.collector.trace.v1.TraceService";
const OTHER_SERVICES: [&str; 3] = [
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.profiles.v1development.ProfilesService",
];
const OTHER_PATHS: [&str; 3] = ["/v1/logs", "/v1/metrics", "/v1development/profiles"];

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Health,
    Ready,
    /// An export of traces.
    Traces,
    /// An export of metrics, logs or profiles.
    OtherSignal,
}

impl Route {
    /// Returns the route of a path. gRPC has its own paths, which differ from those of HTTP.
    ///
    /// # Errors
    /// If the path is unknown.
    pub(crate) fn of(path: &str, format: Option<Format>) -> Result<Self, Refusal> {
        let route = if format == Some(Format::Grpc) {
            Self::grpc(path)
        } else {
            Self::http(path)
        };
        route.ok_or_else(|| Refusal::new(RefusalKind::NotFound, "unknown path"))
    }

    fn grpc(path: &str) -> Option<Self> {
        let service = path.strip_prefix('/')?.strip_suffix("/Export")?;
        if service == TRACES {
            Some(Self::Traces)
        } else {
            OTHER_SERVICES.contains(&service).then_some(Self::OtherSignal)
        }
    }

    fn http(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Ready),
            _ if path.ends_with("/v1/traces") => Some(Self::Traces),
            _ if OTHER_PATHS.iter().any(|suffix| path.ends_with(suffix)) => Some(Self::OtherSignal),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_http_may_have_any_prefix() {
        for path in [
            "/v1/traces",
            "/opentelemetry/v1/traces",
            "/t/acme/v1/traces",
            "//v1/traces",
        ] {
            assert_eq!(Route::of(path, Some(Format::Json)).unwrap(), Route::Traces, "{path}");
        }
        assert_eq!(Route::of("/a/v1/metrics", None).unwrap(), Route::OtherSignal);
        assert_eq!(Route::of("/healthz", None).unwrap(), Route::Health);
    }

    #[test]
    fn paths_of_grpc_are_exact() {
        let of = |path| Route::of(path, Some(Format::Grpc));
        let traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert_eq!(of(traces).unwrap(), Route::Traces);
        let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        assert_eq!(of(logs).unwrap(), Route::OtherSignal);
        for unknown in [
            "/v1/traces",
            "/x/Export",
            "/healthz",
            &traces[1..],
            &format!("/a{traces}"),
        ] {
            of(unknown).unwrap_err();
        }
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in [
            "/",
            "/v1/traces/",
            "/v1/trace",
            "/v1/info",
            "/session/start",
            "v1/traces",
            "/av1/traces",
        ] {
            assert!(Route::of(path, Some(Format::Protobuf)).is_err(), "{path}");
        }
    }
}
