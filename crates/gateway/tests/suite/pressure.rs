//! Full queues and pools, hostile HTTP/2 clients, and spellings of credentials.

use std::convert::Infallible;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt as _, stream};
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tracer_registry_collector::Fault;

use crate::limits::Raw;
use crate::requests::EXPORT;
use crate::support::{ACME, GLOBEX, LONG, Reply, SPLIT, Service, body, framed, gzip, resources, until};

#[test]
fn a_full_queue_refuses_its_tenant_and_whole_requests_that_include_it() {
    let service = Service::with("", "[export]\nmax_queue_size = 2");
    service.collector.fault(Fault::hang().only("backend-key-of-globex"));
    // Some spans leave the queue with a request that hangs.
    let replies = (0..10).map(|_| service.post(GLOBEX, &[], body(&["one", "two"])));
    let reply = replies.into_iter().find(|reply| reply.status != 200).unwrap();
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1")),
        "{reply:?}"
    );
    let reply = service.call(EXPORT, GLOBEX, &[], framed(false, &body(&["three"])));
    assert_eq!(reply.grpc_status(), 14);
    assert!(reply.header("grpc-status-details-bin").is_some());
    let both = resources(&[
        (&[("tenant.id", "acme")], &["lost?"]),
        (&[("tenant.id", "globex")], &["four"]),
    ]);
    assert_eq!(service.post(SPLIT, &[], both.encode_to_vec()).status, 503);
    // The other tenant is not affected, and has nothing of the refused request.
    assert_eq!(service.post(ACME, &[], body(&["five"])).status, 200);
    let acme = service.gateway().registry().tenant("acme").unwrap();
    assert!(acme.force_flush(LONG).is_complete());
    assert_eq!(service.spans("acme"), ["five"]);
    service.collector.clear_faults();
}

#[test]
fn a_full_pool_refuses_further_tenants_for_now() {
    let service = Service::with("", "[pool]\nmax_tracers = 1\n[export]\nscheduled_delay = \"1h\"");
    assert_eq!(service.post(ACME, &[], body(&["span"])).status, 200);
    let reply = service.post(GLOBEX, &[], body(&["span"]));
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1")),
        "{reply:?}"
    );
    assert_eq!(service.post(ACME, &[], body(&["span"])).status, 200);
}

#[test]
fn a_backend_that_hangs_concerns_only_its_tenant() {
    let service = Service::start("");
    service.collector.fault(Fault::hang().only("backend-key-of-acme"));
    assert_eq!(service.post(ACME, &[], body(&["stuck"])).status, 200);
    assert_eq!(service.post(GLOBEX, &[], body(&["span"])).status, 200);
    assert!(service.collector.wait_until(LONG, |collector| {
        collector
            .project("globex")
            .is_some_and(|project| project.spans().len() == 1)
    }));
    service.collector.clear_faults();
}

#[test]
fn a_key_source_that_hangs_concerns_only_its_tenant() {
    let hangs = "[tenants.initech]\napi_key = { exec = [\"sleep\", \"20\"] }\n\
                 [gateway.callers.initech]\ntoken_sha256 = \"08474cd7ece07c728a441c9ccf86fb8f93da8ac0df14f619574bfb093ab91f83\"\ntenant = \"initech\"";
    let service = Service::with("", hangs);
    let mut waiting = [(); 20].map(|()| Raw::connect(service.http()));
    let message = body(&["span"]);
    for raw in &mut waiting {
        raw.write_head("token-of-initech", message.len());
        raw.write(&message);
    }
    until(|| service.status().requests.running == waiting.len());
    assert_eq!(service.post(ACME, &[], message.clone()).status, 200);
    assert_eq!(service.post(GLOBEX, &[], message).status, 200);
}

