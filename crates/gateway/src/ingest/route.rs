//! What a request asks for, by its path.

use http::Method;
use tracer_registry::ingest::SessionCall;

use crate::answer::{Format, Refusal, RefusalKind};

const TRACES: &str = "opentelemetry.proto.collector.trace.v1.TraceService";
const OTHER_SERVICES: [&str; 3] = [
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.profiles.v1development.ProfilesService",
];

/// What a path ends with, and what it asks for then. The first match counts.
const ENDS: [(&str, Route<'static>); 11] = [
    // Clients add these to their server's address, which may name a tenant: `/t/acme`.
    ("/opentelemetry/v1/traces", Route::Traces),
    ("/api/public/otel/v1/traces", Route::Traces),
    ("/v1/traces", Route::Traces),
    ("/v1/logs", Route::OtherSignal),
    ("/v1/metrics", Route::OtherSignal),
    ("/v1development/profiles", Route::OtherSignal),
    ("/session/start", Route::Session(SessionPath::Start)),
    ("/v1/sessions", Route::Session(SessionPath::BareStart)),
    ("/v1/events", Route::Session(SessionPath::BareEvent)),
    ("/events", Route::Session(SessionPath::Events)),
    ("/v1/info", Route::Info),
];

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    Health,
    Ready,
    /// A client that checks its credential.
    Info,
    /// An export of traces.
    Traces,
    /// An export of metrics, logs or profiles.
    OtherSignal,
    /// A request to the session API.
    Session(SessionPath<'p>),
}

/// A path of the session API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionPath<'p> {
    /// `/session/start`
    Start,
    /// `/v1/sessions`
    BareStart,
    /// `/events`
    Events,
    /// `/v1/events`
    BareEvent,
    /// `/v1/events/{id}`
    Event(&'p str),
}

impl SessionPath<'_> {
    /// Returns what a request with this method asks for.
    ///
    /// # Errors
    /// If the path has no such method.
    pub(super) fn call(self, method: &Method) -> Result<SessionCall, Refusal> {
        match (self, method.as_str()) {
            (Self::Start, "POST") => Ok(SessionCall::Start),
            (Self::BareStart, "POST") => Ok(SessionCall::BareStart),
            (Self::Events, "POST") => Ok(SessionCall::Event),
            (Self::Events, "PUT") => Ok(SessionCall::Enrich { id: None }),
            (Self::BareEvent, "POST") => Ok(SessionCall::BareEvent),
            (Self::Event(id), "PUT") => Ok(SessionCall::Enrich {
                id: Some(id.to_owned()),
            }),
            (Self::Events, _) => Err(Refusal::method_not_allowed("POST, PUT")),
            (Self::Event(_), _) => Err(Refusal::method_not_allowed("PUT")),
            (Self::Start | Self::BareStart | Self::BareEvent, _) => Err(Refusal::method_not_allowed("POST")),
        }
    }
}

/// Name of the routes that metrics do not tell apart.
pub(super) const OTHER_ROUTE: &str = "other";

impl<'p> Route<'p> {
    /// Returns the route's name in metrics. `names_tenant`: the path has a tenant.
    pub(super) fn name(self, format: Option<Format>, names_tenant: bool) -> &'static str {
        match self {
            Self::Traces if format == Some(Format::Grpc) => {
                "opentelemetry.proto.collector.trace.v1.TraceService/Export"
            }
            Self::Traces if names_tenant => "/t/{tenant}/v1/traces",
            Self::Traces => "/v1/traces",
            Self::Session(SessionPath::Start) => "/session/start",
            Self::Session(SessionPath::BareStart) => "/v1/sessions",
            Self::Session(SessionPath::Events) => "/events",
            Self::Session(SessionPath::BareEvent) => "/v1/events",
            Self::Session(SessionPath::Event(_)) => "/v1/events/{id}",
            Self::Health | Self::Ready | Self::Info | Self::OtherSignal => OTHER_ROUTE,
        }
    }

    /// Returns the route of a path, and the prefix in front of it. gRPC has its own paths, which
    /// differ from those of HTTP and have no prefix.
    ///
    /// # Errors
    /// If the path is unknown.
    pub(crate) fn of(path: &'p str, format: Option<Format>) -> Result<(Self, &'p str), Refusal> {
        let route = if format == Some(Format::Grpc) {
            Self::grpc(path).map(|route| (route, ""))
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

    fn http(path: &'p str) -> Option<(Self, &'p str)> {
        match path {
            "/healthz" => return Some((Self::Health, "")),
            "/readyz" => return Some((Self::Ready, "")),
            _ => {}
        }
        let known = ENDS
            .iter()
            .find_map(|(end, route)| Some((*route, path.strip_suffix(end)?)));
        known.or_else(|| {
            let (before, id) = path.rsplit_once('/')?;
            let prefix = before.strip_suffix("/v1/events")?;
            Some((Self::Session(SessionPath::Event(id)), prefix))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_http_may_have_any_prefix() {
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let of_id = format!("/v1/events/{id}");
        for (end, route) in [
            ("/v1/traces", Route::Traces),
            ("/opentelemetry/v1/traces", Route::Traces),
            ("/api/public/otel/v1/traces", Route::Traces),
            ("/v1/metrics", Route::OtherSignal),
            ("/session/start", Route::Session(SessionPath::Start)),
            ("/v1/sessions", Route::Session(SessionPath::BareStart)),
            ("/events", Route::Session(SessionPath::Events)),
            ("/v1/events", Route::Session(SessionPath::BareEvent)),
            (&*of_id, Route::Session(SessionPath::Event(id))),
            ("/v1/info", Route::Info),
        ] {
            for prefix in ["", "/otlp", "/t/acme", "/", "/t/acme/v1/traces"] {
                let path = format!("{prefix}{end}");
                assert_eq!(Route::of(&path, Some(Format::Json)).unwrap(), (route, prefix), "{path}");
            }
        }
        assert_eq!(Route::of("/healthz", None).unwrap(), (Route::Health, ""));
    }

    #[test]
    fn each_path_of_the_session_api_has_its_methods() {
        let call = |path: SessionPath<'_>, method: Method| path.call(&method).ok();
        let enrich = |id: Option<&str>| {
            Some(SessionCall::Enrich {
                id: id.map(str::to_owned),
            })
        };
        for (path, post, put) in [
            (SessionPath::Start, Some(SessionCall::Start), None),
            (SessionPath::BareStart, Some(SessionCall::BareStart), None),
            (SessionPath::Events, Some(SessionCall::Event), enrich(None)),
            (SessionPath::BareEvent, Some(SessionCall::BareEvent), None),
            (SessionPath::Event("id"), None, enrich(Some("id"))),
        ] {
            assert_eq!(
                (call(path, Method::POST), call(path, Method::PUT)),
                (post, put),
                "{path:?}"
            );
            assert_eq!((call(path, Method::GET), call(path, Method::DELETE)), (None, None));
        }
    }

    #[test]
    fn paths_of_grpc_are_exact() {
        let of = |path| Route::of(path, Some(Format::Grpc));
        let traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert_eq!(of(traces).unwrap(), (Route::Traces, ""));
        let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        assert_eq!(of(logs).unwrap(), (Route::OtherSignal, ""));
        for unknown in [
            "/v1/traces",
            "/session/start",
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
            "/session",
            "/session/start/",
            "/v2/events/67e55044-10b1-426f-9247-bb680e5fe0c8",
            "v1/traces",
            "/av1/traces",
        ] {
            assert!(Route::of(path, Some(Format::Protobuf)).is_err(), "{path}");
        }
    }
}
