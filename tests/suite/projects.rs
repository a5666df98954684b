//! Backends where the key does not select the project: tenants are separated by `project`, and a
//! shared project is reported.

use serde_json::json;
use tracer_registry::check::{CheckMode, CheckWarning, CheckedBinding, ConnectionCheck, SpanFate};
use tracer_registry::config::{BackendName, Binding, Export, Protocol};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::DropReason;
use tracer_registry::{RegistryBuilder, Selector, TracerRegistry};
use tracing::subscriber::with_default;

use crate::log::Log;
use crate::reload::{Files, table};
use crate::support::{World, binding, collector, quick};

const PHOENIX: &str = "openinference.project.name";
const CHECK: &str = "tracer_registry.check";

/// Tenants `a` and `b` with their own keys on the given backend. The collector stores their spans
/// in projects `a` and `b`, by key.
fn world(backend: BackendName, protocol: Protocol, adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> World {
    let export = Export {
        protocol: Some(protocol),
        ..quick()
    };
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a", "b"], &fingerprinter).start().expect("a free port");
    let url = collector.url();
    let builder = crate::support::registry(&url, &["a", "b"], &fingerprinter)
        .defaults(Binding::new().backend(backend).endpoint(&url))
        .export(export);
    World {
        registry: adapt(builder).build().expect("valid"),
        collector,
    }
}

/// Returns the shared-project warnings of a check, each as `selector: warning`.
fn warnings(registry: &TracerRegistry) -> Vec<String> {
    let project_warnings = |checked: &CheckedBinding| {
        let warnings = checked.warnings.iter();
        let warnings = warnings.filter(|warning| matches!(warning, CheckWarning::SharedProject { .. }));
        let output = warnings.map(|warning| format!("{}: {warning}", checked.selector));
        output.collect::<Vec<_>>()
    };
    registry
        .check(CheckMode::Keys)
        .iter()
        .flat_map(project_warnings)
        .collect()
}

/// Returns the log lines written while the selectors are looked up in this order.
fn logged(registry: &TracerRegistry, selectors: &[&str]) -> Vec<String> {
    let log = Log::default();
    with_default(log.clone(), || {
        for selector in selectors {
            let selector = selector.parse::<Selector>().expect("a selector");
            registry.get(&selector).expect("configured");
        }
    });
    log.lines()
}

fn protocols() -> Vec<Protocol> {
    let mut protocols = vec![Protocol::HttpProtobuf];
    if cfg!(feature = "grpc") {
        protocols.push(Protocol::Grpc);
    }
    protocols
}

#[test]
fn each_phoenix_tenant_names_its_project_on_the_resource_of_every_request() {
    for protocol in protocols() {
        let world = world(BackendName::Phoenix, protocol, |builder| {
            builder
                .tenant("a", binding("a").project("of {tenant}"))
                .tenant("b", binding("b").project("b's"))
        });
        for tenant in ["a", "b"] {
            world.tenant(tenant).in_span("span", |_| ());
        }
        world.flush();
        for (tenant, project) in [("a", "of a"), ("b", "b's")] {
            let span = world.span(tenant, "span");
            assert_eq!(span.resource.attributes[PHOENIX], project, "{protocol:?}");
        }
        assert_eq!(warnings(&world.registry), Vec::<String>::new(), "{protocol:?}");
    }
}

#[test]
fn each_request_has_the_project_header_if_the_backend_reads_one() {
    for (backend, header, project, value) in [
        (BackendName::Langsmith, "langsmith-project", "acme's", "acme's"),
        (BackendName::Braintrust, "x-bt-parent", "acme's", "project_name:acme's"),
        (BackendName::Mlflow, "x-mlflow-experiment-id", "12", "12"),
    ] {
        let world = world(backend, Protocol::HttpProtobuf, |builder| {
            builder
                .tenant("a", binding("a").project(project))
                .tenant("b", binding("b").project("2"))
        });
        world.tenant("a").in_span("one", |_| ());
        world.flush();
        world.tenant("a").in_span("two", |_| ());
        world.flush();
        let requests = world.collector.requests();
        assert_eq!(requests.len(), 2, "{backend:?}");
        for request in requests {
            assert_eq!(request.header(header), Some(value), "{backend:?}");
        }
    }
}

#[test]
fn phoenix_tenants_that_share_the_default_project_are_reported_by_check_and_once_at_a_look_up() {
    for protocol in protocols() {
        let world = world(BackendName::Phoenix, protocol, |builder| {
            // The header is how Phoenix was configured before `project` existed; it has no effect
            // over gRPC.
            let of = |name: &str| match protocol {
                Protocol::Grpc => binding(name).header("x-project-name", name),
                _ => binding(name),
            };
            builder
                .tenant("a", of("a"))
                .tenant("b", of("b"))
                .tenant("c", of("c"))
                .feature("f", Binding::new())
        });
        let rule = "(\"default\"): give each its own `project`, because keys do not select the project on this backend";
        let warning = |one: &str, other: &str| {
            format!(
                "tenant:{one}: its spans land in the same project as those of tenant:{other}, 3 selectors in all {rule}"
            )
        };
        assert_eq!(
            warnings(&world.registry),
            [warning("a", "b"), warning("b", "a"), warning("c", "a")],
            "{protocol:?}"
        );
        let lines = logged(
            &world.registry,
            &["tenant:a", "feature:f,tenant:a", "tenant:a", "tenant:b", "tenant:c"],
        );
        let [line] = lines.as_slice() else { panic!("{lines:#?}") };
        for part in [
            "WARN ",
            "two selectors send to one project: give each its own `project`",
            "selector=tenant:b ",
            "other=tenant:a ",
            "project=\"default\" ",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

#[test]
fn tenants_that_name_one_project_are_reported_if_their_keys_do_not_separate_them() {
    for (backend, key_of_b, is_warned) in [
        (BackendName::Phoenix, "b", true),
        (BackendName::Mlflow, "b", true),
        (BackendName::Langsmith, "b", false),
        (BackendName::Langsmith, "a", true),
        (BackendName::Braintrust, "b", false),
        (BackendName::Braintrust, "a", true),
    ] {
        let world = world(backend, Protocol::HttpProtobuf, |builder| {
            builder
                .tenant("a", binding("a").project("7"))
                .tenant("b", binding(key_of_b).project("7"))
        });
        let case = format!("{backend:?}, key of {key_of_b}");
        assert_eq!(warnings(&world.registry).len(), if is_warned { 2 } else { 0 }, "{case}");
        let lines = logged(&world.registry, &["tenant:a", "tenant:b"]);
        assert_eq!(lines.len(), usize::from(is_warned), "{case}: {lines:#?}");
    }
}

#[test]
fn tenants_that_share_a_key_are_reported_if_keys_select_the_project() {
    let world = world(BackendName::Honeyhive, Protocol::HttpProtobuf, |builder| {
        builder.tenant("b", binding("a")).tenant("c", binding("c"))
    });
    assert_eq!(
        warnings(&world.registry),
        [
            "tenant:a: its spans land in the same project as those of tenant:b: give each its own key",
            "tenant:b: its spans land in the same project as those of tenant:a: give each its own key",
        ]
    );
    let lines = logged(&world.registry, &["tenant:c", "tenant:b", "tenant:a"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn a_wildcard_template_whose_project_omits_the_tenant_is_reported() {
    let phoenix = "[environments.e]\nbackend = \"phoenix\"\napi_key = { provider = \"test\", name = \"e\" }\n";
    for (template, is_warned) in [
        ("", true),
        ("project = \"shared\"", true),
        ("project = \"{tenant}\"", false),
    ] {
        let text = format!(
            "tenants_dir = \"tenants.d\"\n{phoenix}[tenants.\"*\"]\nbackend = \"phoenix\"\nendpoint = \"http://127.0.0.1:9\"\n\
             api_key = {{ provider = \"test\", name = \"{{tenant}}\" }}\n{template}\n"
        );
        let files = Files::new(&[], &text);
        let warnings_found = warnings(&files.world.registry);
        let expected =
            "tenant:*: its spans land in the same project as those of every other tenant without a table of its own";
        assert_eq!(
            warnings_found.iter().any(|warning| warning.starts_with(expected)),
            is_warned,
            "{template}: {warnings_found:?}"
        );
    }
}

#[test]
fn taking_over_a_project_that_another_tenant_left_is_not_reported() {
    let mlflow = |a: &str, b: &str| {
        let of = |name: &str, project: &str| {
            table(name, name)
                + &format!("backend = \"mlflow\"\nendpoint = \"http://127.0.0.1:9\"\nproject = \"{project}\"\n")
        };
        of("a", a) + &of("b", b)
    };
    let files = Files::new(&[], &mlflow("1", "2"));
    let registry = &files.world.registry;
    assert_eq!(logged(registry, &["tenant:a", "tenant:b"]), Vec::<String>::new());
    files.rewrite(&mlflow("3", "1"));
    registry.reload().expect("valid");
    assert_eq!(logged(registry, &["tenant:b", "tenant:a"]), Vec::<String>::new());
    files.rewrite(&mlflow("3", "3"));
    registry.reload().expect("valid");
    assert_eq!(
        logged(registry, &["tenant:b"]).len(),
        1,
        "tenant a still uses the project"
    );
}

/// Starts a server that accepts every empty export and replies `answer` to one with spans.
fn receiver(answer: &'static str) -> String {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.expect("a connection"));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
            reader.read_exact(&mut body).expect("a body");
            let has_span = body.windows(CHECK.len()).any(|window| window == CHECK.as_bytes());
            let answer = if has_span {
                answer
            } else {
                "200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            };
            drop(write!(reader.get_mut(), "HTTP/1.1 {answer}"));
        }
    });
    url
}

#[test]
fn a_sending_check_reports_failures_that_an_empty_export_cannot_show() {
    let not_found = "404 Not Found\r\ncontent-length: 25\r\nconnection: close\r\n\r\nno experiment of that id!";
    let rejected = "200 OK\r\ncontent-type: application/json\r\ncontent-length: 68\r\nconnection: close\r\n\r\n\
                    {\"partialSuccess\":{\"rejectedSpans\":\"1\",\"errorMessage\":\"no project\"}}";
    let unavailable = "503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let refused = "403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let accepted = "200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for (answer, fate) in [
        (not_found, Some(SpanFate::Dropped(DropReason::Refused))),
        (rejected, Some(SpanFate::Dropped(DropReason::Rejected))),
        (unavailable, Some(SpanFate::Retried)),
        (refused, Some(SpanFate::WaitsForAnotherKey)),
        (accepted, None),
    ] {
        let export = Export {
            compression: Some(tracer_registry::config::Compression::None),
            ..quick()
        };
        let registry = TracerRegistry::builder()
            .secret_source("test", crate::support::keys())
            .tenant(
                "a",
                binding("a")
                    .backend(BackendName::Mlflow)
                    .endpoint(receiver(answer))
                    .project("9999"),
            )
            .export(export)
            .build()
            .expect("valid");
        let check = |mode| registry.check(mode).remove(0);
        assert_eq!(
            check(CheckMode::Connect).connection,
            ConnectionCheck::Accepted,
            "{answer}"
        );
        let checked = check(CheckMode::Send);
        let found = match &checked.connection {
            ConnectionCheck::Delivered => None,
            ConnectionCheck::NotDelivered { fate, error } => {
                assert_eq!(
                    error.to_string().contains("no experiment of that id!"),
                    answer == not_found,
                    "{error}"
                );
                Some(*fate)
            }
            other => panic!("{answer}: {other:?}"),
        };
        assert_eq!((found, checked.is_faulty()), (fate, fate.is_some()), "{answer}");
        assert_eq!(checked.project.as_deref(), Some("9999"));
    }
}

#[test]
fn a_sending_check_sends_one_marked_span_to_the_project_of_each_binding() {
    let world = World::new(&["a", "b"]);
    for checked in world.registry.check(CheckMode::Connect) {
        assert_eq!(checked.connection, ConnectionCheck::Accepted);
    }
    assert_eq!(
        (world.names("a").len(), world.names("b").len()),
        (0, 0),
        "an empty export has no span"
    );
    for checked in world.registry.check(CheckMode::Send) {
        assert_eq!(checked.connection, ConnectionCheck::Delivered);
    }
    for tenant in ["a", "b"] {
        let names = world.names(tenant);
        assert_eq!(names, [CHECK]);
        let span = world.span(tenant, CHECK);
        assert_eq!(span.attributes[CHECK], true);
        assert_eq!(
            span.attributes["honeyhive.source"], "test",
            "the check's span has the tracer's attributes"
        );
        assert_eq!(
            span.resource.attributes["tracer_registry.selector"],
            format!("tenant:{tenant}")
        );
    }
    let status = world.registry.status();
    assert!(status.tracers.is_empty(), "check must not create a tracer: {status:?}");
    let output = serde_json::to_value(world.registry.check(CheckMode::Send)).expect("JSON");
    assert_eq!(output[0]["connection"], json!("delivered"));
}
