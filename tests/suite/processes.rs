//! Behaviour that needs a separate process: environment variables, and the end of a process.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;
use tracer_registry::config::{Compression, Export, Protocol};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::{TracerHandle, TracerRegistry};
use tracer_registry_collector::Fault;

use crate::child_process::{child_output, is_child, variable};
use crate::log::Log;
use crate::support::{World, collector, quick, registry, wait_for};

const VARIABLES: [(&str, &str); 17] = [
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "authorization=Bearer stolen,x-api-key=stolen,x-canary=stolen",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "authorization=Bearer stolen,x-canary=stolen,content-type=text/stolen,content-encoding=br",
    ),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "::no url::"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
    ("OTEL_RESOURCE_ATTRIBUTES", "service.name=stolen,canary=stolen"),
    ("OTEL_SERVICE_NAME", "stolen"),
    ("OTEL_TRACES_SAMPLER", "always_off"),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0"),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", "0"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
    ("HTTP_PROXY", "http://127.0.0.1:9"),
    ("http_proxy", "http://127.0.0.1:9"),
];

#[test]
fn opentelemetry_environment_variables_change_nothing() {
    if !is_child(
        "processes::opentelemetry_environment_variables_change_nothing",
        &VARIABLES,
    ) {
        return;
    }
    for compression in [Compression::None, Compression::Gzip] {
        for protocol in [Protocol::HttpProtobuf, Protocol::HttpJson] {
            let export = Export {
                compression: Some(compression),
                protocol: Some(protocol),
                ..quick()
            };
            let world = World::with(&["a", "b"], |builder| builder.export(export));
            for tenant in ["a", "b"] {
                let tracer = world.tenant(tenant);
                let session = tracer.session("s").start();
                let _inside = session.enter();
                tracer.in_span("span", |span| {
                    span.set_attributes((0..100).map(|n| KeyValue::new(format!("k{n}"), n)));
                    span.add_event("event", Vec::new());
                });
            }
            world.flush();
            for tenant in ["a", "b"] {
                let span = world.span(tenant, "span");
                assert_eq!(span.attributes.keys().filter(|key| key.starts_with('k')).count(), 100);
                assert_eq!((span.events.len(), span.dropped_attributes), (1, 0));
                assert_eq!(span.resource.attributes["service.name"], "unknown_service");
                world.assert_no_trace_of("stolen", tenant);
            }
            assert_eq!(world.collector.projects().len(), 2, "no request used another key");
            let requests = world.collector.requests();
            let gzip = requests
                .iter()
                .filter(|request| request.header("content-encoding").is_some())
                .count();
            assert_eq!(gzip, if compression == Compression::Gzip { 2 } else { 0 });
        }
    }
}

#[test]
fn a_program_that_ends_without_a_shutdown_delivers_its_queue() {
    const TEST: &str = "processes::a_program_that_ends_without_a_shutdown_delivers_its_queue";
    const URL: &str = "COLLECTOR_URL";
    let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
    if is_child(TEST, &[(URL, collector.url())]) {
        // URL of the collector in the parent process.
        return record_and_return(&variable(URL));
    }
    let project = collector.project("a").expect("named");
    assert_eq!(project.spans().len(), 1000);
    assert_eq!(project.sessions().len(), 1);
}

/// Ways to end a process, and whether its queue is delivered. `docs/operations.md` has the same
/// table.
#[cfg(unix)]
const EXITS: [(&str, bool); 9] = [
    ("the last clone is dropped", true),
    ("a handle is in a static", true),
    ("it is installed", true),
    ("a panic", true),
    ("a clone is in a static", false),
    ("a clone is in a thread that stays", false),
    ("it is forgotten", false),
    ("std::process::exit", false),
    ("SIGTERM", false),
];

