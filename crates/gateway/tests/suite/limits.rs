//! Limits: memory, size, time, connections.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use bytes::Bytes;
use tracer_registry_gateway::RefusalKind;

use crate::requests::EXPORT;
use crate::support::{ACME, GLOBEX, LONG, SHARED, Service, body, framed, gzip, until};

/// A connection whose bytes the test writes itself.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Writes the head of an export with a body of this length.
    pub(crate) fn write_head(&mut self, token: &str, length: usize) {
        self.write(format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/x-protobuf\r\ncontent-length: {length}\r\n\r\n"
        ));
    }

    /// Reads to the end. A reset is an end too.
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut answer = Vec::new();
        match self.0.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Reads the head of an answer.
    pub(crate) fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }
}

#[test]
fn memory_is_reserved_before_a_body_is_read_and_freed_after_its_answer() {
    let service = Service::start("max_request = \"64KiB\"\nmemory = \"160KiB\"");
    let message = body(&["n".repeat(60_000).as_str()]);
    let mut holders = [ACME, GLOBEX].map(|token| {
        let mut holder = Raw::connect(service.http());
        holder.write_head(token, message.len());
        holder
    });
    until(|| service.status().memory.used >= 2 * message.len());
    let tenant = ("x-tenant", "globex");
    let reply = service.post(SHARED, &[tenant], message.clone());
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    let reply = service.call(EXPORT, SHARED, &[tenant], framed(false, &message));
    assert_eq!(reply.grpc_status(), 14);

    for holder in &mut holders {
        holder.write(&message);
        assert!(holder.read_head().starts_with("HTTP/1.1 200 "));
    }
    until(|| service.status().memory.used == 0);
    assert_eq!(service.post(GLOBEX, &[], message.clone()).status, 200);
    // A client that goes away frees what it held.
    let mut leaver = Raw::connect(service.http());
    leaver.write_head(ACME, message.len());
    until(|| service.status().memory.used > 0);
    drop(leaver);
    until(|| service.status().memory.used == 0);
}

#[test]
fn a_caller_with_slow_uploads_leaves_memory_for_others() {
    let service = Service::start("max_request = \"64KiB\"\nmemory = \"256KiB\"");
    let message = body(&["n".repeat(60_000).as_str()]);
    let mut slow = [(); 10].map(|()| Raw::connect(service.http()));
    for upload in &mut slow {
        upload.write_head(ACME, message.len());
    }
    until(|| service.status().requests.refused == [(RefusalKind::Unavailable, 8)].into());
    let used = service.status().memory.used;
    assert!((2 * message.len()..3 * message.len()).contains(&used), "{used}");
    assert_eq!(service.post(GLOBEX, &[], message).status, 200);
}

#[test]
fn inflated_bytes_count_for_the_memory() {
    let service = Service::start("max_request = \"1MiB\"\nmemory = \"2500KiB\"");
    let holders = [ACME, GLOBEX].map(|token| {
        let mut holder = Raw::connect(service.http());
        holder.write_head(token, 1 << 20);
        holder
    });
    until(|| service.status().memory.used >= 2 << 20);
    let post = |bytes: usize| {
        let message = gzip(&body(&["n".repeat(bytes).as_str()]));
        assert!(message.len() < 8 * 1024);
        service.post(SHARED, &[("content-encoding", "gzip"), ("x-tenant", "acme")], message)
    };
    assert_eq!(post(60_000).status, 200);
    let reply = post(1_000_000);
    assert_eq!(reply.status, 503, "{reply:?}");
    drop(holders);
}

#[test]
fn bodies_above_the_limit_are_refused_on_the_wire_and_inflated() {
    let service = Service::start("max_request = \"64KiB\"");
    let large = vec![0; 100_000];
    // Announced: refused before the body is read.
    let mut announced = Raw::connect(service.http());
    announced.write_head(ACME, large.len());
    assert!(announced.read_head().starts_with("HTTP/1.1 413 "));
    // Not announced.
    let mut chunked = Raw::connect(service.http());
    chunked.write(format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ACME}\r\n\
         content-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
        large.len()
    ));
    chunked.write(&large);
    assert!(chunked.read_head().starts_with("HTTP/1.1 413 "));
    for (encoding, bomb) in [
        ("gzip", gzip(&vec![0; 8 << 20])),
        ("zstd", zstd::encode_all(&vec![0; 8 << 20][..], 3).unwrap()),
    ] {
        assert!(bomb.len() < 32 * 1024);
        let reply = service.post(ACME, &[("content-encoding", encoding)], bomb.clone());
        assert_eq!((reply.status, reply.header("retry-after")), (413, None), "{encoding}");
        let reply = service.call(EXPORT, ACME, &[("grpc-encoding", encoding)], framed(true, &bomb));
        assert_eq!(
            (reply.grpc_status(), reply.header("grpc-status-details-bin")),
            (8, None),
            "{encoding}"
        );
    }
    // The announced length of a gRPC message.
    let reply = service.call(EXPORT, ACME, &[], b"\0\xff\xff\xff\xff".to_vec());
    assert_eq!(reply.grpc_status(), 8);
}

