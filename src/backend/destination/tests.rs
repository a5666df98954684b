use super::*;
use crate::config::{Binding, Config, Document};
use crate::secret::KeySource;
use crate::selector::{SelectorKind, Slug};

fn destination(binding: Binding, protocol: Protocol) -> Result<Destination, DestinationError> {
    let mut document = Document::default();
    let key = KeySource::Provider {
        provider: "test".into(),
        name: "key".into(),
    };
    document.tenants.insert("acme".into(), binding.api_key(key).into());
    let config = Config::from_document(document).expect("valid");
    Destination::new(&config.resolve(&acme()).expect("configured"), protocol)
}

fn acme() -> Selector {
    Selector::of(SelectorKind::Tenant, Slug::new("acme").expect("a name"))
}

fn of(backend: BackendName, endpoint: Option<&str>) -> Destination {
    let mut binding = Binding::new()
        .backend(backend)
        .source("production")
        .metadata("plan", "pro");
    if let Some(endpoint) = endpoint {
        binding = binding.endpoint(endpoint);
    }
    if backend == BackendName::Mlflow {
        binding = binding.project("1");
    }
    destination(binding, Protocol::HttpProtobuf).expect("a destination")
}

#[test]
fn each_backend_has_its_own_endpoint_and_key_header() {
    use BackendName::{Braintrust, Grafana, Honeycomb, Honeyhive, Langfuse, Langsmith, Logfire, Mlflow, Otlp, Phoenix};
    let grafana = Some("https://otlp-gateway-eu.grafana.net/otlp");
    let phoenix = Some("https://app.phoenix.arize.com/s/space");
    let otlp = Some("http://localhost:4318");
    for (backend, endpoint, url, header, scheme) in [
        (
            Honeyhive,
            None,
            "https://api.dp1.us.honeyhive.ai/opentelemetry/v1/traces",
            "authorization",
            KeyScheme::Bearer,
        ),
        (
            Otlp,
            otlp,
            "http://localhost:4318/v1/traces",
            "authorization",
            KeyScheme::Bearer,
        ),
        (
            Langfuse,
            None,
            "https://cloud.langfuse.com/api/public/otel/v1/traces",
            "authorization",
            KeyScheme::Basic,
        ),
        (
            Phoenix,
            phoenix,
            "https://app.phoenix.arize.com/s/space/v1/traces",
            "authorization",
            KeyScheme::Bearer,
        ),
        (
            Langsmith,
            None,
            "https://api.smith.langchain.com/otel/v1/traces",
            "x-api-key",
            KeyScheme::Raw,
        ),
        (
            Logfire,
            None,
            "https://logfire-us.pydantic.dev/v1/traces",
            "authorization",
            KeyScheme::Raw,
        ),
        (
            Braintrust,
            None,
            "https://api.braintrust.dev/otel/v1/traces",
            "authorization",
            KeyScheme::Bearer,
        ),
        (
            Honeycomb,
            None,
            "https://api.honeycomb.io/v1/traces",
            "x-honeycomb-team",
            KeyScheme::Raw,
        ),
        (
            Grafana,
            grafana,
            "https://otlp-gateway-eu.grafana.net/otlp/v1/traces",
            "authorization",
            KeyScheme::Basic,
        ),
        (
            Mlflow,
            Some("http://localhost:5000"),
            "http://localhost:5000/v1/traces",
            "authorization",
            KeyScheme::Basic,
        ),
    ] {
        let made = of(backend, endpoint);
        assert_eq!(made.traces_url, url, "{backend:?}");
        assert_eq!(made.key_header.as_str(), header, "{backend:?}");
        assert_eq!(made.key_scheme, scheme, "{backend:?}");
        assert_eq!(made.sessions.is_some(), backend == Honeyhive, "{backend:?}");
    }
}