#[test]
#[cfg(unix)]
fn each_way_to_end_a_process_delivers_or_loses_its_queue_as_documented() {
    const TEST: &str = "processes::each_way_to_end_a_process_delivers_or_loses_its_queue_as_documented";
    for (how, is_delivered) in EXITS {
        let collector = collector(&["a"], &Fingerprinter::new()).start().expect("a free port");
        let Some(output) = child_output(TEST, &[("URL", collector.url()), ("HOW", how.to_owned())]) else {
            return end(&variable("HOW"), &variable("URL"));
        };
        let arrived = collector.project("a").expect("named").spans().len();
        assert_eq!(arrived, usize::from(is_delivered), "{how}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("registry"), "{how}: {stderr}");
    }
}

/// Ends this process with a span in its queue. Logs go to standard error.
#[cfg(unix)]
fn end(how: &str, url: &str) {
    static REGISTRY: OnceLock<TracerRegistry> = OnceLock::new();
    static HANDLE: OnceLock<TracerHandle> = OnceLock::new();

    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr);
    tracing::subscriber::set_global_default(subscriber.finish()).expect("the first");
    let export = Export {
        scheduled_delay: Some(Duration::from_secs(3600)),
        drop_timeout: Some(Duration::from_secs(30)),
        ..quick()
    };
    let registry = registry(url, &["a"], &Fingerprinter::new()).export(export);
    let registry = registry.build().expect("valid");
    let a = registry.tenant("a").expect("configured");
    a.start_span("span").end();
    match how {
        "the last clone is dropped" => {}
        "a handle is in a static" => drop(HANDLE.set(a)),
        "it is installed" => registry.install_global(),
        "a panic" => panic!("requested by the test"),
        "a clone is in a static" => drop(REGISTRY.set(registry.clone())),
        "a clone is in a thread that stays" => {
            let clone = registry.clone();
            std::thread::spawn(move || {
                let _stays = clone;
                loop {
                    std::thread::park();
                }
            });
        }
        "it is forgotten" => std::mem::forget(registry),
        "std::process::exit" => std::process::exit(0),
        "SIGTERM" => {
            let process = rustix::process::getpid();
            rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("a process may signal itself");
        }
        other => panic!("unknown exit: {other}"),
    }
}

fn record_and_return(url: &str) {
    let export = Export {
        scheduled_delay: Some(Duration::from_secs(3_600)),
        drop_timeout: Some(Duration::from_secs(30)),
        ..quick()
    };
    let registry = registry(url, &["a"], &Fingerprinter::new()).export(export);
    let registry = registry.build().expect("valid");
    let a = registry.tenant("a").expect("configured");
    let session = a.session("s").start();
    let _inside = session.enter();
    for _ in 0..1000 {
        a.start_span("span").end();
    }
}

#[test]
fn a_dropped_registry_logs_undelivered_data_in_one_line() {
    let export = Export {
        drop_timeout: Some(Duration::from_millis(100)),
        ..quick()
    };
    let world = World::with(&["a", "b"], |builder| builder.export(export));
    world.collector.fault(Fault::hang().only(crate::support::key_of("a")));
    for tenant in ["a", "b"] {
        world.tenant(tenant).start_span("span").end();
    }
    // b's span is delivered, so only a's can be lost, even on a slow machine.
    wait_for("b's ledger", || world.status("b"), |status| status.spans.delivered == 1);
    let log = Log::default();
    let World { collector, registry } = world;
    tracing::subscriber::with_default(log.clone(), || drop(registry));
    let lines = log.lines();
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(
        line.contains("lost=1") && line.contains("tenant:a: 0 spans delivered, 1 dropped"),
        "{line}"
    );
    assert!(!line.contains("_canary"), "{line}");
    drop(collector);
}

#[test]
fn a_registry_that_delivered_everything_logs_nothing_when_dropped() {
    let world = World::new(&["a"]);
    world.tenant("a").start_span("span").end();
    let log = Log::default();
    let World { collector, registry } = world;
    tracing::subscriber::with_default(log.clone(), || drop(registry));
    assert_eq!(log.lines(), [""; 0]);
    assert_eq!(collector.project("a").expect("named").spans().len(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn tracers_start_no_threads() {
    if !is_child::<&str>("processes::tracers_start_no_threads", &[]) {
        return;
    }
    let threads = || std::fs::read_dir("/proc/self/task").expect("Linux").count();
    let names: Vec<String> = (0..500).map(|n| format!("tenant-{n}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new(&tenants);
    world.tenant("tenant-0").start_span("first").end();
    world.flush();
    let with_one = threads();
    for tenant in &tenants {
        world.tenant(tenant).start_span("span").end();
        let dedicated = world
            .registry
            .dedicated(tracer_registry::Selector::tenant(tenant))
            .expect("configured");
        dedicated.start_span("dedicated").end();
    }
    world.flush();
    assert_eq!(threads(), with_one);
}
