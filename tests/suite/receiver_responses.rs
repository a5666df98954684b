//! Malformed HTTP responses: a 2xx status counts as delivered unless its content type is that of a
//! page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use opentelemetry::trace::Span as _;
use tracer_registry::check::{CheckMode, ConnectionCheck};
use tracer_registry::config::{BackendName, Export};
use tracer_registry::error::ExportError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::DropReason;
use tracer_registry::{Enrichment, TracerHandle, TracerRegistry};

use crate::support::{LONG, assert_shows_nothing_of, binding, key_of, quick, registry, wait_for};

/// Server that sends the same response to each request.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start(response: &str) -> Self {
        Self::spawn(response, None)
    }

    /// Delays the first response until `until` receives a message.
    fn delayed(response: &str, until: Receiver<()>) -> Self {
        Self::spawn(response, Some(until))
    }

    fn spawn(response: &str, mut hold: Option<Receiver<()>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(AtomicUsize::new(0));
        let (response, count) = (response.to_owned(), Arc::clone(&requests));
        // Detached: no test waits for this thread.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                // The client opened the connection but sent no request.
                if read_request(&stream).is_none() {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(hold) = hold.take() {
                    hold.recv().expect("the test releases the response");
                }
                drop(stream.write_all(response.as_bytes()));
                if response.contains("x-stays: open") {
                    std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
                }
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Returns a registry with tenant `a`, which exports to this server.
    fn registry(&self, backend: BackendName, export: Export) -> TracerRegistry {
        registry(&self.url, &[], &Fingerprinter::new())
            .tenant("a", binding("a").backend(backend).endpoint(&self.url))
            .export(export)
            .build()
            .expect("valid")
    }
}

fn read_request(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(())
}

fn response(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}")
}

/// Exports only on a flush, so that all spans form one batch.
fn on_flush_only() -> Export {
    Export {
        scheduled_delay: Some(Duration::from_secs(600)),
        ..quick()
    }
}

fn tenant_a(registry: &TracerRegistry) -> TracerHandle {
    registry.tenant("a").expect("configured")
}

