//! Answers by HTTP that are not what was asked for: the head of a success counts, unless it is no receiver's.

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

/// A server that gives the same answer to each request, and reads what else the client sends on the connection.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: &str) -> Self {
        Self::begin(answer, None)
    }

    /// Waits before the first answer.
    fn held(answer: &str, until: Receiver<()>) -> Self {
        Self::begin(answer, Some(until))
    }

    fn begin(answer: &str, mut hold: Option<Receiver<()>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, count) = (answer.to_owned(), Arc::clone(&asked));
        // Ends with the process: it does nothing that a test waits for.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                // A connection that the client opened and did not use.
                if read_request(&stream).is_none() {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(hold) = hold.take() {
                    hold.recv().expect("the test lets it go");
                }
                drop(stream.write_all(answer.as_bytes()));
                if answer.contains("x-stays: open") {
                    std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
                }
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A registry with one tenant, whose requests come here.
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

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}")
}

/// Everything waits for a flush, so that it is one batch.
fn patient() -> Export {
    Export {
        scheduled_delay: Some(Duration::from_secs(600)),
        ..quick()
    }
}

fn a(registry: &TracerRegistry) -> TracerHandle {
    registry.tenant("a").expect("configured")
}

/// Of a partial success that rejects two spans, and says so at length.
fn long_partial_success() -> String {
    let text = "too old ".repeat(20_000);
    format!(r#"{{"partial_success":{{"rejected_spans":2,"error_message":"{text}"}}}}"#)
}

#[test]
fn a_success_is_delivered_once_whatever_becomes_of_its_body() {
    let large = long_partial_success();
    let json = "200 OK\r\ncontent-type: application/json";
    for (what, answer, rejected, warning) in [
        (
            "the connection ends in the middle",
            answer(&format!("{json}\r\ncontent-length: 500"), "{\"partial"),
            0,
            "it broke off after 9 bytes",
        ),
        (
            "a chunk is missing",
            answer(
                &format!("{json}\r\ntransfer-encoding: chunked"),
                "27\r\n{\"partialSuccess\":{\"rejectedSpans\":\"2\",\r\n",
            ),
            2,
            "rejected 2 spans",
        ),
        (
            "there is more than is read",
            answer(&format!("{json}\r\ncontent-length: {}", large.len()), &large),
            2,
            "rejected 2 spans",
        ),
        (
            "it cannot be read",
            answer(&format!("{json}\r\ncontent-length: 6"), "<html>"),
            0,
            "it is a response in neither protobuf nor JSON",
        ),
    ] {
        let server = Server::start(&answer);
        let registry = server.registry(BackendName::Honeyhive, patient());
        let tracer = a(&registry);
        for _ in 0..5 {
            tracer.start_span("span").end();
        }
        let report = registry.force_flush(LONG);
        let told = &report.tracers[0];
        assert_eq!(
            (told.delivered, told.lost()),
            (5 - rejected, rejected),
            "{what}: {report}"
        );
        assert_eq!(
            told.dropped.get(&DropReason::Rejected).copied().unwrap_or(0),
            rejected,
            "{what}"
        );
        let error = told.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(error.contains(warning), "{what}: {error}");
        assert_eq!(server.asked(), 1, "{what}");

        let session = tracer.session("s").start();
        let events = registry.force_flush(LONG).tracers[0].session_events.delivered;
        session.enrich(Enrichment::new().metadata("m", 1));
        let more = registry.force_flush(LONG).tracers[0].session_events.delivered;
        assert_eq!((events, more, server.asked()), (1, 1, 3), "{what}: session events");
        let checked = registry.check(CheckMode::Connect);
        let connection = &checked
            .iter()
            .find(|binding| binding.selector == "tenant:a")
            .expect("configured")
            .connection;
        assert!(
            matches!(connection, ConnectionCheck::Accepted),
            "{what}: {connection:?}"
        );
    }
}

#[test]
fn a_success_is_delivered_if_the_rest_of_it_does_not_come_in_time() {
    let server = Server::start(&answer("200 OK\r\nx-stays: open\r\ncontent-length: 500", "{"));
    let export = Export {
        // A head that comes later than this is waited for again.
        timeout: Some(Duration::from_millis(300)),
        ..patient()
    };
    let registry = server.registry(BackendName::Honeyhive, export);
    let _session = a(&registry).session("s").start();
    a(&registry).start_span("span").end();
    let report = registry.force_flush(LONG);
    let told = &report.tracers[0];
    assert_eq!(
        (told.delivered, told.session_events.delivered, report.lost()),
        (1, 1, 0),
        "{report}"
    );
    let error = told.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(
        error.contains("its answer cannot be read: 1 bytes of it came within 300ms"),
        "{error}"
    );
}

#[test]
fn a_page_with_a_success_is_refused_once_and_not_divided() {
    let page = "<!doctype html><title>Sign in</title>";
    let page = answer(
        &format!("200 OK\r\ncontent-type: text/html\r\ncontent-length: {}", page.len()),
        page,
    );
    let server = Server::start(&page);
    let registry = server.registry(BackendName::Otlp, patient());
    for _ in 0..80 {
        a(&registry).start_span("span").end();
    }
    let report = registry.force_flush(LONG);
    let told = &report.tracers[0];
    assert_eq!(
        (told.delivered, told.dropped[&DropReason::Refused]),
        (0, 80),
        "{report}"
    );
    assert_eq!(server.asked(), 1);
    let said = "answered 200 with text/html, which is no answer of a receiver: Sign in";
    assert!(
        matches!(&told.last_error, Some(error @ ExportError::NoReceiver { .. }) if error.to_string().ends_with(said))
    );
    // The key is not known to be good by it.
    let checked = registry.check(CheckMode::Connect);
    let binding = checked
        .iter()
        .find(|binding| binding.selector == "tenant:a")
        .expect("configured");
    assert!(binding.is_faulty(), "{binding:?}");
    assert!(
        matches!(
            &binding.connection,
            ConnectionCheck::Failed(ExportError::NoReceiver { .. })
        ),
        "{binding:?}"
    );
}

#[test]
fn a_page_in_the_place_of_an_answer_about_sessions_is_refused_once() {
    let (go, hold) = channel();
    let page = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    let server = Server::held(page, hold);
    let registry = server.registry(BackendName::Honeyhive, quick());
    let session = a(&registry).session("s").start();
    wait_for("the start", || server.asked(), |asked| *asked == 1);
    // They wait behind the start, and go out together.
    for n in 0..3 {
        session.enrich(Enrichment::new().metadata(format!("m{n}"), n));
    }
    go.send(()).expect("the server waits");
    let report = registry.force_flush(LONG);
    let events = &report.tracers[0].session_events;
    assert_eq!(
        (events.delivered, events.dropped[&DropReason::Refused]),
        (0, 4),
        "{report}"
    );
    assert_eq!(server.asked(), 2, "the start, and the enrichments together");
}

#[test]
fn a_page_that_repeats_the_key_does_not_show_it() {
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
        let server = Server::start(&answer(&head, &page));
        let registry = server.registry(BackendName::Otlp, patient());
        a(&registry).start_span("span").end();
        let report = registry.force_flush(LONG);
        assert_eq!(report.tracers[0].dropped[&DropReason::Refused], 1, "{report}");
        let checked = registry.check(CheckMode::Connect);
        let shown = format!("{report} {report:?} {:?} {checked:?}", registry.status());
        assert!(shown.contains("receiver's text withheld"), "{shown}");
        assert_shows_nothing_of(&key, &shown);
    }
}
