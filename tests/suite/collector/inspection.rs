//! Fingerprints, project names, observers and recorded requests, none of which show a key.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tracer_registry::config::{AuthScheme, BackendName, Binding};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::{KeySource, TracerRegistry};
use tracer_registry_collector::{Endpoint, Fault, Format, LocalCollector, Received};

use super::client::{attribute, export, get, post, span, text};
use super::{collector, span_names};

#[test]
fn fingerprints_are_those_of_the_given_fingerprinter() {
    let fingerprinter = Fingerprinter::new();
    let builder = LocalCollector::builder().project("acme", "key-a").fingerprints({
        let fingerprinter = fingerprinter.clone();
        move |key| fingerprinter.fingerprint(key).into()
    });
    let collector = builder.start().unwrap();
    let fingerprint = collector.fingerprint("key-a");
    assert_eq!(collector.projects()[0].fingerprint, fingerprint);
    assert!(collector.project_of_fingerprint(fingerprint).is_some());
    let given = fingerprinter.fingerprint(b"key-a");
    assert_eq!(u64::from(fingerprint), u64::from(given));
    assert_eq!(fingerprint.to_string(), given.to_string());
}

#[test]
fn a_project_can_be_named_after_its_first_request_and_by_a_second_key() {
    let collector = collector();
    export("key-1", vec![span("before", 1)]).status(&collector);
    collector.name_project("late", "key-1");
    collector.name_project("late", "key-2");
    export("key-2", vec![span("rotated", 2)]).status(&collector);
    assert_eq!(span_names(&collector, "late"), ["before", "rotated"]);
    let late = collector.project("late").unwrap();
    assert_eq!(
        late.summary().keys,
        [collector.fingerprint("key-1"), collector.fingerprint("key-2")]
    );
    assert_eq!(collector.project_of_key("key-2").unwrap().name(), Some("late"));
    collector.name_project("acme", "key-2");
    export("key-2", vec![span("moved", 3)]).status(&collector);
    assert_eq!(span_names(&collector, "acme"), ["moved"]);
    assert_eq!(
        collector.project("late").unwrap().summary().keys,
        [collector.fingerprint("key-1")]
    );
    assert_eq!(collector.projects().len(), 3);
    assert!(collector.project("none").is_none() && collector.project_of_key("none").is_none());
}

#[test]
fn an_observer_is_called_for_each_request() {
    let seen: Arc<Mutex<Vec<Received>>> = Arc::default();
    let observed = Arc::clone(&seen);
    let observe = move |received: &Received| observed.lock().unwrap().push(received.clone());
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .observer(observe)
        .start()
        .unwrap();
    let mut linked = span("one", 1);
    linked.attributes = vec![attribute("session.id", text("s-1"))];
    export("key-a", vec![linked.clone(), linked, span("two", 2)])
        .gzip()
        .status(&collector);
    collector.fault(Fault::status(500).times(1));
    post("/session/start")
        .bearer("key-b")
        .json(&json!({ "session": {} }))
        .status(&collector);

    let seen = seen.lock().unwrap();
    let [export, start] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(
        (export.project.as_deref(), export.endpoint),
        (Some("acme"), Endpoint::Traces)
    );
    assert_eq!((export.spans, export.rejected_spans, export.status), (3, 0, 200));
    let stored: Vec<&str> = export.stored.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(stored, ["one", "one", "two"]);
    assert_eq!(
        (&export.sessions[..], export.format),
        (&["s-1".to_owned()][..], Some(Format::Protobuf))
    );
    assert!(
        export.wire_bytes > 0 && export.body_bytes > export.wire_bytes,
        "{export:?}"
    );
    assert_eq!(
        (start.project.as_deref(), start.endpoint, start.status),
        (None, Endpoint::Sessions, 500)
    );
    assert_eq!(start.key, collector.fingerprint("key-b"));
}

#[test]
fn recorded_requests_contain_every_byte_except_the_key() {
    let collector = LocalCollector::builder()
        .project("acme", "canary")
        .record_requests(1_000_000)
        .start()
        .unwrap();
    collector.fault(Fault::status(500).times(1));
    let call = export("canary", vec![span("visible", 1)])
        .header("X-Source", "production")
        .gzip();
    assert_eq!((call.status(&collector), call.status(&collector)), (500, 200));
    assert_eq!(post("/v1/traces?x=1").json(&json!({})).status(&collector), 401);
    let requests = collector.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0], requests[1]);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].project.as_deref()),
        ("POST", Some("acme"))
    );
    assert!(
        requests[0].body.windows(7).any(|bytes| bytes == b"visible"),
        "the body is recorded uncompressed"
    );
    assert_eq!(requests[0].header("authorization"), Some("redacted"));
    assert_eq!(requests[0].header("x-source"), Some("production"));
    assert_eq!((requests[2].path.as_str(), requests[2].key), ("/v1/traces?x=1", None));
    assert!(!format!("{requests:?}").contains("canary"));
}