#[test]
fn each_backend_interprets_the_endpoints_path() {
    use BackendName::{Grafana, Honeyhive, Langfuse, Langsmith, Logfire, Otlp, Phoenix};
    for (backend, endpoint, url) in [
        (Otlp, "http://h:1", "http://h:1/v1/traces"),
        (Otlp, "http://h:1/", "http://h:1/v1/traces"),
        (
            Otlp,
            "http://h:1/insert/opentelemetry/v1/traces",
            "http://h:1/insert/opentelemetry/v1/traces",
        ),
        (Otlp, "http://h:1/as/given", "http://h:1/as/given"),
        (
            Langfuse,
            "https://self.hosted",
            "https://self.hosted/api/public/otel/v1/traces",
        ),
        (
            Langfuse,
            "https://self.hosted/api/public/otel",
            "https://self.hosted/api/public/otel/v1/traces",
        ),
        (
            Langfuse,
            "https://self.hosted/api/public/otel/v1/traces/",
            "https://self.hosted/api/public/otel/v1/traces",
        ),
        (
            Langsmith,
            "https://eu.api.smith.langchain.com",
            "https://eu.api.smith.langchain.com/otel/v1/traces",
        ),
        (Phoenix, "http://localhost:6006", "http://localhost:6006/v1/traces"),
        (
            Logfire,
            "https://logfire-eu.pydantic.dev",
            "https://logfire-eu.pydantic.dev/v1/traces",
        ),
        (Grafana, "https://g.net", "https://g.net/otlp/v1/traces"),
        (Honeyhive, "https://hh.test", "https://hh.test/opentelemetry/v1/traces"),
        (
            Honeyhive,
            "https://gate.test/hh",
            "https://gate.test/hh/opentelemetry/v1/traces",
        ),
        (
            Honeyhive,
            "https://gate.test/hh/opentelemetry/v1/traces",
            "https://gate.test/hh/opentelemetry/v1/traces",
        ),
    ] {
        assert_eq!(of(backend, Some(endpoint)).traces_url, url, "{backend:?} {endpoint}");
    }
}

#[test]
fn session_urls_share_the_prefix_of_the_traces_url() {
    for (endpoint, base) in [
        ("https://hh.test", "https://hh.test"),
        ("https://hh.test/", "https://hh.test"),
        ("https://gate.test/hh", "https://gate.test/hh"),
        ("https://gate.test/hh/opentelemetry/v1/traces", "https://gate.test/hh"),
        ("https://hh.test/opentelemetry/v1/traces", "https://hh.test"),
        ("https://gate.test/a/v1/traces", "https://gate.test/a"),
    ] {
        let sessions = of(BackendName::Honeyhive, Some(endpoint))
            .sessions
            .expect("it has sessions");
        assert_eq!(sessions.start, format!("{base}/session/start"), "{endpoint}");
        assert_eq!(sessions.events, format!("{base}/events"), "{endpoint}");
    }
}

#[test]
fn unsupported_settings_are_errors() {
    for backend in [
        BackendName::Grafana,
        BackendName::Phoenix,
        BackendName::Otlp,
        BackendName::Mlflow,
    ] {
        let made = destination(Binding::new().backend(backend), Protocol::HttpProtobuf);
        assert_eq!(made.err(), Some(DestinationError::NoEndpoint(backend)));
    }
    let phoenix = Binding::new()
        .backend(BackendName::Phoenix)
        .endpoint("http://localhost:6006");
    let made = destination(phoenix, Protocol::HttpJson);
    assert_eq!(made.err(), Some(DestinationError::ProtobufOnly(BackendName::Phoenix)));
    let made = destination(Binding::new().source("pro\nduction"), Protocol::HttpProtobuf);
    assert_eq!(made.err(), Some(DestinationError::Source));
}

#[test]
fn source_and_metadata_are_sent_where_each_backend_reads_them() {
    let plain = of(BackendName::Otlp, Some("http://h:1"));
    let of_plain = plain.resource(&acme());
    let resource = |key: &'static str| of_plain.get(&key.into()).map(|value| value.to_string());
    assert_eq!(resource("deployment.environment.name").as_deref(), Some("production"));
    assert_eq!(resource("tracer_registry.metadata.plan").as_deref(), Some("pro"));
    assert!(plain.span_attributes.is_empty() && plain.headers.is_empty());
    let honeyhive = of(BackendName::Honeyhive, None);
    assert_eq!(
        honeyhive.resource(&acme()).get(&"deployment.environment.name".into()),
        None
    );
    let shown: Vec<String> = honeyhive
        .span_attributes
        .iter()
        .map(|kv| format!("{}={}", kv.key, kv.value))
        .collect();
    assert_eq!(shown, ["honeyhive.source=production", "honeyhive_metadata.plan=pro"]);
    assert_eq!(
        honeyhive.headers,
        [(
            HeaderName::from_static("x-source"),
            HeaderValue::from_static("production")
        )]
    );
    let langfuse = of(BackendName::Langfuse, None);
    assert_eq!(langfuse.span_attributes[0].key.as_str(), "langfuse.trace.metadata.plan");
    assert_eq!(langfuse.headers[0].0.as_str(), "x-langfuse-ingestion-version");
}

