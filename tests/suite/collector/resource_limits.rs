//! Abusive clients: limits on memory, time and connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tracer_registry_collector::{Fault, LocalCollector};

use super::client::{export, get, head, post, span, tiny_spans};
use super::{PATIENCE, collector, span_names};

/// Client timeout in tests that wait for it.
const SHORT: Duration = Duration::from_secs(1);

fn connect(collector: &LocalCollector) -> TcpStream {
    let stream = TcpStream::connect(collector.addr()).expect("the collector listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Reads until the collector closes the connection.
fn read_to_close(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection is still open"),
        _ => String::from_utf8_lossy(&text).into_owned(),
    }
}

#[test]
fn a_silent_client_is_disconnected_at_every_stage_of_a_request() {
    let collector = LocalCollector::builder().client_timeout(SHORT).start().unwrap();
    let mut incomplete = Vec::new();
    for sent in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n\r\n",
        "POST /v1/traces HTTP/1.1\r\nHost: local",
    ] {
        let mut stream = connect(&collector);
        stream.write_all(sent.as_bytes()).unwrap();
        incomplete.push(stream);
    }
    let mut kept_alive = connect(&collector);
    kept_alive
        .write_all(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut half_body = connect(&collector);
    half_body.write_all((head(1000) + "x").as_bytes()).unwrap();

    for stream in incomplete {
        let response = read_to_close(stream);
        assert!(!response.starts_with("HTTP/1.1 2"), "{response}");
    }
    assert!(read_to_close(kept_alive).starts_with("HTTP/1.1 200"));
    assert!(read_to_close(half_body).starts_with("HTTP/1.1 408"));
}

#[test]
fn a_client_that_does_not_read_its_response_is_disconnected() {
    let collector = LocalCollector::builder().client_timeout(SHORT).start().unwrap();
    let spans = (1..=18).map(|number| span(&"x".repeat(1 << 20), number)).collect();
    assert_eq!(export("key-a", spans).status(&collector), 200);
    let project = collector.fingerprint("key-a");
    let mut stream = connect(&collector);
    write!(
        stream,
        "GET /api/projects/{project}/spans HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    // The response has begun and is not read. Wait for three client timeouts.
    stream.peek(&mut [0]).unwrap();
    for _ in 0..3 {
        read_to_close(connect(&collector));
    }
    let page = read_to_close(stream);
    assert!(
        page.starts_with("HTTP/1.1 200") && page.len() < 18 << 20,
        "{} bytes",
        page.len()
    );
}

#[test]
fn a_client_that_waits_for_its_response_is_not_disconnected() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .client_timeout(SHORT)
        .start()
        .unwrap();
    let hang = collector.fault(Fault::hang());
    let waiting = export("key-a", vec![span("one", 1)]).begin(&collector).unwrap();
    assert!(collector.wait_until(PATIENCE, |collector| collector.fault_hits(hang) == 1));
    // Wait for two client timeouts.
    for _ in 0..2 {
        read_to_close(connect(&collector));
    }
    collector.clear_faults();
    assert_eq!(waiting.finish().unwrap().status, 200);
    assert_eq!(span_names(&collector, "acme"), ["one"]);
}

#[test]
fn a_connection_over_the_limit_closes_the_oldest_idle_connection() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .max_connections(2)
        .start()
        .unwrap();
    let hang = collector.fault(Fault::hang().times(1));
    let busy = export("key-a", vec![span("busy", 1)]).begin(&collector).unwrap();
    assert!(collector.wait_until(PATIENCE, |collector| collector.fault_hits(hang) == 1));
    let idle = connect(&collector);
    for number in 2..=4 {
        assert_eq!(export("key-a", vec![span("new", number)]).status(&collector), 200);
    }
    assert_eq!(read_to_close(idle), "");
    collector.clear_faults();
    assert_eq!(
        busy.finish().unwrap().status,
        200,
        "a busy connection stays open until its response"
    );
    assert_eq!(span_names(&collector, "acme"), ["new", "new", "new", "busy"]);
}

#[test]
fn incomplete_bodies_of_many_connections_share_one_memory_limit() {
    const BYTES: usize = 18 << 20;
    let collector = collector();
    let large = post("/v1/traces")
        .bearer("key-a")
        .body("application/x-protobuf", vec![0; BYTES]);
    // Four of them use 72 of 80 MiB.
    let mut halves = Vec::new();
    let refused = until(
        || {
            let mut half_body = connect(&collector);
            half_body.write_all(head(20 << 20).as_bytes()).unwrap();
            half_body.write_all(&vec![0; BYTES]).unwrap();
            halves.push(half_body);
            large.send(&collector).unwrap()
        },
        |response| response.status == 503,
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(export("key-a", vec![span("small", 1)]).status(&collector), 200);
    drop(halves);
    // Once there is memory to decode the body, it is rejected as malformed.
    until(|| large.status(&collector), |status| *status == 400);
}

/// Repeats a request until its response satisfies `holds`.
fn until<T: std::fmt::Debug>(mut send: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let response = send();
        if holds(&response) {
            return response;
        }
        assert!(begun.elapsed() < PATIENCE, "the last response: {response:?}");
    }
}

#[test]
fn bodies_that_decode_to_too_much_memory_are_refused_in_every_encoding() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .max_body_bytes(2 << 20)
        .start()
        .unwrap();
    // An empty span takes two bytes on the wire and hundreds in memory.
    let body = tiny_spans(500_000);
    for call in [
        post("/v1/traces")
            .bearer("key-a")
            .body("application/x-protobuf", body.clone()),
        post("/v1/traces")
            .bearer("key-a")
            .body("application/x-protobuf", body)
            .gzip(),
    ] {
        let response = call.send(&collector).unwrap();
        assert_eq!(response.status, 413);
    }
    let lists = format!(
        r#"{{"session":{{"metadata":{{"a":[{}]}}}}}}"#,
        vec!["[]"; 600_000].join(",")
    );
    let start = post("/session/start").bearer("key-a").body("application/json", lists);
    assert_eq!(start.status(&collector), 413);
    assert_eq!(get("/api/health").status(&collector), 200);
    assert_eq!(collector.project("acme").unwrap().summary().rejected_spans, 0);
}