#[test]
fn recorded_requests_redact_keys_of_every_backend_and_custom_key_header() {
    let custom = Binding::new()
        .backend(BackendName::Otlp)
        .auth("x-tenant-token", AuthScheme::Raw);
    let backends = [
        BackendName::Honeyhive,
        BackendName::Otlp,
        BackendName::Langfuse,
        BackendName::Phoenix,
        BackendName::Langsmith,
        BackendName::Logfire,
        BackendName::Braintrust,
        BackendName::Honeycomb,
        BackendName::Grafana,
    ];
    let bindings = backends.map(|backend| Binding::new().backend(backend));
    for (binding, is_named) in bindings
        .into_iter()
        .map(|binding| (binding, true))
        .chain([(custom.clone(), true), (custom, false)])
    {
        let case = format!("{binding:?}");
        let builder = LocalCollector::builder().record_requests(1_000_000);
        let builder = if is_named {
            builder.key_header("X-Tenant-Token")
        } else {
            builder
        };
        let collector = builder.start().unwrap();
        let binding = binding
            .endpoint(collector.url())
            .api_key(KeySource::provider("test", "acme"));
        let registry = TracerRegistry::builder()
            .secret_source("test", |_: &str| Ok("user:canary".into()))
            .tenant("acme", binding)
            .build()
            .unwrap();
        drop(registry.tenant("acme").unwrap().start_span("one"));
        if is_named {
            assert!(registry.force_flush(crate::support::LONG).is_complete(), "{case}");
        } else {
            assert!(collector.wait_until(super::PATIENCE, |collector| collector.requests_without_key() > 0));
        }
        let _ = registry.shutdown(std::time::Duration::ZERO);
        assert_eq!(collector.project_of_key("user:canary").is_some(), is_named, "{case}");
        let recorded = format!("{:?}", collector.requests());
        assert!(
            !recorded.is_empty() && !recorded.contains("canary"),
            "{case}: {recorded}"
        );
        assert!(!recorded.contains("dXNlcjpjYW5hcnk="), "{case}: {recorded}");
    }
    let error = LocalCollector::builder().key_header("no header").start().unwrap_err();
    assert!(error.to_string().contains("no header"), "{error}");
}

#[test]
fn requests_are_recorded_only_on_request_and_within_the_limit() {
    let bounded = LocalCollector::builder().record_requests(5_000).start().unwrap();
    for number in 1..=20 {
        export("key-a", vec![span("one", number)]).status(&bounded);
    }
    let kept = bounded.requests().len();
    assert!(kept > 0 && kept < 20, "{kept}");
    assert_eq!(bounded.dropped_requests() + kept as u64, 20);

    let not_recording = collector();
    export("key-a", vec![]).status(&not_recording);
    assert!(not_recording.requests().is_empty());
}

#[test]
fn clear_removes_received_data_and_keeps_names_and_faults() {
    let builder = LocalCollector::builder()
        .project("acme", "key-a")
        .record_requests(1_000_000);
    let collector = builder.start().unwrap();
    let fault = collector.fault(Fault::status(503).only("key-b"));
    export("key-a", vec![span("one", 1)]).status(&collector);
    collector.clear();
    let acme = collector.project("acme").unwrap();
    assert_eq!(
        (acme.spans().len(), acme.summary().requests, collector.requests().len()),
        (0, 0, 0)
    );
    export("key-a", vec![span("two", 1)]).status(&collector);
    assert_eq!(span_names(&collector, "acme"), ["two"]);
    assert_eq!(export("key-b", vec![]).status(&collector), 503);
    assert_eq!(collector.fault_hits(fault), 1);
}

#[test]
fn debug_output_and_pages_contain_no_key() {
    let builder = LocalCollector::builder()
        .project("acme", "canary")
        .record_requests(1_000_000);
    let fault = Fault::reject_key().only("canary").times(1);
    let mut shown = format!("{builder:?} {fault:?}");
    let collector = builder.start().unwrap();
    collector.fault(fault);
    export("canary", vec![]).status(&collector);
    export("canary", vec![span("one", 1)]).status(&collector);
    let session = json!({ "session": { "session_name": "s" } });
    post("/session/start")
        .bearer("canary")
        .json(&session)
        .status(&collector);
    shown += &[
        format!("{collector:?}"),
        format!("{:?}", collector.project("acme")),
        format!("{:?}", collector.requests()),
    ]
    .concat();
    for path in [
        "/",
        "/api/projects",
        "/api/projects/acme",
        "/api/projects/acme/spans",
        "/api/projects/acme/sessions",
    ] {
        let response = get(path).send(&collector).unwrap();
        assert_eq!(response.status, 200, "{path}");
        shown += &String::from_utf8(response.body).unwrap();
    }
    assert!(!shown.contains("canary"), "{shown}");
    assert!(!shown.contains("Y2FuYXJ5"), "key in base64: {shown}");
}
