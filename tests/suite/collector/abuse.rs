//! Clients that send what costs much, or nothing at all: the collector keeps its memory, its time and its places.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tracer_registry::collector::{Fault, LocalCollector};

use super::client::{export, get, post, span};
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

/// A head that announces a body of so many bytes.
fn head(bytes: usize) -> String {
    format!(
        "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-a\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {bytes}\r\n\r\n"
    )
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

/// A request with so many empty spans.
fn tiny_spans(count: usize) -> Vec<u8> {
    let spans = b"\x12\x00".repeat(count);
    let wrapped = |inside: Vec<u8>, tag: u8| {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(inside.len() as u64, &mut outer);
        outer.extend(inside);
        outer
    };
    wrapped(wrapped(spans, 0x12), 0x0a)
}

#[cfg(all(target_os = "linux", feature = "cli"))]
mod memory {
    //! How much memory the process of a collector takes at its peak. Each figure is printed.

    use std::fs;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::process::{Child, ChildStdout, Command, Stdio};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::super::PATIENCE;
    use super::super::client::{attribute, request, text};
    use super::{head, tiny_spans};

    const MIB: usize = 1 << 20;

    /// The binary, as a user starts it.
    struct Process {
        child: Child,
        address: String,
        /// Stays open: a process that writes to nobody ends.
        _stdout: BufReader<ChildStdout>,
    }

    impl Process {
        fn start() -> Self {
            let mut child = Command::new(env!("CARGO_BIN_EXE_tracer-registry"))
                .args(["collect", "--listen", "127.0.0.1:0"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("the binary was built with the tests");
            let mut first = String::new();
            let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
            stdout.read_line(&mut first).expect("text");
            let address = first
                .split("http://")
                .nth(1)
                .and_then(|rest| rest.split(':').nth(1)?.split(' ').next());
            let address = format!("127.0.0.1:{}", address.expect("it says where it listens"));
            Self {
                child,
                address,
                _stdout: stdout,
            }
        }

        fn connect(&self) -> TcpStream {
            let stream = TcpStream::connect(&self.address).expect("it listens");
            stream.set_read_timeout(Some(6 * PATIENCE)).expect("a timeout");
            stream
        }

        /// Sends a body, and returns the status of the answer.
        fn post(&self, content_type: &str, gzip: bool, body: &[u8]) -> u16 {
            let mut stream = self.connect();
            let encoding = if gzip { "Content-Encoding: gzip\r\n" } else { "" };
            write!(
                stream,
                "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\nConnection: close\r\n\
                 Content-Type: {content_type}\r\n{encoding}Content-Length: {}\r\n\r\n",
                body.len()
            )
            .expect("it reads");
            let written = stream.write_all(body);
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            assert!(written.is_ok() && read.is_ok(), "{written:?}, {read:?}: {answer:?}");
            answer
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .expect("a status")
        }

        /// The largest resident size so far, in MiB.
        fn peak(&self) -> usize {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
            let line = status
                .lines()
                .find(|line| line.starts_with("VmHWM"))
                .expect("Linux says it");
            let kib: usize = line
                .split_whitespace()
                .nth(1)
                .and_then(|kib| kib.parse().ok())
                .expect("a number");
            kib / 1024
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    fn span(attributes: usize) -> Span {
        let value = || text("a value of usual length, some forty bytes");
        Span {
            trace_id: vec![7; 16],
            span_id: vec![7; 8],
            attributes: (0..attributes)
                .map(|number| attribute(&format!("http.request.header.{number}"), value()))
                .collect(),
            ..Span::default()
        }
    }

    /// A request of 20 MiB with this span again and again.
    fn spans_of(span: &Span) -> Vec<u8> {
        let count = (20 * MIB - 1000) / (span.encoded_len() + 3);
        request(vec![span.clone(); count]).encode_to_vec()
    }

    fn json_spans(count: usize) -> Vec<u8> {
        let spans = vec!["{}"; count].join(",");
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#).into_bytes()
    }

    #[test]
    fn bodies_made_to_take_much_take_a_small_multiple_of_their_size() {
        let protobuf = "application/x-protobuf";
        let empty = tiny_spans(10 * MIB - 100);
        let cases = [
            ("10 million empty spans", protobuf, false, empty.clone(), 413),
            ("the same, 19 KB of gzip", protobuf, true, gzip(&empty), 413),
            (
                "a million empty gzip members",
                protobuf,
                true,
                gzip(b"").repeat(MIB),
                400,
            ),
            ("700,000 spans with ids only", protobuf, false, spans_of(&span(0)), 413),
            (
                "50,000 spans with five attributes",
                protobuf,
                false,
                spans_of(&span(5)),
                200,
            ),
            (
                "7 million empty spans of JSON",
                "application/json",
                false,
                json_spans(6_900_000),
                413,
            ),
        ];
        for (name, content_type, is_packed, body, status) in cases {
            let collector = Process::start();
            assert_eq!(collector.post(content_type, is_packed, &body), status, "{name}");
            let peak = collector.peak();
            println!("{name}: {} bytes, peak {peak} MiB", body.len());
            let most = if status == 200 { 220 } else { 120 };
            assert!(peak < most, "{name}: {peak} MiB");
        }
    }

    #[test]
    fn half_uploads_take_no_more_than_the_bound_of_all_requests() {
        let collector = Process::start();
        let halves: Vec<TcpStream> = (0..20)
            .map(|_| {
                let mut stream = collector.connect();
                stream.write_all(head(20 * MIB).as_bytes()).expect("it reads");
                stream.write_all(&vec![0; 19 * MIB]).expect("it reads");
                stream
            })
            .collect();
        let peak = collector.peak();
        println!("20 half uploads of 19 MiB: peak {peak} MiB");
        assert!(peak < 200, "{peak} MiB");
        drop(halves);
    }
}
