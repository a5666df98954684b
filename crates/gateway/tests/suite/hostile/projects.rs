//! Clients that choose another project at the backend, by attributes or headers.

use std::fmt::Write as _;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use prost::Message as _;
use serde_json::{Map, Value, json};
use tracer_registry_collector::Span;

use crate::requests::EXPORT;
use crate::support::{SHARED, Service, attribute, framed, gzip, spans};

/// Name, keys that choose a project, settings, and the attribute that must arrive.
type Backend = (
    &'static str,
    &'static [&'static str],
    &'static str,
    Option<(&'static str, &'static str)>,
);

/// Backends, what chooses their project, and the setting of the binding with the value that must
/// arrive, if it is an attribute.
const BACKENDS: [Backend; 10] = [
    (
        "honeyhive",
        &[
            "honeyhive.project",
            "honeyhive.project_name",
            "traceloop.association.properties.project",
            "traceloop.association.properties.project_name",
        ],
        "",
        None,
    ),
    ("langfuse", &[], "", None),
    (
        "phoenix",
        &["openinference.project.name"],
        "project = 'bound'",
        Some(("openinference.project.name", "bound")),
    ),
    (
        "langsmith",
        &["langsmith.trace.session_id", "langsmith.trace.session_name"],
        "project = 'bound'",
        None,
    ),
    ("logfire", &[], "", None),
    (
        "braintrust",
        &["braintrust.parent"],
        "resource = { 'braintrust.parent' = 'project_name:bound' }",
        Some(("braintrust.parent", "project_name:bound")),
    ),
    ("honeycomb", &[], "", None),
    ("grafana", &[], "", None),
    ("mlflow", &["mlflow.experimentId"], "project = '7'", None),
    (
        "otlp",
        &[
            "openinference.project.name",
            "braintrust.parent",
            "langsmith.trace.session_id",
            "mlflow.experimentId",
            "honeyhive.project",
            "arize.project.name",
            "arize.space_id",
            "wandb.entity",
            "wandb.project",
            "galileo.project.name",
            "galileo.logstream.name",
            "galileo.experiment.id",
        ],
        "resource = { 'wandb.project' = 'bound' }",
        Some(("wandb.project", "bound")),
    ),
];

/// Headers by which receivers choose a project.
const HEADERS: [&str; 6] = [
    "x-bt-parent",
    "x-project-name",
    "langsmith-project",
    "x-mlflow-experiment-id",
    "x-honeyhive-project",
    "x-honeycomb-dataset",
];

fn table(key: &str, entry: KeyValue) -> KeyValue {
    KeyValue {
        value: Some(AnyValue {
            value: Some(any_value::Value::KvlistValue(KeyValueList { values: vec![entry] })),
        }),
        ..attribute(key, "")
    }
}

/// Returns a request whose resource, scope, spans, events and links name other projects: each key
/// twice, as a text and as a table, between other attributes.
fn forged(name: &str, keys: &[&str]) -> ExportTraceServiceRequest {
    let mut attributes = vec![attribute("first", "kept")];
    for key in keys {
        attributes.push(attribute(key, "forged"));
        attributes.push(table(key, attribute(key, "forged")));
        attributes.push(attribute("between", "kept"));
        attributes.push(attribute(key, "forged again"));
    }
    attributes.push(attribute("last", "kept"));
    let mut request = spans(&[name, name]);
    let block = &mut request.resource_spans[0];
    block
        .resource
        .get_or_insert_default()
        .attributes
        .clone_from(&attributes);
    block.scope_spans[0].scope = Some(InstrumentationScope {
        attributes: attributes.clone(),
        ..InstrumentationScope::default()
    });
    let span = &mut block.scope_spans[0].spans[0];
    span.events.push(Event {
        attributes: attributes.clone(),
        ..Event::default()
    });
    span.links.push(Link {
        attributes: attributes.clone(),
        ..Link::default()
    });
    span.attributes = attributes;
    request
}

/// Returns the same in JSON, with each key escaped.
fn forged_json(name: &str, keys: &[&str]) -> String {
    let mut attributes = r#"{"key":"first","value":{"stringValue":"kept"}}"#.to_owned();
    for key in keys {
        let escaped = key.bytes().fold(String::new(), |mut escaped, byte| {
            write!(escaped, "\\u{byte:04x}").unwrap();
            escaped
        });
        write!(
            attributes,
            r#",{{"key":"{escaped}","value":{{"stringValue":"forged"}}}},{{"value":{{"stringValue":"forged"}},"key":"{key}"}}"#
        )
        .unwrap();
    }
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"5b8efff798038103d269b633813fc60c",
        "spanId":"eee19b7ec3c1b174","name":"{name}","attributes":[{attributes}]}}],
        "scope":{{"attributes":[{attributes}]}}}}],"resource":{{"attributes":[{attributes}]}}}}]}}"#
    )
}

/// Checks the parts by which receivers choose a project.
fn assert_bound(span: &Span, keys: &[&str], bound: Option<(&str, &str)>) {
    for attributes in [&span.attributes, &span.scope.attributes, &span.resource.attributes] {
        let is_resource = std::ptr::eq(attributes, &raw const span.resource.attributes);
        for key in keys {
            let expected = bound
                .filter(|(bound, _)| is_resource && bound == key)
                .map(|(_, value)| value);
            let found = attributes.get(*key).map(|value| value.as_str().unwrap());
            assert_eq!(found, expected, "{} {key}", span.name);
        }
    }
    assert!(span.resource.attributes["first"] == "kept", "{span:?}");
}