#[test]
fn large_messages_arrive_whole() {
    let service = Service::start("");
    let name = "n".repeat(1000);
    let names: Vec<&str> = vec![&name; 2000];
    let message = body(&names);
    assert!(message.len() > 1 << 20);
    assert_eq!(
        service
            .post(ACME, &[("content-encoding", "gzip")], gzip(&message))
            .status,
        200
    );
    let span =
        format!(r#"{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"{name}"}}"#);
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        vec![span; 2000].join(",")
    );
    let request = service
        .request("/v1/traces", GLOBEX)
        .header("content-type", "application/json");
    assert_eq!(service.client.send(request.body(json.into()).unwrap()).status, 200);
    service.flush();
    assert_eq!(
        (service.spans("acme").len(), service.spans("globex").len()),
        (2000, 2000)
    );
    let mut malformed = message;
    *malformed.last_mut().unwrap() = 0xff;
    malformed.push(0xff);
    assert_eq!(service.post(ACME, &[], malformed).status, 400);
}

/// Returns one gzip member without compression, which no exporter would make.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_single_gzip_member_goes_on_unchanged_and_several_do_not() {
    let service = Service::start("");
    let (first, second) = (
        body(&["first", "first", "first"]),
        body(&["second", "second", "second"]),
    );
    let (one, two) = (stored(&first), [stored(&first), stored(&second)].concat());
    for (message, is_kept) in [(one, true), (two, false)] {
        let length = message.len().to_string();
        service.collector.clear();
        assert_eq!(service.post(ACME, &[("content-encoding", "gzip")], message).status, 200);
        service.flush();
        let requests = service.collector.requests();
        let sent = requests.last().unwrap();
        assert_eq!(sent.header("content-encoding"), Some("gzip"));
        assert_eq!(sent.header("content-length") == Some(&length), is_kept, "{sent:?}");
    }
}

#[test]
fn doubled_and_folded_credentials_are_refused() {
    let service = Service::start("");
    let send = |headers: String| {
        let mut raw = Raw::connect(service.http());
        let message = body(&["span"]);
        raw.write(format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\n{headers}content-type: application/x-protobuf\r\n\
             content-length: {}\r\n\r\n",
            message.len()
        ));
        raw.write(message);
        raw.read_head()[..12].to_owned()
    };
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    assert_eq!(send(bearer(ACME)), "HTTP/1.1 200");
    assert_eq!(send(bearer(ACME) + &bearer(GLOBEX)), "HTTP/1.1 400");
    assert_eq!(send(bearer(ACME) + &bearer(ACME)), "HTTP/1.1 400");
    assert_eq!(send(format!("{}x-api-key: {GLOBEX}\r\n", bearer(ACME))), "HTTP/1.1 400");
    assert_eq!(send(bearer(&format!("{ACME}, Bearer {GLOBEX}"))), "HTTP/1.1 401");
    // A continuation line of an obsolete folded header.
    assert_eq!(send(bearer(&format!("{ACME},\r\n {GLOBEX}"))), "HTTP/1.1 400");
    service.flush();
    assert_eq!(service.spans("acme").len(), 1);
    assert!(service.spans("globex").is_empty());
}