#[test]
fn a_configured_header_and_scheme_replace_the_backends() {
    let binding = Binding::new().auth("X-Key", AuthScheme::Raw);
    let made = destination(binding, Protocol::HttpProtobuf).expect("a destination");
    assert_eq!((made.key_header.as_str(), made.key_scheme), ("x-key", KeyScheme::Raw));
}

#[test]
fn cut_metadata_values_are_counted_on_the_resource() {
    let many = |binding: Binding| (0..130).fold(binding, |binding, n| binding.metadata(format!("n{n}"), n));
    for backend in [BackendName::Honeyhive, BackendName::Otlp] {
        let binding = many(Binding::new().backend(backend).endpoint("http://h:1"));
        let made = destination(binding, Protocol::HttpProtobuf).expect("a destination");
        assert_eq!(
            made.resource(&acme()).get(&CUT_VALUES.into()),
            Some(Value::I64(2)),
            "{backend:?}"
        );
    }
}

#[test]
fn unset_limits_default_to_the_specifications() {
    let set: [fn(&mut Limits) -> &mut Option<u32>; 5] = [
        |limits| &mut limits.attributes,
        |limits| &mut limits.events,
        |limits| &mut limits.links,
        |limits| &mut limits.attributes_per_event,
        |limits| &mut limits.attributes_per_link,
    ];
    for (one, set) in set.into_iter().enumerate() {
        let mut limits = Limits::default();
        *set(&mut limits) = Some(7);
        let sdk = span_limits(&limits);
        let all = [
            sdk.max_attributes_per_span,
            sdk.max_events_per_span,
            sdk.max_links_per_span,
            sdk.max_attributes_per_event,
            sdk.max_attributes_per_link,
        ];
        for (at, limit) in all.into_iter().enumerate() {
            assert_eq!(
                limit,
                if at == one { 7 } else { 128 },
                "limit {at}, with only {one} set"
            );
        }
    }
}

/// Returns the header or resource attribute that carries the project.
fn sent_project(made: &Destination) -> Option<String> {
    const CARRIERS: [&str; 4] = [
        "langsmith-project",
        "x-bt-parent",
        "x-mlflow-experiment-id",
        "x-project-name",
    ];
    let phoenix = "openinference.project.name";
    let of_resource = made.resource(&acme()).get(&phoenix.into());
    let mut sent: Vec<String> = of_resource
        .map(|value| format!("{phoenix}={value}"))
        .into_iter()
        .collect();
    let headers = made
        .headers
        .iter()
        .filter(|(name, _)| CARRIERS.contains(&name.as_str()));
    sent.extend(headers.map(|(name, value)| format!("{name}={}", value.to_str().expect("a text"))));
    assert!(sent.len() < 2, "{sent:?}");
    sent.pop()
}

#[test]
fn each_backend_gets_the_project_in_its_own_header_or_attribute_on_each_protocol() {
    use BackendName::{Braintrust, Langsmith, Mlflow, Phoenix};
    let with_project = |backend, project: &str, protocol| {
        let binding = Binding::new().backend(backend).endpoint("http://h:1").project(project);
        sent_project(&destination(binding, protocol).expect("a destination")).expect("a project")
    };
    for (backend, project, expected) in [
        (Phoenix, "Größe/1", "openinference.project.name=Größe/1"),
        (Langsmith, "p 1", "langsmith-project=p 1"),
        (Braintrust, "p", "x-bt-parent=project_name:p"),
        (Braintrust, "project_name:p", "x-bt-parent=project_name:p"),
        (Braintrust, "project_id:1-2", "x-bt-parent=project_id:1-2"),
        (Braintrust, "experiment_id:3", "x-bt-parent=experiment_id:3"),
        (Mlflow, "12", "x-mlflow-experiment-id=12"),
    ] {
        assert_eq!(
            with_project(backend, project, Protocol::HttpProtobuf),
            expected,
            "{backend:?}"
        );
        if backend == Phoenix {
            assert_eq!(with_project(backend, project, Protocol::Grpc), expected, "{backend:?}");
        } else {
            assert_eq!(
                with_project(backend, project, Protocol::HttpJson),
                expected,
                "{backend:?}"
            );
        }
    }
}