/// Starts a service with a tenant `team-{backend}` for each backend, whose spans all land in the
/// project `acme`.
fn start(backends: &[(&str, &str)]) -> Service {
    let service = Service::prepare("", "");
    let url = service.collector.url();
    let mut tables = String::new();
    for (backend, settings) in backends {
        write!(
            tables,
            "[tenants.team-{backend}]\nbackend = '{backend}'\nendpoint = '{url}'\n\
             api_key = {{ file = 'keys/acme' }}\n{settings}\n"
        )
        .unwrap();
    }
    service.write_config("", &tables);
    service.start_again().unwrap()
}

#[test]
fn no_attribute_or_header_of_a_client_chooses_the_project() {
    let service = start(&BACKENDS.map(|(backend, _, settings, _)| (backend, settings)));
    for (backend, keys, _, _) in BACKENDS {
        let tenant = format!("team-{backend}");
        let mut headers = vec![("x-tenant", &*tenant)];
        headers.extend(HEADERS.map(|name| (name, "forged")));
        let message = forged(backend, keys).encode_to_vec();
        assert_eq!(service.post(SHARED, &headers, message.clone()).status, 200, "{backend}");
        let reply = service.call(EXPORT, SHARED, &headers, framed(false, &message));
        assert_eq!(reply.grpc_status(), 0, "{backend}");
        let mut request = service
            .request("/v1/traces", SHARED)
            .header("content-type", "application/json");
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let json = forged_json(backend, keys);
        assert_eq!(
            service.client.send(request.body(json.into()).unwrap()).status,
            200,
            "{backend}"
        );
        headers.push(("content-encoding", "gzip"));
        assert_eq!(service.post(SHARED, &headers, gzip(&message)).status, 200, "{backend}");
    }
    service.flush();
    let project = service.collector.project("acme").unwrap();
    for (backend, keys, _, bound) in BACKENDS {
        let mut arrived = 0;
        for span in project.spans_named(backend) {
            assert_bound(span, keys, bound);
            arrived += 1;
        }
        assert_eq!(arrived, 7, "{backend}");
    }
    let requests = service.collector.requests();
    assert!(!requests.is_empty());
    for request in requests {
        for name in HEADERS {
            assert_ne!(request.header(name), Some("forged"), "{name}");
        }
    }
}

/// Returns a session or event whose fields, at all levels, name other projects.
fn forged_session(name: &str, keys: &[&str]) -> Value {
    let forged: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), "forged".into())).collect();
    let mut session = forged.clone();
    for field in [
        "project",
        "project_id",
        "projectName",
        "PROJECT",
        "workspace_id",
        "org_id",
    ] {
        session.insert(field.to_owned(), "forged".into());
    }
    for field in [
        "metadata",
        "config",
        "inputs",
        "outputs",
        "user_properties",
        "feedback",
        "metrics",
    ] {
        session.insert(field.to_owned(), forged.clone().into());
    }
    for (field, value) in [("session_name", name), ("event_name", name), ("event_type", "tool")] {
        session.insert(field.to_owned(), value.into());
    }
    session.into()
}

#[test]
fn no_field_of_a_session_chooses_the_project() {
    let service = start(&BACKENDS.map(|(backend, _, settings, _)| (backend, settings)));
    for (backend, keys, _, _) in BACKENDS {
        let session = forged_session(backend, keys);
        for (path, body) in [
            ("/session/start", json!({ "session": session, "project": "forged" })),
            ("/v1/sessions", session.clone()),
            ("/events", json!({ "event": session, "project": "forged" })),
        ] {
            let mut request = service
                .request(path, SHARED)
                .header("content-type", "application/json")
                .header("x-tenant", format!("team-{backend}"));
            for name in HEADERS {
                request = request.header(name, "forged");
            }
            let reply = service.client.send(request.body(body.to_string().into()).unwrap());
            assert_eq!(reply.status, 200, "{backend} {path}: {reply:?}");
        }
    }
    service.flush();
    let project = service.collector.project("acme").unwrap();
    assert!(!project.spans().is_empty() && !project.sessions().is_empty() && !project.events().is_empty());
    for span in project.spans() {
        for attributes in [&span.attributes, &span.scope.attributes, &span.resource.attributes] {
            for (_, keys, _, _) in BACKENDS {
                let found = keys
                    .iter()
                    .find(|key| attributes.get(**key).is_some_and(|value| value == "forged"));
                assert_eq!(found, None, "{span:?}");
            }
        }
    }
    for event in project.events() {
        let found = event
            .body
            .keys()
            .find(|name| name.to_lowercase().starts_with("project"));
        assert_eq!(found, None, "{event:?}");
    }
}

#[test]
fn names_of_other_case_are_other_attributes_and_survive() {
    let service = start(&[("braintrust", "")]);
    let keys = [
        "Braintrust.Parent",
        "BRAINTRUST.PARENT",
        "braintrust.parent ",
        " braintrust.parent",
        "braintrust.parent.x",
        "xbraintrust.parent",
    ];
    let message = forged("span", &keys).encode_to_vec();
    let headers = [("x-tenant", "team-braintrust")];
    assert_eq!(service.post(SHARED, &headers, message).status, 200);
    service.flush();
    let project = service.collector.project("acme").unwrap();
    let resource = &project.spans()[0].resource.attributes;
    assert!(keys.iter().all(|key| resource[*key] == "forged"), "{resource:?}");
}