#[test]
fn a_client_reads_its_refusal_although_it_still_writes() {
    let service = Service::start("max_request = \"1MiB\"");
    let mut client = Raw::connect(service.http());
    let large = vec![0; 1_500_000];
    client.write_head(ACME, large.len());
    client.write(&large);
    assert!(client.read_head().starts_with("HTTP/1.1 413 "));
}

#[test]
fn malformed_compression_is_refused() {
    let service = Service::start("");
    let whole = gzip(&body(&["span"]));
    for (encoding, message) in [
        ("gzip", whole[..whole.len() - 1].to_vec()),
        ("gzip", [&whole[..], b"trailing"].concat()),
        ("gzip", body(&["span"])),
        ("zstd", whole.clone()),
    ] {
        let reply = service.post(ACME, &[("content-encoding", encoding)], message);
        assert_eq!(reply.status, 400, "{encoding}");
    }
}

#[test]
fn slow_heads_bodies_and_idle_connections_end() {
    let settings = "header_timeout = \"1s\"\nbody_grace = \"1s\"\nbody_min_rate = \"1MiB\"\nidle_timeout = \"2s\"";
    let service = Service::start(settings);
    let count = || service.status().connections;

    let mut silent = Raw::connect(service.http());
    let mut head = Raw::connect(service.http());
    head.write("POST /v1/traces HTTP/1.1\r\nhost: local");
    assert_eq!(
        (silent.read_to_end(), head.read_to_end()),
        (String::new(), String::new())
    );
    until(|| count().slow_head == 2);

    let mut slow = Raw::connect(service.http());
    slow.write_head(ACME, 1000);
    slow.write([0; 10]);
    assert!(slow.read_head().starts_with("HTTP/1.1 408 "));

    let mut idle = Raw::connect(service.http());
    let started = Instant::now();
    idle.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(idle.read_to_end().ends_with("ok\n"));
    assert!(
        started.elapsed().as_millis() >= 2000,
        "an idle connection may stay longer than a head"
    );
    until(|| count().idle == 1);

    // The second head on a connection.
    let mut second = Raw::connect(service.http());
    second.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    second.read_head();
    second.write("GET /heal");
    second.read_to_end();
    until(|| count().slow_head == 3);
    until(|| service.status().connections.open == 0);
}

#[test]
fn connections_above_the_limit_are_closed_at_once() {
    let service = Service::start("max_connections = 2");
    let mut first = Raw::connect(service.http());
    let second = Raw::connect(service.grpc());
    until(|| service.status().connections.open == 2);
    assert_eq!(Raw::connect(service.http()).read_to_end(), "");
    assert_eq!(service.status().connections.over_limit, 1);
    drop(second);
    until(|| service.status().connections.open == 1);
    first.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(first.read_head().starts_with("HTTP/1.1 200 "));
    assert_eq!(service.post(ACME, &[], body(&["span"])).status, 200);
}

#[test]
fn heads_are_bounded_in_bytes_and_headers() {
    let service = Service::start("");
    let send = |headers: String| {
        let mut raw = Raw::connect(service.http());
        raw.write(format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"));
        raw.read_head()[..12].to_owned()
    };
    assert_eq!(send("x: y\r\n".repeat(98)), "HTTP/1.1 200");
    assert_eq!(send("x: y\r\n".repeat(101)), "HTTP/1.1 431");
    assert_eq!(send(format!("x: {}\r\n", "y".repeat(40_000))), "HTTP/1.1 431");
    let request = http::Request::get(format!("http://{}/healthz", service.http())).header("x", "y".repeat(40_000));
    assert_eq!(
        service.client.send_http2(request.body(Bytes::new()).unwrap()).status,
        431
    );
}