#[test]
fn an_unsupported_or_duplicate_project_is_an_error() {
    use BackendName::{Braintrust, Grafana, Honeycomb, Honeyhive, Langfuse, Langsmith, Logfire, Mlflow, Otlp, Phoenix};
    let error = |binding: Binding| destination(binding.endpoint("http://h:1"), Protocol::HttpProtobuf).err();
    for backend in [Honeyhive, Otlp, Langfuse, Logfire, Honeycomb, Grafana] {
        let made = error(Binding::new().backend(backend).project("p"));
        assert_eq!(made, Some(DestinationError::NoProject(backend)));
    }
    let made = error(Binding::new().backend(Mlflow));
    assert_eq!(made, Some(DestinationError::ProjectMissing(Mlflow)));
    assert_eq!(
        error(Binding::new().backend(Mlflow).header("x-mlflow-experiment-id", "1")),
        None
    );
    let made = error(Binding::new().backend(Langsmith).project("Größe"));
    assert_eq!(made, Some(DestinationError::ProjectCharacters(Langsmith)));
    for (backend, header, resource, by) in [
        (Langsmith, Some("Langsmith-Project"), None, "headers.langsmith-project"),
        (Phoenix, Some("x-project-name"), None, "headers.x-project-name"),
        (
            Phoenix,
            None,
            Some("openinference.project.name"),
            "resource.\"openinference.project.name\"",
        ),
        (
            Braintrust,
            None,
            Some("braintrust.parent"),
            "resource.\"braintrust.parent\"",
        ),
    ] {
        let mut binding = Binding::new().backend(backend).project("p");
        binding = header
            .into_iter()
            .fold(binding, |binding, name| binding.header(name, "q"));
        binding = resource
            .into_iter()
            .fold(binding, |binding, name| binding.resource(name, "q"));
        let by = by.to_owned();
        assert_eq!(error(binding), Some(DestinationError::ProjectTwice { backend, by }));
    }
}

#[test]
fn destinations_are_compared_by_what_selects_the_project() {
    use BackendName::{Honeyhive, Langsmith, Mlflow, Otlp, Phoenix};
    let of = |binding: Binding, protocol| destination(binding.endpoint("http://h:1"), protocol).expect("a destination");
    let (http, grpc) = (Protocol::HttpProtobuf, Protocol::Grpc);
    let at = |backend| Binding::new().backend(backend);
    // By key alone, by key and project, by project alone.
    for (what, one, other, protocol, with_same_key, with_other_key) in [
        ("a key", at(Honeyhive), at(Honeyhive), http, true, false),
        (
            "the default",
            at(Langsmith),
            at(Langsmith).project("default"),
            http,
            true,
            false,
        ),
        (
            "another name",
            at(Langsmith),
            at(Langsmith).project("p"),
            http,
            false,
            false,
        ),
        ("no name", at(Phoenix), at(Phoenix), http, true, true),
        (
            "names",
            at(Phoenix).project("a"),
            at(Phoenix).project("b"),
            http,
            false,
            false,
        ),
        (
            "an attribute",
            at(Phoenix).project("a"),
            at(Phoenix).resource("openinference.project.name", "a"),
            http,
            true,
            true,
        ),
        (
            "headers",
            at(Phoenix).header("x-project-name", "a"),
            at(Phoenix).header("x-project-name", "b"),
            http,
            false,
            false,
        ),
        (
            "headers that gRPC ignores",
            at(Phoenix).header("x-project-name", "a"),
            at(Phoenix).header("x-project-name", "b"),
            grpc,
            true,
            true,
        ),
        (
            "experiments",
            at(Mlflow).project("1"),
            at(Mlflow).project("1"),
            http,
            true,
            true,
        ),
        (
            "headers that a receiver may use",
            at(Otlp).header("x-scope-orgid", "a"),
            at(Otlp).header("x-scope-orgid", "b"),
            http,
            false,
            false,
        ),
        ("nothing", at(Otlp), at(Otlp), http, true, false),
    ] {
        let (one, other) = (of(one, protocol).project, of(other, protocol).project);
        assert_eq!(one.is_same(&other, true), with_same_key, "{what}, one key");
        assert_eq!(one.is_same(&other, false), with_other_key, "{what}, two keys");
        let fingerprinter = crate::secret::Fingerprinter::new();
        let [key, another] = [b"a", b"b"].map(|key| fingerprinter.fingerprint(key));
        assert_eq!(one.id(key) == other.id(key), with_same_key, "{what}");
        assert_eq!(one.id(key) == other.id(another), with_other_key, "{what}");
    }
    let elsewhere = destination(at(Phoenix).endpoint("http://h:2"), http).expect("a destination");
    assert!(!of(at(Phoenix), http).project.is_same(&elsewhere.project, true));
}