#[test]
fn a_client_that_expects_100_gets_it_only_if_its_body_is_wanted() {
    let service = Service::start("");
    let message = body(&["span"]);
    let head = |token: &str| {
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/x-protobuf\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            message.len()
        )
    };
    let mut wanted = Raw::connect(service.http());
    wanted.write(head(ACME));
    assert!(wanted.read_head().starts_with("HTTP/1.1 100 "));
    wanted.write(&message);
    assert!(wanted.read_head().starts_with("HTTP/1.1 200 "));
    let mut unwanted = Raw::connect(service.http());
    unwanted.write(head("no-such-token"));
    assert!(unwanted.read_to_end().starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_body_that_is_broken_off_counts_as_incomplete() {
    let service = Service::start("");
    let mut leaver = Raw::connect(service.http());
    leaver.write_head(ACME, 1000);
    leaver.write([0; 10]);
    until(|| service.status().requests.running == 1);
    drop(leaver);
    until(|| service.status().requests.running == 0);
    let callers = service.gateway().callers();
    let acme = callers.iter().find(|caller| caller.caller == "acme-backend").unwrap();
    assert_eq!(acme.refused["incomplete"], 1);
}

#[test]
fn callers_have_counts_of_their_own() {
    let service = Service::start("");
    service.post(ACME, &[], body(&["one", "two"]));
    service.post(ACME, &[], b"\xff".to_vec());
    service.post(SPLIT, &[], body(&["no tenant"]));
    let callers = service.gateway().callers();
    let counts = |name: &str| {
        let caller = callers.iter().find(|caller| caller.caller == name).unwrap();
        (
            caller.requests,
            caller.spans,
            caller.refused.keys().copied().collect::<Vec<_>>(),
        )
    };
    assert_eq!(counts("acme-backend"), (1, 2, vec!["malformed"]));
    assert_eq!(counts("split-api"), (0, 0, vec!["no_tenant"]));
    assert_eq!(counts("globex-backend"), (0, 0, vec![]));
}

/// Returns an HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

#[test]
fn a_client_that_resets_its_streams_is_sent_away() {
    let service = Service::start("");
    let mut hostile = Raw::connect(service.grpc());
    hostile.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    hostile.write(frame(4, 0, 0, &[]));
    // GET / over http, and a reset, all before the server answers.
    let burst: Vec<u8> = (0..1000_u32)
        .flat_map(|index| {
            let stream = 2 * index + 1;
            [
                frame(1, 0x5, stream, &[0x82, 0x86, 0x84]),
                frame(3, 0, stream, &8_u32.to_be_bytes()),
            ]
            .concat()
        })
        .collect();
    // The gateway may close the connection before it has read everything.
    drop(hostile.0.write_all(&burst));
    hostile.read_to_end();
    until(|| service.status().connections.open == 0);
    assert_eq!(
        service
            .call(EXPORT, ACME, &[], framed(false, &body(&["span"])))
            .grpc_status(),
        0
    );
}

#[test]
fn a_client_that_reads_no_answer_is_idle() {
    let service = Service::start("idle_timeout = \"1s\"");
    let mut hostile = Raw::connect(service.grpc());
    hostile.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    // A window of zero bytes for each answer, and GET / over http.
    hostile.write(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    hostile.write(frame(1, 0x5, 1, &[0x82, 0x86, 0x84]));
    hostile.read_to_end();
    until(|| service.status().connections.idle == 1);
}

#[test]
fn a_shutdown_finishes_a_request_of_http_2() {
    let mut service = Service::start("");
    let address = service.grpc();
    let message = framed(false, &body(&["late"]));
    let (first, rest) = (
        Bytes::copy_from_slice(&message[..7]),
        Bytes::copy_from_slice(&message[7..]),
    );
    let (sender, mut parts) = tokio::sync::mpsc::unbounded_channel();
    sender.send(first).unwrap();
    let parts = stream::poll_fn(move |cx| parts.poll_recv(cx));
    let request = Request::post(format!("http://{address}{EXPORT}"))
        .header("authorization", format!("Bearer {ACME}"))
        .header("content-type", "application/grpc")
        .body(StreamBody::new(
            parts.map(|part| Ok::<_, Infallible>(Frame::data(part))),
        ))
        .unwrap();
    let answer = service.client.runtime.spawn(async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut client, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Reply::read(client.send_request(request).await.unwrap()).await
    });
    until(|| service.status().requests.running == 1);
    let gateway = service.take_gateway();
    let stopping = std::thread::spawn(move || gateway.shutdown(LONG));
    until(|| std::net::TcpStream::connect(address).is_err());
    sender.send(rest).unwrap();
    drop(sender);
    let answer = service.client.runtime.block_on(answer).unwrap();
    assert_eq!(answer.grpc_status(), 0);
    let report = stopping.join().unwrap();
    assert!(report.is_complete() && report.cut_off == 0, "{report:?}");
    assert_eq!(service.spans("acme"), ["late"]);
}
