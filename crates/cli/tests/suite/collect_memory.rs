//! Peak memory of a collector process. Prints each figure.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::PATIENCE;
use crate::client::{attribute, head, request, text, tiny_spans};

const MIB: usize = 1 << 20;

/// A running `tracer-registry collect`.
struct Process {
    child: Child,
    address: String,
    /// Kept open: the process exits if its standard output is closed.
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
        let address = format!("127.0.0.1:{}", address.expect("the first line has the address"));
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

    /// Sends a body and returns the status of the response.
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
            .expect("Linux reports VmHWM");
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
    encoder.write_all(body).expect("writing to memory succeeds");
    encoder.finish().expect("writing to memory succeeds")
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

/// Returns a request of 20 MiB with copies of this span.
fn repeated(span: &Span) -> Vec<u8> {
    let count = (20 * MIB - 1000) / (span.encoded_len() + 3);
    request(vec![span.clone(); count]).encode_to_vec()
}

fn json_spans(count: usize) -> Vec<u8> {
    let spans = vec!["{}"; count].join(",");
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#).into_bytes()
}

#[test]
fn bodies_crafted_to_expand_use_a_small_multiple_of_their_size() {
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
        ("700,000 spans with ids only", protobuf, false, repeated(&span(0)), 413),
        (
            "50,000 spans with five attributes",
            protobuf,
            false,
            repeated(&span(5)),
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
        let limit = if status == 200 { 220 } else { 120 };
        assert!(peak < limit, "{name}: {peak} MiB");
    }
}

#[test]
fn unfinished_uploads_stay_within_the_limit_of_all_requests() {
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
    println!("20 unfinished uploads of 19 MiB: peak {peak} MiB");
    assert!(peak < 200, "{peak} MiB");
    drop(halves);
}
