//! Requests that another program may read differently: framing, hosts, heads, paths, credentials.

use std::io::Write as _;

use super::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, data, export_headers, frame, header_block, whole_export,
};
use crate::limits::Raw;
use crate::support::{ACME, GLOBEX, PATHS, SHARED, Service, body, framed, until};

const START: &str = "POST /v1/traces HTTP/1.1";
/// A request that ends its connection.
const FURTHER: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";

/// Writes the head and body of an export, and a further request. Returns the status of each answer
/// up to the end of the connection; that of the further request is `ok`.
fn exchange(service: &Service, start: &str, headers: &str, body: &[u8]) -> Vec<String> {
    let mut raw = Raw::connect(service.http());
    let head = format!("{start}\r\n{headers}\r\n");
    // The gateway may close the connection before it has read everything.
    drop(raw.0.write_all(&[head.as_bytes(), body, FURTHER].concat()));
    statuses(&raw.read_to_end())
}

/// Returns the status of each answer on a connection, `ok` for one of a health check.
fn statuses(answers: &str) -> Vec<String> {
    let answers = answers.split("HTTP/1.").skip(1);
    answers
        .map(|answer| if answer.ends_with("ok\n") { "ok" } else { &answer[2..5] }.to_owned())
        .collect()
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Returns a body in one chunk, and the end of the body.
fn chunked(message: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", message.len()).as_bytes(), message, b"\r\n0\r\n\r\n"].concat()
}

#[test]
fn a_body_has_one_framing() {
    let service = Service::start("");
    let message = body(&["span"]);
    let length = format!("content-length: {}\r\n", message.len());
    let head = |framing: &str| format!("host: a\r\n{}{PROTOBUF}{framing}", bearer(ACME));
    let refused = |framing: &str, body: &[u8]| {
        let answers = exchange(&service, START, &head(framing), body);
        assert_eq!(answers, ["400"], "{framing:?}");
    };
    for framing in [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \u{b}chunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "\u{0}transfer-encoding: chunked\r\n",
    ] {
        refused(framing, &chunked(&message));
    }
    for framing in [
        format!("{length}content-length: 5\r\n"),
        format!("content-length: {}, {}\r\n", message.len(), message.len()),
        format!("content-length: +{}\r\n", message.len()),
        format!("content-length: 0x{:x}\r\n", message.len()),
        format!("content-length: -{}\r\n", message.len()),
        "content-length: 99999999999999999999\r\n".to_owned(),
        "content-length: \r\n".to_owned(),
        format!("content-length: {} 5\r\n", message.len()),
        format!("content-length : {}\r\n", message.len()),
    ] {
        refused(&framing, &message);
    }
    for chunk in [
        "ffffffffffffffff1\r\n",
        "-5\r\n",
        "+5\r\n",
        "0x5\r\n",
        "5 5\r\n",
        "\r\n",
        "5\n",
        "5;\n",
        "g\r\n",
        "5\r",
    ] {
        let broken = [chunk.as_bytes(), b"aaaaa\r\n0\r\n\r\n"].concat();
        refused("transfer-encoding: chunked\r\n", &broken);
    }
    // Extensions of a chunk are skipped, up to a limit.
    let extended = |length: usize| {
        let extension = "e".repeat(length);
        [
            format!("{:x};{extension}\r\n", message.len()).as_bytes(),
            &message,
            b"\r\n0\r\n\r\n",
        ]
        .concat()
    };
    let answers = exchange(&service, START, &head("transfer-encoding: chunked\r\n"), &extended(100));
    assert_eq!(answers, ["200", "ok"]);
    refused("transfer-encoding: chunked\r\n", &extended(20_000));
    service.flush();
    assert_eq!(service.spans("acme"), ["span"]);
}

#[test]
fn what_follows_a_body_of_doubtful_length_is_no_request() {
    let service = Service::start("");
    let message = body(&["span"]);
    let second = format!(
        "{START}\r\nhost: a\r\n{}{PROTOBUF}content-length: {}\r\n\r\n",
        bearer(GLOBEX),
        message.len()
    );
    let smuggled = [second.as_bytes(), &message].concat();
    for order in [
        ["content-length: 5\r\n", "transfer-encoding: chunked\r\n"],
        ["transfer-encoding: chunked\r\n", "content-length: 5\r\n"],
    ] {
        let head = format!("host: a\r\n{}{PROTOBUF}{}", bearer(ACME), order.concat());
        let answers = exchange(&service, START, &head, &[chunked(&message), smuggled.clone()].concat());
        assert_eq!(answers, ["200"], "{order:?}");
    }
    // HTTP/1.0 has no chunks.
    let head = format!("{}{PROTOBUF}transfer-encoding: chunked\r\n", bearer(ACME));
    let answers = exchange(
        &service,
        "POST /v1/traces HTTP/1.0",
        &head,
        &[chunked(&message), smuggled].concat(),
    );
    assert!(answers.iter().all(|status| status == "400"), "{answers:?}");
    service.flush();
    assert_eq!(service.spans("acme"), ["span", "span"]);
    assert!(service.spans("globex").is_empty());
}

#[test]
fn malformed_heads_are_refused() {
    let service = Service::start("");
    let message = body(&["span"]);
    let rest = format!("{}{PROTOBUF}content-length: {}\r\n", bearer(ACME), message.len());
    for (start, headers) in [
        (START, rest.clone()),
        (START, format!("host: a\r\nhost: b\r\n{rest}")),
        (START, format!("host: a\r\nHost: a\r\n{rest}")),
        (START, format!("host: a\r\nx: a\u{0}b\r\n{rest}")),
        (START, format!("host: a\r\nx: a\u{7f}b\r\n{rest}")),
        (START, format!("host: a\r\nx y: a\r\n{rest}")),
        (START, format!("host: a\r\n: a\r\n{rest}")),
        (START, format!("host: a\r\nx\r\n{rest}")),
        (START, format!("host: a\r\n x: a\r\n{rest}")),
        (START, format!("host: a\r\nx: a\r\n b\r\n{rest}")),
        (START, format!("host: a\r\nx: a\r\n\tb\r\n{rest}")),
        (START, format!("host: a\r\nx: a\rb\r\n{rest}")),
        ("POST /v1/traces HTTP/1.2", format!("host: a\r\n{rest}")),
        ("POST /v1/traces HTTP/2.0", format!("host: a\r\n{rest}")),
        ("POST /v1/traces", format!("host: a\r\n{rest}")),
        ("POST  /v1/traces HTTP/1.1", format!("host: a\r\n{rest}")),
        ("POST /v1/traces  HTTP/1.1", format!("host: a\r\n{rest}")),
        ("POST /v1/ traces HTTP/1.1", format!("host: a\r\n{rest}")),
        ("P\u{0}ST /v1/traces HTTP/1.1", format!("host: a\r\n{rest}")),
        ("POST /v1/\u{0}/v1/traces HTTP/1.1", format!("host: a\r\n{rest}")),
    ] {
        let answers = exchange(&service, start, &headers, &message);
        assert_eq!(answers, ["400"], "{start:?} {headers:?}");
    }
    service.flush();
    assert!(service.spans("acme").is_empty());
}

#[test]
fn hosts_and_names_with_underscores_decide_nothing() {
    let service = Service::start("");
    let message = body(&["span"]);
    let length = format!("content-length: {}\r\n", message.len());
    for start in [
        "POST http://globex/v1/traces HTTP/1.1",
        "POST http://user:pass@globex:80/v1/traces HTTP/1.1",
        START,
    ] {
        let head = format!("host: globex\r\n{}{PROTOBUF}{length}", bearer(ACME));
        assert_eq!(exchange(&service, start, &head, &message), ["200", "ok"], "{start}");
    }
    // Some servers read `_` as `-`, so a proxy that removes `x-tenant` might let it through.
    for header in [
        "x_tenant: globex\r\n",
        "x-tenant : globex\r\n",
        "x-forwarded-tenant: globex\r\n",
    ] {
        let head = format!("host: a\r\n{}{header}{PROTOBUF}{length}", bearer(SHARED));
        assert_eq!(exchange(&service, START, &head, &message)[0], "400", "{header}");
    }
    let head = format!("host: a\r\nx-api_key: {ACME}\r\nx_api_key: {ACME}\r\napi_key: {ACME}\r\n{PROTOBUF}{length}");
    assert_eq!(exchange(&service, START, &head, &message), ["401", "ok"]);
    service.flush();
    assert_eq!((service.spans("acme").len(), service.spans("globex").len()), (3, 0));
}

#[test]
fn a_credential_or_tenant_that_comes_twice_is_refused_in_every_spelling() {
    let service = Service::start("");
    let message = body(&["span"]);
    let head = |headers: &str| format!("host: a\r\n{headers}{PROTOBUF}content-length: {}\r\n", message.len());
    let spellings = |token: &str| {
        let basic = base64_encoded(&format!("user:{token}"));
        [
            format!("authorization: Bearer {token}\r\n"),
            format!("AUTHORIZATION: bearer {token}\r\n"),
            format!("Authorization: Basic {basic}\r\n"),
            format!("authorization: {token}\r\n"),
            format!("X-Api-Key: {token}\r\n"),
            format!("api-key: {token}\r\n"),
            format!("X-HONEYCOMB-TEAM: {token}\r\n"),
            "authorization:\r\n".to_owned(),
            "x-api-key: unknown\r\n".to_owned(),
        ]
    };
    for first in spellings(ACME) {
        for second in spellings(GLOBEX) {
            for headers in [format!("{first}{second}"), format!("{first}x: y\r\n{second}")] {
                let answers = exchange(&service, START, &head(&headers), &message);
                assert_eq!(answers, ["400", "ok"], "{headers:?}");
            }
        }
    }
    for list in [
        format!("authorization: Bearer {ACME}, Bearer {GLOBEX}\r\n"),
        format!("authorization: Bearer {ACME},{GLOBEX}\r\n"),
        format!("authorization: Bearer {ACME} {GLOBEX}\r\n"),
        format!("authorization: Bearer Bearer {ACME}\r\n"),
        format!("x-api-key: {ACME}, {GLOBEX}\r\n"),
        format!("x-api-key: Bearer {ACME}\r\n"),
        format!("authorization: Bearer \"{ACME}\"\r\n"),
        format!("proxy-authorization: Bearer {ACME}\r\n"),
        format!("cookie: authorization=Bearer {ACME}\r\n"),
    ] {
        assert_eq!(
            exchange(&service, START, &head(&list), &message),
            ["401", "ok"],
            "{list:?}"
        );
    }
    for (tenants, status) in [
        ("x-tenant: acme\r\nX-TENANT: globex\r\n", "400"),
        ("x-tenant: acme\r\nx-tenant: acme\r\n", "400"),
        ("x-tenant: acme\r\nx-tenant:\r\n", "400"),
        ("x-tenant: acme,globex\r\n", "403"),
        ("x-tenant: acme globex\r\n", "403"),
        ("x-tenant: ACME\r\n", "403"),
        ("x-tenant: acme\u{a0}\r\n", "403"),
        ("x-tenant: \"acme\"\r\n", "403"),
        ("x-tenant: ../acme\r\n", "403"),
        ("x-tenant: *\r\n", "403"),
        ("x-tenant:\r\n", "403"),
    ] {
        let headers = format!("{}{tenants}", bearer(SHARED));
        assert_eq!(
            exchange(&service, START, &head(&headers), &message),
            [status, "ok"],
            "{tenants:?}"
        );
    }
    service.flush();
    assert!(service.spans("acme").is_empty() && service.spans("globex").is_empty());
}

fn base64_encoded(text: &str) -> String {
    use base64::Engine as _;

    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn a_later_request_of_a_connection_has_its_own_credential() {
    let service = Service::start("");
    let message = body(&["span"]);
    let request = |headers: &str| {
        let head = format!(
            "{START}\r\nhost: a\r\n{headers}{PROTOBUF}content-length: {}\r\n\r\n",
            message.len()
        );
        [head.as_bytes(), &message].concat()
    };
    let (known, tenant) = (bearer(ACME), format!("{}x-tenant: globex\r\n", bearer(SHARED)));
    let pipelined = [
        request(&known),
        request(""),
        request(&tenant),
        request(&bearer(SHARED)),
        request(&known),
    ]
    .concat();
    let mut raw = Raw::connect(service.http());
    raw.write([&pipelined, FURTHER].concat());
    let answers = raw.read_to_end();
    assert_eq!(
        statuses(&answers),
        ["200", "401", "200", "400", "200", "ok"],
        "{answers}"
    );
    // On streams of one connection, too.
    let mut http2 = Http2::connect(service.grpc(), &[]);
    let without: Vec<(&str, &[u8])> = export_headers("", &[])
        .into_iter()
        .filter(|(name, _)| *name != "authorization")
        .collect();
    let without = [
        frame(HEADERS, END_HEADERS, 3, &header_block(&without)),
        data(3, &framed(false, &message)),
    ];
    http2
        .0
        .write([whole_export(1, ACME, &message), without.concat()].concat());
    // An answer without a message has only one block of headers.
    let mut kinds = Vec::new();
    let (mut is_refused, mut is_taken) = (false, false);
    while !(is_refused && is_taken) {
        let frame = http2.read().unwrap();
        let is_end = frame.flags & END_STREAM != 0;
        kinds.push((frame.stream, frame.kind, is_end));
        is_refused |= frame.stream == 3 && is_end;
        is_taken |= frame.stream == 1 && is_end;
    }
    assert!(kinds.contains(&(3, HEADERS, true)) && !kinds.contains(&(3, HEADERS, false)));
    assert!(kinds.contains(&(1, DATA, false)), "{kinds:?}");
    service.flush();
    assert_eq!((service.spans("acme").len(), service.spans("globex").len()), (3, 1));
}

#[test]
fn a_path_names_its_tenant_in_one_way() {
    let service = Service::start("");
    let message = body(&["span"]);
    let send = |path: &str, token: &str| {
        let head = format!(
            "host: a\r\n{}{PROTOBUF}content-length: {}\r\n",
            bearer(token),
            message.len()
        );
        exchange(&service, &format!("POST {path} HTTP/1.1"), &head, &message).swap_remove(0)
    };
    for (path, status) in [
        ("/t/acme/v1/traces", "200"),
        ("/otlp/t/acme/v1/traces", "200"),
        ("/t/%61cme/v1/traces", "200"),
        ("/t/acme/v1/traces?tenant=globex", "200"),
        ("http://globex/t/acme/v1/traces", "200"),
        ("/t/acme/../globex/v1/traces", "403"),
        ("/t/acme/%2e%2e/globex/v1/traces", "403"),
        ("/t/acme%2f..%2fglobex/v1/traces", "403"),
        ("/t/acme%2Fv1%2Ftraces/v1/traces", "403"),
        ("/t/acme/t/globex/v1/traces", "403"),
        ("/t/acme/v1/traces/t/globex/v1/traces", "403"),
        ("/t//acme/v1/traces", "403"),
        ("/t/acme//v1/traces", "403"),
        ("/t/acme;x=globex/v1/traces", "403"),
        ("/t/acme%00/v1/traces", "403"),
        ("/t/acme%20/v1/traces", "403"),
        ("/t/acme./v1/traces", "403"),
        ("/t/Acme/v1/traces", "403"),
        ("/t/%2561cme/v1/traces", "403"),
        ("/t/a%63me%/v1/traces", "403"),
        ("/t/acm%C0%A5/v1/traces", "403"),
        ("/t/%EF%BD%81cme/v1/traces", "403"),
        ("/t//v1/traces", "403"),
        ("/t/*/v1/traces", "403"),
        ("/t/initech/v1/traces", "403"),
        ("/T/acme/v1/traces", "400"),
        ("/v1/traces", "400"),
        ("/v1/traces?t=acme", "400"),
        ("/t/acme/V1/traces", "404"),
        ("/t/acme/v1/traces/", "404"),
        ("/t/acme/v1/traces;", "404"),
        ("/t/acme/v1%2ftraces", "404"),
        ("/t/acme/v1/./traces", "404"),
        ("/t/acme/v1/traces%3f", "404"),
        ("*", "404"),
    ] {
        assert_eq!(send(path, PATHS), status, "{path}");
    }
    // A fragment and bytes beyond ASCII: whether they are refused early or late, nothing is queued.
    for path in [
        "/t/acme/v1/traces#/t/globex",
        "/t/acm\u{e9}/v1/traces",
        "/t/\u{430}cme/v1/traces",
    ] {
        assert_ne!(send(path, GLOBEX), "200", "{path}");
    }
    for path in [
        "/t/globex/v1/traces",
        "/a/t/globex/v1/traces",
        "/%74/globex/v1/traces",
        "/t/acme/../globex/v1/traces",
    ] {
        assert_eq!(send(path, ACME), "403", "{path}");
    }
    service.flush();
    assert_eq!((service.spans("acme").len(), service.spans("globex").len()), (5, 0));
}

#[test]
fn pseudo_headers_have_their_place_and_heads_of_http_2_are_strict() {
    let service = Service::start("");
    let message = framed(false, &body(&["span"]));
    let authorization = format!("Bearer {ACME}");
    let usual = export_headers(&authorization, &[]);
    let with = |more: &[(&'static str, &'static [u8])]| [&usual[..], more].concat();
    let without = |name: &str| {
        usual
            .iter()
            .filter(|(found, _)| *found != name)
            .copied()
            .collect::<Vec<_>>()
    };
    let cases = [
        (
            "a pseudo header at the end",
            [without(":path"), vec![usual[2]]].concat(),
        ),
        ("a second path", with(&[(":path", b"/t/globex/v1/traces")])),
        (
            "a second path in front",
            [vec![(":path", &b"/"[..])], usual.clone()].concat(),
        ),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        (
            "an unknown pseudo header",
            [vec![(":tenant", &b"globex"[..])], usual.clone()].concat(),
        ),
        (
            "a pseudo header of answers",
            [vec![(":status", &b"200"[..])], usual.clone()].concat(),
        ),
        ("upper case", with(&[("Authorization", b"Bearer x")])),
        ("a connection header", with(&[("connection", b"keep-alive")])),
        ("a transfer encoding", with(&[("transfer-encoding", b"chunked")])),
        ("another te", with(&[("te", b"gzip")])),
        (
            "a line break in a value",
            with(&[("x", b"a\r\nauthorization: Bearer x")]),
        ),
        ("a nul in a value", with(&[("x", b"a\0b")])),
        ("a space in a name", with(&[("x y", b"a")])),
        ("a colon in a name", with(&[("x:y", b"a")])),
        ("an empty name", with(&[("", b"a")])),
        ("a shorter length", with(&[("content-length", b"3")])),
        (
            "two lengths",
            with(&[("content-length", b"3"), ("content-length", b"4")]),
        ),
        ("no number as length", with(&[("content-length", b"x")])),
    ];
    for (name, headers) in cases {
        let mut http2 = Http2::connect(service.grpc(), &[]);
        http2.flood(
            &[
                frame(HEADERS, END_HEADERS, 1, &header_block(&headers)),
                data(1, &message),
            ]
            .concat(),
        );
        let end = http2.read_until(|frame| frame.stream == 1 || frame.kind == GOAWAY);
        // A reset, a closed connection, or an answer that is no export.
        let is_success = end.is_some_and(|end| end.kind == HEADERS && end.flags & END_STREAM == 0);
        assert!(!is_success, "{name}");
    }
    // Two tenants, in headers of HTTP/2 and after the body.
    let shared = format!("Bearer {SHARED}");
    for more in [&[("x-tenant", &b"acme"[..]), ("x-tenant", b"globex")][..], &[]] {
        let mut http2 = Http2::connect(service.grpc(), &[]);
        let trailers = frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &header_block(&[("x-tenant", b"globex")]),
        );
        let head = frame(HEADERS, END_HEADERS, 1, &header_block(&export_headers(&shared, more)));
        http2.0.write([head, frame(DATA, 0, 1, &message), trailers].concat());
        let answer = http2.read_until(|frame| frame.stream == 1).unwrap();
        assert_eq!((answer.kind, answer.flags & END_STREAM), (HEADERS, END_STREAM));
    }
    until(|| service.status().requests.running == 0);
    service.flush();
    assert!(service.spans("acme").is_empty() && service.spans("globex").is_empty());
    assert_eq!(service.status().requests.succeeded, 0);
}