/// Body of a partial success that rejects two spans with a long error message.
fn long_partial_success() -> String {
    let text = "too old ".repeat(20_000);
    format!(r#"{{"partial_success":{{"rejected_spans":2,"error_message":"{text}"}}}}"#)
}

#[test]
fn a_success_with_an_unreadable_body_is_delivered_without_a_retry() {
    let large = long_partial_success();
    let json = "200 OK\r\ncontent-type: application/json";
    for (case, response, rejected, warning) in [
        (
            "the connection closes before the body ends",
            response(&format!("{json}\r\ncontent-length: 500"), "{\"partial"),
            0,
            "connection broke after 9 bytes",
        ),
        (
            "a chunk is missing",
            response(
                &format!("{json}\r\ntransfer-encoding: chunked"),
                "27\r\n{\"partialSuccess\":{\"rejectedSpans\":\"2\",\r\n",
            ),
            2,
            "rejected 2 spans",
        ),
        (
            "the body exceeds the read limit",
            response(&format!("{json}\r\ncontent-length: {}", large.len()), &large),
            2,
            "rejected 2 spans",
        ),
        (
            "the body is neither protobuf nor JSON",
            response(&format!("{json}\r\ncontent-length: 6"), "<html>"),
            0,
            "neither protobuf nor JSON",
        ),
    ] {
        let server = Server::start(&response);
        let registry = server.registry(BackendName::Honeyhive, on_flush_only());
        let tracer = tenant_a(&registry);
        for _ in 0..5 {
            tracer.start_span("span").end();
        }
        let report = registry.force_flush(LONG);
        let flushed = &report.tracers[0];
        assert_eq!(
            (flushed.delivered, flushed.lost()),
            (5 - rejected, rejected),
            "{case}: {report}"
        );
        assert_eq!(
            flushed.dropped.get(&DropReason::Rejected).copied().unwrap_or(0),
            rejected,
            "{case}"
        );
        let error = flushed.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(error.contains(warning), "{case}: {error}");
        assert_eq!(server.requests(), 1, "{case}");

        let session = tracer.session("s").start();
        let events = registry.force_flush(LONG).tracers[0].session_events.delivered;
        session.enrich(Enrichment::new().metadata("m", 1));
        let more = registry.force_flush(LONG).tracers[0].session_events.delivered;
        assert_eq!((events, more, server.requests()), (1, 1, 3), "{case}: session events");
        let checked = registry.check(CheckMode::Connect);
        let connection = &checked
            .iter()
            .find(|binding| binding.selector == "tenant:a")
            .expect("configured")
            .connection;
        assert!(
            matches!(connection, ConnectionCheck::Accepted),
            "{case}: {connection:?}"
        );
    }
}

#[test]
fn a_success_with_a_body_that_times_out_is_delivered() {
    let server = Server::start(&response("200 OK\r\nx-stays: open\r\ncontent-length: 500", "{"));
    let export = Export {
        // A request without a head within this time is retried.
        timeout: Some(Duration::from_millis(300)),
        ..on_flush_only()
    };
    let registry = server.registry(BackendName::Honeyhive, export);
    let _session = tenant_a(&registry).session("s").start();
    tenant_a(&registry).start_span("span").end();
    let report = registry.force_flush(LONG);
    let flushed = &report.tracers[0];
    assert_eq!(
        (flushed.delivered, flushed.session_events.delivered, report.lost()),
        (1, 1, 0),
        "{report}"
    );
    let error = flushed.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(
        error.contains("its body cannot be read: incomplete after 300ms, 1 bytes received"),
        "{error}"
    );
}

#[test]
fn a_page_with_status_200_is_refused_without_splitting_the_batch() {
    let page = "<!doctype html><title>Sign in</title>";
    let page = response(
        &format!("200 OK\r\ncontent-type: text/html\r\ncontent-length: {}", page.len()),
        page,
    );
    let server = Server::start(&page);
    let registry = server.registry(BackendName::Otlp, on_flush_only());
    for _ in 0..80 {
        tenant_a(&registry).start_span("span").end();
    }
    let report = registry.force_flush(LONG);
    let flushed = &report.tracers[0];
    assert_eq!(
        (flushed.delivered, flushed.dropped[&DropReason::Refused]),
        (0, 80),
        "{report}"
    );
    assert_eq!(server.requests(), 1);
    let expected = "answered 200 with text/html, which is not an OTLP response: Sign in";
    assert!(
        matches!(&flushed.last_error, Some(error @ ExportError::NotOtlpResponse { .. }) if error.to_string().ends_with(expected))
    );
    // The response does not prove that the key is valid.
    let checked = registry.check(CheckMode::Connect);
    let binding = checked
        .iter()
        .find(|binding| binding.selector == "tenant:a")
        .expect("configured");
    assert!(binding.is_faulty(), "{binding:?}");
    assert!(
        matches!(
            &binding.connection,
            ConnectionCheck::Failed(ExportError::NotOtlpResponse { .. })
        ),
        "{binding:?}"
    );
}

#[test]
fn a_page_in_response_to_session_events_is_refused_without_a_retry() {
    let (go, hold) = channel();
    let page = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    let server = Server::delayed(page, hold);
    let registry = server.registry(BackendName::Honeyhive, quick());
    let session = tenant_a(&registry).session("s").start();
    wait_for("the start", || server.requests(), |requests| *requests == 1);
    // They queue behind the start and are sent as one request.
    for n in 0..3 {
        session.enrich(Enrichment::new().metadata(format!("m{n}"), n));
    }
    go.send(()).expect("the server is waiting");
    let report = registry.force_flush(LONG);
    let events = &report.tracers[0].session_events;
    assert_eq!(
        (events.delivered, events.dropped[&DropReason::Refused]),
        (0, 4),
        "{report}"
    );
    assert_eq!(server.requests(), 2, "the start, and one request with the enrichments");
}

#[test]
fn a_key_in_a_response_page_is_withheld() {
    let key = key_of("a");
    for (content_type, page) in [
        (
            "text/html",
            format!("<p>no access for {}</p>", key.replace('_', "<wbr>_")),
        ),
        ("text/plain", format!("no access for {}", key.to_uppercase())),
        (&*format!("text/{key}"), "no access".to_owned()),
    ] {
        let head = format!(
            "200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}",
            page.len()
        );
        let server = Server::start(&response(&head, &page));
        let registry = server.registry(BackendName::Otlp, on_flush_only());
        tenant_a(&registry).start_span("span").end();
        let report = registry.force_flush(LONG);
        assert_eq!(report.tracers[0].dropped[&DropReason::Refused], 1, "{report}");
        let checked = registry.check(CheckMode::Connect);
        let output = format!("{report} {report:?} {:?} {checked:?}", registry.status());
        assert!(output.contains("receiver message withheld"), "{output}");
        assert_shows_nothing_of(&key, &output);
    }
}