#[cfg(feature = "encoded")]
mod edits {
    use super::*;
    use crate::backend::project::{Carrier, ProjectRule};

    fn shown(attributes: &[KeyValue]) -> Vec<String> {
        let shown = attributes.iter().map(|each| format!("{}={}", each.key, each.value));
        shown.collect()
    }

    #[test]
    fn encoded_spans_get_only_what_is_configured() {
        let binding = |backend| {
            Binding::new()
                .backend(backend)
                .endpoint("http://h:1")
                .source("production")
                .metadata("plan", "pro")
                .resource("service.name", "shop")
                .sessions(SessionMode::PerTrace)
        };
        let made = |binding| {
            destination(binding, Protocol::HttpProtobuf)
                .expect("a destination")
                .edits
        };
        let honeyhive = made(binding(BackendName::Honeyhive));
        assert_eq!(shown(&honeyhive.resource), ["service.name=shop"]);
        let expected = ["honeyhive.source=production", "honeyhive_metadata.plan=pro"];
        assert_eq!(shown(&honeyhive.span_attributes), expected);
        assert!(honeyhive.event_type.is_some());
        assert_eq!(honeyhive.session_id, Some("honeyhive.session_id"));
        let phoenix = made(
            binding(BackendName::Phoenix)
                .project("p")
                .sessions(SessionMode::Explicit),
        );
        let expected = [
            "deployment.environment.name=production",
            "tracer_registry.metadata.plan=pro",
            "service.name=shop",
            "openinference.project.name=p",
        ];
        assert_eq!(shown(&phoenix.resource), expected);
        assert!(phoenix.span_attributes.is_empty() && phoenix.event_type.is_none() && phoenix.session_id.is_none());
        let bare = made(Binding::new().backend(BackendName::Otlp).endpoint("http://h:1"));
        assert!(bare.resource.is_empty() && bare.span_attributes.is_empty());
    }

    #[test]
    fn every_project_attribute_of_a_backend_is_the_bindings() {
        for backend in [
            BackendName::Honeyhive,
            BackendName::Otlp,
            BackendName::Langfuse,
            BackendName::Phoenix,
            BackendName::Langsmith,
            BackendName::Logfire,
            BackendName::Braintrust,
            BackendName::Honeycomb,
            BackendName::Grafana,
            BackendName::Mlflow,
        ] {
            let ProjectRule::Named(setting) = &preset::of(backend).project else {
                continue;
            };
            for carrier in setting.alternatives.iter().chain([&setting.carrier]) {
                if let Carrier::Resource(name) = carrier {
                    let mut rows = preset::project_attributes(backend);
                    assert!(rows.any(|row| row.anywhere.contains(name)), "{backend}: {name}");
                }
            }
        }
    }

    #[test]
    fn clients_lose_project_attributes_of_their_own_backend_and_with_otlp_of_all() {
        let forced = |backend| {
            let binding = Binding::new().backend(backend).endpoint("http://h:1").project("1");
            let binding = match backend {
                BackendName::Otlp | BackendName::Langfuse => Binding {
                    project: None,
                    ..binding
                },
                _ => binding,
            };
            let edits = destination(binding, Protocol::HttpProtobuf)
                .expect("a destination")
                .edits;
            (edits.forced_keys, edits.forced_on_resource)
        };
        assert_eq!(forced(BackendName::Langfuse), (vec![], vec![]));
        assert_eq!(forced(BackendName::Braintrust), (vec!["braintrust.parent"], vec![]));
        let (anywhere, on_resource) = forced(BackendName::Otlp);
        assert!(anywhere.contains(&"braintrust.parent") && anywhere.contains(&"arize.project.name"));
        assert_eq!(on_resource, ["model_id", "gcp.project_id"]);
    }

    #[test]
    fn every_project_attribute_is_documented() {
        let page = include_str!("../../../docs/backends.md");
        let rows = preset::PROJECT_ATTRIBUTES.iter();
        for name in rows.flat_map(|row| row.anywhere.iter().chain(row.on_resource)) {
            assert!(
                page.contains(&format!("`{name}`")),
                "docs/backends.md does not list {name}"
            );
        }
    }
}
