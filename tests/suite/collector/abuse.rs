//! Clients that send what costs much, or nothing at all: the collector keeps its memory, its time and its places.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tracer_registry_collector::{Fault, LocalCollector};

use super::client::{export, get, head, post, span, tiny_spans};
use super::{PATIENCE, collector, span_names};

/// A client's time in tests that wait for its end.
const SHORT: Duration = Duration::from_secs(1);

fn connect(collector: &LocalCollector) -> TcpStream {
    let stream = TcpStream::connect(collector.addr()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Whatever comes until the collector ends the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection is still open"),
        _ => String::from_utf8_lossy(&text).into_owned(),
    }
}

#[test]
fn a_client_that_is_silent_is_not_waited_for_wherever_it_stops() {
    let collector = LocalCollector::builder().client_timeout(SHORT).start().unwrap();
    let mut nothing_yet = Vec::new();
    for sent in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n\r\n",
        "POST /v1/traces HTTP/1.1\r\nHost: local",
    ] {
        let mut stream = connect(&collector);
        stream.write_all(sent.as_bytes()).unwrap();
        nothing_yet.push(stream);
    }
    let mut kept_alive = connect(&collector);
    kept_alive
        .write_all(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut half = connect(&collector);
    half.write_all((head(1000) + "x").as_bytes()).unwrap();

    for stream in nothing_yet {
        let answer = rest(stream);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert!(rest(kept_alive).starts_with("HTTP/1.1 200"));
    assert!(rest(half).starts_with("HTTP/1.1 408"));
}

#[test]
fn a_client_that_does_not_take_its_answer_is_not_waited_for() {
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
    // Its first byte is there, and nothing is read. Meanwhile three others come and go, each for as long as a client may be silent.
    stream.peek(&mut [0]).unwrap();
    for _ in 0..3 {
        rest(connect(&collector));
    }
    let page = rest(stream);
    assert!(
        page.starts_with("HTTP/1.1 200") && page.len() < 18 << 20,
        "{} bytes",
        page.len()
    );
}

#[test]
fn a_client_that_waits_for_its_answer_may_be_silent() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .client_timeout(SHORT)
        .start()
        .unwrap();
    let hang = collector.fault(Fault::hang());
    let waiting = export("key-a", vec![span("one", 1)]).begin(&collector).unwrap();
    assert!(collector.wait_until(PATIENCE, |collector| collector.fault_hits(hang) == 1));
    // Two that are silent without a reason come and go, one after the other.
    for _ in 0..2 {
        rest(connect(&collector));
    }
    collector.clear_faults();
    assert_eq!(waiting.finish().unwrap().status, 200);
    assert_eq!(span_names(&collector, "acme"), ["one"]);
}

#[test]
fn a_connection_too_many_takes_the_place_of_the_oldest_that_is_idle() {
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
    assert_eq!(rest(idle), "");
    collector.clear_faults();
    assert_eq!(
        busy.finish().unwrap().status,
        200,
        "one that is served ends after its request"
    );
    assert_eq!(span_names(&collector, "acme"), ["new", "new", "new", "busy"]);
}

#[test]
fn half_bodies_of_many_connections_hold_so_many_bytes_together_and_no_more() {
    const BYTES: usize = 18 << 20;
    let collector = collector();
    let large = post("/v1/traces")
        .bearer("key-a")
        .body("application/x-protobuf", vec![0; BYTES]);
    // Four of them hold 72 of 80 MiB.
    let mut halves = Vec::new();
    let refused = until(
        || {
            let mut half = connect(&collector);
            half.write_all(head(20 << 20).as_bytes()).unwrap();
            half.write_all(&vec![0; BYTES]).unwrap();
            halves.push(half);
            large.send(&collector).unwrap()
        },
        |answer| answer.status == 503,
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(export("key-a", vec![span("small", 1)]).status(&collector), 200);
    drop(halves);
    // It is no message, which is seen once there is memory to look at it.
    until(|| large.status(&collector), |status| *status == 400);
}

/// Asks until the answer is the one that is waited for.
fn until<T: std::fmt::Debug>(mut ask: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if holds(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "the last answer: {answer:?}");
    }
}

#[test]
fn what_takes_too_much_memory_is_refused_whatever_it_is_packed_in() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .max_body_bytes(2 << 20)
        .start()
        .unwrap();
    // Empty spans: two bytes each on the wire, hundreds in memory.
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
        let answer = call.send(&collector).unwrap();
        assert_eq!(answer.status, 413);
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
